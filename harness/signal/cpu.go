package signal

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/requests"
	"chokepoint/harness/signal/stack"
)

// cpuSignals are those of a program's CPU: how much of it the program may use and
// uses, what its lines take of it, and what is kept from it.
func cpuSignals() []definition {
	defs := []definition{
		number("proc.gomaxprocs", bundle.DimProc, Count, (*evidence).gomaxprocs,
			"GOMAXPROCS: how many CPUs Go code may use at a time."),
		number("proc.cpus_allowed", bundle.DimProc, Count, (*evidence).cpusAllowed,
			"CPUs that the kernel lets the target use, by its affinity and its control groups' quota."),
		place("proc.gomaxprocs_site", bundle.DimProc, gomaxprocsSite,
			"The line that calls runtime.GOMAXPROCS with the number that is in force, or with one that is not a constant; from the machine code. None where the environment sets it."),
		number("proc.gomaxprocs_used_share", bundle.DimProc, Share, func(e *evidence) (float64, error) {
			return e.usedOf((*evidence).gomaxprocs)
		}, "CPU time that the target used, as a share of what GOMAXPROCS lets Go code use."),
		number("proc.allowed_used_share", bundle.DimProc, Share, func(e *evidence) (float64, error) {
			return e.usedOf((*evidence).usable)
		}, "CPU time that the target used, as a share of what both GOMAXPROCS and the kernel let it use."),
		number("proc.barred_idle", bundle.DimProc, Ratio, func(e *evidence) (float64, error) {
			used, idle, err := e.procUse()
			if err != nil {
				return 0, err
			}
			return e.barred(idle, used)
		}, "CPU time that stood idle on CPUs which the kernel would let the target use and GOMAXPROCS does not, in relation to the CPU time that the target used; by /proc."),

		number("ebpf.gomaxprocs_used_share", bundle.DimEBPF, Share, func(e *evidence) (float64, error) {
			procs, err := e.gomaxprocs()
			if err != nil {
				return 0, err
			}
			return sched(func(s *bundle.Sched, span bundle.Window) float64 {
				return min(1, float64(s.TargetOnCPUNS)/(procs*float64(max(1, span.Duration()))))
			})(e)
		}, "CPU time of the target's threads, as a share of what GOMAXPROCS lets Go code use."),
		number("ebpf.barred_idle", bundle.DimEBPF, Ratio, func(e *evidence) (float64, error) {
			s, err := document[bundle.Sched](e, bundle.DimEBPF, bundle.EBPFSched)
			if err != nil {
				return 0, err
			}
			window := e.span(bundle.EBPFSched)
			span := float64(window.Duration())
			if span <= 0 {
				return 0, errNone
			}
			idle := idleShare(s, window) * float64(max(1, s.CPUs))
			if n := e.manifest.Target.CPUsAllowed; n > 0 && n < s.CPUs {
				// Which CPUs stood idle is not known. At least so much of it was on
				// CPUs that the target may run on.
				idle = max(0, idle-float64(s.CPUs-n))
			}
			return e.barred(idle, float64(s.TargetOnCPUNS)/span)
		}, "CPU time that stood idle on CPUs which the kernel would let the target use and GOMAXPROCS does not, in relation to the CPU time of the target's threads."),
		number("pprof.gomaxprocs_used_share", bundle.DimPprof, Share, func(e *evidence) (float64, error) {
			procs, err := e.gomaxprocs()
			if err != nil {
				return 0, err
			}
			p, err := e.profile(bundle.DimPprof, bundle.CPUProfile)
			if err != nil {
				return 0, err
			}
			// A busy target ends its profile late, when the load has gone already.
			span := int64(e.manifest.Window.Duration())
			if p.duration > 0 {
				span = min(span, p.duration)
			}
			return min(1, float64(p.of("cpu", nil))/(procs*float64(max(1, span)))), nil
		}, "CPU time in the CPU profile, as a share of what GOMAXPROCS lets Go code use."),

		number("trace.runnable_share", bundle.DimTrace, Share, func(e *evidence) (float64, error) {
			s, err := e.trace()
			if err != nil {
				return 0, err
			}
			a, requests, err := base(s)
			if err != nil {
				return 0, err
			}
			whole := a.TotalNS
			if requests {
				// Between two handlers a connection's goroutine may wait for a P as well.
				if b, _, err := e.bandOf(inAll); err == nil {
					whole = max(whole, b.TotalNS)
				}
			}
			return min(1, share(s.Scheduler.RunnableNS, whole)), nil
		}, "Time that goroutines could run and waited for a P, as a share of request time, 1 at the most; a request that waits for its own goroutines waits with them. In relation to all the program's goroutine time in a program without a known server."),
		number("trace.runnable_per_p", bundle.DimTrace, Ratio, ofScheduler(func(c gotrace.Scheduler, ns int64) (float64, error) {
			if c.Procs == 0 || ns <= 0 {
				return 0, errNone
			}
			return float64(c.RunnableNS) / float64(int64(c.Procs)*ns), nil
		}), "Mean number of goroutines that could run and waited for a P, for each P."),
		place("trace.runnable_site", bundle.DimTrace, func(e *evidence) (stack.Frame, error) {
			s, err := e.trace()
			if err != nil || len(s.Runnable) == 0 {
				return stack.Frame{}, err
			}
			return baseFrame(s.Runnable[0].Where), nil
		}, "The program's line at which goroutines wait longest for a P."),
		number("trace.cpu_time_share", bundle.DimTrace, Share, ofRequestTime(requests.Running, requests.Assisting, requests.RunQueue, requests.ThreadAsleep, requests.Runnable),
			"Share of request time that goroutines ran, or could run and waited for a P or a CPU; of all the program's goroutine time in a program without a known server."),

		number("trace.unpreempted_share", bundle.DimTrace, Share, ofScheduler(func(c gotrace.Scheduler, ns int64) (float64, error) {
			var sum int64
			for _, x := range c.Unpreempted {
				sum += x.NS
			}
			if c.Procs == 0 {
				return 0, errNone
			}
			return min(1, share(sum, int64(c.Procs)*ns)), nil
		}), "Share of the time of all Ps in which goroutines of the program kept them, on a CPU, for more than 50 ms at a stretch, though the runtime asks for a P back after 10 ms."),
		place("trace.unpreempted_site", bundle.DimTrace, ofSchedulerSite(func(c gotrace.Scheduler) stack.Frame { return topTime(c.Unpreempted) }),
			"The program's line at which most of that time ends."),
		number("trace.stop_held_share", bundle.DimTrace, Share, ofScheduler(func(c gotrace.Scheduler, ns int64) (float64, error) {
			var sum int64
			for _, x := range c.Held {
				sum += x.NS
			}
			return min(1, share(sum, ns)), nil
		}), "Share of the trace's length in which the world was being stopped and waited for a goroutine of the program that had kept its P for more than 50 ms."),
		place("trace.stop_held_site", bundle.DimTrace, ofSchedulerSite(func(c gotrace.Scheduler) stack.Frame { return topTime(c.Held) }),
			"The program's line that it waited for longest."),
	}
	defs = append(defs,
		number("pprof.cpu_top_share", bundle.DimPprof, Share, func(e *evidence) (float64, error) {
			t, all, err := e.cpuTop()
			return share(t.value, all), err
		}, "Share of the CPU profile under the one function of the program under which most is, whatever it is spent on; 0 where no one has three tenths."),
		place("pprof.cpu_top_site", bundle.DimPprof, func(e *evidence) (stack.Frame, error) {
			t, _, err := e.cpuTop()
			return baseFrame(t.where), err
		}, "The line of that function at which most of that is."),
	)
	for _, d := range []struct{ dim, what string }{
		{bundle.DimPprof, "the CPU profile"}, {bundle.DimEBPF, "the target's CPU samples"}, {bundle.DimTrace, "the CPU samples in the trace"},
	} {
		defs = append(defs,
			number(d.dim+".cpu_function_share", d.dim, Share, func(e *evidence) (float64, error) {
				h, err := e.hot(d.dim)
				return share(h.computing.value, h.all), err
			}, "Share of "+d.what+" in which one function of the program or a library computes, with its helpers, or has one package of Go's or a library compute. Reading, writing, encoding, memory and scheduling do not count."),
			place(d.dim+".cpu_function_site", d.dim, func(e *evidence) (stack.Frame, error) {
				h, err := e.hot(d.dim)
				return h.computing.where, err
			}, "The program's line of that function, or that calls it, where it takes most."),
			number(d.dim+".cpu_function_of_rest", d.dim, Share, func(e *evidence) (float64, error) {
				h, err := e.hot(d.dim)
				left, _, _ := h.left()
				return share(h.computing.value, left), err
			}, "The same as a share of what other flaws of the CPU leave: without what is set up, without the second function where each is hot without the other, and without the collector where it costs a quarter for another function's memory. Where there is no such flaw it is the same."),
			number(d.dim+".cpu_second_share", d.dim, Share, func(e *evidence) (float64, error) {
				h, err := e.hot(d.dim)
				return share(h.second.value, h.all), err
			}, "Share of "+d.what+" in which a second function computes, so counted, of what that function leaves."),
			number(d.dim+".cpu_second_of_rest", d.dim, Share, func(e *evidence) (float64, error) {
				h, err := e.hot(d.dim)
				_, left, _ := h.left()
				return share(h.second.value, left), err
			}, "The second function's share of what other flaws of the CPU leave: without what is set up, and without the first function where each is hot without the other."),
			place(d.dim+".cpu_second_site", d.dim, func(e *evidence) (stack.Frame, error) {
				h, err := e.hot(d.dim)
				return h.second.where, err
			}, "The program's line of the second function, or that calls it, where it takes most."),
			number(d.dim+".cpu_setup_of_rest", d.dim, Share, func(e *evidence) (float64, error) {
				h, err := e.hot(d.dim)
				_, _, left := h.left()
				return share(h.setup.value, left), err
			}, "Setting up (cpu_setup_share) as a share of what the function that computes most leaves, where that one is hot; of all where it is not."),
			number(d.dim+".cpu_setup_share", d.dim, Share, func(e *evidence) (float64, error) {
				h, err := e.hot(d.dim)
				return share(h.setup.value, h.all), err
			}, "Share of "+d.what+" in which one function, with those that it calls, makes anew what is made to be used many times: compiled patterns, parsed templates, keys and certificates."),
			place(d.dim+".cpu_setup_site", d.dim, func(e *evidence) (stack.Frame, error) {
				h, err := e.hot(d.dim)
				return h.setup.where, err
			}, "The program's line that has it made: the call under which most is, or the call of the function that makes several such calls."),
			number(d.dim+".cpu_allocator_share", d.dim, Share, func(e *evidence) (float64, error) {
				h, err := e.hot(d.dim)
				return min(1, share(h.allocates.all, h.all)), err
			}, "Share of "+d.what+" that the one function takes whose memory costs most, by what it computes, what it allocates, and as large a part of collecting as that is of all allocation."),
			number(d.dim+".cpu_allocator_memory_share", d.dim, Share, func(e *evidence) (float64, error) {
				h, err := e.hot(d.dim)
				return min(1, share(h.allocates.memory, h.all)), err
			}, "Share of "+d.what+" that the memory of that function takes: the same without what it computes."),
			place(d.dim+".cpu_allocator_site", d.dim, func(e *evidence) (stack.Frame, error) {
				h, err := e.hot(d.dim)
				return h.allocates.where, err
			}, "The line of that function where allocating takes most."),
			place(d.dim+".cpu_library_site", d.dim, func(e *evidence) (stack.Frame, error) {
				h, err := e.hot(d.dim)
				if err != nil {
					return stack.Frame{}, err
				}
				for _, s := range []hotSpot{h.setup, h.computing} {
					if s.value > 0 && !s.library.IsZero() {
						return s.library, nil
					}
				}
				return stack.Frame{}, errNone
			}, "The library's line that does what stands at the program's line, where a library does it."),
		)
	}
	return defs
}

