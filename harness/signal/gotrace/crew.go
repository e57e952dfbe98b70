package gotrace

import (
	"golang.org/x/exp/trace"

	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/stack"
)

// crew is the goroutines that run one function of the program.
type crew struct {
	name    string
	servers int
	handed  int64 // times it was seen to be given work
	total   int64 // time of its goroutines since they were first seen to end a wait
	idle    int64 // waiting for work
	heard   int64 // reading without having asked
	work    map[Doing]int64
	clock   map[Doing]int64 // waiting for a time
	turns   map[Doing]int64 // waiting for what others had waited for as well
	on      map[*crew]int64 // waiting for those
	// customers are crews that it answers.
	customers map[*crew]bool
	takes     map[stack.Frame]int64
	gives     map[stack.Frame]int64
	members   map[*server]bool // that have not ended
	// Shares of servers' time, each times the time that those had waited whom it
	// served, and the sum of that.
	idleServed, onServed, served int64
}

// server is a goroutine that ends waits and neither is in a request nor had
// waited there.
type server struct {
	crew    *crew
	pending int64 // of the wait that it is in
	busy    int64 // time since it last ended a wait, being runnable left out
	work    int64 // the like before it ended the first of those that it tells the same
	telling int64 // and since then
	last    int64 // when that was
	turned  int64 // when it had last ended one before it went on to something else
	asked   bool  // it has written to a peer since
	latest  []arrival
	served  int64 // time that those had waited whose waits it ended
	// Its part of the crew's accounts.
	total, idle, heard, on, read int64
	clock, turns                 []Doing
}

type arrival struct {
	site  *station
	since int64
}

func (q *queues) crew(by *place) *crew {
	if by.crew == nil {
		name := gofunc.Base(by.outer.Function)
		c := q.crews[name]
		if c == nil {
			c = &crew{
				name: name, work: map[Doing]int64{}, clock: map[Doing]int64{}, turns: map[Doing]int64{}, on: map[*crew]int64{}, customers: map[*crew]bool{},
				takes: map[stack.Frame]int64{}, gives: map[stack.Frame]int64{}, members: map[*server]bool{},
			}
			q.crews[name] = c
		}
		by.crew = c
	}
	return by.crew
}

// busy is the time a crew was at work, and idle the time it waited for work.
func (c *crew) busy() (work, idle int64) {
	idle = c.idle
	for _, ns := range c.work {
		work += ns
	}
	for d, ns := range c.clock {
		if c.idles(d) {
			idle += ns
		} else {
			work += ns
		}
	}
	for d, ns := range c.turns {
		if c.takesAt(d) {
			idle += ns
		} else {
			work += ns
		}
	}
	for o, ns := range c.on {
		if o.listens() {
			work += ns // for an answer that the other reads
		} else {
			idle += ns
		}
	}
	return work, idle
}

func (c *crew) listens() bool { return c.heard > c.total/2 }

// idles reports whether a wait that a timer ended was one for work. A select that
// waits for work and for a time waits for work. What waits for times and was never
// given anything is a clock.
func (c *crew) idles(d Doing) bool {
	return c.handed == 0 || c.takesAt(d) && stack.Wait(d.What) != stack.Sleep
}

// takesAt reports whether a wait was at a line where requests, or who works for them, give the
// crew work. What one of the crew gives another there is work as well, and no turn.
func (c *crew) takesAt(d Doing) bool {
	_, takes := c.takes[d.Where]
	return takes
}

// busyShare is Queue.BusyShare. Of what the crew waits for others, so much is no work
// as of all of it.
func (c *crew) busyShare() float64 {
	if c.served == 0 {
		return 0
	}
	var on, idle int64
	for o, ns := range c.on {
		on += ns
		if !o.listens() {
			idle += ns
		}
	}
	share := float64(c.idleServed) / float64(c.served)
	if on > 0 {
		share += float64(c.onServed) / float64(c.served) * float64(idle) / float64(on)
	}
	return max(0, 1-share)
}

