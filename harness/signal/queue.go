package signal

import (
	"fmt"
	"slices"
	"time"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// queueSignals are those of waits that other goroutines end: for a bounded
// resource, and behind goroutines that serve.
func queueSignals() []definition {
	const dim = bundle.DimTrace
	resource, consumer := theQueue(gotrace.Bounded), theQueue(gotrace.Served)
	io := []string{string(stack.NetRead), string(stack.NetWrite), string(stack.NetConnect), string(stack.HTTPClient), string(stack.DBConn), "syscall"}
	// Who helps the collector, or waits for the runtime to be done, waits for CPU as well.
	onCPU := []string{"running", "runnable", string(stack.Assist), string(stack.Runtime)}
	return []definition{
		number("trace.resource_wait_share", dim, Share, waitShareOf(resource),
			"Share of request time spent waiting for the one bounded resource that costs requests most, a semaphore or a pool, of which each is given to the next by one that had waited for it as well, be it by those that serve requests; of all the program's goroutine time in a program without a known server."),
		number("trace.resource_passed_share", dim, Share, ofQueue(resource, func(q gotrace.Queue, _ *gotrace.Summary) float64 {
			return share(q.Passed, q.Ended)
		}), "Share of the ends of waits for that resource for which one that had itself waited for it passed it on, or put a connection back into a pool of the standard library."),
		number("trace.resource_slots", dim, Count, func(e *evidence) (float64, error) {
			n, followed, err := slots(e, resource)
			if err == nil && followed < mostFollowed {
				err = fmt.Errorf("trace: only %.0f%% of those that got it after a wait were seen to pass it on to another that waited", 100*followed)
			}
			return n, err
		}, "How many can have that resource at a time: as many as had it on average over the trace; only known where it is waited for nearly all the time."),
		number("trace.resource_slots_least", dim, Count, func(e *evidence) (float64, error) {
			n, _, err := slots(e, resource)
			return n, err
		}, "How many had that resource at a time, on average over the trace, of those that had waited for it and pass it on, what the ends of the trace cut being made up for."),
		place("trace.resource_site", dim, atQueue(resource, func(q gotrace.Queue) stack.Frame { return q.Acquire }),
			"Where those who have that resource longest had waited for it."),
		place("trace.resource_waiter_site", dim, atQueue(resource, firstWaiter), "Where goroutines wait longest for it."),
		place("trace.resource_caller_site", dim, atQueue(resource, func(q gotrace.Queue) stack.Frame { return q.Caller }),
			"The program's line through which most of that waiting comes: the call of the function that waits, if that does not handle requests itself."),
		place("trace.resource_release_site", dim, atQueue(resource, func(q gotrace.Queue) stack.Frame { return q.Release }),
			"Where it is passed on."),
		number("trace.resource_asleep_share", dim, Share, queueDoing(resource, string(stack.Sleep)),
			"Share of the time for which it is held that its holder spends in time.Sleep."),
		number("trace.resource_io_share", dim, Share, queueDoing(resource, io...),
			"Share of the time for which it is held that its holder spends in network or file I/O and other system calls."),
		number("trace.resource_waiting_share", dim, Share, queueDoing(resource, string(stack.ChanRecv), string(stack.ChanSend), string(stack.Select), string(stack.Cond), string(stack.WaitGroup), string(stack.Lock)),
			"Share of the time for which it is held that its holder spends waiting for other goroutines or a timer."),
		number("trace.resource_lock_share", dim, Share, queueDoing(resource, string(stack.Lock)),
			"Share of the time for which it is held that its holder spends waiting for locks."),
		number("trace.resource_cpu_share", dim, Share, queueDoing(resource, onCPU...),
			"Share of the time for which it is held that its holder spends running, or waiting for a P or the runtime, such as for the collector."),
		place("trace.resource_blocked_site", dim, atQueue(resource, queueBlocked), "Where its holder spends its time off the CPU."),

		number("trace.consumer_wait_share", dim, Share, waitShareOf(consumer),
			"Share of request time spent waiting for the goroutines of one function that serve requests through channels or conditions, be it by those that have what requests queue for; of all the program's goroutine time in a program without a known server."),
		number("trace.consumer_queued_share", dim, Share, ofQueue(consumer, func(q gotrace.Queue, _ *gotrace.Summary) float64 {
			return share(q.QueuedNS, q.OrderedNS)
		}), "Share of that waiting in which the goroutine that ended it served others and went on to something else, or had not yet taken what was sent; near 0 where all that wait are served together."),
		number("trace.consumer_late_share", dim, Share, ofQueue(consumer, func(q gotrace.Queue, _ *gotrace.Summary) float64 {
			return min(1, share(q.LateNS, q.OrderedNS))
		}), "How much earlier than one that had been served before they had begun, as a share of that waiting; 0 where the first to come is served first."),
		number("trace.consumer_servers", dim, Count, ofQueue(consumer, func(q gotrace.Queue, _ *gotrace.Summary) float64 { return float64(q.Servers) }),
			"Distinct goroutines that serve so, or that these in turn wait for."),
		number("trace.consumer_busy_share", dim, Share, ofQueue(consumer, func(q gotrace.Queue, _ *gotrace.Summary) float64 { return q.BusyShare }),
			"Share of their time at work, which is neither waiting for something to do nor reading what was not asked for; of each goroutine by how long those had waited that it served."),
		number("trace.consumer_asleep_share", dim, Share, queueDoing(consumer, string(stack.Sleep)), "Share of that work spent in time.Sleep."),
		number("trace.consumer_io_share", dim, Share, queueDoing(consumer, io...), "Share of that work spent in network or file I/O and other system calls."),
		number("trace.consumer_lock_share", dim, Share, queueDoing(consumer, string(stack.Lock)), "Share of that work spent waiting for locks."),
		number("trace.consumer_resource_share", dim, Share, func(e *evidence) (float64, error) {
			c, err := consumer(e)
			if err != nil {
				return 0, err
			}
			if len(c.queue.Doing) == 0 {
				return 0, errNone
			}
			r, err := resource(e)
			return doingShare(c.queue, inQueue(r.queue)), err
		}, "Share of that work spent waiting for the bounded resource that costs requests most."),
		number("trace.consumer_cpu_share", dim, Share, queueDoing(consumer, onCPU...), "Share of that work spent running, or waiting for a P or the runtime, such as for the collector."),
		place("trace.consumer_site", dim, atQueue(consumer, func(q gotrace.Queue) stack.Frame { return q.Serve }),
			"Where they take what they serve, or give the answer if that is not known."),
		place("trace.consumer_asking_site", dim, asksLibrary(consumer),
			"The program's own line that waits longest for them, where they are a library's."),
		place("trace.consumer_waiter_site", dim, atQueue(consumer, firstWaiter), "Where goroutines wait longest for them."),
		place("trace.consumer_caller_site", dim, atQueue(consumer, func(q gotrace.Queue) stack.Frame { return q.Caller }),
			"The program's line through which most of that waiting comes: the call of the function that waits, if that does not handle requests itself."),
		place("trace.consumer_blocked_site", dim, atQueue(consumer, queueBlocked), "Where they spend their work off the CPU."),

		number("trace.lock_readers_share", dim, Share, ofLock(func(_ *gotrace.Summary, l gotrace.Lock) float64 {
			var reading, all int64
			for _, w := range l.Waiters {
				all += w.NS
				if w.Reads {
					reading += w.NS
				}
			}
			return share(reading, all)
		}), "Share of the waiting for the lock that costs requests most that was by readers of an RWMutex."),
		number("trace.lock_held_reading_share", dim, Share, ofLock(func(_ *gotrace.Summary, l gotrace.Lock) float64 {
			var reading int64
			for _, h := range l.Holders {
				if h.Reads {
					reading += h.NS
				}
			}
			return share(reading, holdersNS(l))
		}), "Share of that lock's contended time for which readers of an RWMutex had it."),

		number("pprof.resource_parked_share", bundle.DimPprof, Share, parkedAt(resource),
			"Share of the goroutines in handlers that stood where the trace has them wait longest for a bounded resource, when the goroutine profile was taken."),
		number("pprof.resource_block_share", bundle.DimPprof, Share, blockedAt(resource),
			"Time that the block profile says ended waits there took, as a share of the time of all requests in flight."),
		number("pprof.consumer_parked_share", bundle.DimPprof, Share, parkedAt(consumer),
			"Share of the goroutines in handlers that stood where the trace has them wait longest for goroutines that serve, when the goroutine profile was taken."),
		number("pprof.consumer_block_share", bundle.DimPprof, Share, blockedAt(consumer),
			"Time that the block profile says ended waits there took, as a share of the time of all requests in flight."),
		number("pprof.conn_parked_share", bundle.DimPprof, Share, func(e *evidence) (float64, error) {
			sites, all, err := connSites(e)
			var part int64
			for _, s := range sites {
				part += s.value
			}
			return share(part, all), err
		}, "Share of the goroutines in handlers that waited for a connection of a database/sql pool, when the goroutine profile was taken."),
		place("pprof.conn_site", bundle.DimPprof, func(e *evidence) (stack.Frame, error) {
			sites, _, err := connSites(e)
			return baseFrame(top(sites).where), err
		}, "The program's line where most of them did."),
		place("pprof.conn_caller_site", bundle.DimPprof, connCaller,
			"The program's line from which most of those came to that function, if it does not handle requests itself."),
	}
}

// queued is the queue of a kind that costs most, and what that is a share of.
type queued struct {
	queue         gotrace.Queue
	waited, whole int64
	trace         *gotrace.Summary
}

type queueOf func(*evidence) (queued, error)

// theQueue picks that queue. Of those that are served the waiting counts by how
// far it is one behind others while the servers are at work: a news feed may have
// more of it, and is none.
func theQueue(kind gotrace.QueueKind) queueOf {
	return func(e *evidence) (queued, error) {
		return once(e, "queue "+string(kind), func() (queued, error) {
			s, err := e.trace()
			if err != nil {
				return queued{}, err
			}
			account, requests, err := base(s)
			if err != nil {
				return queued{}, err
			}
			best := queued{whole: account.TotalNS, trace: s}
			most := -1.0
			through := requestWaits(s.Queues)
			for i, q := range s.Queues {
				ns := q.WaitedNS
				if requests {
					ns = min(through[i], account.TotalNS)
				}
				if q.Kind != kind || ns == 0 {
					continue
				}
				weight := float64(ns)
				if kind == gotrace.Served {
					weight *= q.BusyShare * share(max(0, q.QueuedNS-q.LateNS), q.OrderedNS)
				}
				if weight > most {
					best.queue, best.waited, most = q, ns, weight
				}
			}
			return best, nil
		})
	}
}

// requestWaits is, of each queue, the request time spent waiting in it: by requests, and by those
// that serve requests, or have what these queue for, while that is what keeps them.
func requestWaits(queues []gotrace.Queue) []int64 {
	const steps = 3 // workers behind workers behind a resource are as many as anybody builds
	total := make([]float64, len(queues))
	add := make([]float64, len(queues))
	for i, q := range queues {
		add[i] = float64(q.RequestWaitedNS)
		total[i] = add[i]
	}
	for range steps {
		next := make([]float64, len(queues))
		for i, q := range queues {
			for j, before := range queues {
				if i != j && add[j] > 0 {
					next[i] += add[j] * keptBy(before, inQueue(q))
				}
			}
			total[i] += next[i]
		}
		add = next
	}
	out := make([]int64, len(queues))
	for i, ns := range total {
		out[i] = int64(ns)
	}
	return out
}

// inQueue tells the waits in a queue among what goroutines do.
func inQueue(q gotrace.Queue) func(gotrace.Doing) bool {
	return func(d gotrace.Doing) bool {
		return slices.ContainsFunc(q.Waiters, func(w gotrace.WaitTime) bool { return string(w.Wait) == d.What && w.Where == d.Where })
	}
}

// feedLate is the share of the waiting for goroutines that serve from which on these tell news
// rather than serve in turn: the bound of the rule channel-bottleneck.
const feedLate = 0.3

// keptBy is the part of a queue's waiting in which those who are waited for do something of a
// kind: as large a part as that is of what they do. What is waited for while servers are idle is
// something else.
func keptBy(q gotrace.Queue, kind func(gotrace.Doing) bool) float64 {
	part := doingShare(q, kind)
	switch q.Kind {
	case gotrace.Bounded:
		return part * share(q.Passed, q.Ended)
	case gotrace.Served:
		if share(q.LateNS, q.OrderedNS) < feedLate {
			return part * q.BusyShare
		}
	}
	return 0
}

// doingShare is the share of what those do who are waited for that is of a kind.
func doingShare(q gotrace.Queue, kind func(gotrace.Doing) bool) float64 {
	var part, all int64
	for _, d := range q.Doing {
		all += d.NS
		if kind(d) {
			part += d.NS
		}
	}
	return share(part, all)
}

func waitShareOf(pick queueOf) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		c, err := pick(e)
		return min(1, share(c.waited, c.whole)), err
	}
}

