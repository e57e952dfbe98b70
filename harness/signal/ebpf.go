package signal

import (
	"slices"
	"strings"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/stack"
)

func ebpfSignals() []definition {
	const dim = bundle.DimEBPF
	onCPU := func(kind cpuKind) func(*evidence) (float64, error) {
		return func(e *evidence) (float64, error) {
			return cpuTotal(e, dim, bundle.EBPFOnCPUProfile, "samples", kind)
		}
	}
	return []definition{
		number("ebpf.futex_wake_unlock_share", dim, Share, func(e *evidence) (float64, error) {
			sites, all, err := unlockWakes(e)
			return share(top(byFunction(sites)).value, all), err
		}, "Share of the target's futex wake-ups that come out of the unlock of a sync lock in one function of the program."),
		number("ebpf.futex_wake_unlock_per_request", dim, PerRequest, func(e *evidence) (float64, error) {
			sites, _, err := unlockWakes(e)
			if err != nil {
				return 0, err
			}
			return perRequest(e, bundle.EBPFSyscallsProfile, top(byFunction(sites)).value)
		}, "Such wake-ups for each request that ended."),
		place("ebpf.futex_wake_unlock_site", dim, func(e *evidence) (stack.Frame, error) {
			sites, _, err := unlockWakes(e)
			if err != nil || len(sites) == 0 {
				return stack.Frame{}, err
			}
			return lockAbove(e, anyLock(), top(byFunction(sites)).where), nil
		}, "Where that function takes the lock."),

		number("ebpf.poll_empty_share", dim, Share, polls(func(p bundle.EpollFacts) float64 {
			return share(p.ProgramZeroTimeout, p.ProgramWaits)
		}), "Share of the program's own epoll waits (not the runtime's) that were asked not to block."),
		number("ebpf.polls_per_event", dim, PerEvent, polls(func(p bundle.EpollFacts) float64 {
			return float64(p.ProgramWaits) / float64(max(1, p.ProgramReturnedEvents))
		}), "The program's own epoll waits for each event they returned."),
		number("ebpf.poll_call_ns", dim, Nanosecond, polls(func(p bundle.EpollFacts) float64 {
			return float64(p.ProgramTotalNS) / float64(max(1, p.ProgramWaits))
		}), "Mean length of the program's own epoll waits."),
		place("ebpf.poll_site", dim, pollSite, "The program's line that makes most of its own epoll waits."),
		number("ebpf.polling_share", dim, Share, func(e *evidence) (float64, error) {
			at, err := pollSite(e)
			if err != nil {
				return 0, err
			}
			return cpuTotal(e, dim, bundle.EBPFOnCPUProfile, "samples", func(c stack.CPU) bool {
				return !at.IsZero() && c.Own == at
			})
		}, "Share of the target's CPU samples at that line, the kernel's part included."),

		number("ebpf.netio_spin_share", dim, Share, func(e *evidence) (float64, error) {
			s, err := e.spin(dim)
			return share(s.loop, s.all), err
		}, "Share of the target's CPU samples taken in one loop round a call that reads, writes or accepts, and hardly ever reaches the kernel: in the call, and in the outermost function of the program that does little else, with what the scheduler does because it lets others run."),
		place("ebpf.netio_spin_site", dim, func(e *evidence) (stack.Frame, error) {
			s, err := e.spin(dim)
			return s.where, err
		}, "The program's line that makes that call."),
		number("ebpf.netio_calls_per_cpu_ms", dim, PerCPUMilli, netCalls,
			"System calls made at that line for each millisecond of CPU it takes; a call that does I/O makes about one for each few microseconds."),

		number("ebpf.cpu_gc_share", dim, Share, onCPU(func(c stack.CPU) bool { return c.Collecting }),
			"Share of the target's CPU samples in the garbage collector, what it does on CPUs that have nothing else to do left out."),
		number("ebpf.cpu_alloc_share", dim, Share, onCPU(func(c stack.CPU) bool { return c.Allocating || c.Collecting }),
			"Share of the target's CPU samples in allocation and garbage collection, what the collector does on CPUs that have nothing else to do left out."),
		number("ebpf.cpu_pool_new_share", dim, Share, onCPU(func(c stack.CPU) bool { return c.PoolNew }),
			"Share of the target's CPU samples spent making new values under sync.Pool.Get, the kernel's part included."),
		number("ebpf.target_cpu_share", dim, Share, sched(func(s *bundle.Sched, span bundle.Window) float64 {
			return min(1, share(s.TargetOnCPUNS, int64(max(1, s.CPUs))*int64(span.Duration())))
		}), "Share of the machine's CPU time that the target used."),
		number("ebpf.program_cpu_share", dim, Share, func(e *evidence) (float64, error) {
			s, err := document[bundle.Sched](e, dim, bundle.EBPFSched)
			if err != nil {
				return 0, err
			}
			return programCPU(e, dim, bundle.EBPFOnCPUProfile, float64(s.CPUs))
		}, "Share of the machine's CPU time that the target used, without the recording's own requests and the runtime's goroutines, such as the collector's."),
		number("ebpf.machine_idle_share", dim, Share, sched(func(s *bundle.Sched, span bundle.Window) float64 {
			return idleShare(s, span)
		}), "Share of the machine's CPU time that was idle."),
		number("ebpf.run_queue_share", dim, Share, sched(func(s *bundle.Sched, _ bundle.Window) float64 {
			return share(s.RunQueueNS, s.RunQueueNS+s.TargetOnCPUNS)
		}), "Share of the time the target's threads wanted a CPU and had to wait for one."),
	}
}

