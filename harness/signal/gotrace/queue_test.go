package gotrace

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"chokepoint/harness/gofunc"
	"chokepoint/harness/internal/testtrace"
	"chokepoint/harness/signal/stack"
)

// What is asserted of queues is shares, with margins as wide as a busy machine
// needs: a queue of sixteen behind one or two is nearly all waiting.

const (
	inFlight = 16
	work     = 2 * time.Millisecond
)

// crowd records a server with so many requests in flight for a while.
func crowd(t *testing.T, h http.HandlerFunc) *Summary {
	t.Helper()
	srv := httptest.NewServer(h)
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: inFlight}}
	defer client.CloseIdleConnections()
	return read(t, testtrace.Record(t, func() {
		times(inFlight, func(int) {
			for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
				get(t, client, srv.URL)
			}
		})
	}))
}

// waited is the share of request time in the queue.
func waited(s *Summary, q Queue) float64 {
	return float64(q.RequestWaitedNS) / float64(s.Requests.TotalNS)
}

// longest is the queue of a kind that requests wait longest in.
func longestQueue(s *Summary, kind QueueKind) Queue {
	for _, q := range s.Queues {
		if q.Kind == kind {
			return q
		}
	}
	return Queue{}
}

func did(q Queue, what stack.Wait) float64 {
	var ns, all int64
	for _, d := range q.Doing {
		all += d.NS
		if d.What == string(what) {
			ns += d.NS
		}
	}
	if all == 0 {
		return 0
	}
	return float64(ns) / float64(all)
}

func TestBoundedQueues(t *testing.T) {
	tokens := make(chan struct{}, 2)
	weighted := semaphore.NewWeighted(2)
	conns := make(chan int, 2)
	conns <- 1
	conns <- 2
	var list stockroom
	list.cond.L, list.free = &list.mu, 2
	elsewhere := make(chan struct{}, 2)

	for name, h := range map[string]http.HandlerFunc{
		"a semaphore of a channel": func(http.ResponseWriter, *http.Request) {
			tokens <- struct{}{}
			time.Sleep(work)
			<-tokens
		},
		"with a way out": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case tokens <- struct{}{}:
			case <-r.Context().Done():
				return
			}
			defer func() { <-tokens }()
			time.Sleep(work)
		},
		"golang.org/x/sync/semaphore": func(_ http.ResponseWriter, r *http.Request) {
			if weighted.Acquire(r.Context(), 1) == nil {
				defer weighted.Release(1)
				time.Sleep(work)
			}
		},
		"a pool of connections": func(http.ResponseWriter, *http.Request) {
			c := <-conns
			time.Sleep(work)
			conns <- c
		},
		"a condition": func(http.ResponseWriter, *http.Request) {
			list.take()
			time.Sleep(work)
			list.put()
		},
		"given back by a goroutine of the request's": func(http.ResponseWriter, *http.Request) {
			elsewhere <- struct{}{}
			done := make(chan struct{})
			go func() {
				time.Sleep(work)
				<-elsewhere
				close(done)
			}()
			<-done
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := crowd(t, h)
			require.NotEmpty(t, s.Queues)
			q := s.Queues[0]
			assert.Equal(t, Bounded, q.Kind, "%+v", s.Queues)
			assert.Greater(t, waited(s, q), 0.5)
			assert.GreaterOrEqual(t, float64(q.Passed), 0.8*float64(q.Ended))
			assert.InDelta(t, 2, q.Slots, 0.5, "two can have it at a time")
			assert.Greater(t, did(q, stack.Sleep), 0.5, "%+v", q.Doing)
			assert.Contains(t, []string{pkg + "TestBoundedQueues", pkg + "(*stockroom).take"}, gofunc.Base(q.Acquire.Function))
		})
	}
}

// What goroutines of requests wait for is their requests' waiting, once each.
func TestBoundedQueueOfChildren(t *testing.T) {
	sem := make(chan struct{}, 2)
	s := crowd(t, func(http.ResponseWriter, *http.Request) {
		var g errgroup.Group
		for range 3 {
			g.Go(func() error {
				sem <- struct{}{}
				defer func() { <-sem }()
				time.Sleep(work)
				return nil
			})
		}
		_ = g.Wait()
	})
	require.NotEmpty(t, s.Queues)
	q := s.Queues[0]
	assert.Equal(t, Bounded, q.Kind, "%+v", s.Queues)
	assert.Greater(t, waited(s, q), 0.3)
	assert.Less(t, waited(s, q), 1.1) // three would be thrice as much
}

