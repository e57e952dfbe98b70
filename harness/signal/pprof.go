package signal

import (
	"errors"
	"fmt"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/stack"
)

func pprofSignals() []definition {
	const dim = bundle.DimPprof
	return []definition{
		number("pprof.mutex_wait_share", dim, Share, func(e *evidence) (float64, error) {
			p, err := e.contended()
			if err != nil {
				return 0, err
			}
			return inFlightShare(e, bundle.MutexProfile, p.of("delay", unlocking))
		}, "Time that the mutex profile says was waited for locks, as a share of the time of all requests in flight."),
		number("pprof.mutex_top_share", dim, Share, func(e *evidence) (float64, error) {
			sites, all, err := mutexSites(e)
			return share(top(byFunction(sites)).value, all), err
		}, "Share of that waiting for which the unlocks of one function answer."),
		place("pprof.mutex_top_site", dim, func(e *evidence) (stack.Frame, error) {
			sites, _, err := mutexSites(e)
			if err != nil || len(sites) == 0 {
				return stack.Frame{}, err
			}
			return lockAbove(e, anyLock(), top(byFunction(sites)).where), nil
		}, "Where that function takes the lock."),
		number("pprof.program_cpu_share", dim, Share, func(e *evidence) (float64, error) {
			cpus, err := e.usable()
			if err != nil {
				return 0, err
			}
			return programCPU(e, dim, bundle.CPUProfile, cpus)
		}, "CPU time by the CPU profile, as a share of what GOMAXPROCS and the kernel let the target use, without the recording's own requests and the runtime's goroutines, such as the collector's."),
		place("pprof.mutex_caller_site", dim, mutexCaller,
			"The program's line from which most of that function's part of the waiting comes, if it does not handle requests itself."),
		number("pprof.block_lock_share", dim, Share, func(e *evidence) (float64, error) {
			p, err := e.blocked()
			if err != nil {
				return 0, err
			}
			return inFlightShare(e, bundle.BlockProfile, p.of("delay", e.forLock))
		}, "Time that the block profile says ended waits for locks took, as a share of the time of all requests in flight."),
		number("pprof.block_lock_outside", dim, Count, func(e *evidence) (float64, error) {
			p, err := e.blocked()
			if err != nil {
				return 0, err
			}
			ns := p.of("delay", func(s sample) bool { return e.forLock(s) && stack.ServingOf(s.frames) != stack.InHandler })
			return float64(ns) / float64(max(1, e.span(bundle.BlockProfile).Duration())), nil
		}, "Goroutines outside of handlers that waited for locks, on average over the window, by the ended waits of the block profile. Few that serve many are a small share of request time."),

		number("pprof.finalizer_in_program", dim, Count, func(e *evidence) (float64, error) {
			p, err := e.profile(dim, bundle.GoroutineProfile)
			if err != nil {
				return 0, err
			}
			return float64(p.of("goroutine", func(s sample) bool { return finalizing(e, s) })), nil
		}, "Goroutines of the runtime that run finalizers or cleanups and were inside one of the program's when the goroutine profile was taken."),
		number("pprof.finalizer_block_share", dim, Share, func(e *evidence) (float64, error) {
			p, err := e.blocked()
			if err != nil {
				return 0, err
			}
			blocked := p.of("delay", func(s sample) bool { return finalizing(e, s) })
			return min(1, share(blocked, int64(e.span(bundle.BlockProfile).Duration()))), nil
		}, "Time that finalizers and cleanups of the program were blocked, by the block profile, as a share of the window. It does not hold waits for I/O."),
		place("pprof.finalizer_site", dim, func(e *evidence) (stack.Frame, error) {
			p, err := e.profile(dim, bundle.GoroutineProfile)
			if err != nil {
				return stack.Frame{}, err
			}
			return top(p.bySite("goroutine", func(s sample) (stack.Frame, bool) {
				return baseFrame(e.program.Outermost(s.frames)), finalizing(e, s)
			})).where, nil
		}, "The finalizer or cleanup function in it."),

		number("pprof.netio_spin_share", dim, Share, func(e *evidence) (float64, error) {
			s, err := e.spin(dim)
			return share(s.loop, s.all), err
		}, "Share of the CPU profile taken in one loop round a call that reads, writes or accepts, and hardly ever reaches the kernel: in the call, and in the outermost function of the program that does little else, with what the scheduler does because it lets others run."),
		place("pprof.netio_spin_site", dim, func(e *evidence) (stack.Frame, error) {
			s, err := e.spin(dim)
			return s.where, err
		}, "The program's line that makes that call."),
		number("pprof.polling_share", dim, Share, cpuShare(polling),
			"Share of the CPU profile spent in one call of epoll_wait or poll that the program makes itself."),
		place("pprof.polling_site", dim, cpuSite(polling), "The program's line that makes that call."),
		number("pprof.cpu_gc_share", dim, Share, cpuAll(func(c stack.CPU) bool { return c.Collecting }),
			"Share of the CPU profile spent by the garbage collector, what it does on CPUs that have nothing else to do left out."),
		number("pprof.cpu_pool_new_share", dim, Share, cpuAll(func(c stack.CPU) bool { return c.PoolNew }),
			"Share of the CPU profile spent making new values under sync.Pool.Get."),

		number("pprof.pool_new_share", dim, Share, func(e *evidence) (float64, error) {
			sites, all, err := poolNew(e, "alloc_space")
			return share(top(sites).value, all), err
		}, "Share of the bytes allocated in the window that one line's sync.Pool.Get made new because the pool was empty."),
		number("pprof.pool_new_per_request", dim, PerRequest, func(e *evidence) (float64, error) {
			bytes, _, err := poolNew(e, "alloc_space")
			if err != nil {
				return 0, err
			}
			made, err := madeAnew(e, top(bytes).where)
			if err != nil {
				return 0, err
			}
			return perRequest(e, bundle.AllocsProfile, made)
		}, "Objects made new by that line's Get for each request that ended; those much smaller than the ones that hold most of the bytes are parts of a new value and do not count."),
		place("pprof.pool_new_site", dim, func(e *evidence) (stack.Frame, error) {
			sites, _, err := poolNew(e, "alloc_space")
			return top(sites).where, err
		}, "The program's line that calls that Get."),

		number("pprof.pool_setup_per_request", dim, PerRequest, func(e *evidence) (float64, error) {
			sites, err := poolPin(e)
			if err != nil {
				return 0, err
			}
			return perRequest(e, bundle.AllocsProfile, top(sites).value)
		}, "Pools set up (their per-P part allocated) at one line for each request that ended; a pool that lives on is set up once a collection."),
		number("pprof.pool_setup_per_collection", dim, PerCollection, func(e *evidence) (float64, error) {
			sites, err := poolPin(e)
			if err != nil {
				return 0, err
			}
			cycles, err := collections(e, e.span(bundle.AllocsProfile))
			if err != nil {
				return 0, err
			}
			return float64(top(sites).value) / max(1, cycles), nil
		}, "Pools set up at that line for each collection in the window."),
		place("pprof.pool_setup_site", dim, func(e *evidence) (stack.Frame, error) {
			sites, err := poolPin(e)
			return top(sites).where, err
		}, "The program's line that first uses such a pool."),

		number("pprof.pool_box_share", dim, Share, func(e *evidence) (float64, error) {
			b, err := boxes(e)
			return share(b.objects, b.all), err
		}, "Share of the objects allocated in the window that are boxes: objects of at most four words, allocated by the program's own line that calls sync.Pool.Put."),
		number("pprof.pool_box_per_request", dim, PerRequest, func(e *evidence) (float64, error) {
			b, err := boxes(e)
			if err != nil {
				return 0, err
			}
			return perRequest(e, bundle.AllocsProfile, b.objects)
		}, "Such boxes for each request that ended."),
		number("pprof.pool_box_bytes", dim, Byte, func(e *evidence) (float64, error) {
			b, err := boxes(e)
			if err != nil {
				return 0, err
			}
			if b.objects == 0 {
				return 0, errNone
			}
			return float64(b.bytes) / float64(b.objects), nil
		}, "Mean size of such a box."),
		place("pprof.pool_box_site", dim, func(e *evidence) (stack.Frame, error) {
			b, err := boxes(e)
			return b.where, err
		}, "The line of that Put."),

		number("pprof.pool_kept_share", dim, Share, func(e *evidence) (float64, error) {
			k, err := kept(e)
			return share(k.bytes, k.all), err
		}, "Share of the memory in use that was allocated by a function which puts into a sync.Pool, or for it by what it calls."),
		number("pprof.pool_kept_object_bytes", dim, Byte, func(e *evidence) (float64, error) {
			k, err := kept(e)
			if err != nil {
				return 0, err
			}
			return k.typical, nil
		}, "Size of the objects that make up at least half of that memory; 0 when there is none."),
		number("pprof.pool_kept_to_response", dim, Ratio, func(e *evidence) (float64, error) {
			k, err := kept(e)
			if err != nil {
				return 0, err
			}
			l, err := e.load()
			if err != nil {
				return 0, err
			}
			if l.ResponseBytes.P50 <= 0 {
				return 0, errors.New("load: responses have no body")
			}
			return k.typical / l.ResponseBytes.P50, nil
		}, "That size in relation to the median response body."),
		number("pprof.pool_kept_to_allocated", dim, Ratio, func(e *evidence) (float64, error) {
			k, err := kept(e)
			if err != nil || k.bytes == 0 {
				return 0, err
			}
			p, err := e.profile(dim, bundle.AllocsProfile)
			if err != nil {
				return 0, err
			}
			allocated := p.of("alloc_space", k.pick)
			// What the profiler did not draw may still have been allocated.
			return float64(k.bytes) / float64(max(allocated, p.period, 1)), nil
		}, "That memory in relation to what the same function allocated in the window: how much is used again rather than made anew."),
		place("pprof.pool_kept_site", dim, func(e *evidence) (stack.Frame, error) {
			k, err := kept(e)
			return k.where, err
		}, "The line of that Put."),
		number("pprof.pools_in_requests", dim, Count, func(e *evidence) (float64, error) {
			pools, err := poolGets(e)
			return float64(len(pools)), err
		}, "Calls of sync.Pool.Get, by line, in functions that profiled request work passes through."),
		place("pprof.pool_get_site", dim, func(e *evidence) (stack.Frame, error) {
			p, err := dataPool(e)
			return p.asker, err
		}, "The call of sync.Pool.Get in the function that most of the profiled request work passes through, or the program's line that calls the library where it stands; a library's that calls the program, as routers do, only if there is no other."),
		place("pprof.pool_library_site", dim, func(e *evidence) (stack.Frame, error) {
			p, err := dataPool(e)
			if p.get == p.asker {
				return stack.Frame{}, err
			}
			return p.get, err
		}, "That call, if it is a library's."),
	}
}

