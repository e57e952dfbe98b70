package signal

import (
	"errors"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

func traceSignals() []definition {
	const dim = bundle.DimTrace
	return []definition{
		number("trace.lock_wait_share", dim, Share, lockWaitShare,
			"Share of request time spent waiting for the one lock that costs requests most, be it by goroutines that the request started and waits for, or by those that serve requests or have what these queue for; of all the program's goroutine time in a program without a known server."),
		number("trace.lock_held_share", dim, Share, ofLock(func(s *gotrace.Summary, l gotrace.Lock) float64 {
			return min(1, share(holdersNS(l), s.DurationNS()))
		}), "Share of the trace's length during which that lock was held while others waited for it; of readers, at least that for which a writer waited."),
		number("trace.lock_holder_share", dim, Share, ofLock(func(_ *gotrace.Summary, l gotrace.Lock) float64 {
			return share(l.Holders[0].NS, holdersNS(l))
		}), "Share of that lock's contended time which belongs to the function that holds it most."),
		place("trace.lock_holder_site", dim, lockHolderSite,
			"Where the function that holds the lock most takes it."),
		place("trace.lock_waiter_site", dim, atLock(func(l gotrace.Lock) stack.Frame { return l.Waiters[0].Where }),
			"Where goroutines wait longest for that lock."),
		place("trace.lock_library_site", dim, atLock(func(l gotrace.Lock) stack.Frame { return baseFrame(l.Library) }),
			"The library's line that takes that lock, where it is a library's and none of the program's own."),
		place("trace.lock_called_site", dim, atLock(func(l gotrace.Lock) stack.Frame { return baseFrame(l.Called) }),
			"The program's line that a library calls while it holds that lock, for most of what is seen of it, where none of the program's code is part of waiting for it: a handler behind middleware."),
		place("trace.lock_caller_site", dim, atLock(func(l gotrace.Lock) stack.Frame { return baseFrame(l.Caller) }),
			"The program's line through which most of that waiting comes: the call of the function that waits, if that does not handle requests itself."),
		place("trace.lock_holder_caller_site", dim, atLock(func(l gotrace.Lock) stack.Frame {
			if len(l.Holders) == 0 {
				return stack.Frame{}
			}
			return baseFrame(l.Holders[0].Caller)
		}), "The program's line that calls the function that holds the lock most, for most of that time, if that does not handle requests itself."),
		number("trace.lock_holder_running_share", dim, Share, holderDoing("running"),
			"Share of the holder's time under that lock spent running."),
		number("trace.lock_holder_asleep_share", dim, Share, holderDoing(string(stack.Sleep)),
			"Share of the holder's time under that lock spent in time.Sleep."),
		number("trace.lock_holder_io_share", dim, Share, holderDoing(string(stack.NetRead), string(stack.NetWrite), string(stack.NetConnect), string(stack.HTTPClient), string(stack.DBConn), "syscall"),
			"Share of the holder's time under that lock spent in network or file I/O and other system calls."),
		place("trace.lock_holder_blocked_site", dim, atLock(holderBlocked),
			"Where the holder of that lock spends most of its time off the CPU, where that is a tenth of its time under the lock or more."),

		number("trace.finalizer_busy_share", dim, Share, func(e *evidence) (float64, error) {
			s, err := e.trace()
			if err != nil {
				return 0, err
			}
			if len(s.Finalizers) == 0 {
				return 0, nil
			}
			return min(1, share(s.Finalizers[0].BusyNS, s.DurationNS())), nil
		}, "Share of the trace's length for which the goroutine that runs finalizers or cleanups was inside one of the program's."),
		number("trace.finalizer_blocked_share", dim, Share, ofFinalizer(func(f gotrace.Finalizer) float64 {
			var blocked int64
			for _, d := range f.Doing {
				if d.What != "running" && d.What != "runnable" {
					blocked += d.NS
				}
			}
			return share(blocked, f.BusyNS)
		}), "Share of that busy time spent blocked rather than running."),
		place("trace.finalizer_site", dim, func(e *evidence) (stack.Frame, error) {
			s, err := e.trace()
			if err != nil {
				return stack.Frame{}, err
			}
			if len(s.Finalizers) == 0 || len(s.Finalizers[0].Sites) == 0 {
				return stack.Frame{}, errNone
			}
			return baseFrame(s.Finalizers[0].Sites[0].Where), nil
		}, "The finalizer or cleanup function that takes the longest, at the line it is held up at."),

		number("trace.netio_spin_share", dim, Share, func(e *evidence) (float64, error) {
			s, err := e.spin(dim)
			return share(s.loop, s.all), err
		}, "Share of the CPU samples in the trace taken in one loop round a call that reads, writes or accepts, and hardly ever reaches the kernel: in the call, and in the outermost function of the program that does little else, with what the scheduler does because it lets others run."),
		place("trace.netio_spin_site", dim, func(e *evidence) (stack.Frame, error) {
			s, err := e.spin(dim)
			return s.where, err
		}, "The program's line that makes that call."),
		number("trace.hog_share", dim, Share, func(e *evidence) (float64, error) {
			s, err := e.trace()
			if err != nil || len(s.Running) == 0 {
				return 0, err
			}
			return min(1, share(s.Running[0].NS+s.Running[0].SyscallNS, s.DurationNS())), nil
		}, "Share of the trace's length for which the busiest goroutine was running or in a system call."),
		number("trace.syscall_top_share", dim, Share, func(e *evidence) (float64, error) {
			s, err := e.trace()
			if err != nil || len(s.Syscalls) == 0 {
				return 0, err
			}
			var all int64
			for _, c := range s.Syscalls {
				all += c.Count
			}
			return share(s.Syscalls[0].Count, all), nil
		}, "Share of the program's own system calls in the trace that one line makes."),
		number("trace.syscall_top_per_request", dim, PerRequest, func(e *evidence) (float64, error) {
			s, err := e.trace()
			if err != nil || len(s.Syscalls) == 0 {
				return 0, err
			}
			n, err := e.requests(bundle.Window{StartNS: s.StartNS, EndNS: s.EndNS})
			if err != nil {
				return 0, err
			}
			return float64(s.Syscalls[0].Count) / n, nil
		}, "System calls made by that line for each request that ended."),
		place("trace.syscall_top_site", dim, func(e *evidence) (stack.Frame, error) {
			s, err := e.trace()
			if err != nil {
				return stack.Frame{}, err
			}
			if len(s.Syscalls) == 0 {
				return stack.Frame{}, errNone
			}
			return s.Syscalls[0].Where, nil
		}, "The program's line that makes most system calls."),
		number("trace.gc_mark_share", dim, Share, func(e *evidence) (float64, error) {
			s, err := e.trace()
			if err != nil {
				return 0, err
			}
			return min(1, share(s.GC.MarkNS, s.DurationNS())), nil
		}, "Share of the trace's length during which the collector was marking."),
		number("trace.pool_new_share", dim, Share, func(e *evidence) (float64, error) {
			s, err := e.trace()
			if err != nil {
				return 0, err
			}
			var part, all int64
			for _, x := range s.Samples {
				all += x.Count
				if _, ok := e.program.PoolNew(x.Frames); ok {
					part += x.Count
				}
			}
			if all == 0 {
				return 0, errNoSamples
			}
			return share(part, all), nil
		}, "Share of the CPU samples in the trace taken while making a new value under sync.Pool.Get."),
	}
}

var errNoSamples = errors.New("trace: no CPU samples in it; they are there only while a CPU profile runs")

// base is the account that shares of time refer to: request time, or all the
// program's goroutine time where no goroutine serves requests. Its total is of all
// requests: quick ones that never block show nothing of their handlers, and without
// them those that once waited would be the whole.
func base(s *gotrace.Summary) (gotrace.Account, bool, error) {
	if all := s.Served.TotalNS(); s.Requests.TotalNS > 0 || all > 0 {
		a := s.Requests
		a.TotalNS = max(a.TotalNS, all)
		return a, true, nil
	}
	if s.Program.TotalNS > 0 {
		return s.Program, false, nil
	}
	return gotrace.Account{}, false, errors.New("trace: no goroutine ran code of the program")
}

// contention is the lock that costs requests most, or the program's goroutines
// where there are no requests. Nothing was waited for where waited is 0.
type contention struct {
	lock          gotrace.Lock
	waited, whole int64
	trace         *gotrace.Summary
}

// contention picks that lock.
func (e *evidence) contention() (contention, error) {
	return once(e, "contention", func() (contention, error) {
		s, err := e.trace()
		if err != nil {
			return contention{}, err
		}
		account, requests, err := base(s)
		if err != nil {
			return contention{}, err
		}
		c := contention{whole: account.TotalNS, trace: s}
		waits := requestWaits(s.Queues)
		for _, l := range s.Locks {
			ns := l.WaitedNS
			if requests {
				ns = min(l.RequestWaitedNS+l.ChildWaitedNS+behindLock(s.Queues, waits, l), c.whole)
			}
			if ns > c.waited {
				c.lock, c.waited = l, ns
			}
		}
		return c, nil
	})
}

// behindLock is the request time in waits for goroutines that serve, or for what others have,
// in which these wait for a lock themselves. Waits are requestWaits of the queues.
func behindLock(queues []gotrace.Queue, waits []int64, l gotrace.Lock) int64 {
	var ns float64
	for i, waited := range waits {
		ns += float64(waited) * keptBy(queues[i], func(d gotrace.Doing) bool {
			return d.What == string(stack.Lock) && slices.ContainsFunc(l.Waiters, func(w gotrace.LockWaiter) bool { return w.Where == d.Where })
		})
	}
	return int64(ns)
}

// holder is the function that holds the lock most, if any release was seen.
func (c contention) holder() (gotrace.Holder, bool) {
	if c.waited == 0 || len(c.lock.Holders) == 0 {
		return gotrace.Holder{}, false
	}
	return c.lock.Holders[0], true
}

func lockWaitShare(e *evidence) (float64, error) {
	c, err := e.contention()
	return share(c.waited, c.whole), err
}

// ofLock measures a lock that was seen to be held; it is 0 for none.
func ofLock(f func(*gotrace.Summary, gotrace.Lock) float64) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		c, err := e.contention()
		if err != nil {
			return 0, err
		}
		if _, ok := c.holder(); !ok {
			return 0, nil
		}
		return f(c.trace, c.lock), nil
	}
}