// ofQueue measures a queue; there is nothing to measure where there is none.
func ofQueue(pick queueOf, f func(gotrace.Queue, *gotrace.Summary) float64) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		c, err := pick(e)
		if err != nil {
			return 0, err
		}
		if c.waited == 0 {
			return 0, errNone
		}
		return f(c.queue, c.trace), nil
	}
}

func atQueue(pick queueOf, f func(gotrace.Queue) stack.Frame) func(*evidence) (stack.Frame, error) {
	return func(e *evidence) (stack.Frame, error) {
		c, err := pick(e)
		if err != nil {
			return stack.Frame{}, err
		}
		if c.waited == 0 {
			return stack.Frame{}, errNone
		}
		return baseFrame(f(c.queue)), nil
	}
}

// asksLibrary is the line of the main module that waits for goroutines of a library.
func asksLibrary(pick queueOf) func(*evidence) (stack.Frame, error) {
	return func(e *evidence) (stack.Frame, error) {
		c, err := pick(e)
		switch {
		case err != nil:
			return stack.Frame{}, err
		case c.waited == 0, e.program.Mine(c.queue.Serve), !e.program.Mine(firstWaiter(c.queue)):
			return stack.Frame{}, errNone
		}
		return baseFrame(firstWaiter(c.queue)), nil
	}
}

