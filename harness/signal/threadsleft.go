package signal

import (
	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// threadsLeftSignals tell those goroutines left behind that cost more than a stack: who
// sits in a system call, or in C, keeps a thread, and the runtime ends the process at
// 10,000 of these (runtime/debug.SetMaxThreads).
func threadsLeftSignals() []definition {
	const trace, prof, ebpf = bundle.DimTrace, bundle.DimPprof, bundle.DimEBPF
	return []definition{
		number("trace.threads_left_per_request", trace, PerRequest, func(e *evidence) (float64, error) {
			l, err := e.leftBehind()
			if err == nil && (l.grown == 0 || !inCalls(l.kind)) {
				err = errNone
			}
			if err != nil {
				return 0, err
			}
			return e.perTracedRequest(l.grown * share(l.kind.InCall, l.kind.Left))
		}, "By how many the goroutines left behind that sit in a system call or in C, and keep a thread each, became more in the trace, for each request that ended; no value where fewer than half of those left behind do."),
		number("trace.thread_beside_left_per_request", trace, PerRequest, func(e *evidence) (float64, error) {
			l, err := e.leftBehind()
			if err != nil {
				return 0, err
			}
			b, err := e.threadsBeside()
			if err == nil && (l.grown == 0 || !inCalls(l.kind) || b.ns == 0 || l.kind.Origin != b.most.Origin) {
				err = errNone
			}
			if err != nil {
				return 0, err
			}
			return e.perTracedRequest(l.grown * share(l.kind.InCall, l.kind.Left))
		}, "The same where they are started at trace.thread_beside_site; no value where those that are do not stay behind."),
		number("pprof.threads_grown_per_request", prof, PerRequest, func(e *evidence) (float64, error) {
			g, err := e.grownKind()
			if err == nil && !g.inCalls() {
				err = errNone
			}
			if err != nil {
				return 0, err
			}
			n, err := e.requests(e.span(bundle.GoroutineDeltaProfile))
			return min(g.grown, g.calls) / max(1, n), err
		}, "By how many the goroutines that start in that function and are in a system call or in C became more over the window, by the goroutine profile, for each request that ended; no value where that is less than half of the growth."),
		number("ebpf.goroutine_threads_asleep", ebpf, Ratio, func(e *evidence) (float64, error) {
			off, err := e.profile(bundle.DimEBPF, bundle.EBPFOffCPUProfile)
			if err != nil {
				return 0, err
			}
			at, seen := e.leftInCalls()
			if at.IsZero() {
				return 0, nil
			}
			here := func(x sample) bool { return baseFrame(e.program.Own(x.frames)) == at }
			if p, err := e.profile(bundle.DimPprof, bundle.GoroutineProfile); err == nil {
				seen = p.of("goroutine", func(x sample) bool { return inCall(x.frames) && here(x) })
			}
			slept := off.of("delay", func(x sample) bool { return x.label("state") == "sleep" && here(x) })
			return float64(slept) / float64(max(1, e.span(bundle.EBPFOffCPUProfile).Duration())) / float64(max(1, seen)), nil
		}, "Threads that slept, on average over the window, at the line where goroutines left behind sit in a system call, for each goroutine that did so at its end; of a number that grows all along from nothing it is a half, and 0 where most of them sit in no call."),
	}
}

// inCalls reports whether most of those left behind of a kind keep a thread.
func inCalls(k gotrace.Kind) bool { return 2*k.InCall > k.Left }

func (g growing) inCalls() bool { return g.grown > 0 && 2*g.calls > g.grown }

// leftInCalls is the line where goroutines left behind sit in system calls, and how many
// the trace has seen there; by the goroutine profiles where there is no trace. It is zero where
// most of them do not.
func (e *evidence) leftInCalls() (stack.Frame, int64) {
	if l, err := e.leftBehind(); err == nil {
		if inCalls(l.kind) {
			return baseFrame(l.kind.Stuck), l.kind.InCall
		}
		return stack.Frame{}, 0
	}
	if g, err := e.grownKind(); err == nil && g.inCalls() {
		return baseFrame(g.where), int64(g.calls)
	}
	return stack.Frame{}, 0
}

// libraryAlone is the library's line that starts goroutines of a kind, where no line of the
// program is known for it.
func (e *evidence) libraryAlone(k gotrace.Kind) stack.Frame {
	if e.program.Mine(k.Origin) || e.program.Mine(k.Stuck) || e.program.Mine(k.Entry) {
		return stack.Frame{}
	}
	return k.Origin
}
