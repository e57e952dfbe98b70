package signal

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/stack"
)

// descriptorSignals are those of file descriptors that run out.
func descriptorSignals() []definition {
	return []definition{
		number("ebpf.fd_refused_share", bundle.DimEBPF, Share, func(e *evidence) (float64, error) {
			r, err := e.refused()
			return r.share, err
		}, "Share of the target's accepts, or opens, or other calls that make a descriptor, whichever kind was refused most, that failed because there was none left (EMFILE, ENFILE); accepts that found nobody waiting are left out."),
		number("ebpf.fd_refused_per_second", bundle.DimEBPF, Hertz, func(e *evidence) (float64, error) {
			r, err := e.refused()
			if err != nil {
				return 0, err
			}
			return float64(r.failed) / max(1e-9, e.span(bundle.EBPFSyscalls).Duration().Seconds()), nil
		}, "Calls of that kind that failed so."),
		place("ebpf.fd_refused_site", bundle.DimEBPF, func(e *evidence) (stack.Frame, error) {
			r, err := e.refused()
			if err != nil || r.failed == 0 {
				return stack.Frame{}, err
			}
			sites, err := e.callsOf(r.calls)
			return top(sites).where, err
		}, "The program's line that makes most calls of that kind."),
		number("ebpf.accept_cpu_share", bundle.DimEBPF, Share, acceptCPU(bundle.DimEBPF, bundle.EBPFOnCPUProfile, "samples"),
			"Share of the target's CPU samples in accepting connections, the kernel's part included."),
		number("pprof.accept_cpu_share", bundle.DimPprof, Share, acceptCPU(bundle.DimPprof, bundle.CPUProfile, "samples"),
			"Share of the CPU profile spent in accepting connections."),
		place("pprof.accept_site", bundle.DimPprof, func(e *evidence) (stack.Frame, error) {
			sites, _, err := acceptSites(e, bundle.DimPprof, bundle.CPUProfile, "samples")
			return top(sites).where, err
		}, "The program's line that accepts connections and spends most CPU on it."),
		number("trace.accept_cpu_share", bundle.DimTrace, Share, func(e *evidence) (float64, error) {
			sites, all, err := traceAccepts(e)
			return share(top(sites).value, all), err
		}, "Share of the CPU samples in the trace taken in accepting connections."),
		number("trace.accept_calls_per_request", bundle.DimTrace, PerRequest, func(e *evidence) (float64, error) {
			s, err := e.trace()
			if err != nil {
				return 0, err
			}
			n, err := e.requests(bundle.Window{StartNS: s.StartNS, EndNS: s.EndNS})
			if err != nil {
				return 0, err
			}
			sites, _, err := traceAccepts(e)
			if err != nil {
				return 0, err
			}
			at := top(sites).where
			for _, c := range s.Syscalls {
				if !at.IsZero() && c.Where == at {
					return float64(c.Count) / n, nil
				}
			}
			return 0, nil
		}, "System calls made at the line that accepts, for each request that ended."),
		place("pprof.fd_holder_site", bundle.DimPprof, fdHolder,
			"The program's line whose files and connections, of those in memory at the end of the window, are most; for connections of net/http's client, the line that asks for them."),
		number("proc.fd_used_share", bundle.DimProc, Share, func(e *evidence) (float64, error) {
			s, err := lines[bundle.ProcSample](e, bundle.DimProc, bundle.ProcSamples)
			if err != nil {
				return 0, err
			}
			var most float64
			for _, x := range s {
				if x.FDLimit > 0 {
					most = max(most, float64(x.FDs)/float64(x.FDLimit))
				}
			}
			if len(s) == 0 {
				return 0, errNone
			}
			return most, nil
		}, "Most of its limit of descriptors that the target had open in the window, as a share of the limit."),
		number("proc.fd_beyond_clients_share", bundle.DimProc, Share, func(e *evidence) (float64, error) {
			s, err := lines[bundle.ProcSample](e, bundle.DimProc, bundle.ProcSamples)
			if err != nil {
				return 0, err
			}
			if _, err := e.load(); err != nil {
				return 0, err
			}
			if len(s) == 0 || s[len(s)-1].FDs == 0 {
				return 0, errNone
			}
			return e.beyondClients() / float64(s[len(s)-1].FDs), nil
		}, "Share of the target's open descriptors that are none of the load's connections."),
	}
}

// refusals are calls that make descriptors and failed for want of one.
type refusals struct {
	calls  []string // of the kind
	failed int64
	share  float64
}

// kinds of calls that make descriptors. Those of a kind are refused alike.
func descriptorCalls() [][]string {
	return [][]string{
		{"accept", "accept4"},
		{"open", "openat", "openat2"},
		{"socket", "socketpair", "pipe", "pipe2", "dup", "dup3", "eventfd2", "epoll_create1", "timerfd_create", "memfd_create", "pidfd_open", "inotify_init1"},
	}
}

func (e *evidence) refused() (refusals, error) {
	s, err := document[bundle.Syscalls](e, bundle.DimEBPF, bundle.EBPFSyscalls)
	if err != nil {
		return refusals{}, err
	}
	var most refusals
	for _, kind := range descriptorCalls() {
		r := refusals{calls: kind}
		var all int64
		for _, c := range s.Calls {
			if slices.Contains(kind, c.Name) {
				r.failed += c.Errors["EMFILE"] + c.Errors["ENFILE"]
				all += c.Count - c.Errors["EAGAIN"]
			}
		}
		r.share = min(1, share(r.failed, all))
		if r.failed > most.failed {
			most = r
		}
	}
	return most, nil
}

