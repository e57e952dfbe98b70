package gotrace

import (
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"golang.org/x/exp/trace"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"chokepoint/harness/signal/stack"
)

// noticed is the share of request time that rules ask for.
const noticed = 0.1

// gatherCall is a system call that waits, in a thread.
func gatherCall(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	for unix.Nanosleep(&ts, &ts) == unix.EINTR { // at: gathered call
	}
}

// gatherReport takes longer than the request that starts it.
func gatherReport() { gatherCall(30 * work) }

// gatherEntry is done sooner, and nobody waits for it.
func gatherEntry() { gatherCall(work) }

// gatherAll runs what a request needs, side by side.
func gatherAll(all ...func()) {
	var wg sync.WaitGroup
	for _, f := range all {
		wg.Go(f)
	}
	wg.Wait()
}

// charged is the share of request time in gatherCall of goroutines that requests wait
// for, and how long it was called by any.
func charged(t *testing.T, s *Summary) (share float64, called time.Duration) {
	where := stack.Frame{Function: pkg + "gatherCall", Line: lineIn(t, "gathering_test.go", "gathered call")}
	for _, c := range s.Syscalls {
		if c.Where.Function == where.Function && c.Where.Line == where.Line {
			assert.Equal(t, stack.Idle, c.Blocking)
			return float64(c.ChildNS) / float64(s.Requests.TotalNS), time.Duration(c.NS)
		}
	}
	return 0, 0
}

func TestCallsOfGoroutinesThatARequestWaitsFor(t *testing.T) {
	// Long enough that it matters little how long a goroutine waits for a P on a busy machine.
	call := func() { gatherCall(25 * work) }
	for name, h := range map[string]http.HandlerFunc{
		"a group": func(http.ResponseWriter, *http.Request) { gatherAll(call, call) },
		"one": func(http.ResponseWriter, *http.Request) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				call()
			}()
			<-done
		},
		"an errgroup": func(_ http.ResponseWriter, r *http.Request) {
			g, _ := errgroup.WithContext(r.Context())
			for range 3 {
				g.Go(func() error { call(); return nil })
			}
			_ = g.Wait()
		},
		"an errgroup with a limit": func(http.ResponseWriter, *http.Request) {
			var g errgroup.Group
			g.SetLimit(1)
			for range 3 {
				g.Go(func() error { gatherCall(10 * work); return nil })
			}
			_ = g.Wait()
		},
		"workers of the request's own": func(http.ResponseWriter, *http.Request) {
			jobs, results := make(chan int), make(chan int)
			for range 2 {
				go func() {
					for j := range jobs {
						gatherCall(15 * work)
						results <- j
					}
				}()
			}
			go func() {
				defer close(jobs)
				for j := range 4 {
					jobs <- j
				}
			}()
			for range 4 {
				<-results
			}
		},
		"groups of groups": func(http.ResponseWriter, *http.Request) {
			pair := func() { gatherAll(call, call) }
			gatherAll(pair, pair)
		},
		"with an eye on the clock": func(http.ResponseWriter, *http.Request) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				call()
			}()
			tick := time.NewTicker(5 * work)
			defer tick.Stop()
			for {
				select {
				case <-done:
					return
				case <-tick.C:
				}
			}
		},
		"beside one that goes on by itself": func(http.ResponseWriter, *http.Request) {
			tick := time.NewTicker(10 * work)
			stop := make(chan struct{})
			defer close(stop)
			go func() {
				defer tick.Stop()
				for {
					select {
					case <-tick.C:
					case <-stop:
						return
					}
				}
			}()
			gatherAll(call)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := crowd(t, h)
			share, _ := charged(t, s)
			assert.Greater(t, share, noticed)
			assert.LessOrEqual(t, share, 1.0, "a request waits but once")
		})
	}

	t.Run("half of what it waits for", func(t *testing.T) {
		share, _ := charged(t, crowd(t, func(http.ResponseWriter, *http.Request) {
			gatherAll(call, func() { time.Sleep(25 * work) })
		}))
		assert.InDelta(t, 0.5, share, 0.25)
	})

	t.Run("when the trace ends", func(t *testing.T) {
		s := crowd(t, func(http.ResponseWriter, *http.Request) { gatherAll(func() { gatherCall(60 * work) }) })
		share, _ := charged(t, s)
		assert.Greater(t, share, noticed)
	})
}

