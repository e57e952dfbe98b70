package signal

import (
	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// besideSignals are those of threads that goroutines keep which requests started, while the
// requests themselves wait for something else: word that such a goroutine may pass on, or
// not. No request's time is spent in the calls, and still each request takes a thread.
func besideSignals() []definition {
	const trace, pprof, ebpf = bundle.DimTrace, bundle.DimPprof, bundle.DimEBPF
	at := func(of func(gotrace.ThreadsBeside) stack.Frame) func(*evidence) (stack.Frame, error) {
		return func(e *evidence) (stack.Frame, error) {
			b, err := e.threadsBeside()
			return of(b.most), err
		}
	}
	return []definition{
		number("trace.threads_beside", trace, PerP, func(e *evidence) (float64, error) {
			b, err := e.threadsBeside()
			return float64(b.ns) / float64(max(1, b.traceNS)) / e.procs(), err
		}, "Threads that goroutines which requests started hold in system calls of 0.2 ms or more on average, on average over the trace, for each P; calls on files, on sockets of package net and into C left out, and goroutines of before the trace."),
		number("trace.thread_beside_share", trace, Share, func(e *evidence) (float64, error) {
			b, err := e.threadsBeside()
			return min(1, share(b.ns, b.requestNS)), err
		}, "Such threads for each request that the server works on, at most one: the time they are held as a share of request time."),
		place("trace.thread_beside_site", trace, at(func(t gotrace.ThreadsBeside) stack.Frame { return t.Origin }),
			"The program's line that starts most of these goroutines, by the time in such calls."),
		place("trace.thread_beside_library_site", trace, at(func(t gotrace.ThreadsBeside) stack.Frame { return t.Library }),
			"The library's line that starts them, where a library called at that line does so and none of the program's code runs in them."),
		place("trace.thread_beside_call_site", trace, at(func(t gotrace.ThreadsBeside) stack.Frame { return t.Where }),
			"The line that makes most of these calls, by time; a library's where none of the program's runs in the goroutine."),
		number("pprof.thread_beside_share", pprof, Share, func(e *evidence) (float64, error) {
			site, err := e.besideCall()
			if err != nil {
				return 0, err
			}
			p, err := e.profile(bundle.DimPprof, bundle.GoroutineProfile)
			if err != nil {
				return 0, err
			}
			handlers := p.of("goroutine", func(x sample) bool { return stack.StageOf(x.frames) == stack.Handling })
			calls := p.of("goroutine", func(x sample) bool { return inCall(x.frames) && e.program.Own(x.frames) == site })
			return min(1, share(calls, handlers)), nil
		}, "Goroutines in a system call at that line when the goroutine profile was taken, as a share of those in handlers; at most 1."),
		number("ebpf.threads_beside", ebpf, PerP, func(e *evidence) (float64, error) {
			site, err := e.besideCall()
			if err != nil {
				return 0, err
			}
			p, err := e.profile(bundle.DimEBPF, bundle.EBPFOffCPUProfile)
			if err != nil {
				return 0, err
			}
			slept := p.of("delay", func(x sample) bool { return x.label("state") == "sleep" && e.program.Own(x.frames) == site })
			return float64(slept) / float64(max(1, e.span(bundle.EBPFOffCPUProfile).Duration())) / e.procs(), nil
		}, "Threads that slept at that line waiting for an event, on average over the window, for each P."),
	}
}

// besideThreads is the time that such goroutines spent in calls.
type besideThreads struct {
	most               gotrace.ThreadsBeside // the function's that spent most
	ns                 int64
	requestNS, traceNS int64
}

// threadsBeside leaves out calls that are short: these do not keep a thread, the next
// goroutine has it.
func (e *evidence) threadsBeside() (besideThreads, error) {
	return once(e, "threads beside", func() (besideThreads, error) {
		s, err := e.trace()
		if err != nil {
			return besideThreads{}, err
		}
		account, serves, err := base(s)
		if err == nil && !serves {
			err = errNone
		}
		if err != nil {
			return besideThreads{}, err
		}
		b := besideThreads{requestNS: account.TotalNS, traceNS: s.DurationNS()}
		for _, t := range s.ThreadsBeside {
			if t.NS < slowCall*max(1, t.Count) {
				continue
			}
			if b.ns == 0 {
				b.most = t
			}
			b.ns += t.NS
		}
		return b, nil
	})
}

// besideCall is the line where most of that time passes, if any does.
func (e *evidence) besideCall() (stack.Frame, error) {
	b, err := e.threadsBeside()
	if err == nil && b.most.Where.IsZero() {
		err = errNone
	}
	return b.most.Where, err
}