func firstWaiter(q gotrace.Queue) stack.Frame { return q.Waiters[0].Where }

func queueDoing(pick queueOf, what ...string) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		c, err := pick(e)
		if err != nil {
			return 0, err
		}
		var part, all int64
		for _, d := range c.queue.Doing {
			all += d.NS
			if slices.Contains(what, d.What) {
				part += d.NS
			}
		}
		if all == 0 {
			return 0, errNone
		}
		return share(part, all), nil
	}
}

// mostFollowed is the share of turns at a resource that must be passed on before it is
// said how many there are: as far as they are not, the number is too low, and about a
// tenth is as near as it is needed.
const mostFollowed = 0.9

// slots is how many have a resource at a time, and its FollowedShare.
func slots(e *evidence, pick queueOf) (n, followed float64, err error) {
	c, err := pick(e)
	q := c.queue
	switch {
	case err != nil:
		return 0, 0, err
	case c.waited == 0, q.Holds == 0:
		return 0, 0, errNone
	case q.Slots == 0:
		length, hold := time.Duration(c.trace.DurationNS()), time.Duration(q.HeldNS/q.Holds)
		return 0, 0, fmt.Errorf("trace: it is %v long, too short to tell how many have what each has for about %v", length.Round(time.Millisecond), hold.Round(time.Millisecond))
	}
	return q.Slots, q.FollowedShare(), nil
}

