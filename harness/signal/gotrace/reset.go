package gotrace

import (
	"strings"

	"chokepoint/harness/signal/stack"
)

// freed is a goroutine that was woken from a write which it had waited in since before
// the trace, until it is known why.
//
// The network wakes it, and so that says nothing. What it does next does. Where the
// peer made room it writes the rest of what it had, and then what comes after that, or
// it waits for room again. Where a deadline passed it does not try again. Where the
// peer has reset the connection it tries once, which fails, and whoever serves the
// connection ends. That the peer gives up says nothing of how long the write would have
// waited, as with a client that leaves (see clientGone).
type freed struct {
	key     stuckKey
	at      int64 // when it was woken; 0 for never, or known
	wait    abandoned
	written int // how often it has tried since
}

// free notes that g is woken from such a write.
func (g *goroutine) free(now int64) {
	g.freed = freed{
		key: stuckKey{g.at.peer, g.at.asker}, at: now,
		wait: abandoned{ns: now - g.queue.parked, before: true, inHandler: g.request},
	}
}

// tries notes what g does after that: a call of the kernel at a place, or a wait there.
func (s *scan) tries(g *goroutine, at *place, waits bool) {
	if g.freed.at == 0 {
		return
	}
	switch {
	case waits && at.sends() && at.peer == stack.FullPeer:
		s.goesOn(g)
	case !waits && at.sends():
		if g.freed.written++; g.freed.written > 1 {
			s.goesOn(g)
		}
	}
}

// goesOn settles that the write of g ended as writes do.
func (s *scan) goesOn(g *goroutine) {
	if g.freed.at == 0 {
		return
	}
	s.hung.ended = noted(s.hung.ended, g.freed.key, g.freed.at)
	g.freed = freed{}
}

// over settles why the write of g ended, when g itself does.
func (s *scan) over(g *goroutine) {
	if g.freed.at == 0 {
		return
	}
	if g.freed.written != 1 {
		s.goesOn(g)
		return
	}
	s.hung.gone = noted(s.hung.gone, g.freed.key, g.freed.wait)
	g.freed = freed{}
}

// noted is m with one more under a key.
func noted[T any](m map[stuckKey][]T, k stuckKey, v T) map[stuckKey][]T {
	if m == nil {
		m = map[stuckKey][]T{}
	}
	m[k] = append(m[k], v)
	return m
}

// sends reports whether a call of the kernel from here sends to a connection. What is
// written to a file, such as a log of the error, does not count.
func (pl *place) sends() bool {
	if pl == nil {
		return false
	}
	for _, f := range pl.frames {
		switch name := f.Function; {
		case name == "net.(*netFD).Write", strings.HasPrefix(name, "internal/poll.(*FD).Writev"),
			name == "internal/poll.sendFile", name == "internal/poll.SendFile", name == "internal/poll.splicePump":
			return true
		}
	}
	return false
}
