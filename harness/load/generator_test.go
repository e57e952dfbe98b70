package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	vegeta "github.com/tsenart/vegeta/v12/lib"

	"golang.org/x/sys/unix"

	"chokepoint/harness/bundle"
	"chokepoint/harness/clock"
	"chokepoint/harness/load/account"
	"chokepoint/harness/load/client"
	"chokepoint/harness/load/request"
	"chokepoint/harness/load/schedule"
)

var get = []request.Template{{Path: "/session?id={seq}"}}

// closed is a closed loop that sends get.
func closed(base string, inFlight int) Config {
	return Config{
		Stages:  []schedule.Stage{{Level: float64(inFlight), Captured: true}},
		Request: request.Plan{Templates: get}, Client: client.Plan{BaseURL: base}, Results: account.ResultsWhole,
	}
}

// sending is c with other requests.
func (c Config) sending(templates ...request.Template) Config {
	c.Request.Templates = templates
	return c
}

// start starts an attack that is stopped, and looked over for leftovers, at the
// end of the test.
func start(t *testing.T, c Config) *Generator {
	t.Helper()
	g, err := New(c)
	require.NoError(t, err)
	g.hopelessAfter = 500 * time.Millisecond
	require.NoError(t, g.Start(t.Context()))
	t.Cleanup(func() { stop(t, g) })
	return g
}

func stop(t *testing.T, g *Generator) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	require.NoError(t, g.Stop(ctx))
	status := g.Status()
	assert.Zero(t, status.InFlight, "requests in flight after Stop")
	assert.Zero(t, status.OpenSockets, "sockets after Stop")
	for _, m := range g.members() {
		assert.ErrorIs(t, unix.Kill(m.process.PID(), 0), unix.ESRCH, "a worker is left")
	}
}

func reach(t *testing.T, g *Generator) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, g.WaitReached(ctx))
}

func measure(g *Generator, d time.Duration) {
	g.BeginWindow(clock.MonoNS())
	time.Sleep(d)
	g.EndWindow(clock.MonoNS())
}

// write puts the account into a bundle, and reads the results as vegeta does.
func write(t *testing.T, g *Generator) (bundle.Dimension, []vegeta.Result) {
	t.Helper()
	dir := t.TempDir()
	w, err := bundle.Create(dir+"/b", bundle.Manifest{})
	require.NoError(t, err)
	dim, err := g.Write(w)
	require.NoError(t, err)
	data, err := os.ReadFile(dir + "/b/" + bundle.LoadResults)
	if errors.Is(err, os.ErrNotExist) {
		return dim, nil
	}
	require.NoError(t, err)
	decode := vegeta.DecoderFor(bytes.NewReader(data))
	require.NotNil(t, decode, "vegeta does not know the encoding")
	var results []vegeta.Result
	for {
		var r vegeta.Result
		if err := decode(&r); err == io.EOF {
			return dim, results
		} else {
			require.NoError(t, err)
		}
		results = append(results, r)
	}
}

func summary(t *testing.T, g *Generator) bundle.Load {
	t.Helper()
	sum, err := g.Summary()
	require.NoError(t, err)
	return sum
}

func handler(f http.HandlerFunc) func(*testing.T) string {
	return func(t *testing.T) string {
		s := httptest.NewServer(f)
		t.Cleanup(s.Close)
		return s.URL
	}
}

// raw serves connections with f, which owns them.
func raw(f func(net.Conn)) func(*testing.T) string {
	return func(t *testing.T) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { _ = ln.Close() })
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go f(c)
			}
		}()
		return "http://" + ln.Addr().String()
	}
}

func waiting(d time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
		}
		fmt.Fprintf(w, "session %s token %s", r.URL.Query().Get("id"), r.Header.Get(request.TokenHeader))
	}
}

