package signal

import (
	"errors"
	"fmt"

	"chokepoint/harness/bundle"
)

func procSignals() []definition {
	const dim = bundle.DimProc
	return []definition{
		number("proc.finalizers_done_share", dim, Share, doneShare("/gc/finalizers/executed:finalizers", "/gc/finalizers/queued:finalizers"),
			"Finalizers executed since the target started, as a share of those queued; 1 when none was queued. The runtime counts executions in blocks."),
		number("proc.cleanups_done_share", dim, Share, doneShare("/gc/cleanups/executed:cleanups", "/gc/cleanups/queued:cleanups"),
			"Cleanups executed since the target started, as a share of those queued; 1 when none was queued. The runtime counts executions in blocks."),
		number("proc.finalizers_waiting_share", dim, Share, waitingShare("/gc/finalizers/executed:finalizers", "/gc/finalizers/queued:finalizers"),
			"Finalizers that were queued and not executed, on average over the window, as a share of all that there were to be executed in it; 0 when there was none. The runtime counts executions in blocks."),
		number("proc.cleanups_waiting_share", dim, Share, waitingShare("/gc/cleanups/executed:cleanups", "/gc/cleanups/queued:cleanups"),
			"Cleanups that were queued and not executed, on average over the window, as a share of all that there were to be executed in it; 0 when there was none. The runtime counts executions in blocks."),
		number("proc.finalizers_waiting_per_second", dim, Hertz, queueGrowth("/gc/finalizers/executed:finalizers", "/gc/finalizers/queued:finalizers"),
			"How fast the queue of finalizers grew over the window."),
		number("proc.cleanups_waiting_per_second", dim, Hertz, queueGrowth("/gc/cleanups/executed:cleanups", "/gc/cleanups/queued:cleanups"),
			"How fast the queue of cleanups grew over the window."),
		number("proc.cpu_share", dim, Share, func(e *evidence) (float64, error) {
			s, err := lines[bundle.ProcSample](e, dim, bundle.ProcSamples)
			if err != nil {
				return 0, err
			}
			if len(s) < 2 {
				return 0, errNone
			}
			a, b := s[0], s[len(s)-1]
			cpus := int64(max(1, e.manifest.Host.CPUs))
			return min(1, share(b.UserNS+b.SystemNS-a.UserNS-a.SystemNS, cpus*(b.MonoNS-a.MonoNS))), nil
		}, "Share of the machine's CPU time that the target used, by /proc."),
		number("proc.rss_bytes", dim, Byte, func(e *evidence) (float64, error) {
			s, err := lines[bundle.ProcSample](e, dim, bundle.ProcSamples)
			if err != nil {
				return 0, err
			}
			if len(s) == 0 {
				return 0, errNone
			}
			return float64(s[len(s)-1].RSSBytes), nil
		}, "Resident memory of the target at the end of the window."),
	}
}

func metrics(e *evidence, names ...string) (first, last bundle.MetricsSample, err error) {
	s, err := lines[bundle.MetricsSample](e, bundle.DimProc, bundle.ProcMetrics)
	if err != nil {
		return first, last, err
	}
	if len(s) == 0 {
		return first, last, errNone
	}
	first, last = s[0], s[len(s)-1]
	for _, n := range names {
		if _, ok := last.Values[n]; !ok {
			return first, last, fmt.Errorf("proc: the target's runtime has no metric %s", n)
		}
	}
	return first, last, nil
}

// collections is how many garbage collections there were in a span of the
// window, by the runtime's own count, else by those in the trace.
func collections(e *evidence, span bundle.Window) (float64, error) {
	const cycles = "/gc/cycles/total:gc-cycles"
	first, last, err := metrics(e, cycles)
	if err == nil && last.MonoNS > first.MonoNS {
		return (last.Values[cycles] - first.Values[cycles]) * float64(span.Duration()) / float64(last.MonoNS-first.MonoNS), nil
	}
	s, terr := e.trace()
	if terr != nil {
		return 0, errors.Join(err, terr)
	}
	return float64(s.GC.Cycles) * float64(span.Duration()) / float64(max(1, s.DurationNS())), nil
}

func doneShare(done, queued string) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		_, last, err := metrics(e, done, queued)
		if err != nil {
			return 0, err
		}
		if last.Values[queued] == 0 {
			return 1, nil
		}
		return min(1, last.Values[done]/last.Values[queued]), nil
	}
}

// waitingShare looks at the whole window: at its end, when the load has gone, what
// was held up may have been executed after all. What was executed before it does not
// count, so that it is the same for a target that has run for long.
func waitingShare(done, queued string) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		first, last, err := metrics(e, done, queued)
		if err != nil {
			return 0, err
		}
		all, err := lines[bundle.MetricsSample](e, bundle.DimProc, bundle.ProcMetrics)
		if err != nil {
			return 0, err
		}
		if last.MonoNS <= first.MonoNS {
			return 0, errNone
		}
		waiting := func(s bundle.MetricsSample) float64 { return max(0, s.Values[queued]-s.Values[done]) }
		var area float64
		for i := 1; i < len(all); i++ {
			area += (waiting(all[i-1]) + waiting(all[i])) / 2 * float64(all[i].MonoNS-all[i-1].MonoNS)
		}
		mean := area / float64(last.MonoNS-first.MonoNS)
		there := last.Values[queued] - first.Values[queued] + waiting(first)
		if there <= 0 {
			return 0, nil
		}
		return min(1, mean/there), nil
	}
}

func queueGrowth(done, queued string) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		first, last, err := metrics(e, done, queued)
		if err != nil {
			return 0, err
		}
		if last.MonoNS <= first.MonoNS {
			return 0, errNone
		}
		waiting := func(s bundle.MetricsSample) float64 { return s.Values[queued] - s.Values[done] }
		return (waiting(last) - waiting(first)) / (float64(last.MonoNS-first.MonoNS) / 1e9), nil
	}
}