// Connections of net/http's client are put back by goroutines of their own.
func TestBoundedQueueOfConnections(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(work) }))
	defer backend.Close()
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 2, MaxIdleConnsPerHost: 2}}
	defer client.CloseIdleConnections()
	s := crowd(t, func(http.ResponseWriter, *http.Request) { get(t, client, backend.URL) })
	require.NotEmpty(t, s.Queues)
	q := s.Queues[0]
	assert.Equal(t, Bounded, q.Kind, "%+v", s.Queues)
	assert.Greater(t, float64(q.Passed), 0.8*float64(q.Ended))
	assert.Equal(t, pkg+"get", q.Acquire.Function)
}

type stockroom struct {
	mu   sync.Mutex
	cond sync.Cond
	free int
}

func (r *stockroom) take() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.free == 0 {
		r.cond.Wait()
	}
	r.free--
}

func (r *stockroom) put() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free++
	r.cond.Signal()
}

// errand is a piece of work for another goroutine.
type errand struct {
	done chan struct{}
	half bool // one half of it is done
}

func newErrand() errand { return errand{done: make(chan struct{}, 1)} }

func runErrands(ctx context.Context, in <-chan errand, do func()) {
	for {
		select {
		case e := <-in:
			do()
			e.done <- struct{}{}
		case <-ctx.Done():
			return
		}
	}
}

// echo starts a peer that answers each byte after a while, and connects to it.
func echo(t *testing.T, after time.Duration) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		in := bufio.NewReader(c)
		for {
			b, err := in.ReadByte()
			if err != nil {
				return
			}
			time.Sleep(after)
			_, _ = c.Write([]byte{b})
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func exchange(c net.Conn) {
	b := []byte{1}
	_, _ = c.Write(b)
	_, _ = c.Read(b)
}

func TestServedQueues(t *testing.T) {
	peer := echo(t, work)
	for _, tt := range []struct {
		name    string
		buffer  int
		workers int
		do      func()
		most    stack.Wait
	}{
		{"one that sleeps", 0, 1, func() { time.Sleep(work) }, stack.Sleep},
		{"a small buffer before it", 4, 1, func() { time.Sleep(work) }, stack.Sleep},
		{"one that talks to a peer", 0, 1, func() { exchange(peer) }, stack.NetRead},
		{"a buffer that all fit into", 1000, 1, func() { exchange(peer) }, stack.NetRead},
		{"one that computes", 1000, 1, func() { spin(work) }, "running"},
		{"two that sleep", 0, 2, func() { time.Sleep(work) }, stack.Sleep},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := make(chan errand, tt.buffer)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			for range tt.workers {
				go runErrands(ctx, in, tt.do)
			}
			s := crowd(t, func(http.ResponseWriter, *http.Request) {
				e := newErrand()
				in <- e
				<-e.done
			})
			require.NotEmpty(t, s.Queues)
			q := s.Queues[0]
			assert.Equal(t, Served, q.Kind, "%+v", s.Queues)
			assert.Greater(t, waited(s, q), 0.6)
			assert.Equal(t, tt.workers, q.Servers)
			assert.Equal(t, pkg+"runErrands", gofunc.Base(q.Serve.Function))
			assert.Greater(t, float64(q.WorkNS), 0.7*float64(q.ServerNS), "%+v", q) // others may keep the clients from sending
			assert.Greater(t, q.BusyShare, 0.7)
			assert.Greater(t, did(q, tt.most), 0.5, "%+v", q.Doing)
			assert.Greater(t, float64(q.QueuedNS), 0.5*float64(q.OrderedNS))
			assert.Less(t, float64(q.LateNS), 0.2*float64(q.OrderedNS))
		})
	}
}

