package gotrace

import (
	"cmp"
	"maps"
	"slices"

	"golang.org/x/exp/trace"

	"chokepoint/harness/signal/stack"
)

// Stuck is goroutines that have waited for a peer, at one line, since before the
// trace began.
//
// How long such a wait takes in all is not in the trace. How many of them end is:
// of waits that take L on average, as many end in half of the trace as half of
// the trace is of L. Those that are left in the middle have shown that they are
// long, so that what is done quickly at the same line does not hide what hangs.
type Stuck struct {
	Peer  stack.Peer
	Where stack.Frame // the program's line; zero if none is on the stack
	// Middle is how many still waited in the middle of the trace, and End at its end.
	Middle, End int
	// InRequests is how many of those at the end are in handlers of net/http.
	InRequests int
	// Joined is how many of those that are the program's own readers, outside of
	// handlers, handlers wait for, at most.
	Joined int
	// LateNS is the time, inside the trace, of other waits there that are taken for such
	// as will hang: they began in the trace, and have lasted for longer than any there
	// that did so and ended; or the client's leaving ended them. LateRequestNS is the part of
	// it in handlers.
	LateNS, LateRequestNS int64
}

// Hung is all of them, and what it takes to judge them.
type Hung struct {
	At []Stuck // by End, largest first
	// Unknown is how many waits since before the trace ended in its second half, of
	// which no stack was ever seen. Any of them may have been at any of the lines.
	Unknown int
	// Handlers is how many goroutines of HTTP/1 connections were in handlers at the
	// end, and Watched how many of these net/http watches for the client to go. The
	// rest have a request body that nobody read, or have taken their connection over.
	Handlers, Watched int
	// Helped is how many handlers have waited throughout for other goroutines of the
	// program: for a group, or to receive.
	Helped int
	// Relayed are the lines where handlers wait for answers that another goroutine reads
	// of a connection and hands on, in order.
	Relayed []stack.Frame
	// Queued is how many handlers have waited throughout for a connection that others
	// hold: of database/sql's pool, or of net/http's client.
	Queued int
}

type stuckKey struct {
	peer  stack.Peer
	where stack.Frame
}

// hung follows waits from before the trace.
type hung struct {
	ended map[stuckKey][]int64 // when they ended
	// unknown is when those ended of which no stack was seen.
	unknown []int64
	// longest is how long any wait took that began and ended in the trace.
	longest map[stuckKey]int64
	// gone are waits that the client's leaving ended.
	gone map[stuckKey][]abandoned
}

// abandoned is a wait that the client's leaving ended.
type abandoned struct {
	ns                int64 // inside the trace
	before, inHandler bool  // it began before the trace; it was in a handler
}

// ends notes the end of a wait for a peer, of g on the stack by.
func (p *hung) ends(g *goroutine, by *place, now int64) {
	if g.diag || g.at == nil || g.at.wanted() == stack.NoPeer {
		return
	}
	k, ns := stuckKey{g.at.wanted(), g.at.asker}, now-g.queue.parked
	switch {
	case by != nil && by.clientGone:
		p.gone = noted(p.gone, k, abandoned{ns, g.hung, g.request})
	case !g.hung:
		if p.longest == nil {
			p.longest = map[stuckKey]int64{}
		}
		p.longest[k] = max(p.longest[k], ns)
	}
}

// late adds the time of a wait that is not known to be one of those that end.
func (p *hung) late(x *Stuck, ns int64, before, inHandler bool) {
	if !before && ns <= p.longest[stuckKey{x.Peer, x.Where}] {
		return
	}
	x.LateNS += ns
	if inHandler {
		x.LateRequestNS += ns
	}
}

// wakes notes that a wait since before the trace ends.
func (p *hung) wakes(g *goroutine, by *place, now int64) {
	g.hung = false
	if g.diag || by != nil && by.clientGone {
		// The client has gone, and the request with it. That says nothing of how
		// long it would have waited.
		return
	}
	if g.at == nil {
		p.unknown = append(p.unknown, now)
		return
	}
	if g.at.wanted() == stack.NoPeer {
		return
	}
	if g.at.peer == stack.FullPeer {
		g.free(now) // why it ends is not known yet
		return
	}
	p.ended = noted(p.ended, stuckKey{g.at.wanted(), g.at.asker}, now)
}