// muchCPU is the share of the CPU profile from which on one function is worth a look.
const muchCPU = 0.3

// cpuTop is the function of the program that has most of the CPU profile as its innermost, if it
// has much.
func (e *evidence) cpuTop() (site, int64, error) {
	p, err := e.profile(bundle.DimPprof, bundle.CPUProfile)
	if err != nil {
		return site{}, 0, err
	}
	t, all := top(byFunction(p.bySite("cpu", e.owner))), p.of("cpu", nil)
	if share(t.value, all) < muchCPU {
		t = site{}
	}
	return t, all, nil
}

const inAll = requests.All

func topTime(list []gotrace.SiteTime) stack.Frame {
	if len(list) == 0 {
		return stack.Frame{}
	}
	return baseFrame(list[0].Where)
}

// gomaxprocs is what the target's runtime said last, else what it said or was
// told at the start, else as many Ps as there were in the trace.
func (e *evidence) gomaxprocs() (float64, error) {
	const name = "/sched/gomaxprocs:threads"
	if _, last, err := metrics(e, name); err == nil && last.Values[name] >= 1 {
		return last.Values[name], nil
	}
	s, err := e.trace()
	if err == nil && s.Scheduler.Procs > 0 {
		return float64(s.Scheduler.Procs), nil
	}
	if n := e.manifest.Target.GOMAXPROCS; n > 0 {
		return float64(n), nil
	}
	if err == nil {
		err = errors.New("the trace does not hold it")
	}
	return 0, fmt.Errorf("proc: neither the target's metrics nor a trace tell GOMAXPROCS: %w", err)
}