// Who takes all at once and is then away for long is queued behind like one that takes them singly.
func TestServedAllAtOnce(t *testing.T) {
	in := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go tidyBetween(ctx, in)
	s := crowd(t, func(http.ResponseWriter, *http.Request) { in <- struct{}{} })
	require.NotEmpty(t, s.Queues)
	q := s.Queues[0]
	assert.Equal(t, Served, q.Kind)
	assert.Greater(t, waited(s, q), 0.6)
	assert.Equal(t, pkg+"tidyBetween", gofunc.Base(q.Serve.Function))
	assert.Greater(t, q.BusyShare, 0.8)
	assert.Greater(t, float64(q.QueuedNS), 0.5*float64(q.OrderedNS))
	assert.Less(t, float64(q.LateNS), 0.2*float64(q.OrderedNS))
}

func tidyBetween(ctx context.Context, in <-chan struct{}) {
	for ctx.Err() == nil {
		time.Sleep(10 * work)
		for range inFlight {
			select {
			case <-in:
			case <-ctx.Done():
				return
			}
		}
	}
}

// Workers who give each other work, as they find some, wait for it and for no turn.
func TestWorkersThatGiveEachOtherWork(t *testing.T) {
	in := make(chan errand, inFlight)
	defer close(in)
	for range 4 {
		go walkErrands(in)
	}
	s := crowd(t, func(http.ResponseWriter, *http.Request) {
		time.Sleep(5 * work) // so that they have little to do
		e := newErrand()
		in <- e
		<-e.done
	})
	for _, q := range s.Queues {
		if q.Kind == Served {
			assert.Zero(t, did(q, stack.ChanRecv), "%+v", q)
			assert.Zero(t, did(q, stack.Select), "%+v", q)
		}
	}
}

// walkErrands does one half of an errand, and leaves the other to whoever is free.
func walkErrands(in chan errand) {
	for e := range in {
		time.Sleep(work / 4)
		if e.half {
			e.done <- struct{}{}
			continue
		}
		e.half = true
		in <- e
	}
}

// Of stages in a row the slow one is named, whichever answers.
func TestServedByStages(t *testing.T) {
	first, second, third := make(chan errand), make(chan errand), make(chan errand, 4)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go passErrands(ctx, first, second, func() {})
	go slowErrands(ctx, second, third)
	go runErrands(ctx, third, func() {})
	s := crowd(t, func(http.ResponseWriter, *http.Request) {
		e := newErrand()
		first <- e
		<-e.done
	})
	require.NotEmpty(t, s.Queues)
	q := s.Queues[0]
	assert.Equal(t, Served, q.Kind)
	assert.Equal(t, pkg+"slowErrands", gofunc.Base(q.Serve.Function), "%+v", s.Queues)
	assert.True(t, q.Behind)
	assert.Greater(t, float64(q.WorkNS), 0.8*float64(q.ServerNS), "%+v", q)
}

func passErrands(ctx context.Context, in <-chan errand, out chan<- errand, do func()) {
	for {
		select {
		case e := <-in:
			do()
			out <- e
		case <-ctx.Done():
			return
		}
	}
}

func slowErrands(ctx context.Context, in <-chan errand, out chan<- errand) {
	for {
		select {
		case e := <-in:
			time.Sleep(work)
			out <- e
		case <-ctx.Done():
			return
		}
	}
}

// Of many servers the one that is waited for is asked whether it is busy.
func TestServedByTheBusyOneOfMany(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	shards := make([]chan errand, 16)
	for i := range shards {
		shards[i] = make(chan errand)
		go runErrands(ctx, shards[i], func() { time.Sleep(work) })
	}
	var n atomic.Int64
	s := crowd(t, func(http.ResponseWriter, *http.Request) {
		e := newErrand()
		shard := shards[3] // which most are for
		if n := n.Add(1); n%4 == 0 {
			shard = shards[n/4%16]
		}
		shard <- e
		<-e.done
	})
	require.NotEmpty(t, s.Queues)
	q := s.Queues[0]
	assert.Equal(t, Served, q.Kind)
	assert.Less(t, float64(q.WorkNS), 0.4*float64(q.ServerNS), "most are idle")
	assert.Greater(t, q.BusyShare, 0.7, "%+v", q)
	assert.Greater(t, float64(q.QueuedNS), 0.5*float64(q.OrderedNS))
}

