package gotrace

import (
	"sort"

	"golang.org/x/exp/trace"

	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/requests"
	"chokepoint/harness/signal/stack"
)

// QueueKind says who ends the waits in a queue.
type QueueKind string

// The kinds of queue.
const (
	// Bounded: waits are ended by others that had waited there themselves and are
	// done with what they got: a semaphore, a pool of connections.
	Bounded QueueKind = "bounded"
	// Served: waits are ended by goroutines that serve whoever comes: a consumer of
	// a channel, a worker.
	Served QueueKind = "served"
	// Handed: waits are ended by others that had not waited there: those that wait
	// are told something. It is no queue.
	Handed QueueKind = "handed"
)

// Queue is what goroutines wait for each other for at channels, conditions and the
// standard library's pools of connections: the lines of waiting that are ended
// by the same code. A wait that a timer, the network or a cancelled context ends
// counts as waited, and says nothing of who ends waits there.
type Queue struct {
	Kind QueueKind
	// WaitedNS is the goroutine time spent waiting; Requests' part of it apart. Of
	// goroutines that a request started it is the time divided by how many of them
	// there are, since the request itself waits but once.
	WaitedNS        int64
	RequestWaitedNS int64
	Waiters         []WaitTime // by time
	// Caller is the Caller of most of that waiting, of what is known of it; zero where
	// most of it has none.
	Caller stack.Frame
	// Ended is how many waits other goroutines ended: Passed of them as Bounded
	// says, Given as Handed does, and the rest as Served does.
	Ended, Passed, Given int64

	// Of a bounded one: HeldNS is the time from getting it after a wait to passing
	// it on, over Holds times.
	HeldNS int64
	Holds  int64
	// Slots is how many had it at a time, on average, of those that had waited for it
	// and passed it on; 0 where they have it for so long that the trace does not tell.
	Slots float64
	// Acquire is where whoever holds it longest had waited for it, and Release where
	// that passes it on.
	Acquire, Release stack.Frame
	// Doing is what holders did in HeldNS; of a served one, what the servers did in
	// WorkNS. By time, largest first.
	Doing []Doing

	// Of a served one: Servers is how many goroutines ended waits, all running the
	// same function of the program, and Serve the line where they take what they
	// serve, or give what is waited for where that line is not known.
	Servers int
	Serve   stack.Frame
	// ServerNS is the time of the servers since each first ended a wait: WorkNS at
	// work, IdleNS waiting for work, the rest waiting for a time, or reading what
	// they have not asked for.
	ServerNS, WorkNS, IdleNS int64
	// BusyShare is the share of its time that a server is at work, each counted by how
	// long those had waited whose waits it ended: of many the busy one is waited for.
	BusyShare float64
	// OrderedNS is the time, inside the trace, of waits whose line is known and that a
	// server ended. QueuedNS is the part of it in which that server ended others' waits
	// and went on to something else; LateNS the part by which waits had begun before
	// one that the same server had ended already: 0 in a queue, where the first to
	// come is served first.
	// Of a bounded one they are those of waits that were passed on, QueuedNS left out.
	OrderedNS, QueuedNS, LateNS int64
	// Behind is set where these servers are themselves held up by others, one or
	// several steps on: Servers and all that follows is of those.
	Behind bool
}

// FollowedShare is, of a bounded one, the share of those that got it after a wait
// which are known to have passed it on, or may still have it when the trace ends. It
// is less than 1 where there was not always somebody who waited: then others have it
// as well, that never had to wait, and Slots is less than there are.
func (q Queue) FollowedShare() float64 {
	if q.Ended == 0 {
		return 0
	}
	return min(1, (float64(q.Holds)+q.Slots)/float64(q.Ended))
}

// queues works out who ends waits, and what they do meanwhile.
//
// The trace names no channel. It has the line a goroutine waits at and the stack
// of the one that ends the wait. Who that is tells what is waited for. One that
// had got the same thing after a wait of its own, in the same request, and now
// wakes another, passes it on. One that wakes many, and neither serves a request
// nor had waited there, serves them. Goroutines of one request that wake each
// other wait for no turn.
type queues struct {
	waits    map[waitKey]*station
	releases map[stack.Frame]*outlet
	crews    map[string]*crew
}

