package gotrace

import "golang.org/x/exp/trace"

// heapGoal follows how far the heap may grow beyond what is in use.
type heapGoal struct {
	inUse, goal int64 // as the trace last said; 0: not yet
}

// metric takes in what the trace says of the heap. The runtime says at the end of
// a cycle what was found in use, and then the goal of the next.
func (h *heapGoal) metric(ev *trace.Event, c *Collector) {
	m := ev.Metric()
	if m.Value.Kind() != trace.ValueUint64 {
		return
	}
	v := int64(min(m.Value.Uint64(), 1<<62))
	switch m.Name {
	case "/memory/classes/heap/objects:bytes":
		h.inUse = v
	case "/gc/heap/goal:bytes":
		h.goal = v
		if h.inUse > 0 {
			c.Goals += v
			c.Lives += h.inUse
		}
	}
}
