package gotrace

import (
	"golang.org/x/exp/trace"

	"chokepoint/harness/signal/stack"
)

// gathering is a request and the goroutines that it started, or those started, as
// far as it waits for them: what they do meanwhile is what the request waits for.
//
// A trace does not say for whom a goroutine waits, but who ended its wait. One that
// a goroutine of the same request ended was for those; one that somebody else
// ended was not, whatever went on beside it. Of those, it was for goroutines like
// the ones that end such waits: what is started to go on by itself ends none.
//
// Many may be at work at a time, and the request waits but once: each moment of its wait is
// divided among them. Those that themselves wait for others are left out, as
// workers that have nothing to do, and those that wait for goroutines of their own.
type gathering struct {
	request uint64 // its number
	working int
	waiting bool // the request's own goroutine waits for others
	// clock runs while the request waits, and as slowly as many are at work; void is the
	// part of it in waits that were for somebody else.
	clock, void int64
	since       int64 // up to when it is set
	// A wait that a time ends leaves open what it was for, and the next one goes on with
	// it: from is what the clock was when the first of them began.
	open bool
	from int64
	owed []owed // for that wait
}

// member is what a goroutine has to do with a gathering.
type member struct {
	of      *gathering
	owner   bool // it is the request's own
	working bool
	kind    *mission
	// Of the gathering, up to where it has been charged.
	clock, void int64
}

// mission is what requests start goroutines for: a function of the program.
type mission struct{ joined int64 } // waits in requests that its goroutines ended

// debt is time in calls at a line that goroutines made for requests that waited, or in waits for
// a lock.
type debt struct{ calls, queued int64 }

// debtor is where that time goes to: the calls of a line, or the lock of the key of a wait.
type debtor struct {
	site *SiteCount
	lock string
	kind *mission
}

type owed struct {
	to     *debt
	ns     int64
	queued bool
}

func (d *debt) add(ns int64, queued bool) {
	if queued {
		d.queued += ns
	} else {
		d.calls += ns
	}
}

// gatherings is all of them that there is something to say of.
type gatherings struct {
	missions map[string]*mission
	debts    map[debtor]*debt
}

func newGatherings() *gatherings {
	return &gatherings{missions: map[string]*mission{}, debts: map[debtor]*debt{}}
}

func (p *gathering) advance(now int64) {
	if now <= p.since {
		return
	}
	if p.waiting && p.working > 0 {
		p.clock += (now - p.since) / int64(p.working)
	}
	p.since = now
}

// settle says whom the wait was for that has begun last, if there is one.
func (p *gathering) settle(joined bool) {
	if !p.open {
		return
	}
	p.open = false
	if joined {
		for _, o := range p.owed {
			o.to.add(o.ns, o.queued)
		}
	} else {
		p.void += p.clock - p.from
	}
	p.owed = p.owed[:0]
}

// forFellows reports whether a goroutine waits for what another of its request may do:
// that it is done, that it sends or takes something.
func (g *goroutine) forFellows() bool {
	return g.state == waiting && g.at != nil && g.blamed == g.at.wait && (stack.ForOthers(g.blamed) || g.blamed == stack.ChanSend)
}

// attends reports whether a goroutine waits for something to do: for others of its request, or
// as a library's own do, such as those that a client keeps for a connection.
func (g *goroutine) attends() bool {
	return g.state == waiting && (g.at == nil || !g.at.ours || g.forFellows())
}

// joins makes a new goroutine one of the request that started it.
func (g *goroutine) joins(creator *goroutine, now int64) {
	p := creator.member.of
	if p == nil || p.request != g.service.parentSeq {
		creator.leaves(now)
		p = &gathering{request: g.service.parentSeq, since: now}
		creator.member = member{of: p, owner: creator.service.open != nil}
	}
	p.advance(now)
	p.working++
	g.member = member{of: p, working: true, clock: p.clock, void: p.void}
}

