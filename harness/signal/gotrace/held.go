package gotrace

import (
	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/stack"
)

// taking is where a lock is taken that is let go of at some place: in the innermost
// function of that stack in which others wait for it, from a line of it on. That is the
// function that locks and unlocks, or, where it has helpers for both, the one that calls
// these.
type taking struct {
	function string // empty where no wait is seen in any of these functions
	line     int    // the first at which somebody waits for it, above the release; 0 if unknown
	in       *group
	waits    int // the places of waits that there were in the group
}

// standing is a place with where a lock is taken.
type standing struct {
	at       *place
	function string
	line     int
}

// takenFor is where a group's lock is taken by who lets go of it at a place.
func (l *locks) takenFor(grp *group, at *place) taking {
	t := l.takings[at]
	if t.in == grp && t.waits == len(grp.waits) {
		return t
	}
	t = taking{in: grp, waits: len(grp.waits)}
	for _, f := range at.frames {
		if l.program.Foreign(f) {
			continue
		}
		function := gofunc.Base(f.Function)
		for w := range grp.waits {
			line, ok := lineWithin(w, function)
			if !ok {
				continue
			}
			t.function = function
			if line <= f.Line && (t.line == 0 || line < t.line) {
				t.line = line
			}
		}
		if t.function != "" {
			break
		}
	}
	l.takings[at] = t
	return t
}

// lineWithin is the line that a stack has got to in a function; in the innermost call of it.
func lineWithin(at *place, function string) (line int, ok bool) {
	for _, f := range at.frames {
		if gofunc.Base(f.Function) == function {
			return f.Line, true
		}
	}
	return 0, false
}

// heldFrom is since when h can have held a group's lock that it lets go of at a place, and
// never waited for: not before the last time that it waited for something else outside of
// the function that takes it, or above the line that does. The lock may have been free
// meanwhile, since who is woken for it has to get a P first.
func (l *locks) heldFrom(grp *group, h *goroutine, at *place, since int64) int64 {
	t := l.takenFor(grp, at)
	if t.function == "" {
		return since
	}
	for i := range min(h.recent.n, len(h.recent.last)) {
		if x := &h.recent.last[i]; x.to > since && l.outside(x.at, t) {
			since = x.to
		}
	}
	return since
}

// outside reports whether who stands at a place has not taken the lock yet, or has let go
// of it.
func (l *locks) outside(at *place, t taking) bool {
	if at == nil || len(at.frames) == 0 {
		return false
	}
	k := standing{at, t.function, t.line}
	out, ok := l.before[k]
	if !ok {
		line, inside := lineWithin(at, t.function)
		out = !inside || line < t.line
		l.before[k] = out
	}
	return out
}

// after reports whether a stack is in the function of a frame, at its line or below.
func (pl *place) after(f stack.Frame) bool {
	for _, x := range pl.frames {
		if x.Function == f.Function {
			return x.Line >= f.Line
		}
	}
	return false
}