// finish sums up at the end of the trace.
func (s *scan) finishHung() {
	out := &s.sum.Hung
	for _, g := range s.gs {
		s.goesOn(g)
	}
	middle := s.sum.StartNS + s.sum.DurationNS()/2
	at := map[stuckKey]*Stuck{}
	of := func(k stuckKey) *Stuck {
		if at[k] == nil {
			at[k] = &Stuck{Peer: k.peer, Where: k.where}
		}
		return at[k]
	}
	late := func(times []int64) (n int) {
		for _, t := range times {
			if t >= middle {
				n++
			}
		}
		return n
	}
	peerOf := s.relays.judge()
	out.Relayed = slices.SortedFunc(maps.Keys(s.relays.known), stack.Frame.Compare)
	for k, times := range s.hung.ended {
		if k.peer == stack.RelayedPeer && !s.relays.known[k.where] {
			continue
		}
		of(k).Middle += late(times)
	}
	out.Unknown = late(s.hung.unknown)
	for k, waits := range s.hung.gone {
		if k.peer == stack.RelayedPeer && !s.relays.known[k.where] {
			continue
		}
		for _, w := range waits {
			s.hung.late(of(k), w.ns, w.before, w.inHandler)
		}
	}
	for _, g := range s.gs {
		if g.at == nil {
			continue
		}
		if g.at.background {
			out.Watched++
		}
		// The recording's own requests are watched like all others.
		if g.at.stage == stack.Handling && g.at.holds("net/http.(*conn).serve") {
			out.Handlers++
		}
		if g.diag {
			continue
		}
		handler := g.request && g.at.stage == stack.Handling
		if g.state != waiting {
			continue
		}
		if !g.hung {
			if peer := peerOf(g.at); peer != stack.NoPeer {
				s.hung.late(of(stuckKey{peer, g.at.asker}), s.last-g.queue.parked, false, g.request)
			}
			continue
		}
		peer := peerOf(g.at)
		if peer == stack.NoPeer {
			switch {
			case !handler:
			case g.at.wait == stack.DBConn, g.at.holds("net/http.(*Transport).getConn"):
				out.Queued++
			case stack.ForOthers(g.at.wait):
				out.Helped++
			}
			continue
		}
		k := of(stuckKey{peer, g.at.asker})
		k.Middle++
		k.End++
		if g.request {
			k.InRequests++
		}
	}
	for k, n := range s.joined(max(0, out.Handlers-out.Watched)) {
		of(k).Joined = n
	}
	for _, k := range at {
		out.At = append(out.At, *k)
	}
	slices.SortFunc(out.At, func(a, b Stuck) int {
		return cmp.Or(-cmp.Compare(a.End, b.End), -cmp.Compare(a.Middle, b.Middle), cmp.Compare(a.Peer, b.Peer), a.Where.Compare(b.Where))
	})
}

// clientGone reports whether a goroutine that is woken from this stack is woken
// because net/http's server found that the client has gone, or is done with the
// request.
func clientGone(frames []stack.Frame) bool {
	switch stack.StageOf(frames) {
	case stack.Ending, stack.Passing, stack.Connection:
		return true
	}
	for _, f := range frames {
		switch f.Function {
		case "net/http.(*connReader).handleReadError", "net/http.(*connReader).handleReadErrorLocked", "net/http.(*connReader).backgroundRead":
			return true
		}
	}
	return false
}

// wakesHung ends a wait of g for a peer, or one that it began before the trace.
func (s *scan) wakesHung(ev *trace.Event, g *goroutine, now int64) {
	if !g.hung && (g.at == nil || g.at.wanted() == stack.NoPeer) {
		return
	}
	by := s.place(ev.Stack())
	s.hung.ends(g, by, now)
	if g.hung {
		s.hung.wakes(g, by, now)
	}
}