func TestClosedLoopHoldsItsConcurrency(t *testing.T) {
	before := sockets(t)
	bothEngines(t, func(t *testing.T, engine string) {
		c := closed(handler(waiting(200*time.Millisecond))(t), 300).sending(request.Template{Path: "/session?id={seq}", CheckToken: true})
		c.Client.Engine = engine
		c.Stages[0].Ramp = 500 * time.Millisecond
		g := start(t, c)
		reach(t, g)
		measure(g, 2*time.Second)
		stop(t, g)

		dim, results := write(t, g)
		sum := summary(t, g)
		assert.True(t, dim.Captured)
		assert.Len(t, dim.Probes, 3)
		assert.True(t, sum.Generator.ReachedInFlight, sum.Generator.Reason)
		assert.Positive(t, sum.Generator.CPUSeconds)
		assert.GreaterOrEqual(t, sum.Reached.InFlightAtCapture, 290)
		assert.LessOrEqual(t, sum.Reached.InFlightMax, 300)
		assert.LessOrEqual(t, sum.Reached.OpenSocketsMax, 300)
		// The Attacker's way from one request to the next is longer.
		missing := map[string]float64{client.EngineLean: 10, client.EngineNetHTTP: 30}
		assert.InDelta(t, 300, sum.Reached.InFlightMean, missing[engine])
		assert.Positive(t, sum.Requests.OK)
		assert.Equal(t, sum.Requests.Ended, sum.Requests.OK)
		assert.Equal(t, map[string]int64{"200": sum.Requests.OK}, sum.Requests.ByCode)
		assert.Empty(t, sum.Requests.ByError)
		assert.Equal(t, bundle.LoadChecks{Checked: sum.Requests.Ended}, sum.Checks)
		assert.GreaterOrEqual(t, sum.LatencySeconds.P50, 0.2)
		assert.Positive(t, sum.ResponseBytes.Mean)
		assert.NotEmpty(t, sum.Seconds)
		assert.Zero(t, sum.Generator.ResultsDropped)
		assert.Equal(t, sum.LatencySeconds.Count, sum.CorrectedSeconds.Count)
		assert.GreaterOrEqual(t, sum.CorrectedSeconds.Mean, sum.LatencySeconds.Mean)
		require.Len(t, sum.Stages, 1)
		assert.Equal(t, 300, sum.Stages[0].InFlight)
		assert.GreaterOrEqual(t, sum.Stages[0].Ended, sum.Requests.Ended)
		assert.Less(t, sum.Stages[0].StartNS, sum.Stages[0].EndNS)

		require.Len(t, results, int(sum.Requests.Ended))
		for _, r := range results {
			require.Equal(t, uint16(200), r.Code)
			require.Empty(t, r.Error)
			require.GreaterOrEqual(t, r.Latency, 200*time.Millisecond)
			require.Positive(t, r.BytesIn)
			require.Contains(t, r.URL, "/session?id=")
		}
	})
	within(t, "sockets are closed", func() bool { return sockets(t) <= before })
}

func TestRampIsLinear(t *testing.T) {
	c := closed(handler(waiting(time.Minute))(t), 200)
	c.Stages[0].Ramp = 2 * time.Second
	g := start(t, c)
	var seen int
	for g.sinceBegin() < 1800*time.Millisecond {
		in := g.Status().InFlight
		// At the moment of looking no more may be in flight than the ramp allows.
		allowed := int(g.sinceBegin().Seconds()/2*200) + 2
		require.LessOrEqual(t, in, allowed)
		seen = max(seen, in)
		time.Sleep(10 * time.Millisecond)
	}
	assert.Greater(t, seen, 20, "the ramp goes up before its end")
	reach(t, g)
}

func TestOpenLoop(t *testing.T) {
	bothEngines(t, func(t *testing.T, engine string) {
		c := closed(handler(waiting(500*time.Millisecond))(t), 0)
		c.Client.Engine = engine
		c.Open, c.InFlight, c.AtMost = true, 100, 100
		c.Stages = []schedule.Stage{{Level: 400, Ramp: 500 * time.Millisecond, Captured: true}}
		g := start(t, c)
		reach(t, g)
		measure(g, time.Second)
		stop(t, g)
		sum := summary(t, g)
		assert.LessOrEqual(t, sum.Reached.InFlightMax, 100)
		require.Positive(t, sum.CorrectedSeconds.Count)
		// 100 in flight at 0.5 s each are 200/s, not the 400/s that are due: what is
		// due is sent ever later, and the corrected latency says so.
		assert.Positive(t, sum.Generator.SendLagP99)
		assert.Greater(t, sum.CorrectedSeconds.Mean, sum.LatencySeconds.Mean)
	})
}