// inFlightShare relates waiting time to the time all requests in flight spent
// together: their number times the length of the profile.
func inFlightShare(e *evidence, artifact string, ns int64) (float64, error) {
	l, err := e.load()
	if err != nil {
		return 0, err
	}
	whole := l.Reached.InFlightMean * float64(e.span(artifact).Duration())
	if whole <= 0 {
		return 0, errors.New("load: no request was in flight")
	}
	// More than all of it is the profile's scaling, or goroutines besides the requests'.
	return min(1, float64(ns)/whole), nil
}

func perRequest(e *evidence, artifact string, count int64) (float64, error) {
	n, err := e.requests(e.span(artifact))
	if err != nil && count == 0 && e.loadRecorded() {
		return 0, nil // none, for however many requests; a server that stands still ends none
	}
	if err != nil {
		return 0, err
	}
	return float64(count) / n, nil
}

func (e *evidence) loadRecorded() bool {
	_, err := e.load()
	return err == nil
}

func mutexSites(e *evidence) ([]site, int64, error) {
	p, err := e.contended()
	if err != nil {
		return nil, 0, err
	}
	return p.bySite("delay", func(s sample) (stack.Frame, bool) {
		own := e.program.Own(s.frames)
		return own, unlocking(s) && !own.IsZero()
	}), p.of("delay", unlocking), nil
}