func (e *evidence) cpusAllowed() (float64, error) {
	t := e.manifest.Target
	if t.CPUsAllowed <= 0 {
		return 0, errors.New("proc: which CPUs the target may use was not read")
	}
	if t.CPUQuota > 0 {
		return min(float64(t.CPUsAllowed), t.CPUQuota), nil
	}
	return float64(t.CPUsAllowed), nil
}

// usable is how many CPUs the target can use at a time.
func (e *evidence) usable() (float64, error) {
	procs, err := e.gomaxprocs()
	allowed, err2 := e.cpusAllowed()
	switch {
	case err != nil && err2 != nil:
		return 0, err
	case err != nil:
		return allowed, nil
	case err2 != nil:
		return procs, nil
	}
	return min(procs, allowed), nil
}

// procUse is how many CPUs the target used on average, and how many of those that
// it may run on stood idle.
func (e *evidence) procUse() (used, idle float64, err error) {
	s, err := lines[bundle.ProcSample](e, bundle.DimProc, bundle.ProcSamples)
	if err != nil {
		return 0, 0, err
	}
	if len(s) < 2 || s[len(s)-1].MonoNS <= s[0].MonoNS {
		return 0, 0, errNone
	}
	a, b := s[0], s[len(s)-1]
	span := float64(b.MonoNS - a.MonoNS)
	used = max(0, float64(b.UserNS+b.SystemNS-a.UserNS-a.SystemNS)/span)
	switch idleNS := b.AllowedIdleNS - a.AllowedIdleNS; {
	case a.AllowedIdleNS > 0:
		idle = max(0, float64(idleNS)/span)
	default: // an older recording has only the whole machine
		idle = max(0, float64(b.MachineIdleNS-a.MachineIdleNS)/span)
		if n := e.manifest.Target.CPUsAllowed; n > 0 {
			idle = max(0, idle-float64(max(0, e.manifest.Host.CPUs-n)))
		}
	}
	return used, idle, nil
}

