package signal

import (
	"fmt"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/stack"
)

// endedSignals tell reads that find the end again and again, of a connection whose other side
// has closed or of a file, from those that go on until the end and then let go of it.
// Whoever does that is told of the end once, and closes.
func endedSignals() []definition {
	const dim = bundle.DimEBPF
	return []definition{
		number("ebpf.ended_reads", dim, Hertz, func(e *evidence) (float64, error) {
			r, err := e.ended()
			return float64(r.ended) / max(1e-9, e.span(bundle.EBPFSyscalls).Duration().Seconds()), err
		}, "Reads of one line's that found the end (returned 0) of a file or a connection, in each second of the window. Of all lines and system calls that read, the one with most.").
			naming(func(e *evidence) (string, error) {
				r, err := e.ended()
				return r.call, err
			}),
		number("ebpf.ended_reads_at_most", dim, Hertz, func(e *evidence) (float64, error) {
			n, err := e.endedAtMost()
			return float64(n) / max(1e-9, e.span(bundle.EBPFSyscalls).Duration().Seconds()), err
		}, "How many such reads one line can have made in each second of the window, also where they were not counted: its calls of a system call that reads, as far as not more than all of that system call that did not fail."),
		number("ebpf.ended_per_success", dim, Ratio, func(e *evidence) (float64, error) {
			r, err := e.ended()
			return float64(r.ended) / float64(max(1, r.others)), err
		}, "Such reads for each other one by the same system call at that line: about 1 at most where something is read to its end and then closed."),
		number("ebpf.ended_per_close", dim, Ratio, func(e *evidence) (float64, error) {
			r, err := e.ended()
			return float64(r.ended) / float64(max(1, r.closes)), err
		}, "Such reads for each close of the whole process: about 1 at most where whatever has come to its end is closed."),
		place("ebpf.ended_site", dim, func(e *evidence) (stack.Frame, error) {
			r, err := e.ended()
			return r.where, err
		}, "That line of the program."),
		number("ebpf.ended_cpu_share", dim, Share, func(e *evidence) (float64, error) {
			r, err := e.ended()
			if err != nil {
				return 0, err
			}
			return e.kernelCPUAt(r.where)
		}, "Share of the target's CPU samples at that line, the kernel's part included."),
	}
}

// endCalls are the system calls that say by a result of 0 that what they read, or pass on, is at its end.
var endCalls = []string{"read", "readv", "recvfrom", "recvmsg", "sendfile", "splice", "copy_file_range"}

// readOn is a line of the program and its calls of one system call that reads.
type readOn struct {
	call          string
	ended, others int64 // of the line: found the end, or did not
	closes        int64 // of the whole process
	where         stack.Frame
}

// ended is the line with most reads that found the end. The kernel's side counts them by
// themselves, in the stacks too.
func (e *evidence) ended() (readOn, error) {
	return once(e, "read to the end", func() (readOn, error) {
		s, p, err := e.systemCalls()
		if err != nil {
			return readOn{}, err
		}
		var most readOn
		var closes int64
		for _, c := range s.Calls {
			if c.Name == "close" {
				closes = c.Count
			}
			if !slices.Contains(endCalls, c.Name) {
				continue
			}
			if c.Ended == nil {
				return readOn{}, fmt.Errorf("ebpf: how often %s found an end (returned 0) was not counted when this was recorded; record it anew", c.Name)
			}
			t := top(e.callersOf(p, c.Name, atEnd))
			if t.value <= most.ended {
				continue
			}
			most = readOn{call: c.Name, ended: t.value, where: t.where}
			for _, x := range e.callersOf(p, c.Name, func(x sample) bool { return !atEnd(x) }) {
				if x.where == t.where {
					most.others = x.value
				}
			}
		}
		most.closes = closes
		return most, nil
	})
}

// atEnd reports whether the calls found the end of what they read.
func atEnd(x sample) bool { return x.label("op") == "end" }

// endedAtMost is how many reads of one line can have found the end, by what all recordings have.
func (e *evidence) endedAtMost() (most int64, err error) {
	s, p, err := e.systemCalls()
	if err != nil {
		return 0, err
	}
	for _, c := range s.Calls {
		if !slices.Contains(endCalls, c.Name) {
			continue
		}
		did := c.Count
		for _, failed := range c.Errors {
			did -= failed
		}
		most = max(most, min(did, top(e.callersOf(p, c.Name, nil)).value))
	}
	return most, nil
}
