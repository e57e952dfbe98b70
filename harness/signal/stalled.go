package signal

import (
	"cmp"
	"errors"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// stalledSignals find goroutines that wait on each other. Waiting for long is no
// evidence of that: long polls do, and whoever waits for a slow holder or a silent
// peer. It takes a circle: somebody holds what others wait for, and waits himself
// for what only these can give.
func stalledSignals() []definition {
	var defs []definition
	for _, d := range []struct{ dim, whole, time string }{
		{bundle.DimTrace, "Share of request time, of all the program's goroutine time in a program without a known server, ", "throughout the trace"},
		{bundle.DimPprof, "Share of the goroutines in handlers, of all of the program's where there are none, that stood ", "when the goroutine profile was taken"},
	} {
		defs = append(defs,
			number(d.dim+".stalled_share", d.dim, Share, func(e *evidence) (float64, error) {
				s, err := e.stall(d.dim)
				return s.share, err
			}, d.whole+"in waits for locks, channels and the like that none was woken from, "+d.time+", where some of those who wait hold what others wait for; 0 where none does, or where somebody who does is held up elsewhere."),
			number(d.dim+".stalled_members", d.dim, Count, func(e *evidence) (float64, error) {
				s, err := e.stall(d.dim)
				return float64(s.members), err
			}, "Goroutines that wait so and hold a lock that they took before, or are the ones that receive from channels."),
			place(d.dim+".stalled_site", d.dim, func(e *evidence) (stack.Frame, error) {
				s, err := e.stall(d.dim)
				return s.where, err
			}, "The program's line at which most of these wait."),
			place(d.dim+".stalled_asking_site", d.dim, func(e *evidence) (stack.Frame, error) {
				s, err := e.stall(d.dim)
				return s.asking, err
			}, "The program's own line at which most requests wait, where that is a library's."),
			place(d.dim+".stalled_other_site", d.dim, func(e *evidence) (stack.Frame, error) {
				s, err := e.stall(d.dim)
				return s.other, err
			}, "The line at which the next most of them wait, if it is another."),
			place(d.dim+".stalled_held_site", d.dim, func(e *evidence) (stack.Frame, error) {
				s, err := e.stall(d.dim)
				return s.held, err
			}, "The program's line that took the lock which is held meanwhile, or that receives; from the machine code."),
		)
	}
	return append(defs,
		number("trace.lock_keepers", bundle.DimTrace, Count, func(e *evidence) (float64, error) {
			k, err := e.keepers()
			return float64(k.goroutines), err
		}, "Goroutines that hold a lock, by the machine code, and were asleep or in I/O when the trace ended, or waited at a line where waits ended."),
		place("trace.lock_keeper_site", bundle.DimTrace, func(e *evidence) (stack.Frame, error) {
			k, err := e.keepers()
			return k.held, err
		}, "The line at which most of these took it."),
	)
}

// atWork is those who hold a lock and will let go of it, for all that is seen.
type atWork struct {
	goroutines int64
	held       stack.Frame
}

func (e *evidence) keepers() (atWork, error) {
	return once(e, "keepers of locks", func() (atWork, error) {
		s, err := e.trace()
		if err != nil {
			return atWork{}, err
		}
		c, err := e.callsByFunction()
		if err != nil {
			return atWork{}, err
		}
		return findKeepers(e.program, standingInTrace(s), c), nil
	})
}

func findKeepers(p stack.Program, list []standing, c calls) atWork {
	var k atWork
	var most int64
	seen := c.waited(p, list)
	for _, x := range list {
		held, holds := c.holds(p, x.frames)
		if !holds {
			_, holds = seen.holds(p, x.frames)
		}
		if !holds || !outside(x.wait) && x.goroutines == x.stuck {
			continue
		}
		k.goroutines += x.goroutines
		if x.goroutines > most && !held.IsZero() {
			most, k.held = x.goroutines, held
		}
	}
	return k
}

// stall is a circle of goroutines that wait on each other; its share is 0 for none.
type stall struct {
	share              float64
	members            int64
	where, other, held stack.Frame
	asking             stack.Frame // of the main module, where where is not
}

// standing is goroutines that wait at one place.
type standing struct {
	frames     []stack.Frame
	wait       stack.Wait
	goroutines int64
	requests   int64
	stuck      int64 // of the goroutines, for all that is known
	stuckReqs  int64
	sends      bool // in a select that sends, with one other way out at most

	// Of the trace alone: how many stood there for all of it, and how many waits ended at that line.
	throughout, woken int64
	// gaveUp says that waits of requests ended there, and all of them by a deadline or because
	// somebody gave up: nobody of the program ended one.
	gaveUp bool
}

// kept is how many requests wait there, as far as is known for what nobody gives: all that have done
// so throughout, and where others give up, all that are there.
func (x standing) kept() int64 {
	if x.gaveUp {
		return x.requests
	}
	return x.stuckReqs
}

func (e *evidence) stall(dim string) (stall, error) {
	return once(e, "stall "+dim, func() (stall, error) {
		var list []standing
		var whole, wholeRequests float64 // in goroutines
		var err error
		if dim == bundle.DimTrace {
			var s *gotrace.Summary
			if s, err = e.trace(); err != nil {
				return stall{}, err
			}
			if s.DurationNS() <= 0 {
				return stall{}, errNone
			}
			list = standingInTrace(s)
			if account, serves, err := base(s); err == nil && serves {
				wholeRequests = float64(account.TotalNS) / float64(s.DurationNS())
			}
			whole = float64(s.Program.TotalNS) / float64(s.DurationNS())
		} else if list, whole, wholeRequests, err = e.standingInProfile(); err != nil {
			return stall{}, err
		}
		c, err := e.callsByFunction()
		if err != nil {
			return stall{}, err
		}
		if whole <= 0 && wholeRequests <= 0 {
			return stall{}, errors.New(dim + ": no goroutine ran code of the program")
		}
		found := findStall(e.program, c.choosing(e.program, list), c, whole, wholeRequests)
		if dim == bundle.DimPprof && found.share > 0 {
			// Without a block profile all that stands is taken for stuck, and what is found so may move.
			if _, err := e.blocked(); err != nil {
				return stall{}, err
			}
		}
		return found, nil
	})
}

func standingInTrace(s *gotrace.Summary) []standing {
	var list []standing
	for _, p := range s.Parked {
		x := standing{frames: p.Frames, wait: p.Wait, goroutines: p.Goroutines, requests: p.Requests, throughout: p.Throughout, woken: p.Woken}
		if p.Woken == 0 {
			x.stuck, x.stuckReqs = p.Throughout, p.ThroughoutRequests
		}
		x.gaveUp = p.Requests > 0 && p.Woken > 0 && p.Given == 0
		list = append(list, x)
	}
	return list
}

// standingInProfile takes for stuck who stands in a wait of a kind that, by the
// block profile, no goroutine ended at that line in the window.
func (e *evidence) standingInProfile() (list []standing, whole, wholeRequests float64, err error) {
	p, err := e.profile(bundle.DimPprof, bundle.GoroutineProfile)
	if err != nil {
		return nil, 0, 0, err
	}
	b, err := e.profile(bundle.DimPprof, bundle.BlockProfile)
	if err != nil {
		return nil, 0, 0, err
	}
	type line struct {
		wait stack.Wait
		own  stack.Frame
	}
	moved := map[line]bool{}
	delay := b.types["delay"]
	for _, x := range b.list {
		if x.values[delay] > 0 {
			moved[line{e.program.WaitOf(x.frames), e.program.Own(x.frames)}] = true
		}
	}
	n := p.types["goroutine"]
	for _, x := range p.list {
		own := e.program.Own(x.frames)
		if own.IsZero() {
			continue
		}
		s := standing{frames: x.frames, wait: e.program.WaitOf(x.frames), goroutines: x.values[n]}
		whole += float64(s.goroutines)
		if stack.ServingOf(x.frames) == stack.InHandler {
			s.requests = s.goroutines
			wholeRequests += float64(s.goroutines)
		}
		if !moved[line{s.wait, own}] {
			s.stuck, s.stuckReqs = s.goroutines, s.requests
		}
		list = append(list, s)
	}
	return list, whole, wholeRequests, nil
}

// calls are the program's calls of one kind by function, by line.
type calls struct {
	locks, unlocks, receives map[string][]bundle.CallSite
	locking                  bundle.Locking
	selects                  map[string][]bundle.CallSite // those of receives that send as well
	letsGo                   map[string]bool              // functions and types that throw away what they receive
}

// callsByFunction are those of the target, read once for all who ask.
func (e *evidence) callsByFunction() (calls, error) {
	return once(e, "calls by function", func() (calls, error) {
		c, err := e.calls()
		if err != nil {
			return calls{}, err
		}
		return newCalls(c.Sites), nil
	})
}

func newCalls(sites []bundle.CallSite) calls {
	c := calls{
		locks: map[string][]bundle.CallSite{}, unlocks: map[string][]bundle.CallSite{}, receives: map[string][]bundle.CallSite{},
		locking: bundle.CallSites{Sites: sites}.Locking(), selects: map[string][]bundle.CallSite{}, letsGo: map[string]bool{},
	}
	for _, s := range sites {
		if name := gofunc.Base(s.Function); s.Discards {
			c.letsGo[name] = true
			if of := typeOf(name); of != "" {
				c.letsGo[of] = true
			}
		}
		if s.Line == 0 {
			continue
		}
		into := c.receives
		switch {
		case c.locking.Locks[s.Callee]:
			into = c.locks
		case c.locking.Unlocks[s.Callee]:
			into = c.unlocks
		case s.Callee == "runtime.chanrecv1", s.Callee == "runtime.chanrecv2", s.Callee == "runtime.selectgo":
		default:
			continue
		}
		name := gofunc.Base(s.Function)
		if s.Sends > 0 {
			c.selects[name] = append(c.selects[name], s)
		}
		into[name] = append(into[name], s)
	}
	return c
}

// sendingSelect is the select that who waits in one on this stack stands in, if a case of it sends.
func (c calls) sendingSelect(p stack.Program, frames []stack.Frame) (bundle.CallSite, bool) {
	f := waitsIn(p, frames)
	sites := c.selects[gofunc.Base(f.Function)]
	if i := slices.IndexFunc(sites, func(s bundle.CallSite) bool { return s.Line == f.Line && s.File == f.File }); i >= 0 {
		return sites[i], true
	}
	return bundle.CallSite{}, false
}

// choosing says of those who wait in a select whether it is to send: select { case c <- v: case
// <-ctx.Done(): }. A request that does has something to get rid of, and is taken for one that
// sends. Of a goroutine of the program's own that is so only with one other way out: one that
// sends what has come in may stand in such a select with nothing to send, and takes in there.
func (c calls) choosing(p stack.Program, list []standing) []standing {
	list = slices.Clone(list)
	for i := range list {
		x := &list[i]
		if x.wait != stack.Select {
			continue
		}
		switch at, sends := c.sendingSelect(p, x.frames); {
		case !sends:
		case x.requests == x.goroutines:
			x.wait = stack.ChanSend
		case at.Receives <= 1:
			x.sends = true
		}
	}
	return list
}

// waited adds the lines at which goroutines are seen to wait for a lock in a function that takes
// it for its caller, func (w *wrap) Lock() say: of recordings of before the calls of such were
// read, no other evidence tells that these lines take one. Who waits for others than a lock
// is not told to hold it by that.
func (c calls) waited(p stack.Program, list []standing) calls {
	seen := calls{locks: map[string][]bundle.CallSite{}, unlocks: c.unlocks}
	for _, x := range list {
		if x.wait != stack.Lock || x.stuck == 0 {
			continue
		}
		inside := false
		for _, f := range x.frames {
			if p.Foreign(f) {
				continue
			}
			name := gofunc.Base(f.Function)
			if inside {
				seen.locks[name] = append(seen.locks[name], bundle.CallSite{Function: name, File: f.File, Line: f.Line})
			}
			if inside = c.locking.Locks[name]; !inside {
				break
			}
		}
	}
	return seen
}

// holds is a lock that a goroutine with this stack has taken and not released, as
// the lines tell: in a function on the stack, a lock is taken above the line that
// it has got to, and no release stands between. A release on the line after the
// lock is one that is deferred: nobody takes a lock to do nothing.
func (c calls) holds(p stack.Program, frames []stack.Frame) (stack.Frame, bool) {
	for _, f := range frames {
		if p.Foreign(f) {
			continue
		}
		name := gofunc.Base(f.Function)
		var taken *bundle.CallSite
		for i := range c.locks[name] {
			s := &c.locks[name][i]
			if s.Line < f.Line && (taken == nil || s.Line > taken.Line) && !slices.ContainsFunc(c.unlocks[name], func(u bundle.CallSite) bool {
				return u.Line == s.Line || u.Line > s.Line+1 && u.Line < f.Line
			}) {
				taken = s
			}
		}
		if taken != nil {
			return stack.Frame{Function: name, File: taken.File, Line: taken.Line}, true
		}
	}
	return stack.Frame{}, false
}

// receivesAt is where a function on the stack takes from a channel, above the line
// that it has got to: what it does there it does with what it took. A receive below
// is one that waits for an answer. A request that gets past a select which sends, with one
// other way out, has sent.
func (c calls) receivesAt(p stack.Program, frames []stack.Frame, request bool) (stack.Frame, bool) {
	for _, f := range frames {
		if p.Foreign(f) {
			continue
		}
		name := gofunc.Base(f.Function)
		for _, s := range c.receives[name] {
			if s.Line < f.Line && !(request && s.Sends > 0 && s.Receives <= 1) {
				return stack.Frame{Function: name, File: s.File, Line: s.Line}, true
			}
		}
	}
	return stack.Frame{}, false
}

// onOthers are waits that only another goroutine of the program can end.
func onOthers(w stack.Wait) bool {
	switch w {
	case stack.Lock, stack.Cond, stack.WaitGroup, stack.ChanRecv, stack.ChanSend:
		return true
	}
	return false
}

// outside are waits for something other than the program, which will end, or has
// no deadline, and is the reason then.
func outside(w stack.Wait) bool {
	switch w {
	case stack.Sleep, stack.NetRead, stack.NetWrite, stack.NetConnect, stack.HTTPClient, stack.DBConn:
		return true
	}
	return false
}

// findStall looks for the circle. Whole is how many goroutines of the program
// there were on average, and wholeRequests how many requests.
func findStall(p stack.Program, list []standing, c calls, whole, wholeRequests float64) stall {
	type member struct {
		where, held stack.Frame
		goroutines  int64
	}
	var locked, sending []member
	seen := c.waited(p, list)
	var sends []stack.Frame // the lines at which some are stuck who send
	for _, x := range list {
		if own := baseFrame(p.Own(x.frames)); x.stuck > 0 && (x.sends || x.wait == stack.ChanSend) && !slices.Contains(sends, own) {
			sends = append(sends, own)
		}
	}
	wanted := slices.ContainsFunc(list, func(x standing) bool { return x.wait == stack.Lock && x.stuck > 0 })
	for _, x := range list {
		held, holds := c.holds(p, x.frames)
		if !holds && (x.wait == stack.Lock || outside(x.wait)) {
			_, holds = seen.holds(p, x.frames) // at that line or another: where it is released is not known
		}
		at, receives := c.receivesAt(p, x.frames, x.requests > 0)
		own := baseFrame(p.Own(x.frames))
		switch {
		case holds && outside(x.wait), holds && x.goroutines > x.stuck:
			// Somebody who holds a lock is held up elsewhere, or moves.
			return stall{}
		case holds && wanted && onOthers(x.wait):
			// What nobody waits for holds nobody up.
			locked = append(locked, member{own, held, x.stuck})
		case x.wait == stack.ChanSend && receives && x.stuck > 0,
			x.sends && receives && x.stuck > 0 && len(sends) > 1: // it sends to somebody who sends to it, or to whom that one does
			sending = append(sending, member{own, at, x.stuck})
		}
	}
	if len(locked) == 0 {
		// Whoever receives may wait to send because the next in line is held up.
		for _, x := range list {
			if _, receives := c.receivesAt(p, x.frames, false); receives && x.requests == 0 && (outside(x.wait) || (x.wait == stack.ChanSend || x.sends) && x.stuck < x.goroutines) {
				return stall{}
			}
		}
	}
	members := locked
	if len(members) == 0 {
		members = sending
	}
	if len(members) == 0 {
		return stall{}
	}
	// Of two that are alike, the one whose function fewer are in: where most take
	// things in one order, it is the others who should.
	in := map[string]int64{}
	for _, x := range list {
		in[gofunc.Base(p.Own(x.frames).Function)] += x.stuck
	}
	slices.SortStableFunc(members, func(a, b member) int {
		return cmp.Or(cmp.Compare(b.goroutines, a.goroutines), cmp.Compare(in[a.where.Function], in[b.where.Function]), cmp.Compare(a.where.Line, b.where.Line))
	})
	s := stall{where: members[0].where, held: members[0].held}
	packages := map[string]bool{}
	for _, m := range members {
		packages[gofunc.Package(m.where.Function)] = true
		packages[gofunc.Package(m.held.Function)] = true
		s.members += m.goroutines
		if s.other.IsZero() && m.where != s.where {
			s.other = m.where
		}
	}
	var stuck, stuckRequests, most int64
	for _, x := range list {
		if !onOthers(x.wait) && x.wait != stack.Select {
			continue
		}
		requests := x.stuckReqs
		if packages[sendingPackage(p, x.frames)] {
			requests = x.kept()
		}
		stuck += x.stuck
		stuckRequests += requests
		if own := p.Own(x.frames); requests > most && !p.Mine(s.where) && p.Mine(own) {
			most, s.asking = requests, baseFrame(own)
		}
	}
	if wholeRequests > 0 {
		s.share = min(1, float64(stuckRequests)/wholeRequests)
	} else {
		s.share = min(1, float64(stuck)/whole)
	}
	return s
}
