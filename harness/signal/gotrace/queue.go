package gotrace

import (
	"strings"

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
	// Caller is the User of most of that waiting, of what is known of it; zero where
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
	// and went on to something else, and all of those waits that it ended by taking what
	// was sent; LateNS the part by which waits had begun before
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
	waits    map[stationKey]*station
	releases map[stack.Frame]*outlet
	crews    map[string]*crew
}

func newQueues() *queues {
	return &queues{waits: map[stationKey]*station{}, releases: map[stack.Frame]*outlet{}, crews: map[string]*crew{}}
}

// stationKey tells waits apart. A call of a library may wait for several things, which
// are not the same queue though the program has one line for all: a client waits for
// a connection, and between two tries.
type stationKey struct {
	waitKey
	in string // the function that waits
}

// waitsIn is the function that waits: the innermost beyond the runtime and what is
// made of it.
func waitsIn(frames []stack.Frame) string {
	for _, f := range frames {
		switch pkg := gofunc.Package(f.Function); {
		case pkg == "runtime", pkg == "sync", strings.HasPrefix(pkg, "internal/"):
		default:
			return gofunc.Base(f.Function)
		}
	}
	return ""
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

// queueing is what a goroutine has to do with queues.
type queueing struct {
	parked  int64 // since when it waits, if it does
	creator trace.GoID
	born    int64 // when it was created; 0: before the trace
	holds   bool  // it has a turn
	turn    turn
	server  *server
}

// goesOn is how long a goroutine that wakes one after another may take for each
// and be taken to tell all of them the same: ten times what a wake-up costs while
// it is traced, about 1 µs.
// Where it had worked longer before, it may take a part of that for all of them: the
// collector and the kernel hold it up as well.
const (
	goesOn     = 10_000
	goesOnPart = 20
)

func (q *queues) station(at *place) *station {
	if at.queue == nil {
		k := stationKey{waitKey{at.wait, at.own}, waitsIn(at.frames)}
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
	g.queue.creator, g.queue.born = by, now
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
	t.requests += g.waitOfRequest(ns)
}

// waitOfRequest is the part of a wait of g that is its request's.
func (g *goroutine) waitOfRequest(ns int64) int64 {
	if g.request {
		return ns
	}
	if o := g.service.child(); o != nil {
		return ns / int64(max(1, o.Live()))
	}
	return 0
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
	if at != nil && by != nil && by.act != stack.GivesUp && (by.ours || by.act == stack.Lends) {
		at.given++
	}
	g.hand(h, by)
	s.slots.woken(g, at, known, by, now)
	if by == nil || known && at == nil || !by.ours && by.act != stack.Lends ||
		by.act == stack.NoAct || by.act == stack.GivesUp || by.act == stack.Finishes || related(id, g, hid, h) {
		if at != nil {
			at.queued += now - g.queue.parked
			s.endQueueWait(g, &q.station(at).tally, now)
		}
		s.endServerWait(id, g, h, by, false, now)
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
	s.endServerWait(id, g, h, by, hold || by.act == stack.Lends, now)
	g.queue.holds = true
	of := &rel.tenure
	if w != nil {
		of = &w.tenure
	}
	g.queue.turn = turn{site: w, tenure: of, group: group, since: now, request: g.service.sequence(), early: g.service.early, doing: g.queue.turn.doing[:0]}
}

// serves counts a wait of g, at w if that is known, that h ended as a server.
func (s *scan) serves(g *goroutine, w *station, t *tally, h *goroutine, by *place, now int64) {
	v := h.queue.server
	if v == nil {
		c := s.queues.crew(by)
		c.servers++
		v = &server{crew: c, work: now - max(h.queue.born, s.sum.StartNS)}
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
	if v.telling += v.busy; v.telling > max(goesOn, v.work/goesOnPart) {
		v.turned = v.last
		v.work, v.telling = v.telling, 0
	}
	v.busy, v.last, v.asked = 0, now, false
	if w == nil {
		return
	}
	// One that has waited since before the trace came before all that it saw come.
	since := g.queue.parked
	x.ordered += now - since
	if takes { // whoever takes it comes from something else, and has not begun with this
		x.queued += now - since
	} else {
		x.queued += max(0, v.turned-since)
	}
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

// queueCut counts what the end of the trace cuts.
func (s *scan) queueCut(id trace.GoID, g *goroutine) {
	if g.state != waiting {
		return
	}
	if at, _ := g.waitsAt(); at != nil {
		at.queued += s.last - g.queue.parked
		s.endQueueWait(g, &s.queues.station(at).tally, s.last)
		s.slots.cut(g, at, s.last)
	}
	s.endServerWait(id, g, nil, nil, false, s.last)
}
