package gotrace

import (
	"cmp"
	"slices"
	"strings"

	"chokepoint/harness/signal/stack"
)

// fan is the goroutines that handlers have set going in one function of the program
// and wait for as a group.
type fan struct {
	handlers int              // that have waited throughout for a group, in the function
	readers  map[stuckKey]int // goroutines that have read a connection throughout
	others   int              // goroutines that have waited throughout for anything but a peer's answer
}

// joined is how many of the goroutines that have read a connection throughout, outside
// of handlers, handlers have waited for throughout, at most; by where they read.
//
// Who started a goroutine is not in a trace that began later. A function literal,
// though, is started by the function around it, and a handler that stands in that
// function and waits for a group does not go on before those it started. Handlers that wait to
// receive are left out: a feed's do for as long as there is no news, with a
// subscription of their own that is quiet for as long. So are as many readers as there are others
// who wait in literals of the same function (a pump has one for each direction), and
// handlers and readers for connections that were taken over.
func (s *scan) joined(taken int) map[stuckKey]int {
	fans := map[string]*fan{}
	for _, g := range s.gs {
		if !s.sits(g) || !g.request || g.at.stage != stack.Handling || g.at.wait != stack.WaitGroup {
			continue
		}
		seen := map[string]bool{}
		for _, f := range g.at.frames {
			if !s.program.Mine(f) || seen[f.Function] {
				continue
			}
			seen[f.Function] = true
			if fans[f.Function] == nil {
				fans[f.Function] = &fan{readers: map[stuckKey]int{}}
			}
			fans[f.Function].handlers++
		}
	}
	if len(fans) == 0 {
		return nil
	}
	for _, g := range s.gs {
		if !s.sits(g) || g.request || g.at.peer == stack.AskedPeer {
			continue
		}
		f := fanOf(fans, s.outermost(g.at.frames))
		switch {
		case f == nil:
		case g.at.peer == stack.OwnPeer:
			f.readers[stuckKey{g.at.peer, g.at.asker}]++
		default:
			f.others++
		}
	}
	out := map[stuckKey]int{}
	for _, f := range fans {
		left := -f.others
		keys := make([]stuckKey, 0, len(f.readers))
		for k, n := range f.readers {
			keys = append(keys, k)
			left += n
		}
		left = min(left, f.handlers) - taken
		slices.SortFunc(keys, func(a, b stuckKey) int {
			if c := cmp.Compare(f.readers[b], f.readers[a]); c != 0 {
				return c
			}
			if less(a.where, b.where) {
				return -1
			}
			return 1
		})
		for _, k := range keys {
			n := max(0, min(left, f.readers[k]))
			out[k] += n
			left -= n
		}
	}
	return out
}

// sits reports whether a goroutine has waited since before the trace, at a known place.
func (s *scan) sits(g *goroutine) bool {
	return g.at != nil && !g.diag && g.hung && g.state == waiting
}

// outermost is the program's outermost function on a stack; empty if there is none.
func (s *scan) outermost(frames []stack.Frame) string {
	for _, f := range slices.Backward(frames) {
		if s.program.Mine(f) {
			return f.Function
		}
	}
	return ""
}

// fanOf is that of the innermost function which a literal is written in.
func fanOf(fans map[string]*fan, literal string) *fan {
	for {
		at := strings.LastIndexByte(literal, '.')
		if at <= 0 {
			return nil
		}
		literal = literal[:at]
		if f := fans[literal]; f != nil {
			return f
		}
	}
}
