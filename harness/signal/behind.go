package signal

import (
	"cmp"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/stack"
)

// behindSignals find requests that wait for a goroutine which has taken something from a channel
// and has not come back for more: it waits itself, for another thing than they do, so that there
// is no circle, and nobody is seen who could end that; or it waits for a peer that does not answer.
func behindSignals() []definition {
	const trace = bundle.DimTrace
	var defs []definition
	for _, d := range []struct {
		name                          string
		find                          func(*evidence) (behind, error)
		share, members, where, waiter string
	}{
		{
			"trace.stalled_behind", (*evidence).behind,
			"Share of request time in waits that lasted throughout the trace, of which some are to send or for a WaitGroup, where a goroutine outside of handlers that receives waits all along in turn, for a condition, a lock or a WaitGroup; 0 where somebody is at work, asleep, in I/O or may be told by an event.",
			"Goroutines outside of handlers that wait so.",
			"The program's line at which they wait, or the first of these lines.",
			"The program's line at which most requests wait to send, or for a WaitGroup.",
		},
		{
			"trace.hung_behind", (*evidence).hungBehind,
			"Share of the requests in flight that wait, at the end of the trace, in functions in which some have waited to send throughout and none got on, where goroutines outside of handlers that receive wait all along for the answer of a peer; 0 where one of these moves.",
			"Goroutines outside of handlers that wait for a peer so.",
			"The program's line at which most of them wait.",
			"The program's line at which most requests wait to send.",
		},
	} {
		at := func(of func(behind) stack.Frame) func(*evidence) (stack.Frame, error) {
			return func(e *evidence) (stack.Frame, error) {
				b, err := d.find(e)
				return of(b), err
			}
		}
		defs = append(defs,
			number(d.name+"_share", trace, Share, func(e *evidence) (float64, error) {
				b, err := d.find(e)
				return b.share, err
			}, d.share),
			number(d.name+"_members", trace, Count, func(e *evidence) (float64, error) {
				b, err := d.find(e)
				return float64(b.members), err
			}, d.members),
			place(d.name+"_site", trace, at(func(b behind) stack.Frame { return b.where }), d.where),
			place(d.name+"_receive_site", trace, at(func(b behind) stack.Frame { return b.receives }), "The line at which they receive; from the machine code."),
			place(d.name+"_waiter_site", trace, at(func(b behind) stack.Frame { return b.waiter }), d.waiter),
		)
	}
	return defs
}

// behind is requests that wait for one who waits himself; its share is 0 for none.
type behind struct {
	share                   float64
	members                 int64
	where, receives, waiter stack.Frame
}

func (e *evidence) behind() (behind, error) {
	return once(e, "behind", func() (behind, error) {
		x, err := e.whoStands()
		if err != nil || !x.rests {
			return behind{}, err
		}
		return findBehind(e.program, x.list, x.calls, x.requests), nil
	})
}

func (e *evidence) hungBehind() (behind, error) {
	return once(e, "hung behind", func() (behind, error) {
		x, err := e.whoStands() // whether it rests or not: requests may still arrive and join those who wait
		if err != nil {
			return behind{}, err
		}
		return findHungBehind(e.program, x.list, x.calls, x.requests), nil
	})
}

// unasked are waits that are never for news: who waits to receive, in a select or for a condition
// may be there for an event that comes seldom, and has all he needs. Who waits to send, or until
// others are done, is kept from what he came for.
func unasked(w stack.Wait) bool { return w == stack.ChanSend || w == stack.WaitGroup }

// keptWaiting are waits in which a goroutine that has just received is not idle: an idle one is back at
// its channel. One that waits to send is left to findStall.
func keptWaiting(w stack.Wait) bool {
	return w == stack.Cond || w == stack.Lock || w == stack.WaitGroup
}

// findBehind looks for them. Requests is how many of these there were on average.
//
// What is left out may be honest: whoever sleeps, asks a peer or computes may be on the way to end
// the waits. One that sleeps for a part of the trace, and ended none when it woke, is not: it
// keeps a clock.
func findBehind(p stack.Program, list []standing, c calls, requests float64) behind {
	q, found := sendersOf(p, list, false, unasked)
	if !found {
		return behind{}
	}
	var members []member
	var all int64
	for _, x := range list {
		if x.requests > 0 {
			same := q.functions[gofunc.Base(p.Own(x.frames).Function)]
			switch {
			case !onOthers(x.wait) && !(x.wait == stack.Select && same):
				return behind{} // it may hold what the others wait for, and will get on
			case x.woken > 0 && (same || unasked(x.wait) || x.wait == stack.Lock):
				return behind{} // it moves
			case same || x.wait == stack.Lock:
				all += x.stuckReqs
			}
			continue
		}
		switch {
		case x.wait == stack.NetAccept, x.goroutines == 1 && p.Outermost(x.frames).Function == "main.main":
		case x.wait == stack.ChanRecv, x.wait == stack.Select, x.wait == stack.ChanSend:
			// Idle, or held up behind another.
		case x.wait == stack.Sleep && x.throughout == 0 && x.woken > 0:
		case !keptWaiting(x.wait):
			return behind{}
		case x.stuck > 0:
			if at, receives := c.receivesAt(p, x.frames, false); receives {
				members = append(members, member{baseFrame(p.Own(x.frames)), at, q.packages[gofunc.Package(at.Function)], x.stuck})
			}
		}
	}
	return behind{waiter: q.waiter}.of(members, all, requests)
}

