package signal

import (
	"slices"
	"strings"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/stack"
)

// againSignals tell calls that ask a descriptor again and again for what is not
// there from calls that wait for it. Whoever waits, by the runtime's poller or by an
// epoll of his own, is told once "not now" (EAGAIN) for each time there was something.
func againSignals() []definition {
	const dim = bundle.DimEBPF
	return []definition{
		number("ebpf.again_share", dim, Share, func(e *evidence) (float64, error) {
			a, err := e.again()
			return share(a.empty, a.calls), err
		}, "Share of one line's calls of a system call on a descriptor that came back with nothing (EAGAIN), at least: as if all calls of that kind that succeeded had been the line's. Of all lines, the one with most such calls.").
			naming(func(e *evidence) (string, error) {
				a, err := e.again()
				return a.call, err
			}),
		number("ebpf.again_per_success", dim, Ratio, func(e *evidence) (float64, error) {
			a, err := e.again()
			return float64(a.empty) / float64(max(1, a.calls-a.empty)), err
		}, "The same in relation to those that may have succeeded: about 1 at most for a line that waits after each."),
		number("ebpf.again_per_request", dim, PerRequest, func(e *evidence) (float64, error) {
			a, err := e.again()
			if err != nil {
				return 0, err
			}
			return perRequest(e, bundle.EBPFSyscallsProfile, a.empty)
		}, "Such calls that came back with nothing for each request that ended."),
		place("ebpf.again_site", dim, func(e *evidence) (stack.Frame, error) {
			a, err := e.again()
			return a.where, err
		}, "That line of the program."),
		number("ebpf.again_cpu_share", dim, Share, func(e *evidence) (float64, error) {
			a, err := e.again()
			if err != nil {
				return 0, err
			}
			return e.kernelCPUAt(a.where)
		}, "Share of the target's CPU samples at that line, the kernel's part included."),

		number("pprof.io_call_share", bundle.DimPprof, Share, func(e *evidence) (float64, error) {
			sites, all, err := e.ioCalls()
			return share(top(sites).value, all), err
		}, "Share of the CPU profile in one line's calls that read, write or accept, by the standard library or by system calls of its own."),
		place("pprof.io_call_site", bundle.DimPprof, func(e *evidence) (stack.Frame, error) {
			sites, _, err := e.ioCalls()
			if err == nil && len(sites) > 1 && sites[0].value == sites[1].value {
				return stack.Frame{}, errNone // which of them is chance
			}
			return top(sites).where, err
		}, "The program's line that makes those calls."),
	}
}

// againCalls are the system calls that say EAGAIN of a descriptor which has
// nothing to give, or no room to take. Others say it of other things: futex of a
// word that has changed, clone of a limit.
var againCalls = []string{
	"read", "readv", "recvfrom", "recvmsg", "recvmmsg", "accept", "accept4",
	"write", "writev", "sendto", "sendmsg", "sendmmsg", "sendfile", "splice", "tee", "vmsplice",
}

// repeated is a line of the program and its calls of one system call.
type repeated struct {
	call         string
	calls, empty int64
	where        stack.Frame
}

// again is the line with most calls that came back with nothing. The kernel's side
// counts results by system call, and stacks without results: of a line's calls all
// must have come back empty but as many as succeeded anywhere in the program.
func (e *evidence) again() (repeated, error) {
	return once(e, "asked again", func() (repeated, error) {
		s, p, err := e.systemCalls()
		if err != nil {
			return repeated{}, err
		}
		var most repeated
		for _, c := range s.Calls {
			again := c.Errors["EAGAIN"]
			if again == 0 || !slices.Contains(againCalls, c.Name) {
				continue
			}
			t := top(e.callersOf(p, c.Name, nil))
			if empty := min(again, t.value-(c.Count-again)); empty > most.empty {
				most = repeated{c.Name, t.value, empty, t.where}
			}
		}
		return most, nil
	})
}

// systemCalls are all system calls of the target, by number and by stack.
func (e *evidence) systemCalls() (*bundle.Syscalls, *samples, error) {
	s, err := document[bundle.Syscalls](e, bundle.DimEBPF, bundle.EBPFSyscalls)
	if err != nil {
		return nil, nil, err
	}
	p, err := e.profile(bundle.DimEBPF, bundle.EBPFSyscallsProfile)
	return s, p, err
}

// callersOf are the program's lines by their calls of a system call, of those alone that match
// where that is said.
func (e *evidence) callersOf(p *samples, call string, match func(sample) bool) []site {
	return p.bySite("calls", func(x sample) (stack.Frame, bool) {
		own, ok := e.owner(x)
		return own, ok && x.label("syscall") == call && (match == nil || match(x))
	})
}

// kernelCPUAt is the share of the target's CPU samples at a line of the program, the
// kernel's part included; 0 of no line.
func (e *evidence) kernelCPUAt(where stack.Frame) (float64, error) {
	return cpuTotal(e, bundle.DimEBPF, bundle.EBPFOnCPUProfile, "samples", func(c stack.CPU) bool {
		return !where.IsZero() && c.Own == where
	})
}

// ioCalls are the program's lines whose calls read, write or accept, by CPU.
func (e *evidence) ioCalls() ([]site, int64, error) { return e.callsUnder(ioCall) }

// ioCall reports whether the function is one by which Go code has the kernel read,
// write or accept.
func ioCall(function string) bool {
	if strings.HasPrefix(function, "internal/poll.(*FD).") {
		return true
	}
	name, ok := strings.CutPrefix(function, "syscall.")
	if !ok {
		name, ok = strings.CutPrefix(function, "golang.org/x/sys/unix.")
	}
	if !ok {
		return false
	}
	name = strings.ToLower(name)
	for _, call := range []string{"read", "pread", "recv", "accept", "write", "pwrite", "send", "splice", "tee"} {
		if strings.HasPrefix(name, call) {
			return true
		}
	}
	return false
}
