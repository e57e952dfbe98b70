package gotrace

import (
	"sort"

	"golang.org/x/exp/trace"

	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/stack"
)

// locks works out who held what others waited for.
//
// A trace names no lock. What it has is the line a goroutine waits at and, when
// the wait ends, the stack of the goroutine that ended it, inside Unlock. Lines
// of waiting and lines of unlocking that ever meet so are one group. A holder
// that had to wait itself has the lock from its wake to its release. To others
// belongs the time between the previous release in the group and their own: a
// lock with waiters passes from holder to holder, so nobody else can have had
// it. A writer that waits for readers passes its wait on: see asked. What holders do
// meanwhile is known in full for those that had to wait, and of the others for as
// far back as is kept of each goroutine.
type locks struct {
	program stack.Program
	within  map[calling]stack.Frame // what calledBy has found
	takings map[*place]taking       // by the place of a release
	before  map[standing]bool       // what outside has found
	groups  map[string]*group       // by site key, to the group or one merged into another
	waiting map[*goroutine]lockWait
}

type lockWait struct {
	at    *place
	since int64
}

type group struct {
	merged      *group
	waited      int64
	requests    int64
	children    int64 // of goroutines that requests wait for; see gathering
	waiters     map[stack.Frame]int64
	callers     callers
	libraries   map[stack.Frame]int64 // that take the lock; the zero frame for the program
	called      map[stack.Frame]int64 // by who holds it, where a library does; see under
	waits       map[*place]bool
	readers     map[stack.Frame]bool // of these lines, those that wait in RLock
	holders     map[holderKey]*holder
	lastRelease int64
}

type holderKey struct {
	function string
	reads    bool
}

type holder struct {
	Holder
	acquires map[stack.Frame]int64
	unlocks  map[stack.Frame]int64
	doing    map[Doing]int64
	callers  callers
}

func newLocks(p stack.Program) *locks {
	return &locks{program: p, within: map[calling]stack.Frame{}, takings: map[*place]taking{}, before: map[standing]bool{}, groups: map[string]*group{}, waiting: map[*goroutine]lockWait{}}
}

func (l *locks) find(key string) *group {
	g := l.groups[key]
	if g == nil {
		g = &group{waiters: map[stack.Frame]int64{}, readers: map[stack.Frame]bool{}, holders: map[holderKey]*holder{},
			libraries: map[stack.Frame]int64{}, called: map[stack.Frame]int64{}, waits: map[*place]bool{}}
		l.groups[key] = g
		return g
	}
	for g.merged != nil {
		g = g.merged
	}
	l.groups[key] = g
	return g
}

// join makes two sites one group.
func (l *locks) join(a, b string) *group {
	x, y := l.find(a), l.find(b)
	if x == y {
		return x
	}
	x.waited += y.waited
	x.requests += y.requests
	x.children += y.children
	x.lastRelease = max(x.lastRelease, y.lastRelease)
	for f, ns := range y.waiters {
		x.waiters[f] += ns
	}
	x.callers.merge(y.callers)
	for f, ns := range y.libraries {
		x.libraries[f] += ns
	}
	for f, ns := range y.called {
		x.called[f] += ns
	}
	for at := range y.waits {
		x.waits[at] = true
	}
	for f := range y.readers {
		x.readers[f] = true
	}
	for key, h := range y.holders {
		x.holder(key).merge(h)
	}
	y.merged = x
	return x
}

func (g *group) holder(key holderKey) *holder {
	h := g.holders[key]
	if h == nil {
		h = &holder{acquires: map[stack.Frame]int64{}, unlocks: map[stack.Frame]int64{}, doing: map[Doing]int64{}}
		h.Reads = key.reads
		g.holders[key] = h
	}
	return h
}

func (h *holder) merge(o *holder) {
	h.NS += o.NS
	h.Count += o.Count
	h.ObservedNS += o.ObservedNS
	for f, n := range o.acquires {
		h.acquires[f] += n
	}
	for f, n := range o.unlocks {
		h.unlocks[f] += n
	}
	for d, n := range o.doing {
		h.doing[d] += n
	}
	h.callers.merge(o.callers)
}

// calling is a place with the function that has called what stands there.
type calling struct {
	at       *place
	function string
}

// calledBy is the program's frame that whoever holds the lock, taken or let go in taker,
// has called when it stands at a place.
func (l *locks) calledBy(at, taker *place) stack.Frame {
	k := calling{at, taker.own.Function}
	f, ok := l.within[k]
	if !ok {
		f = l.program.CalledBy(at.frames, k.function)
		l.within[k] = f
	}
	return f
}

// The names of sites are made once a place: there may be millions of waits.
func waitSite(at *place) string {
	if at.waits == "" {
		at.waits = "wait " + at.own.Function + ":" + itoa(at.own.Line)
	}
	return at.waits
}

func holdSite(at *place) string {
	if at.releases == "" {
		at.releases = "hold " + at.own.Function + ":" + itoa(at.own.Line)
	}
	return at.releases
}

// wait notes that g waits for a lock. What no code of the program is part of,
// and what the recording's own requests do, is no wait of the program.
func (l *locks) wait(g *goroutine, at *place, since int64) {
	if at != nil && at.ours && !g.diag {
		l.waiting[g] = lockWait{at, since}
	}
}

// stillWaiting counts a wait that the end of the trace cut.
func (l *locks) stillWaiting(g *goroutine, now int64) { l.endWait(g, now) }

