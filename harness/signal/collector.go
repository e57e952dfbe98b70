package signal

import (
	"errors"
	"math"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// collectorSignals say what the collector costs, how far the heap may grow
// before it runs again, and what makes it run.
func collectorSignals() []definition {
	const dim = bundle.DimPprof
	var defs []definition
	for _, d := range []struct{ dim, artifact, value, what string }{
		{dim, bundle.CPUProfile, "samples", "the CPU profile"}, {bundle.DimEBPF, bundle.EBPFOnCPUProfile, "samples", "the target's CPU samples"},
	} {
		cost := func(e *evidence) (collected, error) {
			return e.ownCollecting(d.dim, d.artifact, d.value, func(c stack.CPU) bool { return c.Collecting })
		}
		work := func(e *evidence) (collected, error) {
			return e.ownCollecting(d.dim, d.artifact, d.value, func(c stack.CPU) bool { return c.Collecting || c.Idling })
		}
		share := func(of func(*evidence) (collected, error)) func(*evidence) (float64, error) {
			return func(e *evidence) (float64, error) { c, err := of(e); return c.share, err }
		}
		least := func(of func(*evidence) (collected, error)) func(*evidence) (float64, error) {
			return func(e *evidence) (float64, error) { c, err := of(e); return c.least, err }
		}
		defs = append(defs,
			number(d.dim+".gc_own_share", d.dim, Share, share(cost),
				"Share of "+d.what+" spent by the garbage collector, without what it does on CPUs that have nothing else to do, and without the part of the collections that the recording asked for."),
			number(d.dim+".gc_own_least_share", d.dim, Share, least(cost),
				"The least that share is but for chance: two standard deviations of its samples below it."),
			number(d.dim+".gc_work_share", d.dim, Share, share(work),
				"Share of "+d.what+" spent by the garbage collector, on idle CPUs as well: what it would take from others if no CPU were idle."),
			number(d.dim+".gc_work_least_share", d.dim, Share, least(work),
				"The least that share is but for chance: two standard deviations of its samples below it."),
		)
	}
	return append(defs, []definition{
		number("trace.gc_own_mark_share", bundle.DimTrace, Share, func(e *evidence) (float64, error) {
			s, err := e.trace()
			if err != nil {
				return 0, err
			}
			return min(1, share(s.GC.MarkNS, s.DurationNS())) * ownCycles(s.GC), nil
		}, "Share of the trace's length during which the collector was marking, without the part of the collections that the recording asked for."),
		number("trace.gc_goal_to_live", bundle.DimTrace, Ratio, func(e *evidence) (float64, error) {
			s, err := e.trace()
			if err != nil {
				return 0, err
			}
			if s.GC.Lives == 0 {
				return 0, errNone
			}
			return float64(s.GC.Goals) / float64(s.GC.Lives), nil
		}, "Heap size at which the next collection is due in relation to what the last one left in use, over the collections in the trace: 2 and more unless GOGC is below 100 or a memory limit holds it down."),
		number("proc.gc_goal_to_live", bundle.DimProc, Ratio, func(e *evidence) (float64, error) {
			const goal, live = "/gc/heap/goal:bytes", "/gc/heap/live:bytes"
			if _, _, err := metrics(e, goal, live); err != nil {
				return 0, err
			}
			all, err := lines[bundle.MetricsSample](e, bundle.DimProc, bundle.ProcMetrics)
			if err != nil {
				return 0, err
			}
			var goals, lives float64
			for _, s := range all {
				goals += s.Values[goal]
				lives += s.Values[live]
			}
			if lives <= 0 {
				return 0, errors.New("proc: no collection has told what is in use")
			}
			return goals / lives, nil
		}, "The same by the target's runtime/metrics."),
		number("proc.memory_limit_to_live", bundle.DimProc, Ratio, func(e *evidence) (float64, error) {
			const limit, live = "/gc/gomemlimit:bytes", "/gc/heap/live:bytes"
			_, last, err := metrics(e, limit, live)
			if err != nil {
				return 0, err
			}
			if last.Values[limit] >= math.MaxInt64/2 {
				return 0, errors.New("proc: the target has no memory limit")
			}
			return last.Values[limit] / max(1, last.Values[live]), nil
		}, "The target's memory limit in relation to the heap in use."),
		number("proc.cpus_used", bundle.DimProc, Ratio, func(e *evidence) (float64, error) {
			s, err := lines[bundle.ProcSample](e, bundle.DimProc, bundle.ProcSamples)
			if err != nil {
				return 0, err
			}
			if len(s) < 2 {
				return 0, errNone
			}
			a, b := s[0], s[len(s)-1]
			return share(b.UserNS+b.SystemNS-a.UserNS-a.SystemNS, b.MonoNS-a.MonoNS), nil
		}, "CPUs that the target kept busy on average: its CPU time in relation to the time passed, by /proc."),
		place("proc.memory_limit_site", bundle.DimProc, func(e *evidence) (stack.Frame, error) {
			for _, callee := range []string{"runtime/debug.SetMemoryLimit", "runtime/debug.SetGCPercent"} {
				sites, err := e.callSites(callee)
				if err != nil {
					return stack.Frame{}, err
				}
				for _, s := range sites {
					f := stack.Frame{Function: s.Function, File: s.File, Line: s.Line}
					if e.program.Mine(f) && f.Line > 0 {
						return baseFrame(f), nil
					}
				}
			}
			return stack.Frame{}, errors.New("the program sets no memory limit or GC percentage itself")
		}, "The program's line that sets a memory limit, else the GC percentage, by its machine code."),

		number("pprof.alloc_top_share", dim, Share, func(e *evidence) (float64, error) {
			a, err := e.topAllocation()
			return a.share, err
		}, "Share of the bytes allocated in the window by the one function of the program that allocates most."),
		number("pprof.alloc_top_kept_share", dim, Share, func(e *evidence) (float64, error) {
			a, err := e.topAllocation()
			if err != nil {
				return 0, err
			}
			return a.kept, a.keptErr
		}, "Share of what that function allocated in the window by which its memory in use grew."),
		number("pprof.alloc_top_per_request", dim, PerRequest, func(e *evidence) (float64, error) {
			a, err := e.topAllocation()
			if err != nil {
				return 0, err
			}
			return perRequest(e, bundle.AllocsProfile, a.objects)
		}, "Objects that function allocated for each request that ended."),
		number("pprof.alloc_top_object_bytes", dim, Byte, func(e *evidence) (float64, error) {
			a, err := e.topAllocation()
			if err != nil || a.objects == 0 {
				return 0, err
			}
			return float64(a.bytes) / float64(a.objects), nil
		}, "Mean size of the objects that function allocated."),
		number("pprof.alloc_top_work_share", dim, Share, func(e *evidence) (float64, error) {
			a, err := e.topAllocation()
			if err != nil {
				return 0, err
			}
			return cpuTotal(e, dim, bundle.CPUProfile, "cpu", func(c stack.CPU) bool {
				return !c.Own.IsZero() && baseFrame(c.Own).Function == baseFrame(a.where).Function && !c.Allocating && !c.Collecting
			})
		}, "Share of the CPU profile that the work of that function takes, allocation and collection left out."),
		place("pprof.alloc_top_site", dim, func(e *evidence) (stack.Frame, error) {
			a, err := e.topAllocation()
			return a.where, err
		}, "The line of that function which allocates most."),
	}...)
}

// ownCycles is the share of the collections in a trace that the recording did
// not ask for.
func ownCycles(c gotrace.Collector) float64 {
	if c.Cycles == 0 {
		return 0
	}
	return max(0, float64(c.Cycles-c.Asked)/float64(c.Cycles))
}

// chanceDoubt is how many standard deviations a share of samples may be off by
// chance: 19 of 20 are less.
const chanceDoubt = 2

// leastShare is the least that a share of so many samples is but for chance: the
// lower end of its score interval (Wilson, 1927), which holds for few samples and
// for shares near 0 and 1 too.
func leastShare(p float64, samples int64) float64 {
	if samples <= 0 {
		return 0
	}
	n, z2 := float64(samples), float64(chanceDoubt*chanceDoubt)
	return max(0, (p+z2/(2*n)-chanceDoubt*math.Sqrt(p*(1-p)/n+z2/(4*n*n)))/(1+z2/n))
}

// collected is a share of CPU samples in the collector, and the least that it is.
type collected struct{ share, least float64 }

// ownCollecting is the share of CPU samples in the collector for collections
// that the recording did not ask for: of all, the share that the runtime counts
// as automatic, else that of those in the trace.
func (e *evidence) ownCollecting(dimension, artifact, sampleType string, kind cpuKind) (collected, error) {
	p, err := e.profile(dimension, artifact)
	if err != nil {
		return collected{}, err
	}
	samples := p.of(sampleType, nil)
	all, err := cpuTotal(e, dimension, artifact, sampleType, kind)
	if err != nil {
		return collected{}, err
	}
	own, err := e.ownCollections()
	return collected{all * own, leastShare(all, samples) * own}, err
}

// ownCollections is the share of collections that the recording did not ask for.
func (e *evidence) ownCollections() (float64, error) {
	const automatic, total = "/gc/cycles/automatic:gc-cycles", "/gc/cycles/total:gc-cycles"
	first, last, err := metrics(e, automatic, total)
	if err == nil && last.MonoNS > first.MonoNS {
		cycles := last.Values[total] - first.Values[total]
		if cycles <= 0 {
			return 0, nil
		}
		return (last.Values[automatic] - first.Values[automatic]) / cycles, nil
	}
	s, terr := e.trace()
	if terr != nil {
		return 0, errors.Join(err, terr)
	}
	return ownCycles(s.GC), nil
}

// allocation is what one function of the program allocates.
type allocation struct {
	share, kept float64
	keptErr     error
	objects     int64
	bytes       int64 // of them
	where       stack.Frame
}

func (e *evidence) topAllocation() (allocation, error) {
	return once(e, "top allocation", func() (allocation, error) {
		p, err := e.profile(bundle.DimPprof, bundle.AllocsProfile)
		if err != nil {
			return allocation{}, err
		}
		t := top(byFunction(p.drawn("alloc_space", "alloc_objects", "alloc_space", e.owner)))
		a := allocation{where: t.where, share: share(t.value, p.of("alloc_space", nil))}
		same := func(s sample) bool {
			own, ok := e.owner(s)
			return ok && baseFrame(own).Function == baseFrame(t.where).Function
		}
		a.objects, a.bytes = p.of("alloc_objects", same), p.of("alloc_space", same)
		d, err := e.profile(bundle.DimPprof, bundle.HeapDeltaProfile)
		if err != nil {
			a.keptErr = err
			return a, nil
		}
		a.kept = max(0, share(d.of("inuse_space", same), d.of("alloc_space", same)))
		return a, nil
	})
}
