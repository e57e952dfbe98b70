package gotrace

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	exptrace "golang.org/x/exp/trace"

	"chokepoint/harness/gofunc"
	"chokepoint/harness/internal/testtrace"
	"chokepoint/harness/signal/stack"
)

// The programs under trace are the functions of this file, and it is the main
// module's. What is asserted follows from the order of their sleeps, with
// margins wide enough for a machine that is busy with something else.

const pkg = "chokepoint/harness/signal/gotrace."

var thisProgram = stack.Program{MainModule: "chokepoint"}

// read reduces a trace and checks what must hold of any summary.
func read(t testing.TB, data []byte) *Summary {
	t.Helper()
	s, err := Read(bytes.NewReader(data), thisProgram)
	require.NoError(t, err)
	require.Empty(t, s.Cut)
	consistent(t, s)
	var locks int64
	for _, l := range s.Locks {
		locks += l.WaitedNS
	}
	require.Equal(t, s.Program.WaitNS(stack.Lock), locks, "every wait for a lock of the program belongs to exactly one lock")
	return s
}

func consistent(t testing.TB, s *Summary) {
	t.Helper()
	for _, a := range []Account{s.Requests, s.Program} {
		sum := a.RunningNS + a.RunnableNS + a.SyscallNS
		for _, w := range a.Waits {
			sum += w.NS
		}
		require.Equal(t, a.TotalNS, sum, "time is accounted for once")
		require.LessOrEqual(t, a.TotalNS, int64(a.Goroutines)*s.DurationNS())
	}
	for _, l := range s.Locks {
		require.LessOrEqual(t, l.RequestWaitedNS, l.WaitedNS)
		require.NotEmpty(t, l.Waiters)
	}
}

// line is the number of the line of this file that ends in the marker.
func line(t testing.TB, marker string) int {
	t.Helper()
	return lineIn(t, "gotrace_test.go", marker)
}

func lineIn(t testing.TB, file, marker string) int {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	for i, l := range strings.Split(string(data), "\n") {
		if strings.HasSuffix(l, "// at: "+marker) {
			return i + 1
		}
	}
	t.Fatalf("no line is marked %q", marker)
	return 0
}

func site(t testing.TB, function, marker string) stack.Frame {
	_, file, _, _ := runtime.Caller(0)
	return stack.Frame{Function: pkg + function, File: file, Line: line(t, marker)}
}

// lockAt is the one lock that is waited for at the marked line.
func lockAt(t testing.TB, s *Summary, marker string) Lock {
	t.Helper()
	n := line(t, marker)
	for _, l := range s.Locks {
		for _, w := range l.Waiters {
			if w.Where.Line == n {
				return l
			}
		}
	}
	t.Fatalf("nobody waited at %q; locks: %+v", marker, s.Locks)
	return Lock{}
}

func holderShare(l Lock, function string) float64 {
	var part, all int64
	for _, h := range l.Holders {
		all += h.NS
		if gofunc.Base(h.Unlock.Function) == pkg+function {
			part += h.NS
		}
	}
	if all == 0 {
		return 0
	}
	return float64(part) / float64(all)
}

func doingShare(h Holder, what string) float64 {
	var ns int64
	for _, d := range h.Doing {
		if d.What == what {
			ns += d.NS
		}
	}
	return float64(ns) / float64(max(1, h.ObservedNS))
}