func newQueues() *queues {
	return &queues{waits: map[waitKey]*station{}, releases: map[stack.Frame]*outlet{}, crews: map[string]*crew{}}
}

// knot makes sites that meet one group.
type knot struct{ up *knot }

func (n *knot) root() *knot {
	for n.up != nil {
		if n.up.up != nil {
			n.up = n.up.up
		}
		n = n.up
	}
	return n
}

func (n *knot) join(o *knot) {
	if a, b := n.root(), o.root(); a != b {
		b.up = a
	}
}

// tally is time waited, and by whom it was ended.
type tally struct {
	waited, requests int64
	passed, given    int64
	served           map[*crew]*attendance
}

// attendance is what goroutines of one crew did for waiters.
type attendance struct {
	ended                 int64
	ordered, queued, late int64
}

type station struct {
	knot
	tally
	tenure // of those that waited here
	at     stack.Frame
	wait   stack.Wait
	// callers is of the time waited here; known when the trace has been read.
	callers callers
	// Of waits that were passed on, as Queue has them.
	ordered, late, latest int64
}

// outlet is a line that ends waits. Its tally is of waits from before the
// trace, whose line is not known, and its tenure of those whose waits these were.
type outlet struct {
	knot
	tally
	tenure
}

// tenure is of turns that were passed on.
type tenure struct {
	held, holds int64
	squares     float64 // of the times held, in ns²
	doing       map[Doing]int64
	passedOn    map[stack.Frame]int64
}

// add counts a turn that is passed on at a line.
func (e *tenure) add(t *turn, by stack.Frame, now int64) {
	ns := now - t.since
	e.held += ns
	e.holds++
	e.squares += float64(ns) * float64(ns)
	if e.doing == nil {
		e.doing, e.passedOn = map[Doing]int64{}, map[stack.Frame]int64{}
	}
	for _, d := range t.doing {
		n := d.NS
		d.NS = 0
		e.doing[d] += n
	}
	e.passedOn[by] += ns + 1
}

// slots is how many turns there were at a time in a trace of that length, as far
// as it tells.
//
// A turn counts where the trace has both its ends. One that is held for h has them
// with a chance of 1 - h/length, so that what was seen is short by as much; h is the
// mean by the time held, as turns are cut in proportion to that. Where it is more
// than half of the trace, more is missing than was seen.
func (e *tenure) slots(length int64) float64 {
	if e.held == 0 {
		return 0
	}
	h := e.squares / float64(e.held)
	if 2*h > float64(length) {
		return 0
	}
	return float64(e.held) / (float64(length) - h)
}

// merge adds what another counted.
func (e *tenure) merge(o *tenure) {
	e.held += o.held
	e.holds += o.holds
	e.squares += o.squares
	if e.doing == nil {
		e.doing, e.passedOn = map[Doing]int64{}, map[stack.Frame]int64{}
	}
	for d, ns := range o.doing {
		e.doing[d] += ns
	}
	for f, ns := range o.passedOn {
		e.passedOn[f] += ns
	}
}

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

// queueing is what a goroutine has to do with queues.
type queueing struct {
	parked  int64 // since when it waits, if it does
	creator trace.GoID
	holds   bool // it has a turn
	turn    turn
	server  *server
}

// turn is what a goroutine got after a wait, until it passes it on.
type turn struct {
	site    *station // where it waited; nil if that is not known
	tenure  *tenure  // to which it counts
	group   *knot
	since   int64
	request uint64 // in which
	early   bool   // no stack had shown yet in which
	doing   []Doing
}

// server is a goroutine that ends waits and neither is in a request nor had
// waited there.
type server struct {
	crew    *crew
	pending int64 // of the wait that it is in
	busy    int64 // time since it last ended a wait, being runnable left out
	last    int64 // when that was
	turned  int64 // when it had last ended one before it went on to something else
	asked   bool  // it has written to a peer since
	latest  []arrival
	served  int64 // time that those had waited whose waits it ended
	// Its part of the crew's accounts.
	total, idle, heard, on, read int64
	clock                        []Doing
}