func TestOpenLoopThatCannotReach(t *testing.T) {
	c := closed(handler(waiting(0))(t), 0)
	c.Open, c.InFlight = true, 200
	c.Stages = []schedule.Stage{{Level: 100, Captured: true}}
	g := start(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
	defer cancel()
	err := g.WaitReached(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, "asked for 200 requests in flight")
	assert.ErrorContains(t, err, "raise the rate")
}

func TestBadTargets(t *testing.T) {
	refused := func(t *testing.T) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, ln.Close())
		return "http://" + ln.Addr().String()
	}
	reset := raw(func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	})
	answer := func(text string) func(*testing.T) string {
		return raw(func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, text)
			_ = c.Close()
		})
	}
	tests := []struct {
		name   string
		target func(*testing.T) string
		kind   string
	}{
		{"nothing listens", refused, account.KindRefused},
		{"resets", reset, "connection reset"},
		{"closes", answer(""), "connection closed before a response"},
		{"garbage", answer("\x00\xff garbage 127.0.0.1:8080\r\n\r\n"), "malformed response"},
		{"endless header", answer("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 100<<10)), "malformed response"},
		{"cut short", answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), "response cut short"},
		{"errors", handler(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusServiceUnavailable) }), "status 503"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := closed(tc.target(t), 100)
			c.Client.Timeout = 5 * time.Second
			g := start(t, c)
			g.BeginWindow(clock.MonoNS())
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			err := g.WaitReached(ctx)
			require.Error(t, err)
			require.NoError(t, ctx.Err(), "WaitReached should see early that this is hopeless")
			assert.ErrorContains(t, err, "all requests fail")
			assert.ErrorContains(t, err, tc.kind)
			assert.Equal(t, strings.HasPrefix(tc.kind, "status"), errors.Is(err, ErrAnswersFail), "%v", err)
			g.EndWindow(clock.MonoNS())
			stop(t, g)

			_, results := write(t, g)
			sum := summary(t, g)
			assert.Zero(t, sum.Requests.OK)
			assert.False(t, sum.Generator.ReachedInFlight)
			assert.Equal(t, err.Error(), sum.Generator.Reason)
			if code, is := strings.CutPrefix(tc.kind, "status "); is {
				assert.Positive(t, sum.Requests.ByCode[code])
			} else {
				assert.Positive(t, sum.Requests.ByError[tc.kind], "%v", sum.Requests.ByError)
			}
			require.NotEmpty(t, results)
			assert.NotEmpty(t, results[0].Error)
			// Slots pause while nothing succeeds, so this is no connect loop:
			// 100 slots and a pause that grows make far fewer than 20,000.
			assert.Less(t, sum.Requests.Ended, int64(20_000))
		})
	}
}

func TestTargetThatNeverAnswers(t *testing.T) {
	g := start(t, closed(raw(func(c net.Conn) { _, _ = io.Copy(io.Discard, c); _ = c.Close() })(t), 200))
	reach(t, g) // all in flight is all in flight, answered or not
	measure(g, 200*time.Millisecond)
	begun := time.Now()
	stop(t, g)
	assert.Less(t, time.Since(begun), 15*time.Second, "Stop waits for no response")
	dim, results := write(t, g)
	sum := summary(t, g)
	assert.Equal(t, 200, sum.Reached.InFlightMin)
	assert.Zero(t, sum.Requests.Ended, "hanging up is no result")
	assert.Empty(t, sum.Requests.ByError)
	assert.Zero(t, g.Status().Errors)
	assert.Empty(t, results)
	require.Len(t, dim.Probes, 3)
	assert.False(t, dim.Probes[2].Captured)
	assert.Contains(t, dim.Probes[2].Reason, "no request")
}

func TestTimeout(t *testing.T) {
	c := closed(handler(waiting(time.Minute))(t), 20)
	c.Client.Timeout = 300 * time.Millisecond
	g := start(t, c)
	g.BeginWindow(clock.MonoNS())
	within(t, "timeouts", func() bool { return g.Status().Errors >= 20 })
	g.EndWindow(clock.MonoNS())
	stop(t, g)
	assert.Positive(t, summary(t, g).Requests.ByError["timeout waiting for the response"])
}

func TestTargetThatDies(t *testing.T) {
	base, server := startServer(t, 50*time.Millisecond)
	g := start(t, closed(base, 100))
	reach(t, g)
	g.BeginWindow(clock.MonoNS())
	before := g.Status().OK
	within(t, "answers", func() bool { return g.Status().OK > before+100 })
	require.NoError(t, server.Process.Kill())
	within(t, "refusals", func() bool { return g.live().Kinds[account.KindRefused] > 100 })
	within(t, "sockets go", func() bool { return g.Status().OpenSockets == 0 })
	g.EndWindow(clock.MonoNS())
	stop(t, g)
	sum := summary(t, g)
	assert.Positive(t, sum.Requests.OK)
	assert.Positive(t, sum.Requests.ByError[account.KindRefused], "%v", sum.Requests.ByError)
	assert.Zero(t, sum.Reached.OpenSocketsMin)
}

