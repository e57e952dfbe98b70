package gotrace

import (
	"cmp"
	"slices"

	"chokepoint/harness/signal/stack"
)

// ThreadsBeside is goroutines that requests started and that wait in system calls, each of
// which keeps a thread, as for word of a file that changes. A request that waits for what
// these say does not wait for the call, and is told nothing of the thread.
type ThreadsBeside struct {
	Origin  stack.Frame // as of Kind
	Library stack.Frame // as of Kind
	Where   stack.Frame // the line where most of the calls' time passes
	NS      int64       // in such calls
	Count   int64       // of them
}

// beside is the time that goroutines which requests started spent in calls, by kind.
type beside map[*kind]*callsBeside

type callsBeside struct {
	ns    map[stack.Frame]int64
	count int64
}

// keepsThread reports whether a goroutine that a request of the trace started is in a call
// that may keep its thread for long. Files and package net's sockets are none, nor is
// C, which may as well compute.
func (g *goroutine) keepsThread() bool {
	if g.service.parentSeq == 0 || g.service.open != nil || g.diag || g.life.kind == nil || g.at == nil || !g.at.ours {
		return false
	}
	return (g.at.blocking == stack.Idle || g.at.blocking == stack.Transfer) && !g.at.inC
}

func (b beside) of(g *goroutine) *callsBeside {
	c := b[g.life.kind]
	if c == nil {
		c = &callsBeside{ns: map[stack.Frame]int64{}}
		b[g.life.kind] = c
	}
	return c
}

// finish lists them by time, longest first.
func (b beside) finish(p stack.Program) []ThreadsBeside {
	var out []ThreadsBeside
	for k, c := range b {
		t := ThreadsBeside{Where: most(c.ns), Count: c.count}
		for _, ns := range c.ns {
			t.NS += ns
		}
		t.Origin, t.Library = k.origin(p, t.Where)
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b ThreadsBeside) int {
		return cmp.Or(-cmp.Compare(a.NS, b.NS), a.Origin.Compare(b.Origin), a.Where.Compare(b.Where))
	})
	return out
}