// programCPU is the time of a CPU profile that is the program's, as a share of so many
// CPUs: not of the recording's requests, and not of goroutines that the runtime has for
// itself. Stacks that nothing is known of are the program's.
func programCPU(e *evidence, dimension, artifact string, cpus float64) (float64, error) {
	p, err := e.profile(dimension, artifact)
	if err != nil {
		return 0, err
	}
	ns := p.of("cpu", func(s sample) bool { return !stack.RuntimeAlone(s.frames) })
	return min(1, float64(ns)/(max(1, cpus)*float64(max(1, e.span(artifact).Duration())))), nil
}

func unlockWakes(e *evidence) ([]site, int64, error) {
	p, err := e.profile(bundle.DimEBPF, bundle.EBPFSyscallsProfile)
	if err != nil {
		return nil, 0, err
	}
	wake := func(s sample) bool { return s.label("syscall") == "futex" && s.label("op") == "wake" }
	return p.bySite("calls", func(s sample) (stack.Frame, bool) {
		if !wake(s) || !stack.Unlocks(s.frames) {
			return stack.Frame{}, false
		}
		own := e.program.Own(s.frames)
		return own, !own.IsZero()
	}), p.of("calls", wake), nil
}

func pollSite(e *evidence) (stack.Frame, error) {
	p, err := e.profile(bundle.DimEBPF, bundle.EBPFSyscallsProfile)
	if err != nil {
		return stack.Frame{}, err
	}
	return top(p.bySite("calls", func(s sample) (stack.Frame, bool) {
		own := e.program.Own(s.frames)
		return own, !own.IsZero() && strings.HasPrefix(s.label("syscall"), "epoll_") && s.label("syscall") != "epoll_ctl" && !runtimePolls(s.frames)
	})).where, nil
}

// runtimePolls reports whether the stack is the runtime's own poll, which it also
// makes on the stack of a line of the program that happens to end a collection.
func runtimePolls(frames []stack.Frame) bool {
	return slices.ContainsFunc(frames, func(f stack.Frame) bool { return f.Function == "runtime.netpoll" })
}

func polls(f func(bundle.EpollFacts) float64) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		s, err := document[bundle.Syscalls](e, bundle.DimEBPF, bundle.EBPFSyscalls)
		if err != nil {
			return 0, err
		}
		if s.Epoll.ProgramWaits == 0 {
			return 0, nil
		}
		return f(s.Epoll), nil
	}
}

func sched(f func(*bundle.Sched, bundle.Window) float64) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		s, err := document[bundle.Sched](e, bundle.DimEBPF, bundle.EBPFSched)
		if err != nil {
			return 0, err
		}
		return f(s, e.span(bundle.EBPFSched)), nil
	}
}

// idleShare is the share of the machine's CPU time that was idle, of what is known.
func idleShare(s *bundle.Sched, span bundle.Window) float64 {
	return min(1, share(s.IdleNS, int64(max(1, s.CPUs))*int64(span.Duration())-s.UnknownNS))
}

// netCalls relates system calls to CPU at the line that spins, if any does.
func netCalls(e *evidence) (float64, error) {
	spin, err := e.spin(bundle.DimEBPF)
	if err != nil {
		return 0, err
	}
	cpu, err := e.profile(bundle.DimEBPF, bundle.EBPFOnCPUProfile)
	if err != nil {
		return 0, err
	}
	took := cpu.of("cpu", func(s sample) bool {
		c := e.program.CPUOf(s.frames)
		return netSpin(c) && c.Own == spin.where
	})
	if took == 0 {
		return 0, errNone
	}
	p, err := e.profile(bundle.DimEBPF, bundle.EBPFSyscallsProfile)
	if err != nil {
		return 0, err
	}
	calls := p.of("calls", func(s sample) bool { return e.program.Own(s.frames) == spin.where })
	return float64(calls) / (float64(took) / 1e6), nil
}