// gathers follows a goroutine into another state.
func (g *goroutine) gathers(now int64) {
	m := &g.member
	if m.of == nil {
		return
	}
	p := m.of
	switch waits := g.forFellows(); {
	case m.owner:
		if o := g.service.open; o == nil || o.Seq() != p.request {
			m.of = nil
			return
		}
		if waits == p.waiting {
			return
		}
		p.advance(now)
		if p.waiting = waits; waits && !p.open {
			p.open, p.from = true, p.clock
		}
	case !m.owner && m.working == g.attends():
		p.advance(now)
		if m.working = !m.working; m.working {
			p.working++
		} else {
			p.working--
		}
	}
}

// leaves is gathers for a goroutine that has ended.
func (g *goroutine) leaves(now int64) {
	if m := &g.member; m.of != nil && m.working {
		m.of.advance(now)
		m.of.working--
	}
}

// gatherWoken learns from who ends a wait of g whom it was for.
func (s *scan) gatherWoken(by trace.GoID, g *goroutine, now int64) {
	p := g.member.of
	if p == nil || !g.forFellows() {
		return
	}
	if by == trace.NoGoroutine {
		return // a time
	}
	h := s.goroutine(by)
	joined := h != nil && h.member.of == p
	if joined && h.member.kind != nil {
		h.member.kind.joined++
	}
	if g.member.owner {
		p.advance(now)
		p.settle(joined)
	}
}

// chargeMember charges what the goroutine did since it was charged last to the request
// that waits for it, where that is system calls or waiting for a lock.
func (s *scan) chargeMember(g *goroutine, now int64) {
	m := &g.member
	p := m.of
	if m.owner {
		return
	}
	if o := g.service.child(); o == nil || o.Seq() != p.request {
		m.of = nil // the request has not waited for it
		return
	}
	if m.kind == nil && g.at != nil && g.at.ours {
		m.kind = s.gatherings.mission(g.at.outer.Function)
	}
	p.advance(now)
	ns := p.clock - m.clock - (p.void - m.void)
	since := m.clock
	m.clock, m.void = p.clock, p.void
	if ns <= 0 || m.kind == nil || !g.at.ours || g.request || g.diag {
		return
	}
	of := debtor{kind: m.kind}
	queued := g.state == waiting && g.at.turn
	switch {
	case queued, g.state == inSyscall:
		of.site = s.syscallsAt(g.at)
	case g.state == waiting && g.blamed == stack.Lock:
		of.lock = waitSite(g.at)
	default:
		return
	}
	to := s.gatherings.debt(of)
	if p.open {
		undecided := min(ns, p.clock-max(p.from, since))
		p.owed = append(p.owed, owed{to, undecided, queued})
		ns -= undecided
	}
	to.add(ns, queued)
}

func (q *gatherings) mission(function string) *mission {
	k := q.missions[function]
	if k == nil {
		k = &mission{}
		q.missions[function] = k
	}
	return k
}

func (q *gatherings) debt(of debtor) *debt {
	d := q.debts[of]
	if d == nil {
		d = &debt{}
		q.debts[of] = d
	}
	return d
}

// cutGatherings closes the waits that the end of the trace cuts, after what was done
// meanwhile. Nobody ended them; that for a group can have been for nothing else.
func (s *scan) cutGatherings(ids []trace.GoID) {
	for _, id := range ids {
		if g := s.gs[id]; g.member.of != nil {
			s.chargeMember(g, s.last)
		}
	}
	for _, id := range ids {
		if g := s.gs[id]; g.member.of != nil && g.member.owner {
			g.member.of.settle(g.forFellows() && g.blamed == stack.WaitGroup)
		}
	}
}

// finishGatherings tells the lines and locks what requests waited for there.
func (s *scan) finishGatherings() {
	for of, d := range s.gatherings.debts {
		switch {
		case of.kind.joined == 0:
		case of.lock != "":
			s.locks.find(of.lock).children += d.calls
		default:
			of.site.ChildNS += d.calls
			of.site.QueuedChildNS += d.queued
		}
	}
}
