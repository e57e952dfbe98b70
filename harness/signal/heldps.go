package signal

import (
	"cmp"
	"fmt"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// heldSignals are those of Ps that requests' system calls keep. A call that sleeps for a
// tenth of a millisecond is over before the runtime takes its P away: for the request it
// is next to nothing, and for all others that P is gone as long.
func heldSignals() []definition {
	return []definition{
		number("trace.p_called_share", bundle.DimTrace, Share, func(e *evidence) (float64, error) {
			h, err := e.heldCalls()
			return h.share(h.all), err
		}, "Share of the time of all Ps that requests' system calls kept, each from the call until it returned or the runtime took the P away; those on sockets of package net left out; that of all the program's calls in a program without a known server."),
		place("trace.p_called_site", bundle.DimTrace, func(e *evidence) (stack.Frame, error) {
			h, err := e.heldCalls()
			if err != nil || len(h.sites) == 0 {
				return stack.Frame{}, err
			}
			return h.sites[0].Where, nil
		}, "The program's line whose calls kept them longest."),
		number("ebpf.p_asleep_share", bundle.DimEBPF, Share, func(e *evidence) (float64, error) {
			h, err := e.heldAsleep()
			return h.share(int64(sum(h.asleep))), err
		}, "Share of the time of all Ps that those calls kept while their threads slept: of what the trace says each line's calls kept, the part that threads slept there, and did not run or wait for a CPU."),
		place("ebpf.p_asleep_site", bundle.DimEBPF, func(e *evidence) (stack.Frame, error) {
			h, err := e.heldAsleep()
			return top(h.asleep).where, err
		}, "The program's line whose calls slept longest with a P."),
	}
}

// heldCalls is the P time that system calls kept.
type heldCalls struct {
	sites  []gotrace.SiteCount // longest first
	of     func(gotrace.SiteCount) int64
	asleep []site // by heldAsleep alone
	all    int64
	psNS   int64 // time of all Ps
	length int64
}

func (h heldCalls) share(ns int64) float64 { return min(1, share(ns, h.psNS)) }

func (e *evidence) heldCalls() (heldCalls, error) {
	s, err := e.trace()
	if err != nil {
		return heldCalls{}, err
	}
	_, serves, err := base(s)
	if err != nil {
		return heldCalls{}, err
	}
	if s.Scheduler.Procs == 0 {
		return heldCalls{}, errNone
	}
	h := heldCalls{length: s.DurationNS(), psNS: int64(s.Scheduler.Procs) * s.DurationNS()}
	h.of = func(c gotrace.SiteCount) int64 {
		if serves {
			return c.HeldRequestNS
		}
		return c.HeldNS
	}
	for _, c := range s.Syscalls {
		if c.Blocking == stack.Polled || h.of(c) == 0 {
			continue
		}
		h.sites = append(h.sites, c)
		h.all += h.of(c)
	}
	slices.SortFunc(h.sites, func(a, b gotrace.SiteCount) int {
		return cmp.Or(-cmp.Compare(h.of(a), h.of(b)), a.Where.Compare(b.Where))
	})
	return h, nil
}

// heldAsleep relates the kernel's view of each line to the P time that its calls kept. What a
// thread sleeps after its P was taken away costs no P, so that of a line only the mix is taken
// from there, and the time from the trace. Where the kernel's view has less
// than half of the calls' length, as of those in C, it does not know them; where
// most of the P time is of such, nothing is known.
func (e *evidence) heldAsleep() (heldCalls, error) {
	return once(e, "held asleep", func() (heldCalls, error) {
		h, err := e.heldCalls()
		if err != nil {
			return heldCalls{}, err
		}
		threads, err := e.threadTimes()
		if err != nil {
			return heldCalls{}, err
		}
		sums, unknown := h.mix(threads, int64(e.span(bundle.EBPFOffCPUProfile).Duration()))
		if 2*unknown > h.all && h.share(unknown) > hiddenMost {
			return heldCalls{}, fmt.Errorf("ebpf: what threads did is not known for %.0f%% of the P time that system calls kept", 100*share(unknown, h.all))
		}
		h.asleep = ranked(sums)
		return h, nil
	})
}

// mix is the P time slept in, by line, and how much is of lines that a window of the kernel's view
// does not know.
func (h heldCalls) mix(threads map[stack.Frame]threadTime, windowNS int64) (asleep map[stack.Frame]int64, unknown int64) {
	asleep = map[stack.Frame]int64{}
	for _, c := range h.sites {
		at := threads[c.Where]
		if float64(2*at.all()) < float64(c.NS)*float64(windowNS)/float64(max(1, h.length)) {
			unknown += h.of(c)
			continue
		}
		if ns := int64(float64(h.of(c)) * share(at.slept, at.all())); ns > 0 {
			asleep[c.Where] += ns // none is no place
		}
	}
	return asleep, unknown
}
