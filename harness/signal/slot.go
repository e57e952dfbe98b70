package signal

import (
	"strings"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// slotSignals are those of waits for one of a bounded number, and
// for nothing else: what is waited for is known there even when nobody ends the wait.
func slotSignals() []definition {
	const dim = bundle.DimTrace
	return []definition{
		number("trace.slot_wait_share", dim, Share, func(e *evidence) (float64, error) {
			c, err := e.slotWait()
			return min(1, share(c.waited, c.whole)), err
		}, "Share of request time spent at the one line that costs requests most of those that wait for a slot: in a library's call for a connection of database/sql, go-redis or redigo, or for a golang.org/x/sync/semaphore, or in a send to a channel, by the machine code, of which the same function or type throws away what it receives; of all the program's goroutine time in a program without a known server."),
		number("trace.slot_given_share", dim, Share, func(e *evidence) (float64, error) {
			c, err := e.slotWait()
			if err != nil {
				return 0, err
			}
			given := c.at.Given + c.unknown
			all := given + c.at.Forgone + c.at.Left
			if all == 0 {
				return 0, errNone
			}
			return float64(given) / float64(all), nil
		}, "Share of the waits at that line, of those that ended and those that lasted all of the trace, that another goroutine ended by giving a slot, rather than a deadline, the client's leaving or nothing; waits of which no line is known count as given there."),
		place("trace.slot_site", dim, func(e *evidence) (stack.Frame, error) {
			c, err := e.slotWait()
			return baseFrame(c.at.Where), err
		}, "That line."),
		place("trace.slot_caller_site", dim, func(e *evidence) (stack.Frame, error) {
			c, err := e.slotWait()
			return baseFrame(c.at.Caller), err
		}, "The program's line through which most of that waiting comes: the call of the function that waits, if that does not handle requests itself."),
		number("pprof.slot_parked_share", bundle.DimPprof, Share, func(e *evidence) (float64, error) {
			sites, all, err := slotSites(e)
			var part int64
			for _, s := range sites {
				part += s.value
			}
			return share(part, all), err
		}, "Share of the goroutines in handlers that waited for a slot, when the goroutine profile was taken."),
		place("pprof.slot_site", bundle.DimPprof, func(e *evidence) (stack.Frame, error) {
			sites, _, err := slotSites(e)
			return baseFrame(top(sites).where), err
		}, "The program's line where most of them did."),
	}
}

// takesSlot reports whether who waits on this stack waits for room in a channel that holds
// as many as may do something at a time: it sends, and the same function, or one of the same
// type, receives and throws away what it gets. Who takes work from a channel has a use for it.
func (c calls) takesSlot(p stack.Program, frames []stack.Frame) bool {
	name := gofunc.Base(waitsIn(p, frames).Function)
	return (c.letsGo[name] || c.letsGo[typeOf(name)]) && c.sends(p, frames)
}

// somebodyWorks reports whether a goroutine outside of handlers has received something in a function
// of a package and is busy with it, or held up: what is sent to a channel there may be work for it, and
// what the sender throws away the word that it is done.
func (c calls) somebodyWorks(p stack.Program, pkg string, parked []gotrace.Parked) bool {
	return standsOutside(p, pkg, parked, func(f stack.Frame) bool {
		_, receives := c.receivesAt(p, []stack.Frame{f}, false)
		return receives
	})
}

// sends reports whether who waits on this stack waits to send, be it in a select.
func (c calls) sends(p stack.Program, frames []stack.Frame) bool {
	switch p.WaitOf(frames) {
	case stack.ChanSend:
		return true
	case stack.Select:
		_, sends := c.sendingSelect(p, frames)
		return sends
	}
	return false
}

// typeOf is the type that a function is a method of, with its package; empty for none.
func typeOf(function string) string {
	dot := strings.LastIndexByte(function, '.')
	if dot < 0 {
		return ""
	}
	of := function[:dot]
	if of == gofunc.Package(function) {
		return ""
	}
	return strings.NewReplacer("(*", "", ")", "").Replace(of)
}

// takesSlot is the same of the target; false where its machine code was not read.
func (e *evidence) takesSlot(frames []stack.Frame) bool {
	c, err := e.callsByFunction()
	return err == nil && c.takesSlot(e.program, frames)
}

// sends is the same of the target.
func (e *evidence) sends(frames []stack.Frame) bool {
	c, err := e.callsByFunction()
	return err == nil && c.sends(e.program, frames)
}

// slotWaited is the line where waits for slots cost most, and what that is a share of.
type slotWaited struct {
	at            gotrace.SlotWait
	waited, whole int64
	unknown       int
}

func (e *evidence) slotWait() (slotWaited, error) {
	return once(e, "slot wait", func() (slotWaited, error) {
		s, err := e.trace()
		if err != nil {
			return slotWaited{}, err
		}
		account, requests, err := base(s)
		if err != nil {
			return slotWaited{}, err
		}
		c, err := e.callsByFunction()
		if err != nil {
			c = newCalls(nil) // what the stacks tell holds without
		}
		out := slotWaited{whole: account.TotalNS, unknown: s.SlotsUnknown}
		for _, w := range s.Slots {
			if w.Sends || !e.program.TakesSlot(w.Frames) && c.somebodyWorks(e.program, sendingPackage(e.program, w.Frames), s.Parked) {
				continue
			}
			ns := w.WaitedNS
			if requests {
				ns = w.RequestWaitedNS
			}
			if ns > out.waited {
				out.at, out.waited = w, ns
			}
		}
		return out, nil
	})
}

func slotSites(e *evidence) ([]site, int64, error) {
	p, err := e.profile(bundle.DimPprof, bundle.GoroutineProfile)
	if err != nil {
		return nil, 0, err
	}
	in, all := inHandlers(e, p)
	return p.bySite("goroutine", func(s sample) (stack.Frame, bool) {
		own := e.program.Own(s.frames)
		return own, in(s) && !own.IsZero() && (e.program.TakesSlot(s.frames) || e.takesSlot(s.frames))
	}), all, nil
}
