package gotrace

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/trace"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/internal/testtrace"
	"chokepoint/harness/signal/requests"
	"chokepoint/harness/signal/stack"
)

// served records a server while client calls it, and checks what must hold of
// any table of requests.
func served(t *testing.T, h http.Handler, start func(*httptest.Server), client func(*httptest.Server)) *Summary {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	start(srv)
	defer srv.Close()
	// Not read: what it holds of locks is not so where a request waits for one of
	// net/http's own.
	s, err := Read(bytes.NewReader(testtrace.Record(t, func() { client(srv) })), thisProgram)
	require.NoError(t, err)
	require.Empty(t, s.Cut)
	consistent(t, s)
	sound(t, s)
	return s
}

func plain(srv *httptest.Server) { srv.Start() }

// table is the table of a summary's requests.
func table(s *Summary) requests.Table {
	return s.Served.Table(requests.Want{TraceNS: s.DurationNS()})
}

// sound checks that every nanosecond of every request is accounted for once.
func sound(t testing.TB, s *Summary) {
	t.Helper()
	require.Zero(t, s.Served.Counts().RestNS, "the parts of requests sum up to the whole")
	for _, r := range []*requests.Recorder{s.Served, s.Tasks} {
		all := r.Table(requests.Want{TraceNS: s.DurationNS()})
		var ends, count int64
		for _, e := range all.Endpoints {
			adds(t, e.Account)
			ends += e.TotalNS
			count += e.Requests
		}
		require.Equal(t, all.Counts.Requests, count)
		for _, b := range all.Bands {
			adds(t, b.Account)
			require.LessOrEqual(t, b.MinNS, b.MedianNS)
			require.LessOrEqual(t, b.MedianNS, b.MaxNS)
			if b.Name == requests.All {
				require.Equal(t, ends, b.TotalNS, "endpoints sum up to all")
			}
		}
	}
}

func adds(t testing.TB, a requests.Account) {
	t.Helper()
	var kinds, parts int64
	for _, k := range a.Kinds {
		require.Positive(t, k.NS)
		kinds += k.NS
	}
	for _, p := range a.Parts {
		parts += p.NS
	}
	require.Equal(t, a.TotalNS, kinds)
	require.Equal(t, a.TotalNS, parts)
	require.Equal(t, a.TotalNS, a.ExplainedNS+a.UnexplainedNS)
	require.GreaterOrEqual(t, a.UnexplainedNS, int64(0))
}

func band(t testing.TB, tab requests.Table, name string) requests.Band {
	t.Helper()
	b, ok := tab.Band(name)
	require.True(t, ok, "band %s", name)
	return b
}

// at is the time of a kind at a marked line of this file.
func at(t testing.TB, a requests.Account, kind requests.Kind, function string) int64 {
	t.Helper()
	var ns int64
	for _, p := range a.Parts {
		if p.Kind == kind && strings.HasPrefix(p.Where.Function, pkg+function) {
			ns += p.NS
		}
	}
	return ns
}

func get(t testing.TB, c *http.Client, url string) {
	res, err := c.Get(url)
	if assert.NoError(t, err) {
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
}

func post(t testing.TB, c *http.Client, url string, body io.Reader) {
	res, err := c.Post(url, "text/plain", body)
	if assert.NoError(t, err) {
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
}

func slowHandler(w http.ResponseWriter, _ *http.Request) {
	time.Sleep(10 * time.Millisecond)
	_, _ = io.WriteString(w, "ok")
}

func quickHandler(w http.ResponseWriter, _ *http.Request) {
	time.Sleep(time.Millisecond)
	_, _ = io.WriteString(w, "ok")
}

func bodyHandler(w http.ResponseWriter, r *http.Request) {
	n, _ := io.Copy(io.Discard, r.Body)
	time.Sleep(2 * time.Millisecond)
	_, _ = fmt.Fprint(w, n)
}

func logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(w, r) })
}

func mux() *http.ServeMux {
	m := http.NewServeMux()
	m.HandleFunc("/slow", slowHandler)
	m.HandleFunc("/quick", quickHandler)
	m.HandleFunc("/body", bodyHandler)
	return m
}