// TestLocksOfGoroutinesThatARequestWaitsFor is a ledger that each part of a request writes to, one
// at a time.
func TestLocksOfGoroutinesThatARequestWaitsFor(t *testing.T) {
	var mu sync.Mutex
	post := func() {
		mu.Lock() // at: gathered lock
		time.Sleep(work / 2)
		mu.Unlock()
	}
	waited := func(s *Summary) float64 {
		for _, l := range s.Locks {
			for _, w := range l.Waiters {
				if w.Where.Line == lineIn(t, "gathering_test.go", "gathered lock") {
					assert.Zero(t, l.RequestWaitedNS, "no request itself waits")
					return float64(l.ChildWaitedNS) / float64(s.Requests.TotalNS)
				}
			}
		}
		return 0
	}
	share := waited(crowd(t, func(http.ResponseWriter, *http.Request) { gatherAll(post, post, post) }))
	assert.Greater(t, share, 0.5)
	assert.LessOrEqual(t, share, 1.0, "a request waits but once")
	assert.Zero(t, waited(crowd(t, func(http.ResponseWriter, *http.Request) {
		go post() // goes on by itself
		time.Sleep(work)
	})))
}

// gathered is a request by hand, whose goroutine is 1.
type gathered struct {
	*scan
	call, log   *place // of those that it starts
	lock        *place // likewise
	group, read *place // where it waits
}

func gatheredByHand() gathered {
	s := newScan(thisProgram, Beside{})
	s.gs[1] = &goroutine{state: running, request: true}
	s.gs[1].service.open, s.gs[1].service.phase = s.serving.http.Begin(0, 1), handling
	return gathered{
		scan:  s,
		call:  &place{ours: true, own: stack.Frame{Function: "main.ask"}, outer: stack.Frame{Function: "main.all.func1"}},
		lock:  &place{ours: true, wait: stack.Lock, own: stack.Frame{Function: "main.post"}, outer: stack.Frame{Function: "main.all.func1"}},
		log:   &place{ours: true, own: stack.Frame{Function: "main.log"}, outer: stack.Frame{Function: "main.log"}},
		group: &place{ours: true, wait: stack.WaitGroup},
		read:  &place{ours: true, wait: stack.ChanRecv},
	}
}

func (x gathered) start(id, by trace.GoID, now int64) {
	g, o := &goroutine{state: running, since: now}, x.gs[1].service.open
	o.ChildStarted()
	g.service.parent, g.service.parentSeq = o, o.Seq()
	x.gs[id] = g
	g.joins(x.gs[by], now)
}

func (x gathered) charged(g *goroutine, now int64) {
	if g.member.of != nil {
		x.chargeMember(g, now)
	}
}

func (x gathered) to(id trace.GoID, st state, at *place, now int64) {
	g := x.gs[id]
	x.charged(g, now)
	g.at, g.state = at, st
	if at != nil {
		g.blamed = at.wait
	}
	g.gathers(now)
}

func (x gathered) wake(id, by trace.GoID, now int64) {
	x.charged(x.gs[id], now)
	x.gatherWoken(by, x.gs[id], now)
	x.to(id, runnable, x.gs[id].at, now)
}

func (x gathered) end(id trace.GoID, now int64) {
	x.charged(x.gs[id], now)
	x.gs[id].leaves(now)
	delete(x.gs, id)
}

// request is request time at main.ask, by the end of the trace.
func (x gathered) request(now int64) int64 {
	x.last = now
	x.cutGatherings(slices.Collect(maps.Keys(x.gs)))
	x.finishGatherings()
	return x.callsAt(x.call.own).ChildNS
}

