package signal

import (
	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/stack"
)

// sleeperSignals tell goroutines that are started faster than they wake up. Each ends by
// itself, so that they are no leak; but a goroutine that sleeps is a timer with a stack.
func sleeperSignals() []definition {
	const trace, prof = bundle.DimTrace, bundle.DimPprof
	return []definition{
		number("trace.sleepers_left_per_request", trace, PerRequest, func(e *evidence) (float64, error) {
			l, err := e.sleepersLeft()
			if err != nil || l.grown == 0 {
				return 0, err
			}
			return e.perTracedRequest(l.grown)
		}, "By how many the goroutines that start in one function, and sleep or wait for a timer of their own first of all, became more in the trace, for each request that ended; only a growth that both halves of the trace show is counted, and not what new connections or chance explain."),
		number("trace.sleepers_left_share", trace, Share, func(e *evidence) (float64, error) {
			l, err := e.sleepersLeft()
			return min(1, l.grown/float64(max(1, l.kind.Created))), err
		}, "The same as a share of those that were started in the trace."),
		place("trace.sleeper_start_site", trace, func(e *evidence) (stack.Frame, error) {
			l, err := e.sleepersLeft()
			return baseFrame(l.kind.Origin), err
		}, "The program's line that starts them."),
		place("trace.sleeper_library_site", trace, func(e *evidence) (stack.Frame, error) {
			l, err := e.sleepersLeft()
			return baseFrame(l.kind.Library), err
		}, "The library's line that starts them, where a library called at that line does so and none of the program's code runs in them."),
		place("trace.sleeper_starter_site", trace, func(e *evidence) (stack.Frame, error) {
			l, err := e.sleepersLeft()
			return baseFrame(e.libraryAlone(l.kind)), err
		}, "The library's line that starts them, where no line of the program is known that has a part in it, and none of its code runs in them."),
		place("trace.sleeper_site", trace, func(e *evidence) (stack.Frame, error) {
			l, err := e.sleepersLeft()
			return baseFrame(l.kind.Stuck), err
		}, "The program's line where they sleep."),
		number("pprof.goroutines_sleeping_share", prof, Share, func(e *evidence) (float64, error) {
			p, err := e.profile(bundle.DimPprof, bundle.GoroutineProfile)
			if err != nil {
				return 0, err
			}
			all := p.of("goroutine", func(sample) bool { return true })
			return share(p.of("goroutine", func(s sample) bool {
				return e.program.WaitOf(s.frames) == stack.Sleep || e.waitsForTime(e.program.Own(s.frames))
			}), all), nil
		}, "Share of all goroutines that were in time.Sleep, or at a line that makes the timer it waits for, at the end of the window."),
	}
}

// sleepersLeft is the kind of goroutines of which steadily more fell asleep than woke.
func (e *evidence) sleepersLeft() (leaving, error) {
	return once(e, "sleepers left", func() (leaving, error) {
		s, err := e.trace()
		if err != nil {
			return leaving{}, err
		}
		came := e.newClients(bundle.Window{StartNS: s.StartNS, EndNS: s.EndNS})
		var best leaving
		for _, k := range s.Kinds {
			if k.Connections || k.Origin.IsZero() && k.Stuck.IsZero() || !e.sleeps(k) || !steady(k) {
				continue
			}
			all, _ := k.Growth()
			grown := float64(all) - cameWith(came, k)
			if float64(all) > chance(k) && grown > best.grown {
				best = leaving{k, grown}
			}
		}
		return best, nil
	})
}
