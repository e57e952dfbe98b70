package gotrace

import (
	"sort"

	"chokepoint/harness/signal/stack"
)

// Parked is goroutines of the program that waited at one place when the trace ended.
type Parked struct {
	Frames     []stack.Frame // innermost first
	Where      stack.Frame   // the program's line
	Wait       stack.Wait
	Goroutines int64
	Requests   int64 // of these, inside a handler of net/http
	Throughout int64 // of these, there for the whole trace: it saw no change of them
	StoodNS    int64 // how long they had waited, inside the trace, summed
	// ThroughoutRequests is those of both.
	ThroughoutRequests int64
	// Woken counts goroutines that were woken, inside the trace, from the same kind
	// of wait at that line.
	Woken int64
	// Given is how many of those waits another goroutine of the program ended, and not a
	// deadline, a cancelled context or the network.
	Given int64
}

// park notes where a goroutine waits at the end.
func (s *scan) park(g *goroutine) {
	if g.at == nil || !g.at.ours || g.diag {
		return
	}
	if g.state == inSyscall && !g.moved && !g.request && g.at.blocking == stack.Idle && !g.at.inC && s.program.Attends(g.at.frames) {
		s.sum.AttendsNS += s.last - s.sum.StartNS
	}
	if g.state != waiting {
		return
	}
	p := s.parked[g.at]
	if p == nil {
		p = &Parked{Frames: g.at.frames, Where: g.at.own, Wait: g.at.wait}
		s.parked[g.at] = p
	}
	p.Goroutines++
	p.StoodNS += s.last - g.queue.parked
	if g.request {
		p.Requests++
	}
	if !g.moved {
		p.Throughout++
		if g.request {
			p.ThroughoutRequests++
		}
	}
}

// finishPlaces sums up what is counted by place.
func (s *scan) finishPlaces() {
	woken, given := map[waitKey]int64{}, map[waitKey]int64{}
	runnable := map[stack.Frame]int64{}
	below := map[Below]int64{}
	for _, at := range s.interned {
		if l := s.program.Library(at.frames); !l.IsZero() {
			below[Below{Own: at.own, Library: l}] += at.woken
		}
		if at.woken > 0 {
			woken[waitKey{at.wait, at.own}] += at.woken
			given[waitKey{at.wait, at.own}] += at.given
		}
		if at.runnableNS > 0 {
			runnable[at.own] += at.runnableNS
		}
	}
	s.sum.Runnable = siteTimes(runnable)
	for b, waits := range below {
		b.Waits = waits
		s.sum.Libraries = append(s.sum.Libraries, b)
	}
	for _, p := range s.parked {
		p.Woken, p.Given = woken[waitKey{p.Wait, p.Where}], given[waitKey{p.Wait, p.Where}]
		s.sum.Parked = append(s.sum.Parked, *p)
	}
	sort.Slice(s.sum.Parked, func(i, j int) bool {
		a, b := &s.sum.Parked[i], &s.sum.Parked[j]
		if a.Goroutines != b.Goroutines {
			return a.Goroutines > b.Goroutines
		}
		return lessFrames(a.Frames, b.Frames)
	})
}

// Below is a line of a library that a line of the program has below it on stacks.
type Below struct {
	Own, Library stack.Frame
	Waits        int64 // that began and ended there in the trace
}