// times runs f in n goroutines at once and waits for them.
func times(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

type store struct {
	mu     sync.Mutex
	rw     sync.RWMutex
	visits int
}

func (s *store) get(hold time.Duration) {
	s.mu.Lock() // at: get
	time.Sleep(hold)
	s.mu.Unlock()
}

func (s *store) peek() {
	s.mu.Lock() // at: peek
	s.visits++
	s.mu.Unlock()
}

func (s *store) flush(hold time.Duration) {
	s.mu.Lock()
	time.Sleep(hold)
	s.mu.Unlock() // at: flush unlock
}

func TestMutexHeldOverASleep(t *testing.T) {
	var st store
	s := read(t, testtrace.Record(t, func() {
		times(4, func(int) {
			for range 5 {
				st.get(4 * time.Millisecond)
			}
		})
	}))
	l := lockAt(t, s, "get")
	assert.Equal(t, site(t, "(*store).get", "get"), l.Waiters[0].Where)
	require.NotEmpty(t, l.Holders)
	h := l.Holders[0]
	assert.Equal(t, site(t, "(*store).get", "get"), h.Acquire)
	assert.False(t, h.Reads)
	assert.Greater(t, doingShare(h, string(stack.Sleep)), 0.5)
	// Of 20 turns of 4 ms, all but the last of each goroutine are waited for by others.
	assert.Greater(t, h.NS, int64(50*time.Millisecond))
	assert.LessOrEqual(t, h.NS, s.DurationNS())
	assert.Greater(t, l.WaitedNS, int64(100*time.Millisecond))
	assert.Zero(t, l.RequestWaitedNS, "nothing here serves requests")
}

func (s *store) write(hold time.Duration) {
	s.rw.Lock()
	time.Sleep(hold)
	s.rw.Unlock()
}

func (s *store) view(hold time.Duration) {
	s.rw.RLock() // at: view
	if hold > 0 {
		time.Sleep(hold)
	}
	s.rw.RUnlock()
}

func TestRWMutexWriterIsBlamedForTheReaders(t *testing.T) {
	var st store
	s := read(t, testtrace.Record(t, func() {
		stop := make(chan struct{})
		var writer sync.WaitGroup
		writer.Go(func() {
			for range 4 {
				st.write(30 * time.Millisecond)
				time.Sleep(5 * time.Millisecond)
			}
			close(stop)
		})
		times(6, func(int) {
			for {
				select {
				case <-stop:
					return
				default:
					st.view(0)
					time.Sleep(time.Millisecond)
				}
			}
		})
		writer.Wait()
	}))
	l := lockAt(t, s, "view")
	assert.Greater(t, holderShare(l, "(*store).write"), 0.6)
	assert.False(t, l.Holders[0].Reads)
	assert.Greater(t, doingShare(l.Holders[0], string(stack.Sleep)), 0.8, "though it never had to wait: %+v", l.Holders[0])
	assert.True(t, l.Waiters[0].Reads)
}

func (s *store) replace() {
	s.rw.Lock() // at: replace
	s.visits++
	s.rw.Unlock()
}

func TestReadersThatHoldUpAWriterAreBlamed(t *testing.T) {
	var st store
	s := read(t, testtrace.Record(t, func() {
		for range 4 {
			var wg sync.WaitGroup
			wg.Go(func() { st.view(20 * time.Millisecond) })
			time.Sleep(3 * time.Millisecond)
			wg.Go(st.replace)
			wg.Wait()
		}
	}))
	l := lockAt(t, s, "replace")
	require.NotEmpty(t, l.Holders)
	assert.Equal(t, pkg+"(*store).view", l.Holders[0].Unlock.Function)
	assert.True(t, l.Holders[0].Reads)
	assert.Greater(t, l.Holders[0].NS, int64(10*time.Millisecond))
	assert.Greater(t, doingShare(l.Holders[0], string(stack.Sleep)), 0.8, "%+v", l.Holders[0])
	assert.False(t, l.Waiters[0].Reads)
}

// The flusher takes the lock while it is free, so the trace never sees it wait;
// the handlers hand the lock on from one to the next many times a second.
func TestAHolderThatNeverWaitsIsBlamed(t *testing.T) {
	var st store
	s := read(t, testtrace.Record(t, func() {
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 3 {
				st.flush(100 * time.Millisecond)
				time.Sleep(100 * time.Millisecond)
			}
			close(stop)
		})
		times(16, func(int) {
			for {
				select {
				case <-stop:
					return
				default:
					st.peek()
					time.Sleep(time.Millisecond)
				}
			}
		})
		wg.Wait()
	}))
	l := lockAt(t, s, "peek")
	assert.Greater(t, holderShare(l, "(*store).flush"), 0.6)
	assert.Equal(t, site(t, "(*store).flush", "flush unlock"), l.Holders[0].Unlock)
}

type account struct{ a, b sync.Mutex }

func (c *account) both() {
	c.a.Lock() // at: both a
	time.Sleep(2 * time.Millisecond)
	c.a.Unlock()
	c.b.Lock() // at: both b
	time.Sleep(6 * time.Millisecond)
	c.b.Unlock() // at: both b unlock
}

func TestTwoLocksOfOneFunctionStayApart(t *testing.T) {
	var c account
	s := read(t, testtrace.Record(t, func() {
		times(4, func(int) {
			for range 4 {
				c.both()
			}
		})
	}))
	b := lockAt(t, s, "both b")
	require.Len(t, b.Waiters, 1, "the other lock's waits are not its")
	require.NotEmpty(t, b.Holders)
	assert.Equal(t, line(t, "both b unlock"), b.Holders[0].Unlock.Line)
	assert.Equal(t, line(t, "both b"), s.Locks[0].Waiters[0].Where.Line, "the longer hold costs more")
}