// callsOf are the program's lines by their calls of some names.
func (e *evidence) callsOf(names []string) ([]site, error) {
	p, err := e.profile(bundle.DimEBPF, bundle.EBPFSyscallsProfile)
	if err != nil {
		return nil, err
	}
	return p.bySite("calls", func(x sample) (stack.Frame, bool) {
		own := e.program.Own(x.frames)
		return own, !own.IsZero() && slices.Contains(names, x.label("syscall"))
	}), nil
}

// accepts reports whether the stack accepts a connection for the program itself, and
// not for net/http's server, which waits between failures.
func accepts(frames []stack.Frame) bool {
	for _, f := range frames {
		switch f.Function {
		case "net/http.(*Server).Serve":
			return false
		case "net.(*TCPListener).Accept", "net.(*TCPListener).AcceptTCP", "net.(*UnixListener).Accept", "net.(*UnixListener).AcceptUnix",
			"internal/poll.(*FD).Accept", "syscall.Accept4", "syscall.Accept", "golang.org/x/sys/unix.Accept4", "golang.org/x/sys/unix.Accept":
			return true
		}
	}
	return false
}

func acceptSites(e *evidence, dimension, artifact, sampleType string) ([]site, int64, error) {
	p, err := e.profile(dimension, artifact)
	if err != nil {
		return nil, 0, err
	}
	return p.bySite(sampleType, func(x sample) (stack.Frame, bool) {
		own := e.program.Own(x.frames)
		return own, !own.IsZero() && accepts(x.frames)
	}), p.of(sampleType, nil), nil
}

func acceptCPU(dimension, artifact, sampleType string) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		sites, all, err := acceptSites(e, dimension, artifact, sampleType)
		return share(top(sites).value, all), err
	}
}

func traceAccepts(e *evidence) ([]site, int64, error) {
	s, err := e.trace()
	if err != nil {
		return nil, 0, err
	}
	sums := map[stack.Frame]int64{}
	var all int64
	for _, x := range s.Samples {
		all += x.Count
		if own := e.program.Own(x.Frames); !own.IsZero() && accepts(x.Frames) {
			sums[own] += x.Count
		}
	}
	if all == 0 {
		return nil, 0, errNoSamples
	}
	return ranked(sums), all, nil
}

// fdHolder finds the line that made the open files and connections that are in
// memory. Connections of net/http's client are opened by goroutines of its own;
// they stand for the line that asks the client most.
func fdHolder(e *evidence) (stack.Frame, error) {
	heap, err := e.profile(bundle.DimPprof, bundle.HeapProfile)
	if err != nil {
		return stack.Frame{}, err
	}
	client := stack.Frame{Function: "net/http"} // stands for the client's connections
	accepting := map[stack.Frame]bool{}
	sites := heap.drawn("inuse_objects", "inuse_objects", "inuse_space", func(x sample) (stack.Frame, bool) {
		made := false
		for _, f := range x.frames {
			switch {
			case strings.HasPrefix(f.Function, "net/http.(*Transport).dialConn"), f.Function == "net/http.(*persistConn).readLoop":
				return client, true
			case makesDescriptor(f.Function):
				made = true
			}
		}
		own := e.program.Own(x.frames)
		if made && stackHas(x.frames, "net.(*netFD).accept") {
			accepting[own] = true
		}
		return own, made && !own.IsZero()
	})
	// What was accepted of the load is the load's, however many they are: what else
	// the target holds is more telling, where it is a good part of what is not.
	if len(sites) > 1 && accepting[sites[0].where] && float64(sites[1].value) >= 0.5*e.beyondClients() {
		sites = sites[1:]
	}
	if len(sites) == 0 {
		return stack.Frame{}, errNone
	}
	if sites[0].where != client {
		return baseFrame(sites[0].where), nil
	}
	allocs, err := e.profile(bundle.DimPprof, bundle.AllocsProfile)
	if err != nil {
		return stack.Frame{}, err
	}
	asks := allocs.bySite("alloc_space", func(x sample) (stack.Frame, bool) {
		own := e.program.Own(x.frames)
		return own, !own.IsZero() && stackHas(x.frames, "net/http.(*Transport).roundTrip")
	})
	if len(asks) == 0 {
		return stack.Frame{}, fmt.Errorf("pprof: no line that asks net/http's client is in the allocation profile")
	}
	return baseFrame(asks[0].where), nil
}

// beyondClients is how many descriptors the target has open at the end of the window
// that are none of the load's connections; without bound where that is not known.
func (e *evidence) beyondClients() float64 {
	s, err := lines[bundle.ProcSample](e, bundle.DimProc, bundle.ProcSamples)
	if err != nil || len(s) == 0 {
		return math.Inf(1)
	}
	l, err := e.load()
	if err != nil {
		return math.Inf(1)
	}
	return max(0, float64(s[len(s)-1].FDs-l.Reached.OpenSocketsMax))
}

// makesDescriptor reports whether what the function allocates stands for a descriptor.
func makesDescriptor(function string) bool {
	switch function {
	case "os.newFile", "os.NewFile", "os.newFileFromNewFile", "os.newDirFile", "net.newFD", "net.(*netFD).accept":
		return true
	}
	return false
}

func stackHas(frames []stack.Frame, function string) bool {
	for _, f := range frames {
		if f.Function == function {
			return true
		}
	}
	return false
}
