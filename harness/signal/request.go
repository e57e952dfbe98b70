package signal

import (
	"errors"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/requests"
	"chokepoint/harness/signal/stack"
)

// requestSignals are those of single requests, and of the scheduler beside them.
func requestSignals() []definition {
	const dim = bundle.DimTrace
	p99 := func(kinds ...requests.Kind) func(*evidence) (float64, error) {
		return func(e *evidence) (float64, error) {
			b, _, err := e.bandOf(requests.P99)
			return b.Share(kinds...), err
		}
	}
	return []definition{
		number("trace.request_explained_share", dim, Share, func(e *evidence) (float64, error) {
			b, _, err := e.bandOf(requests.All)
			return b.ExplainedShare(), err
		}, "Share of all request time in the trace that is attributed to a line of the program or to a named cause in the kernel, the runtime or the standard library."),
		number("trace.request_p99_explained_share", dim, Share, func(e *evidence) (float64, error) {
			b, _, err := e.bandOf(requests.P99)
			return b.ExplainedShare(), err
		}, "Share of the time of the requests between the 98.5th and the 99.5th percentile by length that is attributed so."),
		number("trace.request_p99_cut_share", dim, Share, func(e *evidence) (float64, error) {
			b, _, err := e.bandOf(requests.P99)
			return share(b.Cut, b.Requests), err
		}, "Share of those requests that began before the trace or outlasted it; near 1 where requests take longer than the trace."),
		number("trace.request_p99_running_share", dim, Share, p99(requests.Running, requests.Assisting),
			"Share of those requests' time spent running; on a CPU where the kernel's view of single goroutines was captured, else as the runtime takes it."),
		number("trace.request_p99_runnable_share", dim, Share, p99(requests.Runnable),
			"Share of their time spent runnable and waiting for a P."),
		number("trace.request_p99_lock_share", dim, Share, p99(requests.WaitKind(stack.Lock)),
			"Share of their time spent waiting for locks of the sync package."),
		number("trace.request_p99_syscall_share", dim, Share, p99(requests.Syscall),
			"Share of their time spent in system calls."),
		number("trace.request_p99_blocked_share", dim, Share, p99(requests.Waits()...),
			"Share of their time spent blocked in the runtime, for whatever reason: locks, channels, sleep, the network."),
		number("trace.request_top_share", dim, Share, func(e *evidence) (float64, error) {
			part, b, err := e.topPart()
			return share(part.NS, b.TotalNS), err
		}, "Share of their time that is spent at the one line of the program that takes the most of it."),
		place("trace.request_top_site", dim, func(e *evidence) (stack.Frame, error) {
			part, _, err := e.topPart()
			return stack.Frame{Function: part.Where.Function, File: part.Where.File, Line: part.Where.Line}, err
		}, "That line."),
		number("trace.request_offcpu_share", dim, Share, func(e *evidence) (float64, error) {
			b, w, err := e.bandOf(requests.All)
			if err == nil && w.Kernel.CutsMissing != "" {
				err = errors.New(w.Kernel.CutsMissing)
			}
			return b.Share(requests.RunQueue, requests.ThreadAsleep), err
		}, "Share of all request time in which the goroutine had a thread and the thread no CPU, outside of system calls that sleep; it takes eBPF beside the trace."),

		number("trace.p_idle_while_runnable_share", dim, Share, ofScheduler(func(c gotrace.Scheduler, ns int64) (float64, error) {
			return share(c.IdleWhileRunnableNS, ns), nil
		}), "Share of the trace's length during which a P was idle though a goroutine was runnable."),
		number("trace.p_used_share", dim, Share, ofScheduler(func(c gotrace.Scheduler, ns int64) (float64, error) {
			if c.Procs == 0 {
				return 0, errNone
			}
			return min(1, share(c.RunningNS, int64(c.Procs)*ns)), nil
		}), "Share of the time of all Ps in which they ran goroutines or looked for some."),
		number("trace.stop_share", dim, Share, ofScheduler(func(c gotrace.Scheduler, ns int64) (float64, error) {
			return share(c.StopNS, ns), nil
		}), "Share of the trace's length during which the world was stopped or being stopped."),
		number("trace.stop_longest", dim, Nanosecond, ofScheduler(func(c gotrace.Scheduler, _ int64) (float64, error) {
			if len(c.Stops) == 0 {
				return 0, nil
			}
			return float64(c.Stops[0].NS), nil
		}), "Longest time from asking the world to stop until it went on."),
		number("trace.stopping_longest", dim, Nanosecond, ofScheduler(func(c gotrace.Scheduler, _ int64) (float64, error) {
			return float64(c.LongestStoppingNS), nil
		}), "Longest time from asking the world to stop until the last P stood still."),
		number("trace.long_run", dim, Nanosecond, ofScheduler(func(c gotrace.Scheduler, _ int64) (float64, error) {
			if len(c.LongRuns) == 0 {
				return 0, nil
			}
			return float64(c.LongRuns[0].NS), nil
		}), "Longest stretch in which a goroutine of the program kept its P without any transition; the runtime asks for it back after 10 ms."),
		place("trace.long_run_site", dim, ofSchedulerSite(func(c gotrace.Scheduler) stack.Frame {
			if len(c.LongRuns) == 0 {
				return stack.Frame{}
			}
			return c.LongRuns[0].Where
		}), "The program's line at which that stretch ended."),
		number("trace.long_run_share", dim, Share, ofScheduler(func(c gotrace.Scheduler, ns int64) (float64, error) {
			if c.Procs == 0 {
				return 0, errNone
			}
			return min(1, share(c.ManyRunsNS, int64(c.Procs)*ns)), nil
		}), "Share of the time of all Ps that went to stretches of 20 ms and more in which a goroutine of the program kept its P without any transition."),
		number("trace.stopping_share", dim, Share, ofScheduler(func(c gotrace.Scheduler, ns int64) (float64, error) {
			return share(c.StoppingNS, ns), nil
		}), "Share of the trace's length between asking the world to stop and the last P standing still."),
		number("trace.syscall_threads_per_p", dim, Ratio, ofScheduler(func(c gotrace.Scheduler, _ int64) (float64, error) {
			if c.Procs == 0 || len(c.States.Syscall) == 0 {
				return 0, errNone
			}
			return gotrace.Mean(c.States.Syscall) / float64(c.Procs), nil
		}), "Mean number of threads that are in a system call for a goroutine, for each P there is."),
		place("trace.assist_site", dim, ofSchedulerSite(func(c gotrace.Scheduler) stack.Frame {
			for _, x := range c.Assists {
				if !x.Where.IsZero() {
					return x.Where
				}
			}
			return stack.Frame{}
		}), "The program's line whose allocations make goroutines help the collector longest."),
	}
}

