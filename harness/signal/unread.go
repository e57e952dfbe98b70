package signal

import (
	"math/bits"
	"slices"
	"strings"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// unreadSignals tell a poll loop that is told of one thing after the other from one that
// is told of the same again and again, as nobody takes it: an eventfd that is never read, a
// connection that has hung up and is not closed, a socket that can be written to when
// nothing is to be written. Events do not tell the two apart: each poll of both returns one. What
// is done with them does: each takes a call, to read, write, accept or close.
func unreadSignals() []definition {
	const ebpf, trace = bundle.DimEBPF, bundle.DimTrace
	return []definition{
		number("ebpf.polls_at_once", ebpf, Hertz, func(e *evidence) (float64, error) {
			u, err := e.unread()
			return float64(u.atOnce) / max(1e-9, e.span(bundle.EBPFSyscalls).Duration().Seconds()), err
		}, "Polls of one line of the program's (epoll, poll, select; not the runtime's) that returned in less than 4.1 µs, and so did not sleep, in each second of the window, at least: as if all others of that system call had been as quick. Of all lines, the one with most.").
			naming(func(e *evidence) (string, error) {
				u, err := e.unread()
				return u.call, err
			}),
		number("ebpf.poll_at_once_share", ebpf, Share, func(e *evidence) (float64, error) {
			u, err := e.unread()
			return share(u.atOnce, u.polls), err
		}, "Such polls as a share of that line's."),
		number("ebpf.polls_at_once_per_call", ebpf, Ratio, func(e *evidence) (float64, error) {
			u, err := e.unread()
			return float64(u.atOnce) / float64(max(1, u.handled)), err
		}, "Such polls for each system call of the process that may do something about an event: all but polls, those that the runtime makes for itself, and those of net/http on its connections."),
		number("ebpf.poll_at_once_cpu_share", ebpf, Share, func(e *evidence) (float64, error) {
			u, err := e.unread()
			if err != nil {
				return 0, err
			}
			return cpuTotal(e, ebpf, bundle.EBPFOnCPUProfile, "samples", func(c stack.CPU) bool {
				return !u.where.IsZero() && c.Own == u.where
			})
		}, "Share of the target's CPU samples at that line, the kernel's part included."),
		place("ebpf.poll_at_once_site", ebpf, func(e *evidence) (stack.Frame, error) {
			u, err := e.unread()
			return u.where, err
		}, "That line; a library's where none of the program's is on the stack."),
		place("ebpf.poll_loop_site", ebpf, func(e *evidence) (stack.Frame, error) {
			u, err := e.unread()
			if err != nil || u.where.IsZero() || e.program.Mine(u.where) {
				return u.where, err
			}
			if at := e.runs(u.where); !at.IsZero() {
				return at, nil
			}
			return u.where, nil
		}, "The program's line that polls, or that runs the library whose goroutine does: the main goroutine stands in its call, or that of the one line where others do. The library's line where there is none."),
		place("ebpf.poll_loop_library_site", ebpf, func(e *evidence) (stack.Frame, error) {
			u, err := e.unread()
			return u.library, err
		}, "The library's line that polls there, where it is a library's loop."),

		number("trace.poll_at_once_share", trace, Share, func(e *evidence) (float64, error) {
			t, _, err := e.tracedPolls()
			return share(t.PollsAtOnce, t.Polls), err
		}, "Share of one line's calls of epoll_wait, poll or select in the trace that ended in less than 4.1 µs, and so did not sleep. Of all the program's lines, the one with most."),
		number("trace.polls_at_once_per_call", trace, Ratio, func(e *evidence) (float64, error) {
			t, others, err := e.tracedPolls()
			return float64(t.PollsAtOnce) / float64(max(1, others)), err
		}, "Such polls for each other system call of the program's goroutines in the trace."),
	}
}

// pollCalls are the system calls that wait for events on descriptors.
var pollCalls = []string{"epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "pselect6"}

// runtimeCalls are those, beside polls, that the runtime makes for itself, to schedule, to tell the time, for
// memory and for profiles: they do nothing about an event.
var runtimeCalls = []string{
	"futex", "nanosleep", "clock_nanosleep", "sched_yield", "restart_syscall", "clock_gettime", "gettimeofday", "time",
	"madvise", "mmap", "munmap", "mprotect", "mincore", "clone", "clone3", "rseq", "set_robust_list", "sched_getaffinity", "membarrier",
	"rt_sigreturn", "rt_sigprocmask", "rt_sigaction", "sigaltstack", "tgkill", "getpid", "gettid",
	"timer_create", "timer_settime", "timer_delete", "setitimer",
}

// unread is the program's line with most polls that returned at once.
type unread struct {
	call          string // the system call
	polls, atOnce int64  // of the line
	handled       int64  // calls of the process that may have handled what polls returned
	where         stack.Frame
	library       stack.Frame // that makes the call, if one does
}

// unread takes of a line's polls as many for quick as cannot have been others': the kernel's side
// has lengths by system call, and stacks without single lengths.
func (e *evidence) unread() (unread, error) {
	return once(e, "polls that nobody handles", func() (unread, error) {
		s, err := document[bundle.Syscalls](e, bundle.DimEBPF, bundle.EBPFSyscalls)
		if err != nil {
			return unread{}, err
		}
		p, err := e.profile(bundle.DimEBPF, bundle.EBPFSyscallsProfile)
		if err != nil {
			return unread{}, err
		}
		var most unread
		var handled int64
		for _, c := range s.Calls {
			if !slices.Contains(pollCalls, c.Name) {
				if !slices.Contains(runtimeCalls, c.Name) {
					handled += c.Count
				}
				continue
			}
			t := top(p.bySite("calls", func(x sample) (stack.Frame, bool) {
				own, ok := e.owner(x)
				return own, ok && x.label("syscall") == c.Name && !runtimePolls(x.frames)
			}))
			var quick int64
			for _, n := range c.Log2NS[:min(len(c.Log2NS), bits.Len(gotrace.AtOnce)-1)] {
				quick += n
			}
			if atOnce := min(quick, c.Count) - max(0, c.Count-t.value); atOnce > most.atOnce {
				most = unread{call: c.Name, polls: t.value, atOnce: min(atOnce, t.value), where: t.where}
			}
		}
		most.handled = max(0, handled-p.of("calls", func(x sample) bool {
			call := x.label("syscall")
			return !slices.Contains(pollCalls, call) && !slices.Contains(runtimeCalls, call) && httpConnection(x.frames)
		}))
		most.library = top(p.bySite("calls", func(x sample) (stack.Frame, bool) {
			if x.label("syscall") != most.call || e.program.Own(x.frames) != most.where || runtimePolls(x.frames) {
				return stack.Frame{}, false
			}
			f := e.program.InLibrary(x.frames)
			return f, !f.IsZero()
		})).where
		return most, nil
	})
}

// httpConnection reports whether net/http makes the call on a connection that is Go's own. What
// happens on it the runtime's poller tells, and no other.
func httpConnection(frames []stack.Frame) bool {
	for _, f := range frames {
		switch {
		case f.Kernel():
		case gofunc.Package(f.Function) == "net/http":
			return true
		case !gofunc.Standard(f.Function):
			return false
		}
	}
	return false
}

// runs is the program's line that runs a library, whose own goroutine is at a line: the main goroutine
// stands in its call, as in that of a server, or else all that do have called it at that line. It is
// zero where there is none. Whom the library calls back is none of them.
func (e *evidence) runs(at stack.Frame) stack.Frame {
	p, err := e.profile(bundle.DimPprof, bundle.GoroutineProfile)
	if err != nil {
		return stack.Frame{}
	}
	same := func(f stack.Frame) bool { return !e.program.Foreign(f) && module(f) == module(at) }
	lines := map[stack.Frame]int64{}
	for _, x := range p.list {
		own := slices.IndexFunc(x.frames, e.program.Mine)
		if own < 0 || x.values[p.types["goroutine"]] <= 0 || slices.ContainsFunc(x.frames[own:], same) {
			continue
		}
		called := own - 1
		for called >= 0 && e.program.Foreign(x.frames[called]) {
			called--
		}
		if called < 0 || !same(x.frames[called]) {
			continue
		}
		if x.frames[len(x.frames)-1].Function == "runtime.main" {
			return x.frames[own]
		}
		lines[x.frames[own]]++
	}
	if len(lines) != 1 {
		return stack.Frame{} // which of them is chance
	}
	return top(ranked(lines)).where
}

// module is what tells a library's code from others': the directory of its module and version,
// and where the file's path does not say that, as that of vendored code does not, the first
// elements of its import path, which name host, owner and repository.
func module(f stack.Frame) string {
	if i := strings.IndexByte(f.File, '@'); i >= 0 {
		if n := strings.IndexByte(f.File[i:], '/'); n >= 0 {
			return f.File[:i+n]
		}
	}
	path := strings.SplitN(gofunc.Package(f.Function), "/", 4)
	return strings.Join(path[:min(3, len(path))], "/")
}

// tracedPolls is the line of most polls in the trace that did not sleep, and how many of the
// program's system calls are no polls.
func (e *evidence) tracedPolls() (most gotrace.SiteCount, others int64, err error) {
	s, err := e.trace()
	if err != nil {
		return most, 0, err
	}
	for _, c := range s.Syscalls {
		others += max(0, c.Count-c.Polls)
		if c.PollsAtOnce > most.PollsAtOnce {
			most = c
		}
	}
	return most, others, nil
}