// queueBlocked is where the most of what is done off the CPU is done.
func queueBlocked(q gotrace.Queue) stack.Frame {
	for _, d := range q.Doing {
		if d.What != "running" && d.What != "runnable" && !d.Where.IsZero() {
			return d.Where
		}
	}
	return stack.Frame{}
}

// inHandlers counts goroutines of a profile in handlers of net/http, or with code
// of the program where there are none.
func inHandlers(e *evidence, p *samples) (func(sample) bool, int64) {
	in := func(s sample) bool { return stack.StageOf(s.frames) == stack.Handling }
	if all := p.of("goroutine", in); all > 0 {
		return in, all
	}
	in = func(s sample) bool { return !e.program.Own(s.frames).IsZero() }
	return in, p.of("goroutine", in)
}

func parkedAt(pick queueOf) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		p, err := e.profile(bundle.DimPprof, bundle.GoroutineProfile)
		if err != nil {
			return 0, err
		}
		at, err := longestWait(e, pick)
		if err != nil {
			return 0, err
		}
		in, all := inHandlers(e, p)
		return share(p.of("goroutine", func(s sample) bool { return in(s) && at(s) }), all), nil
	}
}

func blockedAt(pick queueOf) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		p, err := e.blocked()
		if err != nil {
			return 0, err
		}
		at, err := longestWait(e, pick)
		if err != nil {
			return 0, err
		}
		return inFlightShare(e, bundle.BlockProfile, p.of("delay", at))
	}
}