func TestForeignAndMissingTokens(t *testing.T) {
	var last atomic.Value // the token of some earlier request
	last.Store("")
	var n atomic.Int64
	target := handler(func(w http.ResponseWriter, r *http.Request) {
		own := r.Header.Get(request.TokenHeader)
		other := last.Swap(own).(string)
		switch n.Add(1) % 10 {
		case 3:
			fmt.Fprintf(w, `{"mine":%q,"left behind":%q}`, own, other)
		case 6:
			fmt.Fprint(w, `{}`)
		default:
			fmt.Fprintf(w, `{"mine":%q,"query":%q}`, own, r.URL.Query().Get("t"))
		}
	})
	g := start(t, closed(target(t), 20).sending(request.Template{Path: "/x?t={token}", CheckToken: true}))
	g.BeginWindow(clock.MonoNS())
	within(t, "requests", func() bool { return g.Status().OK >= 500 })
	g.EndWindow(clock.MonoNS())
	stop(t, g)
	checks := summary(t, g).Checks
	assert.InDelta(t, 0.1, float64(checks.Foreign)/float64(checks.Checked), 0.03)
	assert.InDelta(t, 0.1, float64(checks.Missing)/float64(checks.Checked), 0.03)
	assert.Contains(t, checks.Example, "left behind")
	assert.Contains(t, checks.Example, "GET ")
	assert.NotContains(t, checks.Example, "\n")
}

func TestRequestsAreSentAsDescribed(t *testing.T) {
	type seen struct{ method, path, query, header, body, host string }
	got := make(chan seen, 1000)
	target := handler(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		select {
		case got <- seen{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Get("X-Id"), string(body), r.Host}:
		default:
		}
		http.Redirect(w, r, "http://127.0.0.1:1/elsewhere", http.StatusFound)
	})
	g := start(t, closed(target(t)+"/", 2).sending(
		request.Template{Path: "/a", Weight: 3},
		request.Template{Method: "POST", Path: "/b?n={seq}", Header: map[string]string{"x-id": "id-{seq}", "Host": "shop.example"}, Body: `{"n":{seq}}`},
	))
	within(t, "requests", func() bool { return g.Status().OK >= 200 })
	stop(t, g)
	assert.Zero(t, g.Status().Errors, "a redirect is an answer and is not followed")
	count := map[string]int{}
	for range 100 {
		s := <-got
		count[s.method+" "+s.path]++
		if s.method == "POST" {
			n, ok := strings.CutPrefix(s.query, "n=")
			require.True(t, ok, s.query)
			assert.Equal(t, "id-"+n, s.header)
			assert.Equal(t, `{"n":`+n+`}`, s.body)
			assert.Equal(t, "shop.example", s.host)
		}
	}
	assert.InDelta(t, 75, count["GET /a"], 3)
	assert.InDelta(t, 25, count["POST /b"], 3)
}

