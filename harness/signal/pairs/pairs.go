// Package pairs finds out which request of the client is which request that the
// server's trace shows, and how long requests were neither in the one nor on the
// other: before the server saw them, and after it began to write the response.
//
// Where both ends of connections are known, a request is found on its connection
// and cannot be mistaken. Else there are only times. The client sent a request
// before the server saw it, and had all of the response after the server began
// to write the last of it: its interval contains the server's. A request that
// only one of the client's contains is sure. Of the others the most that can be
// are paired, each with what ended next; which of several requests that went
// side by side is which is then not known, but how long they took is nearly the
// same whoever is taken for whom.
//
// Times are CLOCK_MONOTONIC in nanoseconds.
package pairs

import (
	"cmp"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/bundle/latency"
	"chokepoint/harness/signal/requests"
)

// Pair is one request, as two lists have it.
type Pair struct {
	Client, Served int // indices
	// Sure: by connection and time, or by time alone where it is the only way.
	Sure bool
}

// Tolerance is by how much the clocks of the two ends may differ: the trace's
// has ticks of 64 ns, and results go by the wall clock on their way, which is
// read to within a microsecond.
const Tolerance = 2_000

// Of matches requests of the client and of the server in a trace. peers names the
// client's end of the connection that a goroutine serves, as latency.Request.Local
// does; those of other goroutines are not known.
func Of(client []latency.Request, served []requests.Span, trace bundle.Window, peers map[int64]string) []Pair {
	m := &matching{client: client, served: served, trace: trace}
	m.scope()
	m.byConnection(peers)
	m.byTime()
	slices.SortFunc(m.pairs, func(a, b Pair) int { return cmp.Compare(a.Served, b.Served) })
	return m.pairs
}

// OnConnections is Of by connections alone, where the client's requests are only a
// sample: by time, one that is not in it would be taken for another.
func OnConnections(client []latency.Request, served []requests.Span, trace bundle.Window, peers map[int64]string) []Pair {
	m := &matching{client: client, served: served, trace: trace}
	m.scope()
	m.byConnection(peers)
	slices.SortFunc(m.pairs, func(a, b Pair) int { return cmp.Compare(a.Served, b.Served) })
	return m.pairs
}

// matching is what is not paired yet.
type matching struct {
	client []latency.Request
	served []requests.Span
	trace  bundle.Window

	clients []int // by start
	servers []int // by start, then by answer
	pairs   []Pair
}

// answered is when the last of a request's response was written at the earliest.
func answered(s requests.Span) int64 {
	if s.AnsweredNS == 0 && s.CutEnd {
		return s.EndNS // none of it was
	}
	return max(s.AnsweredNS, s.StartNS)
}

// scope leaves out what was there throughout the trace, of which it shows neither
// end, what was not there at all, and what has no response that would end it.
func (m *matching) scope() {
	for i, c := range m.client {
		if Scope(c, m.trace) == Inside && !c.NoResponse {
			m.clients = append(m.clients, i)
		}
	}
	for i, s := range m.served {
		if HasEnd(s) {
			m.servers = append(m.servers, i)
		}
	}
	slices.SortFunc(m.clients, func(a, b int) int {
		return cmp.Or(cmp.Compare(m.client[a].StartNS, m.client[b].StartNS), cmp.Compare(a, b))
	})
	slices.SortFunc(m.servers, func(a, b int) int {
		x, y := m.served[a], m.served[b]
		return cmp.Or(cmp.Compare(x.StartNS, y.StartNS), cmp.Compare(answered(x), answered(y)), cmp.Compare(a, b))
	})
}

// Where a request of the client lies.
const (
	Outside    = iota // it has nothing of the trace's time
	Throughout        // it was in flight all the time
	Inside            // it was sent or had its response meanwhile
)

// Scope says where a request of the client lies.
func Scope(c latency.Request, trace bundle.Window) int {
	switch {
	case c.EndNS <= trace.StartNS || c.StartNS >= trace.EndNS:
		return Outside
	case c.StartNS <= trace.StartNS && c.EndNS >= trace.EndNS:
		return Throughout
	}
	return Inside
}

// HasEnd reports whether the trace has something of a request that the client knows
// the time of: its beginning, or the last of its response. One may have
// been answered before the trace and had no more than something to put away.
func HasEnd(s requests.Span) bool { return !s.CutStart || !s.CutEnd && s.AnsweredNS != 0 }

// byConnection pairs what is on one connection. Its requests follow each other,
// so that the one of the client's is meant that has most of the time of the
// server's, and more than half. Containment is not asked for: where the trace goes
// from one of its generations to the next, its reader may give events a time that
// is some milliseconds late, so that their order holds.
func (m *matching) byConnection(peers map[int64]string) {
	if len(peers) == 0 {
		return
	}
	on := map[string][]int{}
	for _, i := range m.clients {
		if local := m.client[i].Local; local != "" {
			on[local] = append(on[local], i)
		}
	}
	if len(on) == 0 {
		return
	}
	taken := map[int]bool{}
	m.servers = slices.DeleteFunc(m.servers, func(s int) bool {
		peer, ok := peers[m.served[s].Goroutine]
		if !ok {
			return false
		}
		best, most := -1, (m.served[s].EndNS-m.served[s].StartNS)/2-1
		for _, c := range on[peer] {
			both := min(m.client[c].EndNS, m.served[s].EndNS) - max(m.client[c].StartNS, m.served[s].StartNS)
			if !taken[c] && both > most {
				best, most = c, both
			}
		}
		if best >= 0 {
			taken[best] = true
			m.pairs = append(m.pairs, Pair{Client: best, Served: s, Sure: true})
		}
		return true // or it is another client's
	})
	// A connection whose goroutine is known has no requests elsewhere.
	known := map[string]bool{}
	for _, peer := range peers {
		known[peer] = true
	}
	m.clients = slices.DeleteFunc(m.clients, func(c int) bool { return known[m.client[c].Local] })
}