type arrival struct {
	site  *station
	since int64
}

// goesOn is how long a goroutine that wakes one after another may take for each
// and be taken to tell all of them the same: ten times what a wake-up costs while
// it is traced, about 1 µs.
const goesOn = 10_000

func (q *queues) station(at *place) *station {
	if at.queue == nil {
		k := waitKey{at.wait, at.own}
		w := q.waits[k]
		if w == nil {
			w = &station{at: at.own, wait: at.wait}
			q.waits[k] = w
		}
		at.queue = w
	}
	return at.queue
}

func (q *queues) outlet(by *place) *outlet {
	if by.release == nil {
		f := by.own
		if f.IsZero() {
			f = stack.Frame{Function: library(by.frames)}
		}
		r := q.releases[f]
		if r == nil {
			r = &outlet{}
			q.releases[f] = r
		}
		by.release = r
	}
	return by.release
}

func (q *queues) crew(by *place) *crew {
	if by.crew == nil {
		name := gofunc.Base(by.outer.Function)
		c := q.crews[name]
		if c == nil {
			c = &crew{
				name: name, work: map[Doing]int64{}, clock: map[Doing]int64{}, on: map[*crew]int64{}, customers: map[*crew]bool{},
				takes: map[stack.Frame]int64{}, gives: map[stack.Frame]int64{}, members: map[*server]bool{},
			}
			q.crews[name] = c
		}
		by.crew = c
	}
	return by.crew
}

// sequence numbers the request that a goroutine works for; 0 for none.
func (v *service) sequence() uint64 {
	if v.open != nil {
		return v.open.Seq()
	}
	return v.parentSeq
}

// requestOf is the open request that the goroutine works for.
func (g *goroutine) requestOf() *requests.Open {
	if g.service.open != nil {
		return g.service.open
	}
	return g.service.child()
}

func (g *goroutine) inRequest() bool { return g.request || g.requestOf() != nil }

// hasTurn reports whether the goroutine has a turn that it got in the request which it
// is in.
func (g *goroutine) hasTurn() bool {
	if !g.queue.holds {
		return false
	}
	t := &g.queue.turn
	if t.early {
		t.request = g.service.sequence()
		t.early = t.request == 0 && g.service.early
	}
	g.queue.holds = t.request == g.service.sequence()
	return g.queue.holds
}

// related reports whether one goroutine started the other, or both work for one
// request.
func related(a trace.GoID, g *goroutine, b trace.GoID, h *goroutine) bool {
	if g.queue.creator == b || h.queue.creator == a {
		return true
	}
	x := g.requestOf()
	return x != nil && x == h.requestOf()
}

// created notes who started a goroutine. What the creator has got it may pass on
// through those it starts.
func (q *queues) created(g *goroutine, by trace.GoID, creator *goroutine, now int64) {
	g.queue.creator = by
	if creator == nil || !creator.hasTurn() {
		return
	}
	g.queue.holds = true
	g.queue.turn = creator.queue.turn
	g.queue.turn.since, g.queue.turn.request, g.queue.turn.doing = now, g.service.sequence(), nil
}

// waitsAt is where a goroutine waits, if that may be in a queue. known is false
// for a wait from before the trace of which nothing is known.
func (g *goroutine) waitsAt() (at *place, known bool) {
	at = g.at
	if at == nil {
		at = g.service.point
	}
	if at == nil {
		return nil, false
	}
	if g.diag || !at.ours || !at.wait.Queues() || g.blamed == stack.Runtime {
		return nil, true
	}
	return at, true
}

// queueBlocked follows a goroutine into a wait.
func (s *scan) queueBlocked(g *goroutine, at *place, now int64) {
	g.queue.parked = now
	if !g.queue.holds || at == nil || !at.wait.Queues() {
		return
	}
	if w := s.queues.station(at); w == g.queue.turn.site || w.root() == g.queue.turn.group.root() {
		g.queue.holds = false // it waits for another turn
	}
}

// endQueueWait counts the wait of g.
func (s *scan) endQueueWait(g *goroutine, t *tally, now int64) {
	ns := now - g.queue.parked
	t.waited += ns
	if g.request {
		t.requests += ns
	} else if o := g.service.child(); o != nil {
		t.requests += ns / int64(max(1, o.Live()))
	}
}