func (e *evidence) usedOf(cpus func(*evidence) (float64, error)) (float64, error) {
	used, _, err := e.procUse()
	if err != nil {
		return 0, err
	}
	n, err := cpus(e)
	if err != nil || n <= 0 {
		return 0, err
	}
	return min(1, used/n), nil
}

// barred is what more CPU the target could have had, of what it used, were it not
// for GOMAXPROCS: no more than stood idle, and no more than the kernel lets it use.
func (e *evidence) barred(idle, used float64) (float64, error) {
	procs, err := e.gomaxprocs()
	if err != nil {
		return 0, err
	}
	allowed, err := e.cpusAllowed()
	if err != nil {
		return 0, err
	}
	if used <= 0 {
		return 0, nil
	}
	return max(0, min(idle, allowed-procs)) / used, nil
}

// gomaxprocsSite is the call that set what is in force, as far as the machine code
// tells: one with that very number, else one whose number it does not hold.
func gomaxprocsSite(e *evidence) (stack.Frame, error) {
	sites, err := e.callSites("runtime.GOMAXPROCS")
	if err != nil {
		return stack.Frame{}, err
	}
	procs, err := e.gomaxprocs()
	if err != nil {
		return stack.Frame{}, err
	}
	if e.manifest.Target.EnvGOMAXPROCS == int(procs) {
		return stack.Frame{}, errors.New("proc: the environment sets what is in force")
	}
	for _, n := range []int64{int64(procs), 0} {
		// The program's own call before a library's.
		slices.SortStableFunc(sites, func(a, b bundle.CallSite) int {
			mine := func(c bundle.CallSite) int {
				if e.program.Mine(stack.Frame{Function: c.Function}) {
					return 0
				}
				return 1
			}
			return mine(a) - mine(b)
		})
		for _, s := range sites {
			if s.Argument == n {
				return stack.Frame{Function: gofunc.Base(s.Function), File: s.File, Line: s.Line}, nil
			}
		}
	}
	return stack.Frame{}, errNone
}