func TestStopIsBounded(t *testing.T) {
	g := start(t, closed(handler(waiting(time.Minute))(t), 50))
	within(t, "in flight", func() bool { return g.Status().InFlight == 50 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// Either it has already ended or it says what is left; it does not wait.
	if err := g.Stop(ctx); err != nil {
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorContains(t, err, "still open")
	}
	stop(t, g)
	stop(t, g)
}

func TestEndOfContextHangsUp(t *testing.T) {
	g, err := New(closed(handler(waiting(time.Minute))(t), 50))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, g.Start(ctx))
	within(t, "in flight", func() bool { return g.Status().InFlight == 50 })
	cancel()
	within(t, "nothing in flight", func() bool { return g.Status().InFlight == 0 })
	require.Error(t, g.WaitReached(t.Context()))
	stop(t, g)
	assert.Zero(t, g.Status().Errors)
}

func TestOrderOfCalls(t *testing.T) {
	g, err := New(closed(handler(waiting(0))(t), 2))
	require.NoError(t, err)
	require.NoError(t, g.Stop(t.Context()), "nothing to stop")
	require.ErrorContains(t, g.WaitReached(t.Context()), "not been started")
	dim, results := write(t, g)
	assert.False(t, dim.Captured)
	assert.Contains(t, dim.Reason, "never started")
	assert.Empty(t, results)

	require.NoError(t, g.Start(t.Context()))
	require.ErrorContains(t, g.Start(t.Context()), "started once")
	w, err := bundle.Create(t.TempDir(), bundle.Manifest{})
	require.NoError(t, err)
	_, err = g.Write(w)
	require.ErrorContains(t, err, "not been stopped")
	stop(t, g)
	dim, _ = write(t, g)
	assert.False(t, dim.Captured)
	assert.Contains(t, dim.Reason, "before a window")
}

// TestNothingIsSentTwice has a target that drops every third request on a
// connection that was used before.
func TestNothingIsSentTwice(t *testing.T) {
	var got, dropped atomic.Int64
	target := handler(func(w http.ResponseWriter, r *http.Request) {
		if got.Add(1)%3 == 0 {
			dropped.Add(1)
			panic(http.ErrAbortHandler)
		}
	})
	for _, method := range []string{"GET", "HEAD", "POST"} {
		t.Run(method, func(t *testing.T) {
			got.Store(0)
			dropped.Store(0)
			g := start(t, closed(target(t), 4).sending(request.Template{
				Method: method, Path: "/", Body: map[string]string{"POST": "x"}[method], Header: map[string]string{"Idempotency-Key": "{seq}"},
			}))
			within(t, "requests", func() bool { return g.Status().OK >= 300 })
			stop(t, g)
			status := g.Status()
			// Those in flight when Stop hung up may have arrived or not.
			assert.InDelta(t, dropped.Load(), status.Errors, 4)
			assert.InDelta(t, got.Load(), status.OK+status.Errors, 4)
		})
	}
}

func TestWhatIsSent(t *testing.T) {
	const numbered = "X-Vegeta-Seq: N\r\n" // by vegeta's Attacker, which has net/http's requests
	tests := []struct {
		request request.Template
		want    string
	}{
		{request.Template{Path: "/a"}, "GET /a HTTP/1.1\r\nHost: HOST\r\nUser-Agent: Go-http-client/1.1\r\n\r\n"},
		{request.Template{Method: "DELETE", Path: "/a"}, "DELETE /a HTTP/1.1\r\nHost: HOST\r\nUser-Agent: Go-http-client/1.1\r\n\r\n"},
		{request.Template{Method: "OPTIONS", Path: "/a"}, "OPTIONS /a HTTP/1.1\r\nHost: HOST\r\nUser-Agent: Go-http-client/1.1\r\n\r\n"},
		{request.Template{Method: "POST", Path: "/a"}, "POST /a HTTP/1.1\r\nHost: HOST\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 0\r\n\r\n"},
		{request.Template{Method: "POST", Path: "/a", Body: "n=5"}, "POST /a HTTP/1.1\r\nHost: HOST\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 3\r\n\r\nn=5"},
	}
	for _, engine := range []string{client.EngineLean, client.EngineNetHTTP} {
		for _, tc := range tests {
			t.Run(engine+tc.request.Method+tc.request.Body, func(t *testing.T) {
				sent := make(chan string, 1)
				base := raw(func(c net.Conn) {
					defer c.Close()
					// What is sent at all is sent at once; the deadline shows that no more comes.
					_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
					data, _ := io.ReadAll(c)
					select {
					case sent <- string(data):
					default:
					}
				})(t)
				c := closed(base, 1).sending(tc.request)
				c.Client.Engine = engine
				g := start(t, c)
				got := regexp.MustCompile(`Seq: \d+`).ReplaceAllString(<-sent, "Seq: N")
				stop(t, g)
				if engine == client.EngineNetHTTP {
					assert.Contains(t, got, numbered)
					got = strings.Replace(got, numbered, "", 1)
					got = strings.Replace(got, "Accept-Encoding: gzip\r\n", "", 1)
				}
				assert.Equal(t, tc.want, strings.Replace(got, strings.TrimPrefix(base, "http://"), "HOST", 1))
			})
		}
	}
}

// TestFewerAndMore lets the requests in flight follow stages down and up again.
func TestFewerAndMore(t *testing.T) {
	bothEngines(t, func(t *testing.T, engine string) {
		c := closed(handler(waiting(10*time.Millisecond))(t), 0)
		c.Client.Engine = engine
		c.Stages = []schedule.Stage{{Level: 40, Hold: time.Second, Captured: true}, {Level: 5, Hold: time.Second}, {Level: 60, Hold: time.Second}}
		g := start(t, c)
		reach(t, g)
		for _, want := range []int{5, 60} {
			within(t, fmt.Sprintf("%d in flight", want), func() bool { return g.Status().InFlight == want && g.Status().Asked == float64(want) })
		}
		stop(t, g)
		sum := summary(t, g)
		for _, s := range sum.Stages {
			assert.Positive(t, s.Ended)
			assert.Zero(t, s.Errors)
		}
	})
}

// bothEngines runs a test over the loop that the lean engine has, and over
// vegeta's Attacker, which has net/http.
func bothEngines(t *testing.T, f func(t *testing.T, engine string)) {
	for _, engine := range []string{client.EngineLean, client.EngineNetHTTP} {
		t.Run(engine, func(t *testing.T) { f(t, engine) })
	}
}
