package signal

import (
	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// slotSignals are those of waits in calls that wait for one of a bounded number, and
// for nothing else: what is waited for is known there even when nobody ends the wait.
func slotSignals() []definition {
	const dim = bundle.DimTrace
	return []definition{
		number("trace.slot_wait_share", dim, Share, func(e *evidence) (float64, error) {
			c, err := e.slotWait()
			return min(1, share(c.waited, c.whole)), err
		}, "Share of request time spent at the one line that costs requests most of those that wait in a library's call for a slot: a connection of database/sql, go-redis or redigo, a golang.org/x/sync/semaphore; of all the program's goroutine time in a program without a known server."),
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
		}, "Share of the goroutines in handlers that waited in a library's call for a slot, when the goroutine profile was taken."),
		place("pprof.slot_site", bundle.DimPprof, func(e *evidence) (stack.Frame, error) {
			sites, _, err := slotSites(e)
			return baseFrame(top(sites).where), err
		}, "The program's line where most of them did."),
	}
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
		out := slotWaited{whole: account.TotalNS, unknown: s.SlotsUnknown}
		for _, w := range s.Slots {
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
		return own, in(s) && !own.IsZero() && e.program.TakesSlot(s.frames)
	}), all, nil
}
