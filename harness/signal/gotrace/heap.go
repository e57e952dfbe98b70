package gotrace

import "golang.org/x/exp/trace"

// heapGoal follows how far the heap may grow beyond what is in use.
type heapGoal struct {
	inUse int64 // as the trace last said; 0: not yet
	// Of a cycle without a goal of GOGC's, what was in use at its end, and the most
	// since: how far the heap did grow stands for how far it might.
	left, most int64
}

// mostHeap bounds what the trace says, in bytes: sums of it must stay numbers.
const mostHeap = 1 << 48

// metric takes in what the trace says of the heap. The runtime says at the end of
// a cycle what was found in use, and then the goal of the next: 0 if GOGC is off,
// whatever the memory limit is.
func (h *heapGoal) metric(ev *trace.Event, c *Collector) {
	m := ev.Metric()
	if m.Value.Kind() != trace.ValueUint64 {
		return
	}
	v := int64(min(m.Value.Uint64(), mostHeap))
	switch m.Name {
	case "/memory/classes/heap/objects:bytes":
		h.inUse = v
		h.most = max(h.most, v)
	case "/gc/heap/goal:bytes":
		if h.left > 0 {
			c.Goals += h.most
			c.Lives += h.left
			h.left = 0
		}
		switch {
		case h.inUse == 0:
		case v == 0:
			h.left, h.most = h.inUse, h.inUse
		default:
			c.Goals += v
			c.Lives += h.inUse
		}
	}
}
