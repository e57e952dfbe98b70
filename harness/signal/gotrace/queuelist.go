package gotrace

import (
	"sort"

	"chokepoint/harness/signal/stack"
)

// list makes the queues of what was counted. The waits at one line belong to those
// who ended most of them.
//
// Where there are no requests, it is not known who asks and who answers. A goroutine
// that writes to a peer and reads may then as well be a connection's, and its reading is
// not counted as work; and goroutines that all run one loop and tell each other things
// pass nothing on, if it is not the first to come who is told first.
func (q *queues) list(durationNS int64, requests bool) []Queue {
	q.settle(requests)
	g := newGrouping()
	for k, w := range q.waits {
		g.wait(k.waitKey, w)
	}
	for _, r := range q.releases {
		if x := g.of(&r.knot, &r.tally); x != nil {
			x.merge(&r.tenure)
		}
	}
	var out []Queue
	add := func(x *waitGroup) {
		if len(x.waiters) > 0 {
			out = append(out, x.finish())
		}
	}
	for _, x := range g.bounded {
		x.resource(durationNS, requests)
		add(x)
	}
	for c, x := range g.heldUp(durationNS) {
		x.servedBy(c)
		add(x)
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		switch {
		case a.RequestWaitedNS != b.RequestWaitedNS:
			return a.RequestWaitedNS > b.RequestWaitedNS
		case a.WaitedNS != b.WaitedNS:
			return a.WaitedNS > b.WaitedNS
		case a.Kind != b.Kind:
			return a.Kind < b.Kind
		}
		return less(a.Waiters[0].Where, b.Waiters[0].Where)
	})
	return out
}

// settle closes the accounts of servers that have not ended.
func (q *queues) settle(requests bool) {
	for _, c := range q.crews {
		members := c.members
		c.members = map[*server]bool{}
		for v := range members {
			if !requests {
				v.heard += v.read
			}
			v.leave()
		}
		if requests {
			continue
		}
		for d, ns := range c.work {
			if d.What == string(stack.NetRead) {
				delete(c.work, d)
				c.heard += ns
			}
		}
	}
}

// waitGroup is waits that belong together, on their way to be a queue.
type waitGroup struct {
	Queue
	tenure
	waiters map[waitKey]int64
	callers callers
	lent    bool // connections of database/sql, which are given to any that wait
	acquire map[stack.Frame]int64
}

func newWaitGroup() *waitGroup {
	return &waitGroup{waiters: map[waitKey]int64{}, acquire: map[stack.Frame]int64{}}
}

// grouping sorts waits by who ends them.
type grouping struct {
	bounded map[*knot]*waitGroup
	served  map[*crew]*waitGroup
}

func newGrouping() *grouping {
	return &grouping{bounded: map[*knot]*waitGroup{}, served: map[*crew]*waitGroup{}}
}

// wait adds the waits at one line.
func (g *grouping) wait(k waitKey, w *station) {
	x := g.of(&w.knot, &w.tally)
	if x == nil {
		return
	}
	x.waiters[k] += w.waited
	x.callers.merge(w.callers)
	x.merge(&w.tenure)
	x.lent = x.lent || w.wait == stack.DBConn
	x.OrderedNS += w.ordered
	x.LateNS += w.late
	if w.holds > 0 {
		x.acquire[w.at] += w.held + 1
	}
}

// of is the group that waits with this tally belong to, that of who ends most, with the
// tally added; nil where nobody is known to end any.
func (g *grouping) of(n *knot, t *tally) *waitGroup {
	var best *crew
	var most, ended int64
	for c, x := range t.served {
		ended += x.ended
		if x.ended > most || x.ended == most && c.name < best.name {
			best, most = c, x.ended
		}
	}
	if t.passed+t.given == 0 && ended == 0 {
		return nil
	}
	var x *waitGroup
	if ended > t.passed+t.given {
		if x = g.served[best]; x == nil {
			x = newWaitGroup()
			g.served[best] = x
		}
	} else if x = g.bounded[n.root()]; x == nil {
		x = newWaitGroup()
		g.bounded[n.root()] = x
	}
	x.WaitedNS += t.waited
	x.RequestWaitedNS += t.requests
	x.Ended += t.passed + t.given + ended
	x.Passed += t.passed
	x.Given += t.given
	for _, a := range t.served {
		x.OrderedNS += a.ordered
		x.QueuedNS += a.queued
		x.LateNS += a.late
	}
	return x
}

// heldUp are the groups of waits for crews, by the crew that is at work in the end:
// waits for crews that are held up by the same one are one queue.
func (g *grouping) heldUp(durationNS int64) map[*crew]*waitGroup {
	last := map[*crew]*waitGroup{}
	for first, o := range g.served {
		c := first.behind(o.WaitedNS / max(1, durationNS))
		x := last[c]
		if x == nil {
			x = newWaitGroup()
			last[c] = x
		}
		x.Behind = x.Behind || c != first
		x.WaitedNS += o.WaitedNS
		x.RequestWaitedNS += o.RequestWaitedNS
		x.Ended += o.Ended
		x.Passed += o.Passed
		x.Given += o.Given
		x.OrderedNS += o.OrderedNS
		x.QueuedNS += o.QueuedNS
		x.LateNS += o.LateNS
		for k, ns := range o.waiters {
			x.waiters[k] += ns
		}
		x.callers.merge(o.callers)
	}
	return last
}

// resource makes a group one for a bounded resource, or for what is handed on.
func (g *waitGroup) resource(durationNS int64, requests bool) {
	g.Kind = Handed
	g.HeldNS, g.Holds, g.Slots = g.held, g.holds, g.slots(durationNS)
	if 2*g.Passed >= g.Ended && (requests || g.lent || 3*g.LateNS < g.OrderedNS) {
		g.Kind = Bounded
		g.Acquire, g.Release = largest(g.acquire), largest(g.passedOn)
		if g.Acquire.IsZero() {
			g.Acquire = largest(waiterSites(g.waiters))
		}
	}
}

// servedBy makes a group one for a crew.
func (g *waitGroup) servedBy(c *crew) {
	g.Kind = Served
	g.Servers, g.ServerNS = c.servers, c.total
	g.WorkNS, g.IdleNS = c.busy()
	g.BusyShare = c.busyShare()
	if g.Behind {
		// Their customers are not those who wait here.
		g.BusyShare = float64(g.WorkNS) / float64(max(1, g.ServerNS))
	}
	if g.Serve = largest(c.takes); g.Serve.IsZero() {
		g.Serve = largest(c.gives)
	}
	g.doing = c.doing()
}

// finish is the queue of a group that somebody waits in.
func (g *waitGroup) finish() Queue {
	for k, ns := range g.waiters {
		g.Waiters = append(g.Waiters, WaitTime{Wait: k.wait, Where: k.own, NS: ns})
	}
	sortWaits(g.Waiters)
	g.Caller = largest(g.callers)
	for d, ns := range g.tenure.doing {
		d.NS = ns
		g.Doing = append(g.Doing, d)
	}
	sortDoing(g.Doing)
	return g.Queue
}

func waiterSites(m map[waitKey]int64) map[stack.Frame]int64 {
	out := map[stack.Frame]int64{}
	for k, ns := range m {
		out[k.own] += ns
	}
	return out
}
