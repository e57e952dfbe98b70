package signal

import (
	"errors"
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
			"The program's line whose files and connections, of those in memory at the end of the window, are most; for connections of net/http's client, the line that asks for them. The load's own connections are left out where there are others in number."),
		number("pprof.fd_bodies_open", bundle.DimPprof, Count, func(e *evidence) (float64, error) {
			n, err := e.openBodies()
			return float64(n), err
		}, "Connections of net/http's client that waited for the body of a response to be read to its end or closed, when the goroutine profile was taken."),
		number("pprof.fd_bodies_share", bundle.DimPprof, Share, func(e *evidence) (float64, error) {
			_, share, err := e.bodies()
			return share, err
		}, "Those connections as a share of the target's open descriptors that are none of the load's connections."),
		place("pprof.fd_bodies_site", bundle.DimPprof, func(e *evidence) (stack.Frame, error) {
			_, share, err := e.bodies()
			if err != nil || share < goodPart {
				return stack.Frame{}, err
			}
			asks, _, err := e.asksMost()
			return asks, err
		}, "Where those are half or more of these descriptors, the program's line that asks net/http's client most."),
		place("pprof.fd_bodies_caller_site", bundle.DimPprof, func(e *evidence) (stack.Frame, error) {
			_, share, err := e.bodies()
			if err != nil || share < goodPart {
				return stack.Frame{}, err
			}
			_, caller, err := e.asksMost()
			return caller, err
		}, "The program's line that calls the function of that line most; a helper that asks hands the response to whoever is to close it."),
		number("proc.fd_used_share", bundle.DimProc, Share, func(e *evidence) (float64, error) {
			s, err := lines[bundle.ProcSample](e, bundle.DimProc, bundle.ProcSamples)
			if err != nil {
				return 0, err
			}
			var most float64
			for _, x := range s {
				if x.FDLimit > 0 {
					// There are more than it may have where the limit was lowered, or one that is being
					// made is counted.
					most = max(most, min(1, float64(x.FDs)/float64(x.FDLimit)))
				}
			}
			if len(s) == 0 {
				return 0, errNone
			}
			return most, nil
		}, "Most of its limit of descriptors that the target had open in the window, as a share of the limit; 1 where there were more."),
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

// goodPart is the share of the descriptors that are not the load's which one
// kind must have to be what is told: no other has more of them then.
const goodPart = 0.5

// openBodies counts connections of net/http's client that wait for their caller to
// read a response's body to its end, or to close it. The goroutine that reads a
// connection chooses then, and reads where the connection is idle or an answer
// on its way. It also chooses while it hands a response over, but that takes no time:
// somebody waits for it.
func (e *evidence) openBodies() (int64, error) {
	p, err := e.profile(bundle.DimPprof, bundle.GoroutineProfile)
	if err != nil {
		return 0, err
	}
	return p.of("goroutine", func(x sample) bool { return stack.BodyOpen(x.frames) }), nil
}

// bodies relates them to the descriptors that are none of the load's.
func (e *evidence) bodies() (open int64, share float64, err error) {
	open, err = e.openBodies()
	if err != nil || open == 0 {
		return 0, 0, err
	}
	beyond := e.beyondClients()
	if math.IsInf(beyond, 1) {
		return 0, 0, errors.New("how many descriptors the target has open besides the load's connections was not captured")
	}
	// There may be fewer now than there were when the profile was taken.
	return open, min(1, float64(open)/max(1, beyond)), nil
}

// asksMost is the line that asks net/http's client most: the one that has most in
// memory of what asking takes, which stays there as long as the body is open, or where
// that is too little to be drawn, the one that allocated most for it. Caller is the line
// that calls the function of that line most, zero if none of the program's does.
func (e *evidence) asksMost() (asks, caller stack.Frame, err error) {
	pick := func(x sample) (stack.Frame, bool) {
		by := e.program.Asker(x.frames)
		return by, !by.IsZero() && stackHas(x.frames, "net/http.(*Transport).roundTrip")
	}
	calls := func(x sample) (stack.Frame, bool) {
		if by, ok := pick(x); !ok || by != asks {
			return stack.Frame{}, false
		}
		by := e.program.Caller(x.frames[slices.Index(x.frames, asks):])
		return by, !by.IsZero()
	}
	if heap, err := e.profile(bundle.DimPprof, bundle.HeapProfile); err == nil {
		if held := heap.drawn("inuse_objects", "inuse_objects", "inuse_space", pick); len(held) > 0 {
			asks = held[0].where
			return baseFrame(asks), baseFrame(top(heap.bySite("inuse_objects", calls)).where), nil
		}
	}
	allocs, err := e.profile(bundle.DimPprof, bundle.AllocsProfile)
	if err != nil {
		return stack.Frame{}, stack.Frame{}, err
	}
	lines := allocs.bySite("alloc_space", pick)
	if len(lines) == 0 {
		return stack.Frame{}, stack.Frame{}, fmt.Errorf("pprof: no line that asks net/http's client is in the allocation profile")
	}
	asks = lines[0].where
	return baseFrame(asks), baseFrame(top(allocs.bySite("alloc_space", calls)).where), nil
}

// fdHolder finds the line that made the open files and connections that are in
// memory. Connections of net/http's client are opened by goroutines of its own;
// they stand for the line that asks the client most. Where these can be counted and
// are a good part, the heap profile is not asked: it draws some of what is there.
func fdHolder(e *evidence) (stack.Frame, error) {
	if _, share, err := e.bodies(); err == nil && share >= goodPart {
		asks, _, err := e.asksMost()
		return asks, err
	}
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
	if len(sites) > 1 && accepting[sites[0].where] && float64(sites[1].value) >= goodPart*e.beyondClients() {
		sites = sites[1:]
	}
	if len(sites) == 0 || accepting[sites[0].where] {
		if at, ok := e.opensFiles(); ok {
			return at, nil
		}
	}
	if len(sites) == 0 {
		return stack.Frame{}, errNone
	}
	if sites[0].where != client {
		return baseFrame(sites[0].where), nil
	}
	asks, _, err := e.asksMost()
	return asks, err
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
	clients := l.Reached.OpenSocketsMax
	// Of the load's connections some may wait to be accepted, and are none of its descriptors.
	if _, sockets, ok := e.socketsHeld(); ok {
		clients = min(clients, sockets)
	}
	return max(0, float64(s[len(s)-1].FDs-clients))
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
