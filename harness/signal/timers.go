package signal

import (
	"fmt"
	"math"
	"strings"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
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
		number("pprof.timer_reset_share", dim, Share, func(e *evidence) (float64, error) {
			sites, all, err := e.callsUnder(resetsTimer)
			return share(top(sites).value, all), err
		}, "Share of the CPU profile spent in one line's calls that reset timers, which makes none and is not counted."),

		number("pprof.timers_per_request", dim, PerRequest, func(e *evidence) (float64, error) {
			t, err := e.timers()
			if err != nil {
				return 0, err
			}
			return perRequest(e, bundle.HeapDeltaProfile, int64(t.made))
		}, "Timers that one line of the program makes for each request that ended."),
		number("pprof.timers_kept_share", dim, Share, func(e *evidence) (float64, error) {
			t, err := e.timersKept()
			return min(1, max(0, t.kept/max(1, t.made))), err
		}, "Share of the timers that line made in the window by which those in memory became more, by all that is allocated with them; not counting what chance explains."),
		number("pprof.timers_held_share", dim, Share, func(e *evidence) (float64, error) {
			t, err := e.timers()
			return min(1, t.held/max(1, t.inUse)), err
		}, "Share of the memory in use that was allocated by that line with its timers: the timers, their contexts and functions."),
		number("pprof.timers_kept_per_request", dim, PerRequest, func(e *evidence) (float64, error) {
			t, err := e.timersKept()
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

// resetsTimer reports whether the function is one by which a program sets a timer that
// it has anew.
func resetsTimer(function string) bool {
	return function == "time.(*Timer).Reset" || function == "time.(*Ticker).Reset"
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
func (e *evidence) timerCalls() ([]site, int64, error) { return e.callsUnder(timerCall) }

// callsUnder are the program's lines by the CPU of calls below them to functions of a
// kind, and all CPU of the profile.
func (e *evidence) callsUnder(kind func(function string) bool) ([]site, int64, error) {
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
			if kind(f.Function) {
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
	keptErr                 error // why kept is not known
	where                   stack.Frame
}

// timersKept is the line that makes most timers, where it is known how many it keeps.
func (e *evidence) timersKept() (timersMade, error) {
	t, err := e.timers()
	if err == nil {
		err = t.keptErr
	}
	return t, err
}

// timerBytes is more than a timer takes. What is allocated in time.newTimer and is
// larger is the runtime's heap of timers, which holds all of a P's.
const timerBytes = 1 << 10

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
		allObjects, allSpace := delta.types["alloc_objects"], delta.types["alloc_space"]
		made := func(s sample) (stack.Frame, bool) {
			own, ok := e.owner(s)
			// The object that is the timer itself.
			return own, ok && len(s.frames) > 0 && s.frames[0].Function == "time.newTimer" && s.values[allSpace] <= timerBytes*s.values[allObjects]
		}
		t := top(delta.drawn("alloc_objects", "alloc_objects", "alloc_space", made))
		m := timersMade{made: float64(t.value), where: t.where, inUse: float64(whole.of("inuse_space", nil))}
		if m.made == 0 {
			return m, nil
		}
		m.held = e.inUseAt(whole, t.where)
		if e.requestsPileUp() {
			return m, nil // and their timers with them
		}
		var second *timerDraws
		if late, err := e.profile(bundle.DimPprof, bundle.HeapLateProfile); err == nil {
			second = &timerDraws{}
			for _, k := range e.timerDraws(late, whole, t.where) {
				second.allocated += k.allocated
				second.added += k.added
			}
		}
		m.kept, m.keptErr = e.keptOf(m.made, e.timerDraws(delta, whole, t.where), second)
		return m, nil
	})
}

// timerDraws is how often the profiler drew what is allocated with timers at a line:
// the timer, and what time and context make for the same call. They are kept as long
// as the timer is, and drawn each for itself: the timer alone is small, and is drawn
// seldom. The keys are the lines that allocate.
func (e *evidence) timerDraws(delta, whole *samples, at stack.Frame) map[stack.Frame]*timerDraws {
	kinds := map[stack.Frame]*timerDraws{}
	visit := func(p *samples, objects, space string, add func(d *timerDraws, draws float64)) {
		n, size := p.types[objects], p.types[space]
		for _, x := range p.list {
			if own, ok := e.owner(x); !ok || own != at || !withTimer(x.frames, at) {
				continue
			}
			if x.values[n] == 0 || x.values[size]/x.values[n] > timerBytes {
				continue
			}
			leaf := x.frames[0]
			if kinds[leaf] == nil {
				kinds[leaf] = &timerDraws{}
			}
			add(kinds[leaf], p.draws(x.values[n], x.values[size]))
		}
	}
	visit(delta, "alloc_objects", "alloc_space", func(d *timerDraws, draws float64) { d.allocated += draws })
	visit(delta, "inuse_objects", "inuse_space", func(d *timerDraws, draws float64) { d.added += draws })
	visit(whole, "inuse_objects", "inuse_space", func(d *timerDraws, draws float64) { d.inUse += draws })
	return kinds
}

// timerDraws are draws of what was allocated in the window, of what was added to what
// is in use, and of all in use at the end.
type timerDraws struct{ allocated, added, inUse float64 }

// variance is that of what was added: what came and what went are drawn each for itself.
func (d timerDraws) variance() float64 { return d.allocated + max(0, d.allocated-d.added) }

// withTimer reports whether the stack allocates for a call that the line at makes of
// time or context.
func withTimer(frames []stack.Frame, at stack.Frame) bool {
	for i, f := range frames {
		if f == at {
			return i > 0
		}
		if pkg := gofunc.Package(f.Function); pkg != "time" && pkg != "context" {
			return false
		}
	}
	return false
}

// keptOf is by how many of the timers made those in memory became more, by the draws
// of what is allocated with them. If chance explains it there are none, as long as they
// cannot be many: those kept must be among those in use. Else it is not known.
//
// What came into use and what went out of it are drawn each for itself, and their
// numbers' variance is their sum. That which went need not have been in use before the
// window: most of it was made and dropped in it, and says nothing.
//
// Where requests in flight may hold all that are in use, more than three deviations are asked for: ten
// drawn at the end and none at the beginning, with as many in use all along, come once in
// a thousand recordings. Late are those of the
// window's second half, nil if that is not known.
func (e *evidence) keptOf(made float64, kinds map[stack.Frame]*timerDraws, late *timerDraws) (float64, error) {
	var all timerDraws
	var variance float64
	for _, k := range kinds {
		all.allocated += k.allocated
		all.added += k.added
		all.inUse += k.inUse
		went := min(max(0, k.allocated-k.added), max(0, k.inUse-k.added))
		variance += max(0, k.added+went) + went
	}
	sure := float64(heapDoubt)
	if e.requestsHold(all) {
		sure = doubt
	}
	if all.added > sure*math.Sqrt(variance) {
		kept := made * min(1, all.added/all.allocated)
		// What came with new clients goes with them, as for the heap.
		var second *step
		if late != nil {
			second = &step{late.added, late.variance()}
		}
		came := e.newClients(e.span(bundle.HeapDeltaProfile))
		return kept * (1 - came.holds(step{all.added, all.variance()}, second, all.inUse)), nil
	}
	if all.added <= 0 || all.inUse+heapDoubt*math.Sqrt(max(1, all.inUse)) < timersMany*all.allocated {
		return 0, nil
	}
	return 0, fmt.Errorf("pprof: the profiler drew what timers are made of %.0f times, and %.0f more were in use at the end than before: too few to tell whether they are kept", all.allocated, all.added)
}

// requestsHold reports whether the timers in use at the end are no more than requests in flight have,
// as far as so few draws tell, if each has until its end what requests make.
func (e *evidence) requestsHold(t timerDraws) bool {
	l, err := e.load()
	if err != nil {
		return false
	}
	ended, err := e.requests(e.span(bundle.HeapDeltaProfile))
	if err != nil {
		return true // none ended: they have them all
	}
	theirs := t.allocated / ended * l.Reached.InFlightMean
	return t.inUse <= theirs+heapDoubt*math.Sqrt(max(1, theirs))
}

// timersMany is the share of the timers made that must be kept for them to be a flaw.
const timersMany = 0.5
