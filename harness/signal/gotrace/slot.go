package gotrace

import (
	"cmp"
	"slices"

	"chokepoint/harness/signal/stack"
)

// SlotWait is waiting, at one line of the program, in calls that wait for one of a
// bounded number alone, as stack.Program.TakesSlot has it; or, where Sends is set, to send
// something else, as Beside.Sends has it.
type SlotWait struct {
	Where stack.Frame
	Sends bool
	// Frames is one of the stacks of that line.
	Frames []stack.Frame
	// WaitedNS is the goroutine time spent so; Requests' part of it apart, counted as
	// that of a Queue.
	WaitedNS        int64
	RequestWaitedNS int64
	// Given is how many of these waits another goroutine ended by giving back or by
	// handing on, and Forgone how many were ended by their deadline, their timer or
	// their client's leaving.
	Given, Forgone int
	// Left is how many of those since before the trace last until its end.
	Left    int
	callers callers
	// Caller is the User of most of that waiting.
	Caller stack.Frame
}

// slotWaits follows such waits.
type slotWaits struct {
	at map[slotLine]*SlotWait
	// unknown is how many waits since before the trace, of which no stack was ever
	// seen, somebody ended by giving something. Any of them may have been at any line.
	unknown int
}

type slotLine struct {
	own   stack.Frame
	sends bool
}

// of is the line of a place; nil where neither a slot is waited for nor something sent.
func (w *slotWaits) of(at *place) *SlotWait {
	if at == nil || !at.takesSlot && !at.handsOver {
		return nil
	}
	k := slotLine{at.own, at.handsOver}
	x := w.at[k]
	if x == nil {
		if w.at == nil {
			w.at = map[slotLine]*SlotWait{}
		}
		x = &SlotWait{Where: at.own, Sends: at.handsOver, Frames: at.frames}
		w.at[k] = x
	}
	return x
}

// add counts the time of a wait of g.
func (x *SlotWait) add(g *goroutine, at *place, now int64) {
	ns := now - g.queue.parked
	x.WaitedNS += ns
	x.RequestWaitedNS += g.waitOfRequest(ns)
	x.callers.add(at, ns)
}

// woken ends a wait of g at a place, if that is known, on the stack by of who ended
// it; nil for nobody.
func (w *slotWaits) woken(g *goroutine, at *place, known bool, by *place, now int64) {
	given := by != nil && by.act != stack.NoAct && by.act != stack.GivesUp && by.act != stack.Finishes
	if !known && given {
		w.unknown++
	}
	x := w.of(at)
	if x == nil {
		return
	}
	x.add(g, at, now)
	if given {
		x.Given++
	} else {
		x.Forgone++
	}
}

// cut counts a wait of g that the end of the trace cuts.
func (w *slotWaits) cut(g *goroutine, at *place, now int64) {
	x := w.of(at)
	if x == nil {
		return
	}
	x.add(g, at, now)
	if g.hung {
		x.Left++
	}
}

// finish are the lines, the one that costs requests most first.
func (w *slotWaits) finish() (list []SlotWait) {
	for _, x := range w.at {
		x.Caller = largest(x.callers)
		x.callers = nil
		list = append(list, *x)
	}
	slices.SortFunc(list, func(a, b SlotWait) int {
		return cmp.Or(cmp.Compare(b.RequestWaitedNS, a.RequestWaitedNS), cmp.Compare(b.WaitedNS, a.WaitedNS), a.Where.Compare(b.Where))
	})
	return list
}