// ofRequestTime is the share of request time that went to some kinds; where there
// are no requests, of the program's goroutine time.
func ofRequestTime(kinds ...requests.Kind) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		if b, _, err := e.bandOf(requests.All); err == nil {
			return b.Share(kinds...), nil
		}
		s, err := e.trace()
		if err != nil {
			return 0, err
		}
		a, _, err := base(s)
		if err != nil {
			return 0, err
		}
		var ns int64
		if slices.Contains(kinds, requests.Running) {
			ns += a.RunningNS
		}
		if slices.Contains(kinds, requests.Runnable) {
			ns += a.RunnableNS
		}
		return share(ns, a.TotalNS), nil
	}
}

// hotSpots are where a program's CPU goes.
type hotSpots struct {
	all              int64
	computing, setup hotSpot
	// second is what computes most of what computing leaves.
	second hotSpot
	memory memory
	// allocates is the function whose memory costs most.
	allocates allocates
}

type hotSpot struct {
	value          int64
	where, library stack.Frame
}

func (e *evidence) hot(dim string) (hotSpots, error) {
	return once(e, "hot "+dim, func() (hotSpots, error) {
		list, err := e.cpuSamples(dim)
		if err != nil {
			return hotSpots{}, err
		}
		return hottest(e.program, list), nil
	})
}

// cpuSamples are the samples of a dimension's CPU profile.
func (e *evidence) cpuSamples(dim string) ([]gotrace.Sample, error) {
	if dim == bundle.DimTrace {
		s, err := e.trace()
		if err == nil && len(s.Samples) == 0 {
			err = errNoSamples
		}
		if err != nil {
			return nil, err
		}
		return s.Samples, nil
	}
	artifact := bundle.CPUProfile
	if dim == bundle.DimEBPF {
		artifact = bundle.EBPFOnCPUProfile
	}
	p, err := e.profile(dim, artifact)
	if err != nil {
		return nil, err
	}
	n, ok := p.types["samples"]
	if !ok || p.of("samples", nil) == 0 {
		return nil, fmt.Errorf("%s: the profile holds no samples", dim)
	}
	list := make([]gotrace.Sample, 0, len(p.list))
	for _, x := range p.list {
		list = append(list, gotrace.Sample{Frames: x.frames, Count: x.values[n]})
	}
	return list, nil
}

const (
	// singleLine: a function that makes something up has it made at one line if so
	// much of it is there; else the function as a whole does, for whoever calls it.
	singleLine = 0.9
	// setupCounts is how much of all CPU setting up must take to be held against the
	// program (see the rule cpu-hot-path/setup).
	setupCounts = 0.3
	// fewestSamples is how many samples it takes to name a line: fewer are chance.
	fewestSamples = 10
	// leastItself: a function stands for what the functions that it calls compute as
	// well, if at least so much of the sum is its own instructions: a loop and its small
	// helpers are one thing to mend, a handler and its steps are not.
	leastItself = 0.2
)

// hottest finds what computes most, a function or one function's calls of a package,
// and the function that sets up most, itself or by the functions that it calls.
func hottest(p stack.Program, samples []gotrace.Sample) hotSpots {
	h := hotSpots{}
	var work []worked
	setup := tallies{}
	whole := int64(0) // of setting up
	for _, x := range samples {
		h.all += x.Count
		h.memory.add(p, x.Frames, x.Count)
		w := p.WorkOf(x.Frames)
		switch w.Kind {
		case stack.Computing, stack.Calling:
			work = append(work, worked{w, x.Count})
		case stack.SettingUp:
			whole += x.Count
			for _, f := range w.Within {
				t := setup.at(unit{function: gofunc.Base(f.Unit.Function)})
				t.add(f.Own, w.Unit, x.Count)
				if f.Itself {
					t.itself += x.Count
					if !w.Caller.IsZero() {
						t.caller[baseFrame(w.Caller)] += x.Count
					}
				}
			}
		}
	}
	h.allocates = h.memory.most(work)
	first, what := computingMost(work, h.all/2)
	h.computing = first
	rest := slices.DeleteFunc(work, func(x worked) bool { return x.in(what) })
	h.second, _ = computingMost(rest, (h.all-first.value)/2)
	// What is set up in several functions below one, such as a page that is parsed in one
	// and made safe in another, is that one's, if none of them has most of it and enough.
	most := whole / 2
	if least := int64(setupCounts * float64(h.all)); whole > least {
		most = max(most, least)
	}
	made := setup.innermost(most)
	h.setup = made.spot()
	if made != nil && float64(made.itself) >= singleLine*float64(made.value) {
		line, caller := top(ranked(made.where)), top(ranked(made.caller))
		if float64(line.value) < singleLine*float64(made.value) && float64(caller.value) > float64(made.value)/2 {
			h.setup.where = caller.where
		}
	}
	return h
}

