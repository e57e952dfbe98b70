package signal

import (
	"fmt"
	"math"
	"strings"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/stack"
)

// timerSignals say what timers cost, and whether they end as fast as they are
// made.
func timerSignals() []definition {
	const dim = bundle.DimPprof
	cpu := func(dimension, artifact, sampleType string) func(*evidence) (float64, error) {
		return func(e *evidence) (float64, error) {
			p, err := e.profile(dimension, artifact)
			if err != nil {
				return 0, err
			}
			all := p.of(sampleType, nil)
			if all == 0 {
				return 0, fmt.Errorf("%s: the profile holds no samples", dimension)
			}
			return share(p.of(sampleType, func(s sample) bool { return timing(s.frames) }), all), nil
		}
	}
	return []definition{
		number("pprof.timer_cpu_share", dim, Share, cpu(dim, bundle.CPUProfile, "cpu"),
			"Share of the CPU profile spent making, starting, stopping and queueing timers; I/O deadlines left out, and what a timer does when it is due."),
		number("ebpf.timer_cpu_share", bundle.DimEBPF, Share, cpu(bundle.DimEBPF, bundle.EBPFOnCPUProfile, "samples"),
			"Share of the target's CPU samples spent making, starting, stopping and queueing timers; I/O deadlines left out, and what a timer does when it is due."),
		number("pprof.timer_call_share", dim, Share, func(e *evidence) (float64, error) {
			sites, all, err := e.timerCalls()
			return share(top(sites).value, all), err
		}, "Share of the CPU profile spent in one line's calls that make, reset or stop timers."),
		place("pprof.timer_call_site", dim, func(e *evidence) (stack.Frame, error) {
			sites, _, err := e.timerCalls()
			return top(sites).where, err
		}, "The program's line that makes those calls."),

		number("pprof.timers_per_request", dim, PerRequest, func(e *evidence) (float64, error) {
			t, err := e.timers()
			if err != nil {
				return 0, err
			}
			return perRequest(e, bundle.HeapDeltaProfile, int64(t.made))
		}, "Timers that one line of the program makes for each request that ended."),
		number("pprof.timers_kept_share", dim, Share, func(e *evidence) (float64, error) {
			t, err := e.timers()
			return min(1, max(0, t.kept/max(1, t.made))), err
		}, "Share of the timers that line made in the window by which those in memory became more; not counting what chance explains."),
		number("pprof.timers_held_share", dim, Share, func(e *evidence) (float64, error) {
			t, err := e.timers()
			return min(1, t.held/max(1, t.inUse)), err
		}, "Share of the memory in use that was allocated by that line with its timers: the timers, their contexts and functions."),
		number("pprof.timers_kept_per_request", dim, PerRequest, func(e *evidence) (float64, error) {
			t, err := e.timers()
			if err != nil {
				return 0, err
			}
			return perRequest(e, bundle.HeapDeltaProfile, int64(max(0, t.kept)))
		}, "Timers by which those in memory became more for each request that ended."),
		place("pprof.timer_site", dim, func(e *evidence) (stack.Frame, error) {
			t, err := e.timers()
			return t.where, err
		}, "The program's line that makes them."),
	}
}

// timing reports whether a stack sampled on a CPU works on a timer: inside the
// calls by which a program makes, resets and stops one, or in the runtime's own
// work on them. Deadlines of I/O are timers too, and netpoll's. What a timer does when
// it is due, such as to wake the goroutine that waits for it, is what it was made for.
func timing(frames []stack.Frame) bool {
	found := false
	for _, f := range frames {
		name := f.Function
		if strings.HasPrefix(name, "internal/poll.") || name == "runtime.poll_runtime_pollSetDeadline" || name == "runtime.(*timer).unlockAndRun" {
			return false
		}
		found = found || timerWork(name) || timerCall(name)
	}
	return found
}

func timerWork(function string) bool {
	return strings.HasPrefix(function, "runtime.(*timers).") || strings.HasPrefix(function, "runtime.(*timer).") ||
		function == "runtime.blockTimerChan" || function == "runtime.unblockTimerChan"
}

// timerCall reports whether the function is one by which a program makes, resets
// or stops timers.
func timerCall(function string) bool {
	switch function {
	case "time.After", "time.AfterFunc", "time.NewTimer", "time.NewTicker", "time.Tick", "time.newTimer", "time.stopTimer", "time.resetTimer",
		"time.(*Timer).Reset", "time.(*Timer).Stop", "time.(*Ticker).Reset", "time.(*Ticker).Stop",
		"context.WithTimeout", "context.WithTimeoutCause", "context.WithDeadline", "context.WithDeadlineCause", "context.(*timerCtx).cancel":
		return true
	}
	return false
}

// makesTimer reports whether the stack allocates for a timer that is being made.
func makesTimer(frames []stack.Frame) bool {
	for _, f := range frames {
		if timerCall(f.Function) {
			return true
		}
	}
	return false
}

// timerCalls are the program's lines that make such calls, by CPU.
func (e *evidence) timerCalls() ([]site, int64, error) {
	p, err := e.profile(bundle.DimPprof, bundle.CPUProfile)
	if err != nil {
		return nil, 0, err
	}
	all := p.of("cpu", nil)
	if all == 0 {
		return nil, 0, fmt.Errorf("%s: the profile holds no samples", bundle.DimPprof)
	}
	return p.bySite("cpu", func(s sample) (stack.Frame, bool) {
		own, ok := e.owner(s)
		if !ok {
			return own, false
		}
		for _, f := range s.frames {
			if f == own {
				break
			}
			if timerCall(f.Function) {
				return own, true
			}
		}
		return own, false
	}), all, nil
}

// timersMade is what one line does with timers: how many it made in the window,
// by how many those in memory became more, and the bytes of all in use with them.
type timersMade struct {
	made, kept, held, inUse float64
	where                   stack.Frame
}

// timers is the line that makes most of them.
func (e *evidence) timers() (timersMade, error) {
	return once(e, "timers made", func() (timersMade, error) {
		delta, err := e.profile(bundle.DimPprof, bundle.HeapDeltaProfile)
		if err != nil {
			return timersMade{}, err
		}
		whole, err := e.profile(bundle.DimPprof, bundle.HeapProfile)
		if err != nil {
			return timersMade{}, err
		}
		made := func(s sample) (stack.Frame, bool) {
			own, ok := e.owner(s)
			// The object that is the timer itself.
			return own, ok && len(s.frames) > 0 && s.frames[0].Function == "time.newTimer"
		}
		t := top(delta.drawn("alloc_objects", "alloc_objects", "alloc_space", made))
		m := timersMade{made: float64(t.value), where: t.where, inUse: float64(whole.of("inuse_space", nil))}
		if m.made == 0 {
			return m, nil
		}
		here := func(s sample) bool {
			own, ok := made(s)
			return ok && own == t.where
		}
		var drawn, added float64
		allObjects, allSpace := delta.types["alloc_objects"], delta.types["alloc_space"]
		inObjects, inSpace := delta.types["inuse_objects"], delta.types["inuse_space"]
		for _, x := range delta.list {
			if here(x) {
				drawn += delta.draws(x.values[allObjects], x.values[allSpace])
				added += delta.draws(x.values[inObjects], x.values[inSpace])
			}
		}
		if added > heapDoubt*math.Sqrt(drawn+max(0, drawn-added)) {
			m.kept = float64(delta.of("inuse_objects", here))
		}
		m.held = e.inUseAt(whole, t.where)
		return m, nil
	})
}