// longestWait tells stacks that wait where most of a queue does.
func longestWait(e *evidence, pick queueOf) (func(sample) bool, error) {
	c, err := pick(e)
	if err != nil {
		return nil, err
	}
	if c.waited == 0 {
		return nil, errNone
	}
	w := c.queue.Waiters[0]
	return func(s sample) bool {
		return e.program.WaitOf(s.frames) == w.Wait && e.program.Own(s.frames) == w.Where
	}, nil
}

// connCaller is where most of those who stand in the function of pprof.conn_site
// came from.
func connCaller(e *evidence) (stack.Frame, error) {
	sites, _, err := connSites(e)
	if err != nil {
		return stack.Frame{}, err
	}
	p, err := e.profile(bundle.DimPprof, bundle.GoroutineProfile)
	if err != nil {
		return stack.Frame{}, err
	}
	in, _ := inHandlers(e, p)
	return callerOf(e, p, "goroutine", top(sites).where, func(s sample) bool {
		return in(s) && e.program.WaitOf(s.frames) == stack.DBConn
	}), nil
}

// callerOf is the User of most of what a profile has in a function of the program;
// zero where most of it has none.
func callerOf(e *evidence, p *samples, sampleType string, in stack.Frame, pick func(sample) bool) stack.Frame {
	name := gofunc.Base(in.Function)
	return baseFrame(top(p.bySite(sampleType, func(s sample) (stack.Frame, bool) {
		own := e.program.Own(s.frames)
		return e.program.User(s.frames), !own.IsZero() && gofunc.Base(own.Function) == name && pick(s)
	})).where)
}

func connSites(e *evidence) ([]site, int64, error) {
	p, err := e.profile(bundle.DimPprof, bundle.GoroutineProfile)
	if err != nil {
		return nil, 0, err
	}
	in, all := inHandlers(e, p)
	return p.bySite("goroutine", func(s sample) (stack.Frame, bool) {
		own := e.program.Own(s.frames)
		return own, in(s) && !own.IsZero() && e.program.WaitOf(s.frames) == stack.DBConn
	}), all, nil
}
