package gotrace

import "chokepoint/harness/signal/stack"

// callers is time by User; the zero frame has that of which there is none.
type callers map[stack.Frame]int64

// add counts time at a place.
func (c *callers) add(at *place, ns int64) {
	if *c == nil {
		*c = callers{}
	}
	(*c)[at.caller] += ns
}

// merge adds what another counted.
func (c *callers) merge(o callers) {
	if *c == nil {
		*c = make(callers, len(o))
	}
	for f, ns := range o {
		(*c)[f] += ns
	}
}
