package signal

import (
	"fmt"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// slowCall is the mean length, in nanoseconds, from which on a line's system calls
// are waits: what only copies or looks up takes microseconds, and the
// quickest device some 100 of them.
const slowCall = 200_000

// callSignals are those of system calls that requests wait in, and of the threads
// that these take.
func callSignals() []definition {
	return []definition{
		number("trace.syscall_wait_share", bundle.DimTrace, Share, func(e *evidence) (float64, error) {
			w, err := e.callWaits()
			return w.share, err
		}, "Share of request time in system calls at lines whose calls take 0.2 ms or more on average, those on sockets of package net left out, and in waits for one's turn at a file that such calls are made on; those of goroutines that the request started and waits for count with it, divided by how many are at work; of all the program's goroutine time in a program without a known server, and there without waits for descriptors (epoll, poll, select), in which an event loop is idle."),
		place("trace.syscall_wait_site", bundle.DimTrace, func(e *evidence) (stack.Frame, error) {
			w, err := e.callWaits()
			return w.top.Where, err
		}, "The program's line that makes those that take longest."),
		number("trace.syscall_wait_call", bundle.DimTrace, Nanosecond, func(e *evidence) (float64, error) {
			w, err := e.callWaits()
			if err == nil && w.top.Where.IsZero() {
				err = errNone
			}
			return meanCall(w.top), err
		}, "Mean length of that line's system calls; the least that it can be, for calls that outlast the trace."),
		number("trace.syscall_idle_share", bundle.DimTrace, Share, func(e *evidence) (float64, error) {
			w, err := e.callWaits()
			if err != nil || w.top.Where.IsZero() {
				return 0, err
			}
			switch w.top.Blocking {
			case stack.Idle:
				return 1, nil
			case stack.Storage:
				return 0, nil
			}
			return 0, fmt.Errorf("trace: the call transfers data, and the stack does not tell a file from a pipe or a socket")
		}, "Share of that line's system calls that only wait for an event, a lock or another process, and do not work on files, by what is called."),
		number("trace.threads_blocked", bundle.DimTrace, PerP, func(e *evidence) (float64, error) {
			w, err := e.callWaits()
			if err != nil {
				return 0, err
			}
			if w.procs == 0 {
				return 0, errNone
			}
			return float64(w.allNS) / float64(max(1, w.traceNS)) / float64(w.procs), nil
		}, "Threads that the program's goroutines hold in such system calls, on average over the trace, for each P."),

		number("ebpf.syscall_wait_share", bundle.DimEBPF, Share, func(e *evidence) (float64, error) {
			sites, of, err := e.sleepSites()
			return min(1, sum(sites)/of), err
		}, "Time that threads slept under the program's lines in handlers, as a share of the time of all requests in flight, with that of goroutines outside of them as far as requests wait for the calls there by the trace; under any of the program's lines where nothing is in a handler, but for waits for descriptors (epoll, poll, select), in which an event loop is idle."),
		place("ebpf.syscall_wait_site", bundle.DimEBPF, func(e *evidence) (stack.Frame, error) {
			sites, _, err := e.sleepSites()
			return top(sites).where, err
		}, "The program's line under which they slept longest."),
		number("ebpf.syscall_threads_asleep", bundle.DimEBPF, Count, func(e *evidence) (float64, error) {
			sites, _, err := e.sleepSites()
			return float64(top(sites).value) / float64(max(1, e.span(bundle.EBPFOffCPUProfile).Duration())), err
		}, "Threads that slept under that line at a time, on average over the window."),
		number("ebpf.syscall_asleep_share", bundle.DimEBPF, Share, asleepShare,
			"Share of sleep in the time that threads slept or ran at the line that makes most of the trace's long system calls: near 0 where these take CPU. Of calls into C it is what is left of their length."),
		number("ebpf.syscall_disk_share", bundle.DimEBPF, Share, diskShare,
			"Share of the time threads slept under that line in which they could not be interrupted, as for a disk; in other sleeps they wait for an event."),

		number("pprof.syscall_wait_share", bundle.DimPprof, Share, func(e *evidence) (float64, error) {
			sites, all, err := e.callsParked()
			return min(1, share(int64(sum(sites)), all)), err
		}, "Share of the goroutines in handlers that were in a system call, or waited for their turn at a file, when the goroutine profile was taken, with those outside of them as far as requests wait for the calls there by the trace; of all the program's goroutines in a program without a known server, and there without those that wait for descriptors (epoll, poll, select)."),
		place("pprof.syscall_wait_site", bundle.DimPprof, func(e *evidence) (stack.Frame, error) {
			sites, _, err := e.callsParked()
			return top(sites).where, err
		}, "The program's line that most of them were at."),

		number("proc.threads_per_p", bundle.DimProc, PerP, threadsPerP,
			"Most threads that the target had in the window, for each P."),
	}
}

// PerP is the unit of what there is of something for each P of the Go scheduler.
const PerP Unit = "per P"

// callWaits is the goroutine time in slow system calls.
type callWaits struct {
	top     gotrace.SiteCount
	share   float64
	allNS   int64 // outside of requests too
	traceNS int64
	procs   int
}

// meanCall is what a call took in the mean, the wait for its turn at the file with it:
// many quick writes to one file are slow for whoever comes last.
func meanCall(c gotrace.SiteCount) float64 {
	return float64(c.NS+c.QueuedNS) / float64(max(1, c.Count))
}

func (e *evidence) callWaits() (callWaits, error) {
	return once(e, "call waits", func() (callWaits, error) {
		s, err := e.trace()
		if err != nil {
			return callWaits{}, err
		}
		w := callWaits{traceNS: s.DurationNS(), procs: s.Scheduler.Procs}
		account, serves, err := base(s)
		if err != nil {
			return callWaits{}, err
		}
		var ns, most int64
		for _, c := range s.Syscalls {
			if !slow(c) {
				continue
			}
			w.allNS += c.NS
			part := inRequests(c)
			if !serves {
				if c.ForDescriptors { // an event loop that has nothing to do
					continue
				}
				part = c.NS + c.QueuedNS
			}
			ns += part
			if part > most {
				w.top, most = c, part
			}
		}
		w.share = min(1, share(ns, account.TotalNS))
		return w, nil
	})
}

// hiddenMost is the share of request time from which on sleep that has no Go function on its
// stack leaves open what requests slept: a fifth of what a rule asks for.
const hiddenMost = 0.02

// sleepSites are the program's lines by the time that threads slept under them, those
// in handlers where net/http serves and those that handlers wait for by the trace, and
// the time of all requests in flight. A
// goroutine that waits in the runtime has no thread that could sleep: what is
// seen here is in the kernel for its own sake. Where more sleep is hidden than seen,
// they are not known: nothing under a line is then no sign that nothing slept there.
func (e *evidence) sleepSites() (sites []site, ofNS float64, err error) {
	p, err := e.profile(bundle.DimEBPF, bundle.EBPFOffCPUProfile)
	if err != nil {
		return nil, 1, err
	}
	l, err := e.load()
	if err != nil {
		return nil, 1, err
	}
	ofNS = l.Reached.InFlightMean * float64(max(1, e.span(bundle.EBPFOffCPUProfile).Duration()))
	if ofNS <= 0 {
		return nil, 1, fmt.Errorf("load: no request was in flight")
	}
	serves := len(e.awaitedCalls()) > 0
	for _, x := range p.list {
		serves = serves || stack.ServingOf(x.frames) == stack.InHandler
	}
	sites = p.bySite("delay", func(x sample) (stack.Frame, bool) {
		own := e.program.Own(x.frames)
		if !serves && e.program.CPUOf(x.frames).Polling { // an event loop that has nothing to do
			return own, false
		}
		return own, asleep(x) && !own.IsZero() && (!serves || stack.ServingOf(x.frames) == stack.InHandler)
	})
	if serves {
		sites = e.addAwaited(sites, p, "delay", func(x sample) bool { return asleep(x) && stack.ServingOf(x.frames) != stack.InHandler })
	}
	all := p.of("delay", asleep)
	unseen := p.of("delay", func(x sample) bool { return asleep(x) && hidden(x) })
	if float64(unseen) > max(sum(sites), hiddenMost*ofNS) {
		return nil, 1, fmt.Errorf("ebpf: %.0f%% of the time that threads slept has no Go function on its stack: such stacks end in C, "+
			"which as it is built hides who called it", 100*share(unseen, all))
	}
	return sites, ofNS, nil
}

// asleep reports whether the thread waited for something else than a CPU.
func asleep(x sample) bool { return x.label("state") == "sleep" || x.label("state") == "disk" }

// hidden reports whether the kernel's view does not say for which Go function the thread was there: the
// walk of its stack ended in C, or there was none.
func hidden(x sample) bool {
	return !slices.ContainsFunc(x.frames, func(f stack.Frame) bool { return !f.Kernel() && gofunc.Package(f.Function) != "" })
}

// threadTime is what threads did, in nanoseconds.
type threadTime struct{ slept, ran, queued int64 }

func (t threadTime) all() int64 { return t.slept + t.ran + t.queued }

func (t *threadTime) add(u threadTime) {
	t.slept += u.slept
	t.ran += u.ran
	t.queued += u.queued
}

// eachThreadTime visits the kernel's samples of what threads did.
func (e *evidence) eachThreadTime(visit func(sample, threadTime)) error {
	off, err := e.profile(bundle.DimEBPF, bundle.EBPFOffCPUProfile)
	if err != nil {
		return err
	}
	on, err := e.profile(bundle.DimEBPF, bundle.EBPFOnCPUProfile)
	if err != nil {
		return err
	}
	off.each("delay", func(x sample, ns int64) {
		if asleep(x) {
			visit(x, threadTime{slept: ns})
		}
	})
	on.each("cpu", func(x sample, ns int64) { visit(x, threadTime{ran: ns}) })
	if queue, err := e.profile(bundle.DimEBPF, bundle.EBPFRunQueueProfile); err == nil {
		queue.each("delay", func(x sample, ns int64) { visit(x, threadTime{queued: ns}) })
	}
	return nil
}

// threadTime is what threads did in the samples of a kind.
func (e *evidence) threadTime(of func(sample) bool) (threadTime, error) {
	var t threadTime
	err := e.eachThreadTime(func(x sample, did threadTime) {
		if of(x) {
			t.add(did)
		}
	})
	return t, err
}

// threadTimes is what threads did at each of the program's lines.
func (e *evidence) threadTimes() (map[stack.Frame]threadTime, error) {
	times := map[stack.Frame]threadTime{}
	err := e.eachThreadTime(func(x sample, did threadTime) {
		if own := e.program.Own(x.frames); !own.IsZero() {
			t := times[own]
			t.add(did)
			times[own] = t
		}
	})
	return times, err
}

func asleepShare(e *evidence) (float64, error) {
	w, err := e.callWaits()
	if err != nil {
		return 0, err
	}
	if w.top.Where.IsZero() {
		return 0, errNone
	}
	at, err := e.threadTime(func(x sample) bool { return e.program.Own(x.frames) == w.top.Where })
	if err != nil {
		return 0, err
	}
	in, err := e.threadTime(hidden)
	if err != nil {
		return 0, err
	}
	window := e.span(bundle.EBPFOffCPUProfile).Duration()
	return sleptInCalls(at, in, int64(float64(w.top.NS)*float64(window)/float64(max(1, w.traceNS))))
}

// sleptInCalls is the share of sleep in what threads slept and ran in calls of a line, which
// took callsNS together: at is what they did there, and unseen what hidden threads did.
//
// It relates sleep to CPU, not to the length of the calls: on a busy
// machine a thread that was woken waits for a CPU as well, which says nothing of
// what it slept for.
//
// Threads in C are not seen at the line that called it. What all hidden threads
// ran and queued is then the most that the calls can have, and they slept for the rest of
// their length, as far as hidden threads slept at all. Where not even these make up half
// of the length, it is not known.
func sleptInCalls(at, unseen threadTime, callsNS int64) (float64, error) {
	if at.slept+at.ran > 0 && 2*at.all() >= callsNS {
		return share(at.slept, at.slept+at.ran), nil
	}
	slept, ran := at.slept+unseen.slept, at.ran+unseen.ran
	known := at.all() + unseen.all()
	if slept+ran == 0 || 2*known < callsNS {
		return 0, fmt.Errorf("ebpf: what threads did is known for %.0f%% of the length of that line's calls", 100*share(known, callsNS))
	}
	slept = min(slept, max(0, callsNS-ran-at.queued-unseen.queued))
	if slept+ran == 0 {
		return 0, errNone
	}
	return share(slept, slept+ran), nil
}

// diskShare tells by the kernel's states what threads slept for at the line where
// they slept longest.
func diskShare(e *evidence) (float64, error) {
	sites, _, err := e.sleepSites()
	if err != nil {
		return 0, err
	}
	at := top(sites).where
	if at.IsZero() {
		return 0, errNone
	}
	p, err := e.profile(bundle.DimEBPF, bundle.EBPFOffCPUProfile)
	if err != nil {
		return 0, err
	}
	slept := func(x sample) bool { return asleep(x) && e.program.Own(x.frames) == at }
	disk := p.of("delay", func(x sample) bool { return slept(x) && x.label("state") == "disk" })
	return share(disk, p.of("delay", slept)), nil
}

// callsParked are the goroutines in system calls by line, and all in handlers.
func (e *evidence) callsParked() (sites []site, all int64, err error) {
	p, err := e.profile(bundle.DimPprof, bundle.GoroutineProfile)
	if err != nil {
		return nil, 0, err
	}
	i := p.types["goroutine"]
	serving := func(x sample) bool { return stack.StageOf(x.frames) == stack.Handling }
	var handlers, ours int64
	for _, x := range p.list {
		if serving(x) {
			handlers += x.values[i]
		}
		if !e.program.Own(x.frames).IsZero() {
			ours += x.values[i]
		}
	}
	all = handlers
	if handlers == 0 {
		all = ours
	}
	calls := func(x sample) bool { return inCall(x.frames) || e.program.AwaitsTurn(x.frames) }
	sites = p.bySite("goroutine", func(x sample) (stack.Frame, bool) {
		own := e.program.Own(x.frames)
		if handlers == 0 && e.program.CPUOf(x.frames).Polling {
			return own, false
		}
		return own, !own.IsZero() && (handlers == 0 || serving(x)) && calls(x)
	})
	if handlers > 0 {
		sites = e.addAwaited(sites, p, "goroutine", func(x sample) bool { return calls(x) && !serving(x) })
	}
	return sites, all, nil
}

// inCall reports whether the goroutine is in a system call, or in C.
func inCall(frames []stack.Frame) bool {
	return stack.InC(frames) || stack.SystemCall(frames) != ""
}

func threadsPerP(e *evidence) (float64, error) {
	s, err := lines[bundle.ProcSample](e, bundle.DimProc, bundle.ProcSamples)
	if err != nil {
		return 0, err
	}
	most := 0
	for _, x := range s {
		most = max(most, x.Threads)
	}
	if most == 0 {
		return 0, errNone
	}
	return float64(most) / e.procs(), nil
}

// procs is how many Ps the target had. Without what the runtime says of itself, as many
// as CPUs is the default.
func (e *evidence) procs() float64 {
	if t, err := e.trace(); err == nil && t.Scheduler.Procs > 0 {
		return float64(t.Scheduler.Procs)
	}
	if _, last, err := metrics(e, "/sched/gomaxprocs:threads"); err == nil && last.Values["/sched/gomaxprocs:threads"] > 0 {
		return last.Values["/sched/gomaxprocs:threads"]
	}
	return float64(max(1, e.manifest.Host.CPUs))
}

func sum(sites []site) float64 {
	var v float64
	for _, s := range sites {
		v += float64(s.value)
	}
	return v
}
