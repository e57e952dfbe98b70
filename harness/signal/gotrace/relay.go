package gotrace

import (
	"golang.org/x/exp/trace"

	"chokepoint/harness/signal/stack"
)

// relays tells where handlers wait for an answer that another goroutine reads of a
// connection and hands on, as clients do that have many questions on one connection under way.
//
// A feed looks much the same: one goroutine reads what is new, and wakes handlers that wait for
// it. These have asked for nothing. Who asks writes to a connection, or wakes one who does, before
// it waits, in code of the package that reads the answers.
type relays struct {
	at map[stack.Frame]*relay
	// known are the lines told to be such, once the trace has been read.
	known map[stack.Frame]bool
}

// relay is waits of handlers at one line.
type relay struct {
	ended int64 // waits that ended, other than by the client's leaving
	begun int64 // in the trace
	// told and asked are by package: the waits that one who reads a connection ended, and those
	// of begun before which the same goroutine had asked, or made another ask.
	told, asked map[string]int64
}

const (
	// fewestRelayed is how many waits must be seen to end so, and to begin with a question,
	// to take a line for one where answers are waited for.
	fewestRelayed = 10
	// relayedAsk is the share of waits that must be seen to begin with a question. One who
	// writes for many is woken by the first of those that have something for it, and not by those
	// that come before it is done: the questions seen are a part of them, here at least one in 20.
	relayedAsk = 0.05
)

// speech is what a goroutine has to do with connections that are not a server's.
type speech struct {
	listens, speaks string // the packages for which it reads, or writes, apart from requests
	asked           string // the package in which it last had something written, since its last wait of a handler's
}

// calls notes a system call.
func (t *speech) calls(at *place) {
	if at == nil {
		return
	}
	if at.listener != "" {
		t.listens = at.listener
	}
	if at.speaker != "" {
		t.speaks, t.asked = at.speaker, at.speaker
	}
}

// wanted is the peer of a wait here, where the trace may still tell that it is one.
func (pl *place) wanted() stack.Peer {
	if pl.peer == stack.NoPeer && pl.relayed {
		return stack.RelayedPeer
	}
	return pl.peer
}

func (r *relays) of(where stack.Frame) *relay {
	x := r.at[where]
	if x == nil {
		if r.at == nil {
			r.at = map[stack.Frame]*relay{}
		}
		x = &relay{told: map[string]int64{}, asked: map[string]int64{}}
		r.at[where] = x
	}
	return x
}

// relayBegins follows a goroutine into a wait.
func (s *scan) relayBegins(g *goroutine, at *place) {
	if at == nil || g.diag {
		return
	}
	g.talk.calls(at) // it may wait for room to write, or for what there is to read
	if at.serving == stack.BetweenRequests {
		g.talk.asked = "" // for the request that is over
	}
	if !at.relayed {
		return
	}
	x := s.relays.of(at.asker)
	x.begun++
	if g.talk.asked != "" {
		x.asked[g.talk.asked]++
		g.talk.asked = ""
	}
}

// relayWoken notes who ends a wait.
func (s *scan) relayWoken(ev *trace.Event, g *goroutine) {
	id := ev.Goroutine()
	if id == trace.NoGoroutine {
		if g.at != nil && g.at.relayed && !g.diag {
			s.relays.of(g.at.asker).ended++
		}
		return
	}
	h := s.goroutine(id)
	if h != nil && g.talk.speaks != "" && !g.request {
		h.talk.asked = g.talk.speaks
	}
	if g.at == nil || !g.at.relayed || g.diag {
		return
	}
	if by := s.place(ev.Stack()); by != nil && by.clientGone {
		return
	}
	x := s.relays.of(g.at.asker)
	x.ended++
	if h != nil && h.talk.listens != "" && !h.request {
		x.told[h.talk.listens]++
	}
}

// judge tells which lines are such, and returns what a wait at a place wants of a peer.
func (r *relays) judge() func(*place) stack.Peer {
	r.known = map[stack.Frame]bool{}
	for where, x := range r.at {
		for pkg, told := range x.told {
			if asked := x.asked[pkg]; told >= fewestRelayed && 2*told > x.ended && asked >= fewestRelayed && float64(asked) >= relayedAsk*float64(x.begun) {
				r.known[where] = true
			}
		}
	}
	return func(pl *place) stack.Peer {
		if peer := pl.wanted(); peer != stack.RelayedPeer || r.known[pl.asker] {
			return peer
		}
		return stack.NoPeer
	}
}
