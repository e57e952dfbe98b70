package gotrace

import (
	"sort"

	"golang.org/x/exp/trace"

	"chokepoint/harness/signal/stack"
)

// syscallsAt is the sum of the system calls at the program's line of a place.
func (s *scan) syscallsAt(at *place) *SiteCount {
	if at.calls == nil {
		at.calls = s.callsAt(at.own)
		at.calls.ForDescriptors = at.calls.ForDescriptors || at.polls
	}
	return at.calls
}

// callsAt is the count of the program's system calls at a line.
func (s *scan) callsAt(f stack.Frame) *SiteCount {
	c := s.syscalls[f]
	if c == nil {
		c = &SiteCount{Where: f}
		s.syscalls[f] = c
	}
	return c
}

func (s *scan) sample(ev *trace.Event) {
	at := s.place(ev.Stack())
	if at == nil || at.diag {
		return
	}
	if _, known := s.samples[at]; known || len(s.samples) < keptStacks {
		s.samples[at]++
	} else {
		s.samples[s.other]++
	}
	g := s.goroutine(ev.Goroutine())
	if g == nil {
		return
	}
	if g.stacks == nil {
		g.stacks = map[*place]int64{}
	}
	g.stacks[at]++
	if !at.own.IsZero() {
		g.sampled.add(g.ran, at.own)
		if g.samples == nil {
			g.samples = map[stack.Frame]int64{}
		}
		g.samples[at.own]++
	}
	if g.service.followed() {
		s.touch(ev.Goroutine(), g, at, int64(ev.Time()), true)
	}
}

func (s *scan) finishSites() {
	s.sum.Running = longest(s.sum.Running)
	s.finishAwake()
	s.sum.Samples, s.sum.Yields = counted(s.samples), counted(s.yields)
	for _, c := range s.syscalls {
		for b, ns := range c.blockingNS {
			if ns > c.blockingNS[c.Blocking] {
				c.Blocking = stack.Blocking(b)
			}
		}
		s.sum.Syscalls = append(s.sum.Syscalls, *c)
	}
	sort.Slice(s.sum.Syscalls, func(i, j int) bool {
		a, b := s.sum.Syscalls[i], s.sum.Syscalls[j]
		if a.Count != b.Count {
			return a.Count > b.Count
		}
		return less(a.Where, b.Where)
	})
}
