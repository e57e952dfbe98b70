package signal

import (
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// untakenSignals find requests that wait to hand something over, and give up, as nobody is there to take
// it: whoever did has ended.
func untakenSignals() []definition {
	return []definition{
		number("trace.untaken_share", bundle.DimTrace, Share, func(e *evidence) (float64, error) {
			u, err := e.untaken()
			return min(1, share(u.at.RequestWaitedNS, u.whole)), err
		}, "Share of request time in waits to send to a channel at the one line that costs most so, where hardly any of them was ended by somebody who took it, and no goroutine outside of handlers runs code of that package which receives; 0 where one does, or is at work all the time."),
		place("trace.untaken_site", bundle.DimTrace, func(e *evidence) (stack.Frame, error) {
			u, err := e.untaken()
			return baseFrame(u.at.Where), err
		}, "That line."),
		number("pprof.untaken_parked_share", bundle.DimPprof, Share, func(e *evidence) (float64, error) {
			p, err := e.profile(bundle.DimPprof, bundle.GoroutineProfile)
			if err != nil {
				return 0, err
			}
			u, err := e.untaken()
			if err != nil {
				return 0, err
			}
			in, all := inHandlers(e, p)
			return share(p.of("goroutine", func(x sample) bool { return in(x) && e.program.Own(x.frames) == u.at.Where && e.sends(x.frames) }), all), nil
		}, "Share of the goroutines in handlers that stood in such a wait when the goroutine profile was taken."),
	}
}

// untaken is the line where what is sent is not taken; zero for none.
type untaken struct {
	at    gotrace.SlotWait
	whole int64
}

// takenLeast is the share of those who wait to send that somebody ends from which on there is
// somebody who takes: a tenth, as of slots that are given back.
const takenLeast = 0.1

func (e *evidence) untaken() (untaken, error) {
	return once(e, "untaken", func() (untaken, error) {
		s, err := e.trace()
		if err != nil {
			return untaken{}, err
		}
		account, serves, err := base(s)
		if err != nil {
			return untaken{}, err
		}
		c, err := e.callsByFunction()
		if err != nil {
			return untaken{}, err
		}
		u := untaken{whole: account.TotalNS}
		if !serves || len(s.Running) > 0 && 2*(s.Running[0].NS+s.Running[0].SyscallNS) > s.DurationNS() {
			return u, nil // who takes it may be the one at work
		}
		for _, w := range s.Slots {
			given := w.Given + s.SlotsUnknown
			if !w.Sends || w.RequestWaitedNS <= u.at.RequestWaitedNS || float64(given) >= takenLeast*float64(given+w.Forgone+w.Left) {
				continue
			}
			if c.somebodyReceives(e.program, sendingPackage(e.program, w.Frames), s.Parked) {
				continue
			}
			u.at = w
		}
		return u, nil
	})
}

// somebodyReceives reports whether a goroutine outside of handlers stands in a function of a
// package that receives from a channel.
func (c calls) somebodyReceives(p stack.Program, pkg string, parked []gotrace.Parked) bool {
	return standsOutside(p, pkg, parked, func(f stack.Frame) bool { return len(c.receives[gofunc.Base(f.Function)]) > 0 })
}

// standsOutside reports whether a goroutine outside of handlers has a frame of a package on its stack
// of which that holds. The main function, which waits for the end, is left out.
func standsOutside(p stack.Program, pkg string, parked []gotrace.Parked, holds func(stack.Frame) bool) bool {
	return slices.ContainsFunc(parked, func(x gotrace.Parked) bool {
		return x.Goroutines > x.Requests && slices.ContainsFunc(x.Frames, func(f stack.Frame) bool {
			return !p.Foreign(f) && gofunc.Package(f.Function) == pkg && gofunc.Base(f.Function) != "main.main" && holds(f)
		})
	})
}