// Shards are taken at one line. Those that are held a moment must not hide the
// one that is held for long.
func TestShardsHeldAtTheSameTime(t *testing.T) {
	var shards [4]store
	s := read(t, testtrace.Record(t, func() {
		times(8, func(i int) {
			for range 10 {
				shards[i%4].get(3 * time.Millisecond)
			}
		})
	}))
	l := lockAt(t, s, "get")
	require.NotEmpty(t, l.Holders)
	assert.Equal(t, pkg+"(*store).get", l.Holders[0].Unlock.Function)
	assert.Greater(t, doingShare(l.Holders[0], string(stack.Sleep)), 0.5)
	// Each of four shards is held 60 ms, nearly always with somebody waiting.
	// Were a release of one taken for a release of all, at most 60 ms would be left.
	assert.Greater(t, l.Holders[0].NS, int64(90*time.Millisecond))
}

func TestBusyLockIsHeldByOneAtATime(t *testing.T) {
	var st store
	var n int
	s := read(t, testtrace.Record(t, func() {
		times(8, func(int) {
			for range 3000 {
				st.mu.Lock()
				n++
				st.mu.Unlock()
			}
		})
	}))
	for _, l := range s.Locks {
		var held int64
		for _, h := range l.Holders {
			held += h.NS
		}
		assert.LessOrEqual(t, float64(held), 1.1*float64(s.DurationNS()), "goroutines that are woken and lose the race hold nothing")
	}
}

func TestCondIsNoLock(t *testing.T) {
	s := read(t, testtrace.Record(t, func() {
		c := sync.NewCond(new(sync.Mutex))
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				c.L.Lock()
				c.Wait() // at: cond
				c.L.Unlock()
			})
		}
		time.Sleep(30 * time.Millisecond)
		c.Broadcast()
		wg.Wait()
	}))
	assert.Greater(t, s.Program.WaitNS(stack.Cond), int64(60*time.Millisecond))
	assert.Less(t, s.Program.WaitNS(stack.Lock), s.Program.WaitNS(stack.Cond)/2)
}

// A lock inside the standard library is blamed on the program's lines that use it.
func TestLockOfTheStandardLibrary(t *testing.T) {
	logger := log.New(slowWriter{}, "", 0)
	s := read(t, testtrace.Record(t, func() {
		times(4, func(int) {
			for range 3 {
				logger.Print("x") // at: log
			}
		})
	}))
	l := lockAt(t, s, "log")
	assert.Equal(t, line(t, "log"), l.Holders[0].Acquire.Line)
	assert.Greater(t, doingShare(l.Holders[0], string(stack.Sleep)), 0.5)
}

type slowWriter struct{}

func (slowWriter) Write(p []byte) (int, error) {
	time.Sleep(4 * time.Millisecond)
	return len(p), nil
}

// Waits that began before the trace have no stack in it when they end; who
// ended them is known all the same.
func TestWaitsFromBeforeTheTrace(t *testing.T) {
	var st store
	release, taken := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		st.mu.Lock()
		close(taken)
		<-release
		st.mu.Unlock()
	})
	<-taken
	for range 4 {
		wg.Go(func() { st.get(5 * time.Millisecond) })
	}
	time.Sleep(20 * time.Millisecond)
	s := read(t, testtrace.Record(t, func() {
		wg.Go(func() { st.get(0) }) // behind the four, and with a stack
		time.Sleep(4 * time.Millisecond)
		close(release)
		wg.Wait()
	}))
	l := lockAt(t, s, "get")
	assert.Greater(t, holderShare(l, "(*store).get"), 0.6)
	// Four hand the lock on, three of these to one whose wait has no stack; the
	// last finds nobody if the machine was late to start the fifth.
	assert.GreaterOrEqual(t, l.Holders[0].Count, int64(3))
	assert.Greater(t, l.Holders[0].NS, int64(9*time.Millisecond))

	// Waits that last beyond the trace count for all of it.
	st.mu.Lock()
	for range 2 {
		wg.Go(st.peek)
	}
	time.Sleep(10 * time.Millisecond)
	s = read(t, testtrace.Record(t, func() { time.Sleep(30 * time.Millisecond) }))
	st.mu.Unlock()
	wg.Wait()
	l = lockAt(t, s, "peek")
	assert.Equal(t, 2*s.DurationNS(), l.WaitedNS)
	assert.Empty(t, l.Holders)
}