// A program without net/http: each connection has a goroutine of its own.
func TestQueuesWithoutRequests(t *testing.T) {
	listen := func(t *testing.T, h func()) *Summary {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go talk(c, h)
			}
		}()
		return read(t, testtrace.Record(t, func() {
			times(inFlight, func(int) {
				c, err := net.Dial("tcp", l.Addr().String())
				if assert.NoError(t, err) {
					defer c.Close()
					for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
						exchange(c)
					}
				}
			})
		}))
	}
	t.Run("a semaphore", func(t *testing.T) {
		sem := make(chan struct{}, 2)
		s := listen(t, func() {
			sem <- struct{}{}
			time.Sleep(work)
			<-sem
		})
		require.NotEmpty(t, s.Queues)
		assert.Equal(t, Bounded, s.Queues[0].Kind, "%+v", s.Queues)
		assert.Greater(t, float64(s.Queues[0].WaitedNS), 0.1*float64(s.Program.TotalNS))
	})
	t.Run("a consumer", func(t *testing.T) {
		in := make(chan errand)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go runErrands(ctx, in, func() { time.Sleep(work) })
		s := listen(t, func() {
			e := newErrand()
			in <- e
			<-e.done
		})
		q := longestQueue(s, Served)
		assert.Equal(t, pkg+"runErrands", gofunc.Base(q.Serve.Function))
		assert.Greater(t, q.BusyShare, 0.8, "%+v", q)
	})
	idle := func(t *testing.T, s *Summary) {
		for _, q := range s.Queues {
			assert.NotEqual(t, Bounded, q.Kind, "%+v", q)
			busy := q.Kind == Served && q.BusyShare > 0.6 && 2*q.QueuedNS > q.OrderedNS && 3*q.LateNS < q.OrderedNS
			assert.False(t, busy, "%+v", q)
		}
	}
	t.Run("idle workers", func(t *testing.T) {
		in := make(chan errand)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 4 * inFlight {
			go runErrands(ctx, in, func() { time.Sleep(work) })
		}
		idle(t, listen(t, func() {
			e := newErrand()
			in <- e
			<-e.done
		}))
	})
	t.Run("goroutines that run one loop and tell each other", func(t *testing.T) {
		boxes := make([]chan int, 64)
		for i := range boxes {
			boxes[i] = make(chan int, 256)
		}
		for range 3 {
			boxes[0] <- 1000
		}
		idle(t, read(t, testtrace.Record(t, func() {
			times(len(boxes), func(i int) {
				for n := range boxes[i] {
					if n == 0 {
						return
					}
					time.Sleep(100 * time.Microsecond)
					boxes[rand.IntN(len(boxes))] <- n - 1
					if n == 1 {
						for j := range boxes {
							if j != i {
								boxes[j] <- 0
							}
						}
						return
					}
				}
			})
		})))
	})
}

func talk(c net.Conn, h func()) {
	defer c.Close()
	b := []byte{0}
	for {
		if _, err := c.Read(b); err != nil {
			return
		}
		h()
		_, _ = c.Write(b)
	}
}

