package signal_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"runtime"
	"runtime/trace"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/bundle/latency"
	"chokepoint/harness/clock"
	"chokepoint/harness/internal/testtrace"
	"chokepoint/harness/signal"
)

// askedServer is a recording of a server of this process and of what its clients
// saw of it.
type askedServer struct {
	recording
	results []latency.Result
	peers   bundle.Peers
}

const (
	askers    = 8
	questions = 25
)

func recordAsked(t testing.TB) askedServer {
	t.Helper()
	mono, wall := clock.Both()
	window := bundle.Window{StartNS: mono}
	var a askedServer
	var mu sync.Mutex
	known := map[int64]bool{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if id := goroutine(t); !known[id] {
			known[id] = true
			a.peers.Goroutines = append(a.peers.Goroutines, bundle.Peer{GoID: id, Address: r.RemoteAddr})
		}
		mu.Unlock()
		time.Sleep(3 * time.Millisecond)
		_, _ = io.WriteString(w, "ok")
	}))
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: askers}}
	defer client.CloseIdleConnections()
	data := testtrace.Record(t, func() {
		var wg sync.WaitGroup
		for range askers {
			wg.Go(func() {
				for range questions {
					var conn net.Conn
					ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(g httptrace.GotConnInfo) { conn = g.Conn }})
					req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
					if !assert.NoError(t, err) {
						return
					}
					sent := time.Now()
					res, err := client.Do(req)
					if !assert.NoError(t, err) {
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
					x := latency.Result{Code: uint16(res.StatusCode), Timestamp: sent, Latency: time.Since(sent), Local: conn.LocalAddr().String()}
					mu.Lock()
					a.results = append(a.results, x)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	})
	window.EndNS = clock.MonoNS()
	a.recording = recording{
		manifest: bundle.Manifest{Target: bundle.Target{MainModule: "chokepoint"}, Window: window, Clock: bundle.Clock{MonoNS: mono, Wall: wall}},
		artifacts: map[string]any{
			bundle.TraceOut:    data,
			bundle.LoadSummary: bundle.Load{Reached: bundle.LoadReached{InFlightMean: askers}, Requests: bundle.LoadRequests{Ended: askers * questions}},
		},
	}
	return a
}

func goroutine(t testing.TB) int64 {
	buf := make([]byte, 64)
	id, err := strconv.ParseInt(strings.Fields(string(buf[:runtime.Stack(buf, false)]))[1], 10, 64)
	assert.NoError(t, err)
	return id
}

// keep has the recording hold these results, with the clients' ends of their
// connections or without, and the server's.
func (a askedServer) keep(t testing.TB, results []latency.Result, local, peers bool) {
	t.Helper()
	var b bytes.Buffer
	encode := gob.NewEncoder(&b)
	for _, x := range results {
		if !local {
			x.Local = ""
		}
		require.NoError(t, encode.Encode(x))
	}
	a.artifacts[bundle.LoadResults] = b.Bytes()
	delete(a.artifacts, bundle.EBPFPeers)
	if peers {
		a.artifacts[bundle.EBPFPeers] = a.peers
	}
}

func whereOf(t testing.TB, r recording) *signal.Where {
	t.Helper()
	b, err := bundle.Open(r.write(t))
	require.NoError(t, err)
	defer b.Close()
	w, err := signal.Read(b.Evidence()).Where("")
	require.NoError(t, err)
	return w
}

func TestBothEndsOfARecording(t *testing.T) {
	a := recordAsked(t)
	const all = askers * questions
	for _, c := range []struct {
		name         string
		results      []latency.Result
		local, peers bool
		byConnection int
		oneIn        float64
	}{
		{"by time", a.results, false, false, 0, 1},
		{"by connection", a.results, true, true, all, 1},
		{"a sample, by connection", a.results[:all/10], true, true, all / 10, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			a.keep(t, c.results, c.local, c.peers)
			w := whereOf(t, a.recording)
			b := w.BothEnds
			require.Empty(t, b.Missing)
			assert.InDelta(t, c.oneIn, b.OneIn, 1e-9)
			assert.Equal(t, c.byConnection, b.ByConnection)
			assert.GreaterOrEqual(t, b.ByConnection+b.ByTime, len(c.results)*98/100)
			assert.Equal(t, len(c.results), b.Client.Requests)
			assert.Equal(t, b.Client.Paired, b.Served.Paired)
			for name, x := range map[string]signal.Times{"before": b.Before, "after": b.After, "longer": b.Longer} {
				t.Logf("%s: %v at p50, %v at p99, of %d", name, time.Duration(x.P50NS), time.Duration(x.P99NS), x.Count)
			}
			assert.Positive(t, b.Before.P50NS)
			assert.Positive(t, b.After.P50NS)
			assert.GreaterOrEqual(t, b.AtClient.P50NS, b.AtServer.P50NS)
			assert.GreaterOrEqual(t, b.AtServer.P50NS, int64(3*time.Millisecond))
			require.NotEmpty(t, b.Bands)
			assert.Equal(t, b.Before, b.Bands[0].Times)
		})
	}
}

// What keeps single requests from being compared is said, and nothing is made up.
func TestBothEndsThatAreNotKnown(t *testing.T) {
	a := recordAsked(t)
	a.keep(t, a.results[:askers], true, false)
	assert.Contains(t, whereOf(t, a.recording).BothEnds.Missing, "load/results.gob has one in 25 of the requests that ended in the window, and whose connection each goroutine served was not captured")
	a.keep(t, nil, true, true)
	assert.Contains(t, whereOf(t, a.recording).BothEnds.Missing, "load/results.gob has none of the 200 requests")
	a.artifacts[bundle.LoadResults] = []byte("no gob")
	assert.Contains(t, whereOf(t, a.recording).BothEnds.Missing, "load/results.gob")
	delete(a.artifacts, bundle.LoadResults)
	assert.Contains(t, whereOf(t, a.recording).BothEnds.Missing, "load/results.gob")
	delete(a.artifacts, bundle.LoadSummary)
	b := whereOf(t, a.recording).BothEnds
	assert.Contains(t, b.Missing, "load/summary.json")
	assert.Equal(t, signal.BothEnds{Missing: b.Missing}, b)
}

// Tasks stand for requests where the program has no server of net/http's.
func TestWhereByTasks(t *testing.T) {
	const jobs = 20
	w := whereOf(t, recording{
		manifest: bundle.Manifest{Target: bundle.Target{MainModule: "chokepoint"}},
		artifacts: map[string]any{bundle.TraceOut: testtrace.Record(t, func() {
			for i := range jobs {
				_, task := trace.NewTask(context.Background(), fmt.Sprint("job ", i%2))
				time.Sleep(2 * time.Millisecond)
				task.End()
			}
		})},
	})
	assert.Equal(t, "tasks", w.Source)
	assert.Nil(t, w.Tasks)
	assert.EqualValues(t, jobs, w.Table.Counts.Requests)
	require.Len(t, w.Table.Endpoints, 2)
	for _, e := range w.Table.Endpoints {
		assert.Contains(t, []string{"job 0", "job 1"}, e.Name)
		assert.Greater(t, e.Share("sleep"), 0.5)
	}
	assert.Contains(t, w.BothEnds.Missing, "no requests of a known server in the trace")
}

// A trace that was cut is not all of it, however well it reads; one that was long in
// coming is.
func TestTraceThatEndsEarly(t *testing.T) {
	start := clock.MonoNS()
	r := recording{artifacts: map[string]any{bundle.TraceOut: testtrace.Record(t, func() { time.Sleep(5 * time.Millisecond) })}}
	end := clock.MonoNS()
	with := func(end int64, reason string) string {
		r.manifest = bundle.Manifest{Dimensions: []bundle.Dimension{{Name: bundle.DimTrace, Captured: true, Probes: []bundle.Probe{
			{Name: "trace", Captured: true, Reason: reason, Window: bundle.Window{StartNS: start, EndNS: end}, Artifacts: []string{bundle.TraceOut}},
		}}}}
		return whereOf(t, r).Cut
	}
	assert.Empty(t, with(end, ""))
	assert.Empty(t, with(end+2*second, ""))
	assert.Regexp(t, `^after \d+ events: the trace broke off: unexpected EOF$`, with(end, "the trace broke off: unexpected EOF"))
}