// behind follows the servers that a crew waits for to those that are at work; there
// must be fewer of them than wait. Stages between may do nothing but wait for the next,
// as long as what all of them wait explains half of the first one's time: a crew that
// the last one keeps a third of a half of its time is held up by something else. What is
// several steps on must have been given something, or it is no stage: a source of news,
// which others pass on, has nobody queue for it.
func (c *crew) behind(waiting int64) *crew {
	seen := map[*crew]bool{c: true}
	share, at := 1.0, c
	for steps := 1; ; steps++ {
		next, ns := at.awaits()
		if next == nil || seen[next] {
			return c
		}
		if share *= float64(ns) / float64(at.total); share < 0.5 {
			return c
		}
		work, _ := next.busy()
		if 2*work > next.total && int64(next.servers) <= max(1, waiting/2) && (steps == 1 || next.handed > 0) {
			return next
		}
		seen[next] = true
		at = next
	}
}

// awaits is the crew that this one waits for longest, and for how long.
func (c *crew) awaits() (next *crew, ns int64) {
	for o, on := range c.on {
		if on > ns || on == ns && next != nil && o.name < next.name {
			next, ns = o, on
		}
	}
	return next, ns
}

// leave takes a server that ends, or that the trace leaves, into the crew's account.
func (v *server) leave() {
	c := v.crew
	delete(c.members, v)
	if v.total == 0 {
		return
	}
	idle := v.idle + v.heard
	for _, d := range v.clock {
		if c.idles(d) {
			idle += d.NS
		}
	}
	for _, d := range v.turns {
		if c.takesAt(d) {
			idle += d.NS
		}
	}
	c.served += v.served
	c.idleServed += int64(float64(v.served) * float64(idle) / float64(v.total))
	c.onServed += int64(float64(v.served) * float64(v.on) / float64(v.total))
}

// called notes that a goroutine makes a system call.
func (g *goroutine) called(at *place) {
	if v := g.queue.server; v != nil && at != nil && (at.wait == stack.NetWrite || at.wait == stack.NetConnect) {
		v.asked = true
	}
}

// endServerWait says what the wait of a server was for that h ended; nil for a
// timer, the network or nobody. Passed says that it was for what h had waited for
// as well and is done with: the server is held up then, in the midst of its work.
func (s *scan) endServerWait(id trace.GoID, g *goroutine, h *goroutine, by *place, passed bool, now int64) {
	v := g.queue.server
	if v == nil || v.pending == 0 {
		return
	}
	ns := v.pending
	v.pending = 0
	c, d := v.crew, g.doing(0)
	switch {
	case g.blamed == stack.NetRead && !v.asked:
		c.heard += ns
		v.heard += ns
	case g.blamed == stack.Sleep, g.blamed.Queues() && (h == nil || by.act == stack.GivesUp):
		c.clock[d] += ns
		d.NS = ns
		v.clock = addDoing(v.clock, d)
	case passed:
		c.turns[d] += ns
		d.NS = ns
		v.turns = addDoing(v.turns, d)
	case !g.blamed.Queues(), h.queue.creator == id, !by.ours, by.act == stack.Lends:
		c.work[d] += ns
		if g.blamed == stack.NetRead {
			v.read += ns
		}
	case h.inRequest():
		c.handed++
		c.idle += ns
		v.idle += ns
		c.takes[d.Where]++
	case h.queue.server != nil && h.queue.server.crew != c && (g.blamed == stack.ChanSend || !c.customers[h.queue.server.crew]):
		c.on[h.queue.server.crew] += ns
		v.on += ns
		if g.blamed != stack.ChanSend {
			c.handed++
			c.takes[d.Where]++
		}
	default:
		c.handed++
		c.idle += ns
		v.idle += ns
		c.takes[d.Where]++
	}
}

// doing is what the crew did while it was not idle.
func (c *crew) doing() map[Doing]int64 {
	all := map[Doing]int64{}
	for d, ns := range c.work {
		all[d] += ns
	}
	for d, ns := range c.clock {
		if !c.idles(d) {
			all[d] += ns
		}
	}
	for d, ns := range c.turns {
		if !c.takesAt(d) {
			all[d] += ns
		}
	}
	for o, ns := range c.on {
		if o.listens() {
			all[Doing{What: string(stack.HTTPClient)}] += ns
		}
	}
	return all
}