// findHungBehind looks for requests that wait for workers of which each has taken something, asked a
// peer for it and got no answer: those who wait are behind the same peer, and come to it one by one.
// One worker that moves, or a request that gets through, and there is no such thing.
func findHungBehind(p stack.Program, list []standing, c calls, requests float64) behind {
	q, found := sendersOf(p, list, true, func(w stack.Wait) bool { return w == stack.ChanSend })
	if !found {
		return behind{}
	}
	var members []member
	var all int64
	for _, x := range list {
		if x.requests > 0 {
			switch same := q.functions[gofunc.Base(p.Own(x.frames).Function)]; {
			case same && x.woken > 0 && !x.gaveUp:
				return behind{}
			case same:
				all += x.requests // also who came later: none of them got on
			}
			continue
		}
		at, receives := c.receivesAt(p, x.frames, false)
		if !receives {
			continue
		}
		near := q.packages[gofunc.Package(at.Function)]
		switch peer, by := p.PeerOf(x.frames), p.Asker(x.frames); {
		case !p.Mine(by): // a library's reader listens
		case (peer == stack.AskedPeer || near && (answers(peer) || peer == stack.OwnPeer)) && x.stuck > 0 && x.stuck == x.goroutines:
			members = append(members, member{baseFrame(by), at, near, x.stuck})
		case near && x.wait != stack.ChanRecv:
			return behind{} // it is at something else, or on its way
		}
	}
	return behind{waiter: q.waiter}.of(members, all, requests)
}

// senders are where requests wait to hand over what somebody outside of handlers receives.
type senders struct {
	functions map[string]bool
	packages  map[string]bool // of the code that itself waits
	waiter    stack.Frame     // the line of most
}

// sendersOf are those requests whose wait is of such a kind; found is false where too few
// have waited all along, or, if that is asked, too few are there where all others gave up.
func sendersOf(p stack.Program, list []standing, late bool, kind func(stack.Wait) bool) (q senders, found bool) {
	q = senders{functions: map[string]bool{}, packages: map[string]bool{}}
	var evidence, most int64
	for _, x := range list {
		if x.requests == 0 || !kind(x.wait) {
			continue
		}
		own := baseFrame(p.Own(x.frames))
		q.functions[own.Function] = true
		q.packages[sendingPackage(p, x.frames)] = true
		n := x.stuckReqs
		if late {
			n = x.kept()
		}
		if evidence += n; n > most {
			most, q.waiter = n, own
		}
	}
	return q, evidence >= fewestOrphans
}

// member is goroutines that have received and not come back.
type member struct {
	where, receives stack.Frame
	near            bool // they receive in the package that sends
	goroutines      int64
}

// of is what requests wait behind, of which so many have waited all along.
func (b behind) of(members []member, all int64, requests float64) behind {
	if len(members) == 0 {
		return behind{}
	}
	// A channel rarely leaves its package: who receives in another is asked only if nobody else does.
	if slices.ContainsFunc(members, func(m member) bool { return m.near }) {
		members = slices.DeleteFunc(members, func(m member) bool { return !m.near })
	}
	slices.SortStableFunc(members, func(a, b member) int {
		return cmp.Or(cmp.Compare(b.goroutines, a.goroutines), a.where.Compare(b.where))
	})
	for _, m := range members {
		b.members += m.goroutines
	}
	b.where, b.receives = members[0].where, members[0].receives
	b.share = min(1, float64(all)/max(1, requests))
	return b
}

// waitsIn is the code that itself waits, be it a library's; zero where none of a stack is.
func waitsIn(p stack.Program, frames []stack.Frame) stack.Frame {
	for _, f := range frames {
		if !p.Foreign(f) {
			return f
		}
	}
	return stack.Frame{}
}

// sendingPackage is that of the code which itself waits.
func sendingPackage(p stack.Program, frames []stack.Frame) string {
	return gofunc.Package(waitsIn(p, frames).Function)
}