func TestRequestsByEndpoint(t *testing.T) {
	s := served(t, logged(mux()), plain, func(srv *httptest.Server) {
		times(3, func(int) {
			for range 10 {
				get(t, srv.Client(), srv.URL+"/slow")
				get(t, srv.Client(), srv.URL+"/quick")
			}
		})
	})
	tab := table(s)
	assert.EqualValues(t, 60, tab.Counts.Requests)
	require.Len(t, tab.Endpoints, 2, "middleware is no endpoint")
	assert.Equal(t, pkg+"slowHandler", tab.Endpoints[0].Name)
	assert.Equal(t, pkg+"quickHandler", tab.Endpoints[1].Name)
	for _, e := range tab.Endpoints {
		assert.EqualValues(t, 30, e.Requests, e.Name)
	}
	assert.GreaterOrEqual(t, at(t, tab.Endpoints[0].Account, requests.Kind(stack.Sleep), "slowHandler"), int64(300*time.Millisecond))
	assert.Greater(t, tab.Endpoints[0].P50NS, int64(10*time.Millisecond))
	one := s.Served.Table(requests.Want{Endpoint: pkg + "quickHandler"})
	assert.EqualValues(t, 30, band(t, one, requests.All).Requests)
	assert.Greater(t, band(t, tab, requests.P99).ExplainedShare(), 0.8)
}

func TestRequestsWithBodies(t *testing.T) {
	const n = 20
	s := served(t, mux(), plain, func(srv *httptest.Server) {
		for i := range n {
			if i%2 == 0 {
				post(t, srv.Client(), srv.URL+"/body", strings.NewReader("a few bytes"))
				continue
			}
			// A body that comes slowly is the request's time.
			r, w := io.Pipe()
			go func() {
				for range 3 {
					_, _ = w.Write(make([]byte, 1000))
					time.Sleep(3 * time.Millisecond)
				}
				_ = w.Close()
			}()
			post(t, srv.Client(), srv.URL+"/body", r)
		}
	})
	tab := table(s)
	assert.EqualValues(t, n, tab.Counts.Requests)
	all := band(t, tab, requests.All)
	assert.GreaterOrEqual(t, at(t, all.Account, requests.Kind(stack.NetRead), "bodyHandler"), int64(n/2*6*time.Millisecond))
	assert.GreaterOrEqual(t, at(t, all.Account, requests.Kind(stack.Sleep), "bodyHandler"), int64(n*2*time.Millisecond))
}

// Requests that are there before the server looks for them are not told apart by
// waits: they come with no pause in between.
func TestRequestsWithoutIdling(t *testing.T) {
	const n = 50
	s := served(t, mux(), plain, func(srv *httptest.Server) {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		_, err = io.WriteString(c, strings.Repeat("GET /quick HTTP/1.1\r\nHost: a\r\n\r\n", n-1)+
			"GET /quick HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, c)
		require.NoError(t, err)
	})
	tab := table(s)
	assert.EqualValues(t, n, tab.Counts.Requests)
	assert.Less(t, band(t, tab, requests.P50).MaxNS, int64(50*time.Millisecond))
}

func TestRequestsOfHTTP2(t *testing.T) {
	s := served(t, mux(), func(srv *httptest.Server) {
		srv.EnableHTTP2 = true
		srv.StartTLS()
	}, func(srv *httptest.Server) {
		times(5, func(int) {
			for range 8 {
				get(t, srv.Client(), srv.URL+"/quick")
			}
			post(t, srv.Client(), srv.URL+"/body", strings.NewReader("x"))
		})
	})
	tab := table(s)
	assert.EqualValues(t, 45, tab.Counts.Requests)
	assert.EqualValues(t, 45, tab.Counts.HTTP2)
	require.Len(t, tab.Endpoints, 2)
	assert.Equal(t, pkg+"quickHandler", tab.Endpoints[0].Name)
	assert.EqualValues(t, 40, tab.Endpoints[0].Requests)
}

func TestHijackedConnectionsAreNoRequests(t *testing.T) {
	m := mux()
	m.HandleFunc("/hijack", func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if assert.NoError(t, err) {
			time.Sleep(50 * time.Millisecond)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			_ = c.Close()
		}
	})
	s := served(t, m, plain, func(srv *httptest.Server) {
		get(t, srv.Client(), srv.URL+"/quick")
		get(t, srv.Client(), srv.URL+"/hijack")
		get(t, srv.Client(), srv.URL+"/hijack")
	})
	tab := table(s)
	assert.EqualValues(t, 2, tab.Counts.Hijacked)
	assert.EqualValues(t, 1, tab.Counts.Requests)
}

func fanOut(w http.ResponseWriter, _ *http.Request) {
	times(4, func(int) { time.Sleep(5 * time.Millisecond) })
	_, _ = io.WriteString(w, "ok")
}