type handle struct{ id *int }

func closeSlowly() { time.Sleep(20 * time.Millisecond) } // at: closing

func TestFinalizerAndCleanupThatSleep(t *testing.T) {
	for name, attach := range map[string]func(*handle, func()){
		"finalizer": func(h *handle, done func()) {
			runtime.SetFinalizer(h, func(*handle) { closeSlowly(); done() })
		},
		"cleanup": func(h *handle, done func()) {
			runtime.AddCleanup(h, func(int) { closeSlowly(); done() }, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := read(t, testtrace.Record(t, func() {
				var left sync.WaitGroup
				left.Add(4)
				for range 4 {
					attach(&handle{id: new(int)}, left.Done)
				}
				runtime.GC()
				left.Wait()
			}))
			require.NotEmpty(t, s.Finalizers)
			f := s.Finalizers[0]
			assert.Greater(t, f.BusyNS, int64(20*time.Millisecond))
			assert.LessOrEqual(t, f.BusyNS, s.DurationNS())
			require.NotEmpty(t, f.Sites)
			assert.Equal(t, pkg+"TestFinalizerAndCleanupThatSleep", gofunc.Base(f.Sites[0].Where.Function))
			require.NotEmpty(t, f.Doing)
			assert.Equal(t, string(stack.Sleep), f.Doing[0].What)
			assert.Equal(t, site(t, "closeSlowly", "closing"), f.Doing[0].Where)
		})
	}
}

func TestFinalizersThatDoNothingAreIdle(t *testing.T) {
	s := read(t, testtrace.Record(t, func() {
		var left sync.WaitGroup
		left.Add(100)
		for range 100 {
			h := &handle{id: new(int)}
			runtime.SetFinalizer(h, func(*handle) { left.Done() })
		}
		runtime.GC()
		left.Wait()
		time.Sleep(30 * time.Millisecond)
	}))
	for _, f := range s.Finalizers {
		assert.Less(t, f.BusyNS, s.DurationNS()/2)
	}
}

// serve sends n requests over as many keep-alive connections, lets them idle,
// and sends them again.
func serve(t *testing.T, n int, idle time.Duration, h http.HandlerFunc) []byte {
	t.Helper()
	srv := httptest.NewServer(h)
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: n}}
	defer client.CloseIdleConnections()
	round := func() {
		times(n, func(int) {
			res, err := client.Get(srv.URL)
			if assert.NoError(t, err) {
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		})
	}
	round() // the connections
	return testtrace.Record(t, func() {
		round()
		time.Sleep(idle)
		round()
	})
}

func answer(w http.ResponseWriter, _ *http.Request) {
	time.Sleep(20 * time.Millisecond) // at: answer
	_, _ = io.WriteString(w, "ok")
}

func TestIdleConnectionsAreNoRequestTime(t *testing.T) {
	s := read(t, serve(t, 4, 300*time.Millisecond, answer))
	assert.Equal(t, 4, s.Requests.Goroutines)
	slept := s.Requests.WaitNS(stack.Sleep)
	assert.GreaterOrEqual(t, slept, int64(8*20*time.Millisecond))
	assert.Less(t, s.Requests.TotalNS, slept+int64(4*200*time.Millisecond), "300 ms between the rounds are nobody's request")
	assert.Zero(t, s.Requests.WaitNS(stack.NetRead))
	assert.Equal(t, site(t, "answer", "answer"), s.Requests.Waits[0].Where)
}

func TestLabelledRequestsAreRequests(t *testing.T) {
	s := read(t, serve(t, 2, 0, func(w http.ResponseWriter, r *http.Request) {
		pprof.Do(r.Context(), pprof.Labels("tenant", "a"), func(context.Context) { answer(w, r) })
	}))
	assert.GreaterOrEqual(t, s.Requests.WaitNS(stack.Sleep), int64(4*20*time.Millisecond))
}

func TestTimeoutHandlerCountsARequestOnce(t *testing.T) {
	h := http.TimeoutHandler(http.HandlerFunc(answer), time.Minute, "")
	s := read(t, serve(t, 2, 0, h.ServeHTTP))
	assert.GreaterOrEqual(t, s.Requests.WaitNS(stack.Sleep), int64(4*20*time.Millisecond))
	assert.Zero(t, s.Requests.WaitNS(stack.Select))
}