// queueWoken ends a goroutine's wait, on the stack of the one that ended it.
func (s *scan) queueWoken(ev *trace.Event, id trace.GoID, g *goroutine, now int64) {
	q := s.queues
	hid := ev.Goroutine()
	var h *goroutine
	var by *place
	if hid != trace.NoGoroutine {
		h, by = s.gs[hid], s.place(ev.Stack())
	}
	at, known := g.waitsAt()
	if by == nil || h == nil || by.diag || g.diag {
		h, by = nil, nil
	}
	if by == nil || known && at == nil || !by.ours && by.act != stack.Lends ||
		by.act == stack.NoAct || by.act == stack.GivesUp || by.act == stack.Finishes || related(id, g, hid, h) {
		if at != nil {
			at.queued += now - g.queue.parked
			s.endQueueWait(g, &q.station(at).tally, now)
		}
		s.endServerWait(id, g, h, by, now)
		return
	}
	rel := q.outlet(by)
	group, t := &rel.knot, &rel.tally
	var w *station
	if at != nil {
		w = q.station(at)
		group, t = &w.knot, &w.tally
		at.queued += now - g.queue.parked
	}
	s.endQueueWait(g, t, now)
	if h.queue.holds || h.queue.server != nil {
		s.chargeTo(hid, h, now, by, false) // what it did up to now
	}
	hold := h.hasTurn() &&
		(h.queue.turn.group.root() == group.root() || h.queue.turn.group.root() == rel.root())
	switch {
	case hold, by.act == stack.Lends:
		t.passed++
		group.join(&rel.knot)
		if since := g.queue.parked; w != nil {
			w.ordered += now - since
			w.late += max(0, w.latest-since)
			w.latest = max(w.latest, since)
		}
		if hold {
			h.passOn(by, now)
		}
	case h.inRequest():
		t.given++
		group.join(&rel.knot)
	default:
		if h.queue.server == nil {
			// What it did before it ended a first wait is not what it does between two: one
			// that answers all whom it has gathered goes from one to the next at once.
			s.chargeTo(hid, h, now, by, false)
		}
		s.serves(g, w, t, h, by, now)
	}
	s.endServerWait(id, g, h, by, now)
	g.queue.holds = true
	of := &rel.tenure
	if w != nil {
		of = &w.tenure
	}
	g.queue.turn = turn{site: w, tenure: of, group: group, since: now, request: g.service.sequence(), early: g.service.early, doing: g.queue.turn.doing[:0]}
}

// passOn ends a goroutine's turn.
func (h *goroutine) passOn(by *place, now int64) {
	h.queue.holds = false
	h.queue.turn.tenure.add(&h.queue.turn, by.own, now)
}

// serves counts a wait of g, at w if that is known, that h ended as a server.
func (s *scan) serves(g *goroutine, w *station, t *tally, h *goroutine, by *place, now int64) {
	v := h.queue.server
	if v == nil {
		c := s.queues.crew(by)
		c.servers++
		v = &server{crew: c}
		c.members[v] = true
		h.queue.server = v
	}
	c := v.crew
	if t.served == nil {
		t.served = map[*crew]*attendance{}
	}
	x := t.served[c]
	if x == nil {
		x = &attendance{}
		t.served[c] = x
	}
	x.ended++
	v.served += now - g.queue.parked
	takes := by.act == stack.Takes || by.act == stack.Chooses && g.blamed == stack.ChanSend
	switch {
	case takes:
		c.takes[by.own]++
		c.handed++
	default:
		c.gives[by.own]++
		if o := g.queue.server; o != nil && by.act != stack.Chooses {
			c.customers[o.crew] = true
		}
	}
	if v.busy > goesOn {
		v.turned = v.last
	}
	v.busy, v.last, v.asked = 0, now, false
	if w == nil {
		return
	}
	// One that has waited since before the trace came before all that it saw come.
	since := g.queue.parked
	x.ordered += now - since
	x.queued += max(0, v.turned-since)
	for i := range v.latest {
		if v.latest[i].site == w {
			x.late += max(0, v.latest[i].since-since)
			v.latest[i].since = max(v.latest[i].since, since)
			return
		}
	}
	v.latest = append(v.latest, arrival{w, since})
}