func TestGoroutinesThatARequestStarts(t *testing.T) {
	s := served(t, http.HandlerFunc(fanOut), plain, func(srv *httptest.Server) {
		for range 5 {
			get(t, srv.Client(), srv.URL)
		}
	})
	all := band(t, table(s), requests.All)
	assert.EqualValues(t, 5, all.Requests)
	assert.EqualValues(t, 20, all.Started.Goroutines)
	assert.GreaterOrEqual(t, all.Started.TotalNS, int64(20*5*time.Millisecond))
	assert.GreaterOrEqual(t, at(t, all.Account, requests.Kind(stack.WaitGroup), "times"), int64(5*4*time.Millisecond))
}

func TestRequestsUnderTimeoutHandler(t *testing.T) {
	s := served(t, http.TimeoutHandler(http.HandlerFunc(slowHandler), time.Minute, ""), plain, func(srv *httptest.Server) {
		for range 5 {
			get(t, srv.Client(), srv.URL)
		}
	})
	tab := table(s)
	require.Len(t, tab.Endpoints, 1)
	assert.Equal(t, pkg+"slowHandler", tab.Endpoints[0].Name)
	assert.EqualValues(t, 5, tab.Counts.Requests)
}

// What the trace's edges cut is part of the sums, and known to be cut.
func TestRequestsBeyondTheTrace(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(300 * time.Millisecond) }))
	defer srv.Close()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { get(t, srv.Client(), srv.URL) })
	}
	time.Sleep(100 * time.Millisecond)
	s := read(t, testtrace.Record(t, func() { time.Sleep(50 * time.Millisecond) }))
	wg.Wait()
	sound(t, s)
	tab := table(s)
	assert.EqualValues(t, 3, tab.Counts.CutBoth)
	assert.Equal(t, requests.BySeen, tab.Ranked)
	b := band(t, tab, requests.P99)
	assert.EqualValues(t, b.Requests, b.Cut)
	assert.Equal(t, s.DurationNS(), b.MaxNS)
	assert.Greater(t, b.Share(requests.Kind(stack.Sleep)), 0.9)
	assert.Greater(t, b.ExplainedShare(), 0.9)
}

// Of a goroutine that is woken from a wait begun before the trace, the time until
// it runs is known for what it is, whatever is known of the wait.
func TestRunnableBeforeTheFirstStack(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		<-release
		time.Sleep(time.Millisecond)
	}))
	defer srv.Close()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { get(t, srv.Client(), srv.URL) })
	}
	time.Sleep(100 * time.Millisecond)
	s := read(t, testtrace.Record(t, func() {
		close(release)
		spin(50 * time.Millisecond) // until the runtime takes the P away, after about 10 ms
		wg.Wait()
	}))
	sound(t, s)
	b := band(t, table(s), requests.All)
	assert.EqualValues(t, 3, b.Requests)
	before := slices.IndexFunc(b.Parts, func(p requests.PartTime) bool { return p.Kind == requests.Runnable && p.Basis == requests.Unknown })
	require.GreaterOrEqual(t, before, 0, "%+v", b.Parts)
	assert.Greater(t, float64(b.Parts[before].NS), 0.1*float64(b.TotalNS))
	assert.Greater(t, b.ExplainedShare(), 0.9)
}