// mutexCaller is where the function of pprof.mutex_top_site is mostly called.
func mutexCaller(e *evidence) (stack.Frame, error) {
	sites, _, err := mutexSites(e)
	if err != nil {
		return stack.Frame{}, err
	}
	p, err := e.profile(bundle.DimPprof, bundle.MutexProfile)
	if err != nil {
		return stack.Frame{}, err
	}
	return callerOf(e, p, "delay", top(byFunction(sites)).where, unlocking), nil
}

// unlocking leaves out the runtime's own locks, which the mutex profile holds too.
func unlocking(s sample) bool { return stack.Unlocks(s.frames) }

func finalizing(e *evidence, s sample) bool {
	return stack.Finalizing(s.frames) && !e.program.Outermost(s.frames).IsZero()
}

// A cpuKind picks samples of one kind of work that belong to a line.
type cpuKind func(stack.CPU) bool

func netSpin(c stack.CPU) bool { return c.NetCall && !c.Own.IsZero() }
func polling(c stack.CPU) bool { return c.Polling && !c.Own.IsZero() }

func cpuSites(e *evidence, dimension, artifact, sampleType string, kind cpuKind) ([]site, int64, error) {
	p, err := e.profile(dimension, artifact)
	if err != nil {
		return nil, 0, err
	}
	all := p.of(sampleType, nil)
	if all == 0 {
		return nil, 0, fmt.Errorf("%s: the profile holds no samples", dimension)
	}
	return p.bySite(sampleType, func(s sample) (stack.Frame, bool) {
		c := e.program.CPUOf(s.frames)
		return c.Own, kind(c)
	}), all, nil
}

func cpuShare(kind cpuKind) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		sites, all, err := cpuSites(e, bundle.DimPprof, bundle.CPUProfile, "cpu", kind)
		return share(top(sites).value, all), err
	}
}

func cpuSite(kind cpuKind) func(*evidence) (stack.Frame, error) {
	return func(e *evidence) (stack.Frame, error) {
		sites, _, err := cpuSites(e, bundle.DimPprof, bundle.CPUProfile, "cpu", kind)
		return top(sites).where, err
	}
}