// chargeQueueing is told how a goroutine spent its time that has a turn or serves.
func (g *goroutine) chargeQueueing(ns int64) {
	if g.hasTurn() {
		g.queue.turn.doing = addDoing(g.queue.turn.doing, g.doing(ns))
	}
	v := g.queue.server
	if v == nil {
		return
	}
	v.crew.total += ns
	v.total += ns
	switch g.state {
	case waiting:
		v.pending += ns
		v.busy += ns
	case runnable:
		v.crew.work[g.doing(0)] += ns
	case inSyscall:
		v.busy += ns
		if at := g.at; at != nil && (at.polls || at.wait == stack.NetRead && !v.asked) {
			// A poller of the program's own, or a descriptor that the runtime does not
			// poll: it listens, as in a wait for the network.
			v.crew.heard += ns
			v.heard += ns
			return
		}
		v.crew.work[g.doing(0)] += ns
	default:
		v.busy += ns
		v.crew.work[g.doing(0)] += ns
	}
}

func addDoing(list []Doing, d Doing) []Doing {
	for i := range list {
		if list[i].What == d.What && list[i].Where == d.Where {
			list[i].NS += d.NS
			return list
		}
	}
	return append(list, d)
}

// called notes that a goroutine makes a system call.
func (g *goroutine) called(at *place) {
	if v := g.queue.server; v != nil && at != nil && (at.wait == stack.NetWrite || at.wait == stack.NetConnect) {
		v.asked = true
	}
}