func TestTimeIsDividedAmongThoseAtWork(t *testing.T) {
	t.Run("two", func(t *testing.T) {
		x := gatheredByHand()
		x.start(2, 1, 0)
		x.start(3, 1, 0)
		x.to(2, inSyscall, x.call, 0)
		x.to(3, inSyscall, x.call, 10)
		x.to(1, waiting, x.group, 20)
		x.to(2, running, x.call, 100)
		x.end(2, 100)
		x.to(3, running, x.call, 140)
		x.wake(1, 3, 140)
		x.end(3, 140)
		assert.EqualValues(t, 120, x.request(150), "the request waited for so long")
	})
	t.Run("one waits for a lock, and one calls", func(t *testing.T) {
		x := gatheredByHand()
		x.start(2, 1, 0)
		x.start(3, 1, 0)
		x.to(2, waiting, x.lock, 0)
		x.to(3, inSyscall, x.call, 0)
		x.to(1, waiting, x.group, 0)
		x.wake(2, 3, 60)
		x.to(3, running, x.call, 100)
		x.end(2, 100)
		x.wake(1, 3, 100)
		assert.EqualValues(t, 50, x.request(110))
		assert.EqualValues(t, 30, x.locks.find(waitSite(x.lock)).children, "until it got the lock")
	})
	t.Run("one that waits for another", func(t *testing.T) {
		x := gatheredByHand()
		x.start(2, 1, 0)
		x.start(3, 2, 0)
		x.to(2, waiting, x.group, 0)
		x.to(3, inSyscall, x.call, 0)
		x.to(1, waiting, x.group, 0)
		x.to(3, running, x.call, 100)
		x.wake(2, 3, 100)
		x.end(3, 100)
		x.wake(1, 2, 110)
		assert.EqualValues(t, 100, x.request(120))
	})
	t.Run("one beside that is not waited for", func(t *testing.T) {
		x := gatheredByHand()
		x.start(2, 1, 0)
		x.start(3, 1, 0)
		x.to(2, inSyscall, x.call, 0)
		x.to(3, inSyscall, x.log, 0)
		x.to(1, waiting, x.group, 0)
		x.to(2, running, x.call, 100)
		x.wake(1, 2, 100)
		assert.EqualValues(t, 50, x.request(120))
		assert.Zero(t, x.callsAt(x.log.own).ChildNS)
	})
	t.Run("of two waits the one that it ended", func(t *testing.T) {
		x := gatheredByHand()
		x.gs[9] = &goroutine{state: running}
		x.start(2, 1, 0)
		x.to(2, inSyscall, x.call, 0)
		x.to(1, waiting, x.read, 0)
		x.wake(1, 9, 40) // somebody else
		x.to(1, waiting, x.read, 50)
		x.wake(1, trace.NoGoroutine, 60) // a time, and it waits on
		x.to(1, waiting, x.read, 65)
		x.to(2, running, x.call, 100)
		x.wake(1, 2, 100)
		assert.EqualValues(t, 45, x.request(120))
	})
	t.Run("a wait that the trace cuts", func(t *testing.T) {
		x := gatheredByHand()
		x.start(2, 1, 0)
		x.start(3, 1, 0)
		x.to(2, inSyscall, x.call, 0)
		x.to(3, inSyscall, x.call, 0)
		x.to(1, waiting, x.read, 0)
		x.to(2, running, x.call, 40)
		x.wake(1, 2, 40)
		x.end(2, 40)
		x.to(1, waiting, x.group, 50)
		assert.EqualValues(t, 90, x.request(100))
	})
	t.Run("a request that is over", func(t *testing.T) {
		x := gatheredByHand()
		x.start(2, 1, 0)
		x.to(2, inSyscall, x.call, 0)
		x.to(1, waiting, x.read, 0)
		x.wake(1, trace.NoGoroutine, 60)
		x.turned(&x.gs[1].service, 60)
		assert.Zero(t, x.request(100))
	})
}

func TestCallsThatNoRequestWaitsFor(t *testing.T) {
	sleep := func() { time.Sleep(15 * work) }

	asked := make(chan chan struct{})
	defer close(asked)
	go func() {
		for answer := range asked {
			time.AfterFunc(15*work, func() { close(answer) })
		}
	}()
	entries := make(chan struct{}, 1000)
	defer close(entries)
	var once sync.Once

	for name, h := range map[string]http.HandlerFunc{
		"one that outlives the request": func(http.ResponseWriter, *http.Request) {
			go gatherReport()
			gatherAll(sleep, sleep)
		},
		"one that is done before": func(http.ResponseWriter, *http.Request) {
			go gatherEntry()
			gatherAll(sleep, sleep)
		},
		"in a wait for somebody else": func(http.ResponseWriter, *http.Request) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				gatherCall(work)
			}()
			answer := make(chan struct{})
			asked <- answer
			<-answer
			<-done
		},
		"a log": func(http.ResponseWriter, *http.Request) {
			once.Do(func() {
				go func() {
					for range entries {
						gatherEntry()
					}
				}()
			})
			select {
			case entries <- struct{}{}:
			default:
			}
			gatherAll(sleep)
		},
	} {
		t.Run(name, func(t *testing.T) {
			share, called := charged(t, crowd(t, h))
			assert.Positive(t, called)
			assert.Less(t, share, noticed)
		})
	}
}
