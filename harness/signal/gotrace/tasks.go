package gotrace

import (
	"cmp"
	"slices"

	"golang.org/x/exp/trace"

	"chokepoint/harness/signal/requests"
	"chokepoint/harness/signal/stack"
)

type task struct {
	open *requests.Open
	g    *goroutine
	id   trace.GoID
}

// maxOpenTasks bounds the tasks that are followed at the same time.
const maxOpenTasks = 1 << 16

func (s *scan) taskEvent(ev *trace.Event, id trace.TaskID, now int64) {
	w := s.serving
	if ev.Kind() == trace.EventTaskBegin {
		g := s.goroutine(ev.Goroutine())
		if g == nil || len(w.openTask) >= maxOpenTasks {
			return
		}
		if _, known := w.openTask[id]; known {
			return // a damaged trace
		}
		s.taskPoint(ev, g, now)
		o := w.tasks.Begin(now, int64(ev.Goroutine()))
		w.tasks.At(o, stack.Frame{Function: ev.Task().Type}, 1)
		w.openTask[id] = task{o, g, ev.Goroutine()}
		g.service.tasks = append(g.service.tasks, o)
		return
	}
	x, ok := w.openTask[id]
	if !ok {
		return // it began before the trace
	}
	delete(w.openTask, id)
	if g := s.goroutine(x.id); g == x.g {
		if ev.Goroutine() == x.id {
			s.taskPoint(ev, g, now)
		} else {
			s.chargeTo(x.id, g, now, nil, false)
		}
	}
	s.endTask(x, now, false)
}

// taskPoint takes the stack at which a task begins or ends as one that the
// goroutine is on.
func (s *scan) taskPoint(ev *trace.Event, g *goroutine, now int64) {
	at := s.place(ev.Stack())
	s.chargeTo(ev.Goroutine(), g, now, at, false)
	if at != nil {
		s.reach(ev.Goroutine(), g, at, now, false)
	}
}

func (s *scan) endTask(x task, now int64, cut bool) {
	for i, o := range x.g.service.tasks {
		if o == x.open {
			x.g.service.tasks = append(x.g.service.tasks[:i], x.g.service.tasks[i+1:]...)
			break
		}
	}
	s.serving.tasks.End(x.open, now, cut)
}

// finishTasks closes the tasks that the end of the trace leaves open, in the
// order in which they began.
func (s *scan) finishTasks() {
	left := make([]task, 0, len(s.serving.openTask))
	for _, t := range s.serving.openTask {
		left = append(left, t)
	}
	slices.SortFunc(left, func(a, b task) int { return cmp.Compare(a.open.Seq(), b.open.Seq()) })
	for _, t := range left {
		s.endTask(t, s.last, true)
	}
}