// What is waited for by design, or is waited for elsewhere, is no queue.
func TestNoQueues(t *testing.T) {
	calm := func(t *testing.T, h http.HandlerFunc) {
		t.Helper()
		s := crowd(t, h)
		for _, q := range s.Queues {
			if waited(s, q) < 0.2 || q.Kind == Handed {
				continue
			}
			busy := q.Kind == Served && q.BusyShare > 0.6 && 2*q.QueuedNS > q.OrderedNS && 3*q.LateNS < q.OrderedNS
			assert.False(t, busy || q.Kind == Bounded, "%+v", q)
		}
	}
	t.Run("workers that are idle", func(t *testing.T) {
		in := make(chan errand)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 4 * inFlight {
			go runErrands(ctx, in, func() { time.Sleep(work) })
		}
		calm(t, func(http.ResponseWriter, *http.Request) {
			e := newErrand()
			in <- e
			<-e.done
		})
	})
	t.Run("a news feed that tells all", func(t *testing.T) {
		h := newHub(t.Context(), func(h *hub) { h.tellAll() })
		calm(t, func(http.ResponseWriter, *http.Request) { <-h.subscribe() })
	})
	t.Run("a news feed that tells one", func(t *testing.T) {
		h := newHub(t.Context(), func(h *hub) { h.tellOne() })
		calm(t, func(http.ResponseWriter, *http.Request) { <-h.subscribe() })
	})
	t.Run("a clock that tells whoever came first", func(t *testing.T) {
		due := make(chan chan struct{}, 10*inFlight)
		go func() {
			for {
				select {
				case c := <-due:
					time.Sleep(200 * time.Microsecond)
					c <- struct{}{}
				case <-t.Context().Done():
					return
				}
			}
		}()
		// It is taken for a clock where nothing was seen to be given to it.
		tick := make(chan struct{})
		go func() {
			for t.Context().Err() == nil {
				time.Sleep(200 * time.Microsecond)
				select {
				case tick <- struct{}{}:
				default:
				}
			}
		}()
		calm(t, func(http.ResponseWriter, *http.Request) { <-tick })
	})
	t.Run("answers over one connection", func(t *testing.T) {
		m := newMux(t)
		calm(t, func(http.ResponseWriter, *http.Request) { <-m.ask() })
	})
	t.Run("answers that a poller of the program's own reads", func(t *testing.T) {
		h := newHub(t.Context(), nil)
		go func() {
			for t.Context().Err() == nil {
				_, _ = unix.Poll(nil, 1)
				h.tellFirst()
			}
		}()
		calm(t, func(http.ResponseWriter, *http.Request) { <-h.subscribe() })
	})
	t.Run("a goroutine for each call", func(t *testing.T) {
		calm(t, func(http.ResponseWriter, *http.Request) {
			done := make(chan struct{})
			go func() { time.Sleep(5 * work); done <- struct{}{} }()
			<-done
		})
	})
	t.Run("a producer for each request", func(t *testing.T) {
		calm(t, func(http.ResponseWriter, *http.Request) {
			rows := make(chan int)
			go func() {
				defer close(rows)
				for i := range 5 {
					time.Sleep(work)
					rows <- i
				}
			}()
			for range rows {
			}
		})
	})
	t.Run("a limit of each request's own", func(t *testing.T) {
		calm(t, func(http.ResponseWriter, *http.Request) {
			var g errgroup.Group
			g.SetLimit(2)
			for range 6 {
				g.Go(func() error { time.Sleep(work); return nil })
			}
			_ = g.Wait()
		})
	})
	t.Run("a semaphore that is never full", func(t *testing.T) {
		sem := make(chan struct{}, 2*inFlight)
		calm(t, func(http.ResponseWriter, *http.Request) {
			sem <- struct{}{}
			time.Sleep(work)
			<-sem
		})
	})
	t.Run("requests that tell each other", func(t *testing.T) {
		h := newHub(t.Context(), nil)
		var n atomic.Int64
		calm(t, func(http.ResponseWriter, *http.Request) {
			if n.Add(1)%2 == 0 {
				time.Sleep(work)
				h.tellOne()
				return
			}
			select {
			case <-h.subscribe():
			case <-time.After(20 * work):
			}
		})
	})
	t.Run("one answer for all who asked meanwhile", func(t *testing.T) {
		var c coalesced
		calm(t, func(http.ResponseWriter, *http.Request) { <-c.ask() })
	})
	t.Run("one that waits for a batch", func(t *testing.T) {
		in := make(chan errand)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go gather(ctx, in)
		calm(t, func(http.ResponseWriter, *http.Request) {
			e := newErrand()
			in <- e
			<-e.done
		})
	})
}

// coalesced has one goroutine work for all who ask while it does, and tell them. It is
// held up among them, as by the collector, and whoever asked first has left by then.
type coalesced struct {
	mu   sync.Mutex
	subs []chan struct{}
}

func (c *coalesced) ask() <-chan struct{} {
	done := make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subs = append(c.subs, done); len(c.subs) == 1 {
		go c.answer()
	}
	return done
}

func (c *coalesced) answer() {
	time.Sleep(20 * work)
	c.mu.Lock()
	subs := c.subs
	c.subs = nil
	c.mu.Unlock()
	for i, done := range subs {
		if i == 2 {
			for end := time.Now().Add(work / 2); time.Now().Before(end); {
				continue
			}
		}
		done <- struct{}{}
	}
}

// gather answers all that came in an interval together.
func gather(ctx context.Context, in <-chan errand) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var batch []errand
	for {
		select {
		case e := <-in:
			batch = append(batch, e)
		case <-tick.C:
			for _, e := range batch {
				e.done <- struct{}{}
			}
			batch = nil
		case <-ctx.Done():
			return
		}
	}
}