// worked is a sample in which the program computes, or has something computed.
type worked struct {
	stack.Work
	count int64
}

// in reports whether the sample is one of a unit's.
func (x worked) in(u unit) bool {
	if u.calls != "" {
		return u == x.calling()
	}
	return slices.ContainsFunc(x.Within, func(f stack.Computer) bool { return gofunc.Base(f.Unit.Function) == u.function })
}

// calling is the unit of the call that computes; zero where the program itself does.
func (x worked) calling() unit {
	if x.Calls.Package == "" {
		return unit{}
	}
	return unit{gofunc.Base(x.Calls.Own.Function), x.Calls.Package}
}

// computingMost is what takes most of these samples, a function or one function's calls
// of a package: of functions that call each other, the innermost that has more than the
// given part.
func computingMost(work []worked, above int64) (hotSpot, unit) {
	computing, calling := tallies{}, tallies{}
	for _, x := range work {
		var library stack.Frame
		if x.Unit != x.Own {
			library = x.Unit
		}
		for _, f := range x.Within {
			t := computing.at(unit{function: gofunc.Base(f.Unit.Function)})
			t.add(f.Own, library, x.count)
			if f.Itself {
				t.itself += x.count
			}
		}
		if u := x.calling(); u != (unit{}) {
			calling.at(u).add(x.Calls.Own, library, x.count)
		}
	}
	// A function that leaves nearly all to others is a step on the way to them.
	maps.DeleteFunc(computing, func(_ unit, t *tally) bool { return float64(t.itself) < leastItself*float64(t.value) })
	found := computing.innermost(above)
	// Where one package does all of it, its call is the better place.
	if calls := calling.most(); calls != nil && calls.value >= found.spot().value {
		found = calls
	}
	if found == nil {
		return hotSpot{}, unit{}
	}
	return found.spot(), found.unit
}

// unit is what CPU time is summed for: a function, or what one function has a
// package do.
type unit struct{ function, calls string }

// tally sums up samples of one unit.
type tally struct {
	unit                   unit
	value, itself          int64
	where, caller, library map[stack.Frame]int64
}

func (t *tally) add(own, library stack.Frame, n int64) {
	t.value += n
	t.where[baseFrame(own)] += n
	if !library.IsZero() && library != own {
		t.library[baseFrame(library)] += n
	}
}

func (t *tally) spot() hotSpot {
	switch {
	case t == nil:
		return hotSpot{}
	case t.value < fewestSamples:
		return hotSpot{value: t.value}
	}
	return hotSpot{value: t.value, where: top(ranked(t.where)).where, library: top(ranked(t.library)).where}
}

type tallies map[unit]*tally

func (m tallies) at(u unit) *tally {
	if m[u] == nil {
		m[u] = &tally{unit: u, where: map[stack.Frame]int64{}, caller: map[stack.Frame]int64{}, library: map[stack.Frame]int64{}}
	}
	return m[u]
}

// sorted are the tallies from the largest to the smallest, of equals first the one that
// does more of it itself, then by name.
func (m tallies) sorted() []*tally {
	units := slices.SortedFunc(maps.Keys(m), func(a, b unit) int {
		return cmp.Or(-cmp.Compare(m[a].value, m[b].value), -cmp.Compare(m[a].itself, m[b].itself), cmp.Compare(a.function, b.function), cmp.Compare(a.calls, b.calls))
	})
	list := make([]*tally, 0, len(units))
	for _, u := range units {
		list = append(list, m[u])
	}
	return list
}

// most is the largest of them, nil where there is none.
func (m tallies) most() *tally {
	if list := m.sorted(); len(list) > 0 {
		return list[0]
	}
	return nil
}

// innermost is the smallest of those above a value: of functions that call each other,
// the last one before the work spreads. Where none is it is the largest.
func (m tallies) innermost(above int64) *tally {
	list := m.sorted()
	over := 0
	for over < len(list) && list[over].value > above {
		over++
	}
	if over == 0 {
		return m.most()
	}
	for i := over - 1; i > 0; i-- {
		if list[i-1].value > list[i].value { // the first of equals
			return list[i]
		}
	}
	return list[0]
}
