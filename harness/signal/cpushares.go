package signal

import (
	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/stack"
)

// Two flaws of the CPU at a time make each the smaller share of it: neither of two
// functions that take two fifths each has half. What one of them is, is seen when the other
// is thought away: its share of what is left then. Only what is a flaw by itself may be
// thought away, or any honest function would come to stand out in the end.
const (
	// hotRest is the share of what is left that makes a function hot (see the rule
	// cpu-hot-path/function).
	hotRest = 0.5
	// leastOfAll is how much of all CPU one of two must take: as much as setting up must
	// by itself (setupCounts). Honest servers whose work is spread over two or three
	// functions are below it; of those that were recorded while requests waited for a CPU, the
	// nearest has 0.24 and 0.22.
	leastOfAll = setupCounts
	// leastSetup is how much of it setting up must take beside a hot function: none of
	// the honest servers that were recorded has more than 0.17.
	leastSetup = 0.2
	// collectorCounts is the share of all CPU from which the collector is a flaw of its
	// own (see the rule gc-pressure).
	collectorCounts = 0.25
	// allocatesMost is how much of allocation must be one function's for that: where it is
	// everybody's, there is nothing to think away.
	allocatesMost = 1.0 / 3
)

// memory is what it costs that a program allocates.
type memory struct {
	collecting int64                 // samples of the collector, without what it does on idle CPUs
	allocating int64                 // samples of allocation for the program
	at         map[string]*allocator // by function
}

// allocator is a function that allocates, by itself or by what it calls of a library.
type allocator struct {
	allocating int64
	lines      map[stack.Frame]int64
}

func (m *memory) add(p stack.Program, frames []stack.Frame, n int64) {
	switch c := p.CPUOf(frames); {
	case c.Collecting:
		m.collecting += n
	case c.Allocating && !c.Own.IsZero():
		m.allocating += n
		if m.at == nil {
			m.at = map[string]*allocator{}
		}
		name := gofunc.Base(c.Own.Function)
		a := m.at[name]
		if a == nil {
			a = &allocator{lines: map[stack.Frame]int64{}}
			m.at[name] = a
		}
		a.allocating += n
		a.lines[baseFrame(c.Own)] += n
	}
}

// cost is what one function's memory takes of the CPU: that it allocates, and of
// collecting as large a part as that is of all allocation.
func (m memory) cost(a *allocator) int64 {
	return a.allocating + int64(float64(m.collecting)*float64(a.allocating)/float64(m.allocating))
}

// allocates is what the function takes whose memory costs most: in all, with what it
// computes, and of that its memory.
type allocates struct {
	all, memory int64
	where       stack.Frame
}

// most is the function whose memory costs most.
func (m memory) most(work []worked) allocates {
	var best string
	for name, a := range m.at {
		if a.allocating < fewestSamples {
			continue
		}
		if b := m.at[best]; b == nil || a.allocating > b.allocating || a.allocating == b.allocating && name < best {
			best = name
		}
	}
	a := m.at[best]
	if a == nil {
		return allocates{}
	}
	most := allocates{memory: m.cost(a), where: top(ranked(a.lines)).where}
	most.all = most.memory
	for _, x := range work {
		if x.in(unit{function: best}) || x.calling().function == best {
			most.all += x.count
		}
	}
	return most
}

// flawBeside is what the collector costs, if that is much and because of one function that is
// not the given one: a hot function's own memory goes with the function.
func (m memory) flawBeside(function string, all int64) int64 {
	if float64(m.collecting) < collectorCounts*float64(all) {
		return 0
	}
	much := func(a *allocator) bool {
		return a != nil && a.allocating >= fewestSamples && float64(a.allocating) >= allocatesMost*float64(m.allocating)
	}
	if much(m.at[function]) {
		return 0
	}
	for _, a := range m.at {
		if much(a) {
			return m.collecting
		}
	}
	return 0
}

// left is what is left of all CPU for the function that computes most, for the second one and
// for setting up, when what is a flaw beside each is thought away. It is all of it where
// there is no such flaw.
func (h hotSpots) left() (computing, second, setup int64) {
	function := gofunc.Base(h.computing.where.Function)
	computing, second, setup = h.all, h.all, h.all
	much := func(n int64, least float64) bool { return n >= fewestSamples && float64(n) >= least*float64(h.all) }
	if !much(h.computing.value, leastOfAll) || function == "" {
		return computing, second, setup
	}
	if setsUp := h.setup.value; much(setsUp, leastSetup) && float64(setsUp) > setupCounts*float64(h.all-h.computing.value) {
		computing -= setsUp
		second -= setsUp
	}
	gc := h.memory.flawBeside(function, h.all)
	computing -= gc
	// The other function must be hot beside this one as this one is beside it.
	if name := gofunc.Base(h.second.where.Function); much(h.second.value, leastOfAll) && name != "" && name != function &&
		float64(h.second.value) > hotRest*float64(second-h.computing.value) && float64(h.computing.value) > hotRest*float64(computing-h.second.value) {
		computing, second = computing-h.second.value, second-h.computing.value
	}
	if float64(h.computing.value) > hotRest*float64(computing) {
		setup -= h.computing.value
	}
	return computing, second, setup
}