// endServerWait says what the wait of a server was for that h ended; nil for a
// timer, the network or nobody.
func (s *scan) endServerWait(id trace.GoID, g *goroutine, h *goroutine, by *place, now int64) {
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

// queueCut counts what the end of the trace cuts.
func (s *scan) queueCut(id trace.GoID, g *goroutine) {
	if g.state != waiting {
		return
	}
	if at, _ := g.waitsAt(); at != nil {
		at.queued += s.last - g.queue.parked
		s.endQueueWait(g, &s.queues.station(at).tally, s.last)
	}
	s.endServerWait(id, g, nil, nil, s.last)
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
	c.served += v.served
	c.idleServed += int64(float64(v.served) * float64(idle) / float64(v.total))
	c.onServed += int64(float64(v.served) * float64(v.on) / float64(v.total))
}

// idles reports whether a wait that a timer ended was one for work. A select that
// waits for work and for a time waits for work. What waits for times and was never
// given anything is a clock.
func (c *crew) idles(d Doing) bool {
	_, takes := c.takes[d.Where]
	return c.handed == 0 || takes && stack.Wait(d.What) != stack.Sleep
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
// must be fewer of them than wait.
func (c *crew) behind(waiting int64) *crew {
	seen := map[*crew]bool{}
	for !seen[c] {
		seen[c] = true
		var next *crew
		var most int64
		for o, ns := range c.on {
			work, _ := o.busy()
			if ns > most || ns == most && next != nil && o.name < next.name {
				if 2*work > o.total && int64(o.servers) <= max(1, waiting/2) {
					next, most = o, ns
				}
			}
		}
		if next == nil || 2*most < c.total {
			return c
		}
		c = next
	}
	return c
}

// list makes the queues of what was counted. The waits at one line belong to those
// who ended most of them.
//
// Where there are no requests, it is not known who asks and who answers. A goroutine
// that writes to a peer and reads may then as well be a connection's, and its reading is
// not counted as work; and goroutines that all run one loop and tell each other things
// pass nothing on, if it is not the first to come who is told first.
func (q *queues) list(durationNS int64, requests bool) []Queue {
	var out []Queue
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
	type group struct {
		Queue
		tenure
		waiters map[waitKey]int64
		callers callers
		crew    *crew
		lent    bool // connections of database/sql, which are given to any that wait
		acquire map[stack.Frame]int64
	}
	bounded, served := map[*knot]*group{}, map[*crew]*group{}
	newGroup := func() *group {
		return &group{waiters: map[waitKey]int64{}, acquire: map[stack.Frame]int64{}}
	}
	// of is the group that waits with this tally belong to: that of who ends most.
	of := func(n *knot, t *tally) *group {
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
		var g *group
		if ended > t.passed+t.given {
			if g = served[best]; g == nil {
				g = newGroup()
				g.crew = best
				served[best] = g
			}
		} else if g = bounded[n.root()]; g == nil {
			g = newGroup()
			bounded[n.root()] = g
		}
		g.WaitedNS += t.waited
		g.RequestWaitedNS += t.requests
		g.Ended += t.passed + t.given + ended
		g.Passed += t.passed
		g.Given += t.given
		for _, x := range t.served {
			g.OrderedNS += x.ordered
			g.QueuedNS += x.queued
			g.LateNS += x.late
		}
		return g
	}
	for k, w := range q.waits {
		g := of(&w.knot, &w.tally)
		if g == nil {
			continue
		}
		g.waiters[k] += w.waited
		g.callers.merge(w.callers)
		g.merge(&w.tenure)
		g.lent = g.lent || w.wait == stack.DBConn
		g.OrderedNS += w.ordered
		g.LateNS += w.late
		if w.holds > 0 {
			g.acquire[w.at] += w.held + 1
		}
	}
	for _, r := range q.releases {
		if g := of(&r.knot, &r.tally); g != nil {
			g.merge(&r.tenure)
		}
	}
	finish := func(g *group) {
		if len(g.waiters) == 0 {
			return
		}
		for k, ns := range g.waiters {
			g.Waiters = append(g.Waiters, WaitTime{Wait: k.wait, Where: k.own, NS: ns})
		}
		sort.Slice(g.Waiters, func(i, j int) bool {
			a, b := g.Waiters[i], g.Waiters[j]
			if a.NS != b.NS {
				return a.NS > b.NS
			}
			if a.Wait != b.Wait {
				return a.Wait < b.Wait
			}
			return less(a.Where, b.Where)
		})
		g.Caller = largest(g.callers)
		for d, ns := range g.doing {
			d.NS = ns
			g.Doing = append(g.Doing, d)
		}
		sortDoing(g.Doing)
		out = append(out, g.Queue)
	}
	for _, g := range bounded {
		g.Kind = Handed
		g.HeldNS, g.Holds, g.Slots = g.held, g.holds, g.slots(durationNS)
		if 2*g.Passed >= g.Ended && (requests || g.lent || 3*g.LateNS < g.OrderedNS) {
			g.Kind = Bounded
			g.Acquire, g.Release = largest(g.acquire), largest(g.passedOn)
			if g.Acquire.IsZero() {
				g.Acquire = largest(waiterSites(g.waiters))
			}
		}
		finish(g)
	}
	// Waits for crews that are held up by the same one are one queue.
	last := map[*crew]*group{}
	for first, g := range served {
		c := first.behind(g.WaitedNS / max(1, durationNS))
		x := last[c]
		if x == nil {
			x = newGroup()
			x.crew = c
			last[c] = x
		}
		x.Behind = x.Behind || c != first
		x.WaitedNS += g.WaitedNS
		x.RequestWaitedNS += g.RequestWaitedNS
		x.Ended += g.Ended
		x.Passed += g.Passed
		x.Given += g.Given
		x.OrderedNS += g.OrderedNS
		x.QueuedNS += g.QueuedNS
		x.LateNS += g.LateNS
		for k, ns := range g.waiters {
			x.waiters[k] += ns
		}
		x.callers.merge(g.callers)
	}
	for c, g := range last {
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
		g.doing = map[Doing]int64{}
		for d, ns := range c.work {
			g.doing[d] += ns
		}
		for d, ns := range c.clock {
			if !c.idles(d) {
				g.doing[d] += ns
			}
		}
		for o, ns := range c.on {
			if o.listens() {
				g.doing[Doing{What: string(stack.HTTPClient)}] += ns
			}
		}
		finish(g)
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

func waiterSites(m map[waitKey]int64) map[stack.Frame]int64 {
	out := map[stack.Frame]int64{}
	for k, ns := range m {
		out[k.own] += ns
	}
	return out
}