func atLock(f func(gotrace.Lock) stack.Frame) func(*evidence) (stack.Frame, error) {
	return func(e *evidence) (stack.Frame, error) {
		c, err := e.contention()
		if err != nil {
			return stack.Frame{}, err
		}
		if c.waited == 0 {
			return stack.Frame{}, errNone
		}
		return f(c.lock), nil
	}
}

func holdersNS(l gotrace.Lock) int64 {
	var ns int64
	for _, h := range l.Holders {
		ns += h.NS
	}
	return ns
}

// lockHolderSite is where the longest holder takes the lock. Where it never
// had to wait the trace does not show that line; then it is the call of Lock
// in the function that unlocks, and if the machine code was not read, the
// unlock itself.
func lockHolderSite(e *evidence) (stack.Frame, error) {
	c, err := e.contention()
	if err != nil {
		return stack.Frame{}, err
	}
	h, ok := c.holder()
	if !ok {
		return stack.Frame{}, errNone
	}
	return lockTaken(e, h), nil
}

// lockTaken is where a holder takes the lock.
func lockTaken(e *evidence, h gotrace.Holder) stack.Frame {
	if !h.Acquire.IsZero() {
		return baseFrame(h.Acquire)
	}
	callees := []string{"sync.(*Mutex).Lock", "sync.(*RWMutex).Lock"}
	if h.Reads {
		callees = []string{"sync.(*RWMutex).RLock"}
	}
	return lockAbove(e, callees, h.Unlock)
}