func TestRequestsThatWaitForALock(t *testing.T) {
	var st store
	s := read(t, serve(t, 6, 50*time.Millisecond, func(http.ResponseWriter, *http.Request) { st.get(5 * time.Millisecond) }))
	l := lockAt(t, s, "get")
	assert.Equal(t, l.WaitedNS, l.RequestWaitedNS)
	assert.Equal(t, l.RequestWaitedNS, s.Requests.WaitNS(stack.Lock))
	// Six behind each other: they wait 0 to 5 turns, and have one; 5 in 7 in all.
	share := float64(l.RequestWaitedNS) / float64(s.Requests.TotalNS)
	assert.Greater(t, share, 0.4)
	assert.Less(t, share, 0.95)
}

func mixed(t testing.TB) []byte {
	var st store
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		times(2, func(int) { st.get(time.Millisecond) })
	}))
	defer srv.Close()
	return testtrace.Record(t, func() {
		times(3, func(int) { get(t, srv.Client(), srv.URL) })
		times(6, func(i int) {
			for range 20 {
				st.get(time.Millisecond)
				st.view(0)
				st.write(0)
				_, _ = os.Stat(fmt.Sprint("/nonexistent/", i))
			}
		})
		runtime.GC()
	})
}

func TestReadingTwiceGivesTheSame(t *testing.T) {
	data := mixed(t)
	first := read(t, data)
	for range 5 {
		require.Equal(t, first, read(t, data))
	}
}

func TestDamagedTraces(t *testing.T) {
	data := mixed(t)
	whole := read(t, data)
	for name, garbage := range map[string][]byte{
		"empty":              nil,
		"text":               []byte("hello, world"),
		"header only":        data[:16],
		"no header":          data[16:],
		"zeros":              make([]byte, 4096),
		"header, then zeros": append(bytes.Clone(data[:16]), make([]byte, 4096)...),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(bytes.NewReader(garbage), thisProgram)
			assert.ErrorContains(t, err, "execution trace")
		})
	}
	t.Run("cut", func(t *testing.T) {
		step := max(1, len(data)/60)
		for n := 0; n < len(data); n += step {
			s, err := Read(bytes.NewReader(data[:n]), thisProgram)
			if err != nil {
				continue
			}
			consistent(t, s)
			sound(t, s)
			assert.LessOrEqual(t, s.Events, whole.Events)
			assert.NotEmpty(t, s.Cut, "cut at %d of %d bytes", n, len(data))
		}
	})
	t.Run("changed", func(t *testing.T) {
		for n := 16; n < len(data); n += max(1, len(data)/200) {
			changed := bytes.Clone(data)
			changed[n] ^= 0x55
			if s, err := Read(bytes.NewReader(changed), thisProgram); err == nil {
				consistent(t, s)
				sound(t, s)
			}
		}
	})
}

// trips fails as a parser does that a damaged trace makes trip.
type trips struct{}

func (trips) Read([]byte) (int, error) { panic("index out of range") }

func TestWhatTheParserTripsOverIsAnError(t *testing.T) {
	data := mixed(t)
	_, err := Read(io.MultiReader(bytes.NewReader(data[:16]), trips{}), thisProgram)
	assert.ErrorContains(t, err, "the trace is damaged: index out of range")
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("go 1.26 trace\x00\x00\x00"))
	data := mixed(f)
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Read(bytes.NewReader(data), thisProgram)
		if err != nil {
			return
		}
		if s.Events <= 0 {
			t.Fatal("a summary of no events")
		}
		sound(t, s)
	})
}

// Records of goroutines that ended are dropped; stacks are kept once each.
func TestMemoryIsBoundedByWhatLives(t *testing.T) {
	const made = 20000
	data := testtrace.Record(t, func() {
		for range made / 100 {
			var wg sync.WaitGroup
			for range 100 {
				wg.Add(1)
				go wg.Done()
			}
			wg.Wait()
		}
	})
	tr, err := exptrace.NewReader(bytes.NewReader(data))
	require.NoError(t, err)
	s := newScan(thisProgram, Beside{})
	most := 0
	for {
		ev, err := tr.ReadEvent()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		s.event(&ev)
		most = max(most, len(s.gs))
	}
	assert.Less(t, most, made/10)
	assert.Less(t, len(s.interned), made/10)
	assert.Empty(t, s.locks.waiting)
	assert.LessOrEqual(t, len(s.sum.Running), 64*keptRunning)
}
