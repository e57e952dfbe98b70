package gotrace

import (
	"strings"

	"golang.org/x/exp/trace"

	"chokepoint/harness/signal/stack"
)

func (s *scan) span(ev *trace.Event, now int64) {
	r := ev.Range()
	switch {
	case r.Name == "GC mark assist":
		id := r.Scope.Goroutine()
		g := s.goroutine(id)
		if g == nil {
			return
		}
		at := s.place(ev.Stack())
		s.chargeTo(id, g, now, at, false)
		if ev.Kind() == trace.EventRangeEnd {
			if g.assist > 0 {
				s.sum.GC.AssistNS += now - g.assist
				s.sched.assisted(g.assistAt, now-g.assist)
			}
			g.assist = 0
		} else if g.assist == 0 {
			g.assist, g.assistAt = now, stack.Frame{}
			if at != nil {
				g.assistAt = at.own
			}
		}
	case strings.HasPrefix(r.Name, "GC concurrent mark"), strings.HasPrefix(r.Name, stopRange):
		if strings.HasPrefix(r.Name, stopRange) {
			if g := s.goroutine(ev.Goroutine()); g != nil {
				s.chargeTo(ev.Goroutine(), g, now, s.place(ev.Stack()), false)
				g.stopping = ev.Kind() != trace.EventRangeEnd
				if g.stopping {
					s.stopper, g.stopped = g, now
				}
			}
			if ev.Kind() == trace.EventRangeEnd {
				s.sched.started(now)
				if s.stopper != nil {
					s.stopper.stopping = false
				}
			} else {
				s.sched.stopped(r.Name, now)
			}
		}
		if ev.Kind() != trace.EventRangeEnd {
			if _, open := s.ranges[r.Name]; !open {
				s.ranges[r.Name] = now
				// A cycle that was due, and that the recording's request only happened to
				// start as it allocated, is the program's.
				if at := s.place(ev.Stack()); at != nil && at.diag && at.holds("runtime.GC") && !strings.HasPrefix(r.Name, stopRange) {
					s.sum.GC.Asked++
					s.heap.left = 0 // it did not grow as far as it might
				}
				if ev.Kind() == trace.EventRangeActive {
					s.ranges[r.Name] = s.sum.StartNS
				}
			}
			return
		}
		s.endSpan(r.Name, now)
	}
}

func (s *scan) endSpan(name string, now int64) {
	since, open := s.ranges[name]
	if !open {
		return
	}
	delete(s.ranges, name)
	s.moments.span(name, since, now)
	if strings.HasPrefix(name, stopRange) {
		s.sum.GC.StopNS += now - since
		return
	}
	s.sum.GC.Cycles++
	s.sum.GC.MarkNS += now - since
}