// endWait counts the wait of g and returns it; ok is false if it waited for no lock.
func (l *locks) endWait(g *goroutine, now int64) (w lockWait, ok bool) {
	w, ok = l.waiting[g]
	if !ok {
		return w, false
	}
	delete(l.waiting, g)
	grp := l.find(waitSite(w.at))
	ns := now - w.since
	grp.waited += ns
	grp.waiters[w.at.own] += ns
	grp.callers.add(w.at, ns)
	grp.libraries[w.at.library] += ns
	grp.waits[w.at] = true
	if w.at.reads {
		grp.readers[w.at.own] = true
	}
	if g.request {
		grp.requests += ns
	}
	return w, true
}

// release notes that h ended the wait w from its stack at. A wait of which no
// stack is known has no place in w.
func (l *locks) release(h *goroutine, at *place, w lockWait, now int64) {
	if w.at != nil {
		l.join(waitSite(w.at), holdSite(at))
	}
	from := l.passedOn(h, at, w)
	grp := l.find(holdSite(at))
	var a *hold
	if h != nil && h.acquired != nil && at.holds(h.acquired.at.own.Function) {
		a = h.acquired
	}
	// Locks used alike share a group; the releases of the others must not
	// cut short what is known of this one.
	a, since, read := readFor(a, at, w)
	switch {
	case read:
		// since says it.
	case a != nil:
		since = max(from, a.since)
	default:
		since = max(from, grp.lastRelease)
	}
	ns := now - since
	grp.lastRelease = now
	hold := grp.holder(holderKey{gofunc.Base(at.own.Function), at.reads})
	hold.NS += ns
	hold.Count++
	hold.unlocks[at.own] += ns + 1
	hold.callers.add(at, ns+1)
	if a == nil {
		if h != nil {
			hold.ObservedNS += h.recent.since(l.heldFrom(grp, h, at, since), now, func(in *place, d Doing) {
				n := d.NS
				d.NS = 0
				hold.doing[d] += n
				if in != nil && w.at != nil && !w.at.library.IsZero() {
					grp.called[l.calledBy(in, at)] += n
				}
			})
		}
		return
	}
	h.acquired = nil
	hold.ObservedNS += now - a.since
	hold.acquires[a.at.own] += now - a.since + 1
	for _, d := range a.doing {
		n := d.NS
		d.NS = 0
		hold.doing[d] += n
	}
	for in, ns := range a.stood {
		grp.called[l.calledBy(in, a.at)] += ns
	}
}

// blocked follows a goroutine into a wait.
func (s *scan) blocked(g *goroutine, at *place, now int64) {
	if g.blamed == stack.Lock {
		// It waits, perhaps again after it was woken and lost the race: it
		// does not hold what it was thought to have taken there.
		if h := g.acquired; h != nil && (at == nil || h.at.own == at.own) {
			g.acquired = nil
		}
		s.locks.wait(g, at, now)
	}
	// Outside the function that took the lock it holds it no more, nor above the line that
	// did: it let go of it while nobody waited, and comes round again.
	if h := g.acquired; h != nil && (at == nil || !at.after(h.at.own)) {
		g.acquired = nil
	}
}

// woken ends a goroutine's wait, on the stack of the goroutine that ended it.
func (s *scan) woken(ev *trace.Event, g *goroutine, now int64) {
	w, ok := s.locks.endWait(g, now)
	switch {
	case ok:
		g.acquired = &hold{at: w.at, since: now}
	case g.at == nil && g.blamed == stack.Other:
		// It has waited since before the trace began, and the trace does not say
		// where: that somebody unlocked for it is worth knowing still.
		w.since = s.sum.StartNS
	default:
		return
	}
	by := s.place(ev.Stack())
	if by == nil || !by.unlocks || by.own.IsZero() || by.diag {
		return
	}
	h := s.goroutine(ev.Goroutine())
	g.readersLeft(w, by, now)
	if h != nil && h.acquired != nil {
		// Its time up to now is not yet charged.
		s.charge(ev.Goroutine(), h, now)
	}
	s.locks.release(h, by, w, now)
}

func (l *locks) list() []Lock {
	var out []Lock
	seen := map[*group]bool{}
	for key := range l.groups {
		g := l.find(key)
		if seen[g] || g.waited == 0 {
			continue
		}
		seen[g] = true
		lock := Lock{WaitedNS: g.waited, RequestWaitedNS: g.requests, ChildWaitedNS: g.children, ReleasedNS: g.lastRelease, Caller: largest(g.callers), Library: largest(g.libraries)}
		if lock.Library == largest(g.waiters) {
			lock.Called = largest(g.called)
		}
		for _, x := range siteTimes(g.waiters) {
			lock.Waiters = append(lock.Waiters, LockWaiter{Where: x.Where, Reads: g.readers[x.Where], NS: x.NS})
		}
		for _, h := range g.holders {
			h.Unlock, h.Acquire, h.Caller = largest(h.unlocks), largest(h.acquires), largest(h.callers)
			for d, ns := range h.doing {
				d.NS = ns
				h.Doing = append(h.Doing, d)
			}
			sortDoing(h.Doing)
			lock.Holders = append(lock.Holders, h.Holder)
		}
		sort.Slice(lock.Holders, func(i, j int) bool {
			a, b := lock.Holders[i], lock.Holders[j]
			if a.NS != b.NS {
				return a.NS > b.NS
			}
			if a.Unlock != b.Unlock {
				return less(a.Unlock, b.Unlock)
			}
			return !a.Reads && b.Reads
		})
		out = append(out, lock)
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].WaitedNS != out[j].WaitedNS {
			return out[i].WaitedNS > out[j].WaitedNS
		}
		return less(out[i].Waiters[0].Where, out[j].Waiters[0].Where)
	})
	return out
}