// topPart is the program's line that the p99 band spends most time at, whatever
// it does there.
func (e *evidence) topPart() (requests.PartTime, requests.Band, error) {
	b, _, err := e.bandOf(requests.P99)
	if err != nil {
		return requests.PartTime{}, b, err
	}
	var best requests.PartTime
	at := map[bundle.Frame]int64{}
	for _, p := range b.Parts {
		if p.Where != (bundle.Frame{}) {
			at[p.Where] += p.NS
		}
	}
	// In the order of the parts, so that of two lines alike it is always the same.
	for _, p := range b.Parts {
		if ns := at[p.Where]; ns > best.NS {
			best = requests.PartTime{Where: p.Where, NS: ns}
		}
	}
	return best, b, nil
}

func ofScheduler(f func(c gotrace.Scheduler, ns int64) (float64, error)) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		s, err := e.trace()
		if err != nil {
			return 0, err
		}
		return f(s.Scheduler, s.DurationNS())
	}
}

func ofSchedulerSite(f func(gotrace.Scheduler) stack.Frame) func(*evidence) (stack.Frame, error) {
	return func(e *evidence) (stack.Frame, error) {
		s, err := e.trace()
		if err != nil {
			return stack.Frame{}, err
		}
		return f(s.Scheduler), nil
	}
}