// cpuAll is the share of all samples of a kind, whatever line they belong to.
func cpuAll(kind cpuKind) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		return cpuTotal(e, bundle.DimPprof, bundle.CPUProfile, "cpu", kind)
	}
}

func cpuTotal(e *evidence, dimension, artifact, sampleType string, kind cpuKind) (float64, error) {
	p, err := e.profile(dimension, artifact)
	if err != nil {
		return 0, err
	}
	all := p.of(sampleType, nil)
	if all == 0 {
		return 0, fmt.Errorf("%s: the profile holds no samples", dimension)
	}
	part := p.of(sampleType, func(s sample) bool { return kind(e.program.CPUOf(s.frames)) })
	return share(part, all), nil
}

func poolNew(e *evidence, sampleType string) ([]site, int64, error) {
	p, err := e.profile(bundle.DimPprof, bundle.AllocsProfile)
	if err != nil {
		return nil, 0, err
	}
	return p.drawn(sampleType, "alloc_objects", "alloc_space", func(s sample) (stack.Frame, bool) {
		user, ok := e.program.PoolNew(s.frames)
		return user, ok && !user.IsZero()
	}), p.of(sampleType, nil), nil
}

func poolPin(e *evidence) ([]site, error) {
	p, err := e.profile(bundle.DimPprof, bundle.AllocsProfile)
	if err != nil {
		return nil, err
	}
	return p.drawn("alloc_objects", "alloc_objects", "alloc_space", func(s sample) (stack.Frame, bool) {
		user, ok := e.program.PoolPin(s.frames)
		return user, ok && !user.IsZero()
	}), nil
}

type boxed struct {
	objects, bytes, all int64
	where               stack.Frame
}

// maxBoxBytes is the largest value that Put's argument boxes in practice: a
// string is two words, a slice three. Four words leave room for a small struct.
const maxBoxBytes = 32

// boxes finds what is allocated to turn a value into Put's interface argument.
// The allocation's own stack cannot show the call of Put, which comes after
// it; the machine code shows which lines of the program make that call.
func boxes(e *evidence) (boxed, error) {
	p, err := e.profile(bundle.DimPprof, bundle.AllocsProfile)
	if err != nil {
		return boxed{}, err
	}
	puts, err := e.callSites("sync.(*Pool).Put")
	if err != nil {
		return boxed{}, err
	}
	type line struct {
		file string
		n    int
	}
	at := map[line]bool{}
	for _, c := range puts {
		at[line{c.File, c.Line}] = true
	}
	space, objects := p.types["alloc_space"], p.types["alloc_objects"]
	box := func(s sample) (stack.Frame, bool) {
		if len(s.frames) == 0 || !at[line{s.frames[0].File, s.frames[0].Line}] || s.values[objects] <= 0 {
			return stack.Frame{}, false
		}
		if s.values[space]/s.values[objects] > maxBoxBytes {
			return stack.Frame{}, false
		}
		return baseFrame(s.frames[0]), true
	}
	t := top(p.drawn("alloc_objects", "alloc_objects", "alloc_space", box))
	bytes := p.of("alloc_space", func(s sample) bool {
		at, ok := box(s)
		return ok && at == t.where
	})
	return boxed{objects: t.value, bytes: bytes, all: p.of("alloc_objects", nil), where: t.where}, nil
}

type keeping struct {
	bytes, all int64
	typical    float64
	where      stack.Frame
	pick       func(sample) bool // what was allocated there
}

// kept finds memory in use that belongs to a pool: what was allocated by a
// function that puts into one, or on its behalf.
func kept(e *evidence) (keeping, error) {
	return once(e, "pool kept", func() (keeping, error) {
		p, err := e.profile(bundle.DimPprof, bundle.HeapProfile)
		if err != nil {
			return keeping{}, err
		}
		puts, err := e.callSites("sync.(*Pool).Put")
		if err != nil {
			return keeping{}, err
		}
		pick := func(s sample) (stack.Frame, bool) {
			return callIn(puts, s.frames)
		}
		t := top(p.drawn("inuse_space", "inuse_objects", "inuse_space", pick))
		k := keeping{bytes: t.value, all: p.of("inuse_space", nil), where: t.where}
		space, objects := p.types["inuse_space"], p.types["inuse_objects"]
		k.pick = func(s sample) bool {
			f, ok := pick(s)
			return ok && f == t.where
		}
		var sizes []weighted
		for _, s := range p.list {
			if k.pick(s) && s.values[objects] > 0 {
				sizes = append(sizes, weighted{float64(s.values[space]) / float64(s.values[objects]), s.values[space]})
			}
		}
		k.typical = median(sizes)
		return k, nil
	})
}