// Against bounds that the program itself marks.
func TestRequestsAgainstTasks(t *testing.T) {
	var st store
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, task := trace.NewTask(r.Context(), "request")
		defer task.End()
		_ = ctx
		switch r.URL.Query().Get("do") {
		case "lock":
			st.get(200 * time.Microsecond)
		case "spin":
			spin(500 * time.Microsecond)
		case "body":
			_, _ = io.Copy(io.Discard, r.Body)
		default:
			time.Sleep(time.Millisecond)
		}
		_, _ = io.WriteString(w, "ok")
	})
	const clients, rounds = 16, 40
	do := []string{"lock", "spin", "sleep"}
	var mu sync.Mutex
	var client []int64 // what clients saw
	s := served(t, h, plain, func(srv *httptest.Server) {
		c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
		defer c.CloseIdleConnections()
		times(clients, func(i int) {
			for n := range rounds {
				start := time.Now()
				if n%8 == 0 {
					post(t, c, srv.URL+"?do=body", strings.NewReader("body"))
				} else {
					get(t, c, srv.URL+"?do="+do[(i+n)%3])
				}
				ns := time.Since(start).Nanoseconds()
				mu.Lock()
				client = append(client, ns)
				mu.Unlock()
			}
		})
	})
	marked, found := s.Tasks.Spans(), s.Served.Spans()
	require.Len(t, marked, clients*rounds)
	matched, wider := match(marked, found)
	share := float64(matched) / float64(len(marked))
	t.Logf("%d of %d tasks matched by one request each; %d requests; the request is longer by %v at p50, %v at p99",
		matched, len(marked), len(found), time.Duration(quantile(wider, 0.5)), time.Duration(quantile(wider, 0.99)))
	var lengths []int64
	for _, f := range found {
		lengths = append(lengths, f.EndNS-f.StartNS)
	}
	for _, q := range []float64{0.5, 0.99} {
		t.Logf("p%g: %v at the client, %v of requests", 100*q, time.Duration(quantile(client, q)), time.Duration(quantile(lengths, q)))
	}
	assert.Greater(t, share, 0.98)
	assert.InDelta(t, len(marked), len(found), 0.02*float64(len(marked)))
	tasks := s.Tasks.Table(requests.Want{})
	require.Len(t, tasks.Endpoints, 1)
	assert.Equal(t, "request", tasks.Endpoints[0].Name)
	assert.Greater(t, band(t, table(s), requests.All).ExplainedShare(), 0.8)
}

// match counts the tasks that lie in exactly one request which holds no other,
// and lists by how much that request is longer.
func match(tasks, found []requests.Span) (matched int, wider []int64) {
	by := map[int64][]requests.Span{}
	for _, f := range found {
		by[f.Goroutine] = append(by[f.Goroutine], f)
	}
	holds := map[requests.Span]int{}
	in := map[requests.Span]requests.Span{}
	for _, task := range tasks {
		for _, f := range by[task.Goroutine] {
			if f.StartNS <= task.StartNS && task.EndNS <= f.EndNS {
				holds[f]++
				in[task] = f
			}
		}
	}
	for task, f := range in {
		if holds[f] == 1 {
			matched++
			wider = append(wider, (f.EndNS-f.StartNS)-(task.EndNS-task.StartNS))
		}
	}
	return matched, wider
}

func quantile(ns []int64, q float64) int64 {
	if len(ns) == 0 {
		return math.MaxInt64
	}
	slices.Sort(ns)
	return ns[min(len(ns)-1, int(q*float64(len(ns))))]
}

func spin(d time.Duration) {
	for start := time.Now(); time.Since(start) < d; {
	}
}

// A task whose goroutine ends before it does goes on elsewhere, and says so.
func TestTasksThatLeaveTheirGoroutine(t *testing.T) {
	s := read(t, testtrace.Record(t, func() {
		done := make(chan *trace.Task)
		go func() {
			_, task := trace.NewTask(context.Background(), "moving")
			time.Sleep(5 * time.Millisecond)
			done <- task
		}()
		task := <-done
		time.Sleep(10 * time.Millisecond)
		task.End()
	}))
	tab := s.Tasks.Table(requests.Want{})
	b := band(t, tab, requests.All)
	assert.GreaterOrEqual(t, b.NS(requests.Kind(stack.Sleep)), int64(5*time.Millisecond))
	assert.GreaterOrEqual(t, b.UnexplainedNS, int64(9*time.Millisecond))
	sound(t, s)
}

func TestNoRequests(t *testing.T) {
	s := read(t, testtrace.Record(t, func() { time.Sleep(time.Millisecond) }))
	tab := table(s)
	assert.Empty(t, tab.Bands)
	assert.Empty(t, tab.Endpoints)
	assert.Nil(t, s.Served.Profile(requests.Want{}))
}

func TestProfileOpens(t *testing.T) {
	s := served(t, mux(), plain, func(srv *httptest.Server) {
		for range 10 {
			get(t, srv.Client(), srv.URL+"/slow")
		}
	})
	p := s.Served.Profile(requests.Want{})
	require.NoError(t, p.CheckValid())
	var buf bytes.Buffer
	require.NoError(t, p.Write(&buf))
	var sum int64
	for _, x := range p.Sample {
		sum += x.Value[0]
		assert.NotEmpty(t, x.Label["kind"])
		assert.Equal(t, []string{pkg + "slowHandler"}, x.Label["endpoint"])
	}
	all := band(t, table(s), requests.All)
	assert.Equal(t, all.TotalNS+all.Started.TotalNS, sum)
}