// anyLock are the functions that take a lock of the sync package.
func anyLock() []string {
	return []string{"sync.(*Mutex).Lock", "sync.(*RWMutex).Lock", "sync.(*RWMutex).RLock"}
}

// lockAbove is the last call of one of the lock functions before an unlock in
// the same function. Where all of them come after it, as in a loop that lets go
// of the lock in its middle, it is the last of these; where there is none, the
// unlock itself.
func lockAbove(e *evidence, callees []string, unlock stack.Frame) stack.Frame {
	sites, err := e.callSites(callees...)
	if err != nil {
		return baseFrame(unlock)
	}
	var best *bundle.CallSite
	for i := range sites {
		c := &sites[i]
		if gofunc.Base(c.Function) != gofunc.Base(unlock.Function) {
			continue
		}
		above := c.Line <= unlock.Line
		switch {
		case best == nil,
			above && best.Line > unlock.Line,
			above == (best.Line <= unlock.Line) && c.Line > best.Line:
			best = c
		}
	}
	if best == nil {
		return baseFrame(unlock)
	}
	return baseFrame(stack.Frame{Function: best.Function, File: best.File, Line: best.Line})
}

func holderDoing(what ...string) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		c, err := e.contention()
		if err != nil {
			return 0, err
		}
		h, ok := c.holder()
		if !ok || h.ObservedNS == 0 {
			return 0, errNone
		}
		var ns int64
		for _, d := range h.Doing {
			if slices.Contains(what, d.What) {
				ns += d.NS
			}
		}
		return share(ns, h.ObservedNS), nil
	}
}

func holderBlocked(l gotrace.Lock) stack.Frame {
	if len(l.Holders) == 0 {
		return stack.Frame{}
	}
	var off int64
	var most stack.Frame
	for _, d := range l.Holders[0].Doing { // by time, largest first
		if d.What == "running" || d.What == "runnable" {
			continue
		}
		off += d.NS
		if most.IsZero() {
			most = d.Where
		}
	}
	if share(off, l.Holders[0].ObservedNS) < offCPU {
		return stack.Frame{}
	}
	return most
}

func ofFinalizer(f func(gotrace.Finalizer) float64) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		s, err := e.trace()
		if err != nil {
			return 0, err
		}
		if len(s.Finalizers) == 0 {
			return 0, errNone
		}
		return f(s.Finalizers[0]), nil
	}
}

// baseFrame names the function a closure or wrapper was written in.
func baseFrame(f stack.Frame) stack.Frame {
	f.Function = gofunc.Base(f.Function)
	return f
}
