package gotrace

import "chokepoint/harness/signal/stack"

// knot makes sites that meet one group.
type knot struct{ up *knot }

func (n *knot) root() *knot {
	for n.up != nil {
		if n.up.up != nil {
			n.up = n.up.up
		}
		n = n.up
	}
	return n
}

func (n *knot) join(o *knot) {
	if a, b := n.root(), o.root(); a != b {
		b.up = a
	}
}

// turn is what a goroutine got after a wait, until it passes it on.
type turn struct {
	site    *station // where it waited; nil if that is not known
	tenure  *tenure  // to which it counts
	group   *knot
	since   int64
	request uint64 // in which
	early   bool   // no stack had shown yet in which
	doing   []Doing
}

// tenure is of turns that were passed on.
type tenure struct {
	held, holds int64
	squares     float64 // of the times held, in ns²
	doing       map[Doing]int64
	passedOn    map[stack.Frame]int64
}

// add counts a turn that is passed on at a line.
func (e *tenure) add(t *turn, by stack.Frame, now int64) {
	ns := now - t.since
	e.held += ns
	e.holds++
	e.squares += float64(ns) * float64(ns)
	if e.doing == nil {
		e.doing, e.passedOn = map[Doing]int64{}, map[stack.Frame]int64{}
	}
	for _, d := range t.doing {
		n := d.NS
		d.NS = 0
		e.doing[d] += n
	}
	e.passedOn[by] += ns + 1
}

// slots is how many turns there were at a time in a trace of that length, as far
// as it tells.
//
// A turn counts where the trace has both its ends. One that is held for h has them
// with a chance of 1 - h/length, so that what was seen is short by as much; h is the
// mean by the time held, as turns are cut in proportion to that. Where it is more
// than half of the trace, more is missing than was seen.
func (e *tenure) slots(length int64) float64 {
	if e.held == 0 {
		return 0
	}
	h := e.squares / float64(e.held)
	if 2*h > float64(length) {
		return 0
	}
	return float64(e.held) / (float64(length) - h)
}

// merge adds what another counted.
func (e *tenure) merge(o *tenure) {
	e.held += o.held
	e.holds += o.holds
	e.squares += o.squares
	if e.doing == nil {
		e.doing, e.passedOn = map[Doing]int64{}, map[stack.Frame]int64{}
	}
	for d, ns := range o.doing {
		e.doing[d] += ns
	}
	for f, ns := range o.passedOn {
		e.passedOn[f] += ns
	}
}

// hasTurn reports whether the goroutine has a turn that it got in the request which it
// is in.
func (g *goroutine) hasTurn() bool {
	if !g.queue.holds {
		return false
	}
	t := &g.queue.turn
	if t.early {
		t.request = g.service.sequence()
		t.early = t.request == 0 && g.service.early
	}
	g.queue.holds = t.request == g.service.sequence()
	return g.queue.holds
}

// passOn ends a goroutine's turn.
func (h *goroutine) passOn(by *place, now int64) {
	h.queue.holds = false
	h.queue.turn.tenure.add(&h.queue.turn, by.own, now)
}