// hub tells subscribers news.
type hub struct {
	mu   sync.Mutex
	subs []chan struct{}
}

func newHub(ctx context.Context, tell func(*hub)) *hub {
	h := &hub{}
	if tell != nil {
		go func() {
			for ctx.Err() == nil {
				time.Sleep(work)
				tell(h)
			}
		}()
	}
	return h
}

func (h *hub) subscribe() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := make(chan struct{}, 1)
	h.subs = append(h.subs, c)
	return c
}

func (h *hub) tellAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.subs {
		c <- struct{}{}
	}
	h.subs = nil
}

func (h *hub) tellOne() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.subs) == 0 {
		return
	}
	i := rand.IntN(len(h.subs))
	h.subs[i] <- struct{}{}
	h.subs = append(h.subs[:i], h.subs[i+1:]...)
}

func (h *hub) tellFirst() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.subs) > 0 {
		h.subs[0] <- struct{}{}
		h.subs = h.subs[1:]
	}
}

// asker asks a peer many things at once over one connection. The peer answers each
// after a while, in order.
type asker struct {
	mu      sync.Mutex
	conn    net.Conn
	waiting []chan struct{}
}

func newMux(t *testing.T) *asker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		in := bufio.NewReader(c)
		for {
			b, err := in.ReadByte()
			if err != nil {
				return
			}
			time.AfterFunc(5*work, func() { _, _ = c.Write([]byte{b}) })
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	m := &asker{conn: c}
	go m.deliver()
	return m
}

func (m *asker) ask() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := make(chan struct{}, 1)
	m.waiting = append(m.waiting, c)
	_, _ = m.conn.Write([]byte{1})
	return c
}

func (m *asker) deliver() {
	b := []byte{0}
	for {
		if _, err := m.conn.Read(b); err != nil {
			return
		}
		m.mu.Lock()
		m.waiting[0] <- struct{}{}
		m.waiting = m.waiting[1:]
		m.mu.Unlock()
	}
}

func TestQueuesOfTwoResources(t *testing.T) {
	narrow, wide := make(chan struct{}, 1), make(chan struct{}, 8)
	s := crowd(t, func(http.ResponseWriter, *http.Request) {
		wide <- struct{}{}
		time.Sleep(work / 4)
		<-wide
		narrow <- struct{}{} // at: narrow
		time.Sleep(work)
		<-narrow
	})
	q := longestQueue(s, Bounded)
	assert.Equal(t, lineIn(t, "queue_test.go", "narrow"), q.Acquire.Line, fmt.Sprintf("%+v", s.Queues))
	assert.InDelta(t, 1, q.Slots, 0.4)
}

// Waits that a deadline ends, or whoever gives up, are given by nobody.
func TestWaitsThatAreGivenUp(t *testing.T) {
	const rounds = 10
	never, tokens := make(chan struct{}), make(chan struct{})
	defer close(never)
	s := read(t, testtrace.Record(t, func() {
		for range rounds {
			ctx, cancel := context.WithTimeout(t.Context(), work)
			awaitNews(ctx, never)
			cancel()
			ctx, cancel = context.WithCancel(t.Context())
			time.AfterFunc(work, cancel)
			awaitNews(ctx, never)
			go func() {
				time.Sleep(work)
				tokens <- struct{}{}
			}()
			awaitToken(tokens)
		}
		go awaitNews(context.Background(), never) // who is there at the end is what is told of
		go awaitToken(tokens)
		time.Sleep(5 * work)
	}))
	close(tokens)
	for name, given := range map[string]bool{"awaitNews": false, "awaitToken": true} {
		i := slices.IndexFunc(s.Parked, func(p Parked) bool { return p.Where.Function == pkg+name })
		require.GreaterOrEqual(t, i, 0, "%+v", s.Parked)
		assert.Equal(t, given, s.Parked[i].Given > 0, "%s: %+v", name, s.Parked[i])
		assert.Positive(t, s.Parked[i].Woken, name)
	}
}

//go:noinline
func awaitNews(ctx context.Context, news <-chan struct{}) {
	select {
	case <-news:
	case <-ctx.Done():
	}
}

//go:noinline
func awaitToken(tokens <-chan struct{}) { <-tokens }
