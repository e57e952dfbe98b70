package gotrace

import (
	"fmt"
	"io"

	"golang.org/x/exp/trace"
)

// batch is a run of events on its way from the parser to the scan, which work at
// the same time: parsing takes longer than everything that is made of the events,
// and a second CPU is nearly always there.
type batch struct {
	events []trace.Event
	// tasks are those that the EventTaskEnds among the events end, in their order.
	// The parser makes up the names of these as it goes, in a table that the scan
	// must therefore not look into.
	tasks []trace.TaskID
	err   error // what ended reading, after the events; io.EOF at the trace's end
}

const (
	// batchEvents keeps a batch in a CPU's own cache: an event has 80 bytes.
	batchEvents = 1024
	// batches is how far the parser may be ahead.
	batches = 4
)

// events reads a trace to its end.
func (s *scan) events(tr *trace.Reader) error {
	full, empty := make(chan *batch, batches), make(chan *batch, batches)
	for range batches {
		empty <- &batch{events: make([]trace.Event, 0, batchEvents)}
	}
	// Should the scan panic, the parser must not wait for it for ever.
	defer close(empty)
	go func() {
		for b := range empty {
			b.fill(tr)
			full <- b // there is always room
			if b.err != nil {
				return
			}
		}
	}()
	for b := range full {
		s.endedTasks = b.tasks
		for i := range b.events {
			s.event(&b.events[i])
		}
		if b.err == io.EOF {
			return nil
		}
		if b.err != nil {
			// That includes a wrapped EOF: the trace ends in the middle of something.
			return b.err
		}
		empty <- b
	}
	return nil
}

// fill reads the next events. Traces come from others, damaged ones among them,
// and what they make the parser trip over is an error like any other.
func (b *batch) fill(tr *trace.Reader) {
	b.events, b.tasks = b.events[:0], b.tasks[:0]
	defer func() {
		if p := recover(); p != nil {
			b.err = fmt.Errorf("the trace is damaged: %v", p)
		}
	}()
	for len(b.events) < batchEvents {
		ev, err := tr.ReadEvent()
		if err != nil {
			b.err = err
			return
		}
		if ev.Kind() == trace.EventTaskEnd {
			b.tasks = append(b.tasks, ev.Task().ID)
		}
		b.events = append(b.events, ev)
	}
}

// taskOf is the task that an event begins or ends.
func (s *scan) taskOf(ev *trace.Event) trace.TaskID {
	if ev.Kind() == trace.EventTaskBegin {
		return ev.Task().ID
	}
	id := s.endedTasks[0]
	s.endedTasks = s.endedTasks[1:]
	return id
}
