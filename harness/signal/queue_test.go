package signal_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/internal/testtrace"
	"chokepoint/harness/signal"
)

// tenAtOnce traces a server that ten clients ask without pause.
func tenAtOnce(t *testing.T, h http.HandlerFunc) []byte {
	server := httptest.NewServer(h)
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 10}}
	defer client.CloseIdleConnections()
	return testtrace.Record(t, func() {
		var clients sync.WaitGroup
		for range 10 {
			clients.Go(func() {
				for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); {
					resp, err := client.Get(server.URL)
					if !assert.NoError(t, err) {
						return
					}
					resp.Body.Close()
				}
			})
		}
		clients.Wait()
	})
}

type turnstile chan struct{}

func (s turnstile) pass() {
	s <- struct{}{}
	defer func() { <-s }()
	time.Sleep(2 * time.Millisecond)
}

func through(s turnstile) { s.pass() }

type clerk chan chan struct{}

func (c clerk) serve() {
	for done := range c {
		time.Sleep(2 * time.Millisecond)
		done <- struct{}{}
	}
}

func (c clerk) ask() {
	done := make(chan struct{}, 1)
	c <- done
	<-done
}

func asks(c clerk) { c.ask() }

func TestQueueSignals(t *testing.T) {
	const pkg = "chokepoint/harness/signal_test."
	measured := func(t *testing.T, h http.HandlerFunc, more map[string]any) (signal.Set, *signal.Where) {
		r := tenSeconds(map[string]any{bundle.TraceOut: tenAtOnce(t, h)})
		for k, v := range more {
			r.artifacts[k] = v
		}
		r.manifest.Target.MainModule = "chokepoint"
		dir := r.write(t)
		set := measure(t, dir)
		for name, s := range set.Signals {
			if s.Unit == signal.Share {
				assert.True(t, s.Value >= 0 && s.Value <= 1, "%s is %v", name, s.Value)
			}
		}
		b, err := bundle.Open(dir)
		require.NoError(t, err)
		defer b.Close()
		w, err := signal.Read(b.Evidence()).Where("")
		require.NoError(t, err)
		require.NotEmpty(t, w.Turns)
		return set, w
	}

	t.Run("a resource", func(t *testing.T) {
		s := make(turnstile, 2)
		set, w := measured(t, func(http.ResponseWriter, *http.Request) { through(s) }, nil)
		value := func(name string) float64 { return set.Signals[name].Value }
		assert.Greater(t, value("trace.resource_wait_share"), 0.4)
		assert.Greater(t, value("trace.resource_passed_share"), 0.8)
		assert.InDelta(t, 2, value("trace.resource_slots_least"), 0.5)
		assert.InDelta(t, 2, value("trace.resource_slots"), 0.5)
		assert.Equal(t, pkg+"through", set.Signals["trace.resource_caller_site"].Where.Function)
		assert.Greater(t, value("trace.resource_asleep_share"), 0.5)
		assert.Zero(t, value("trace.resource_io_share"))
		assert.Equal(t, pkg+"turnstile.pass", set.Signals["trace.resource_site"].Where.Function)
		assert.Equal(t, pkg+"turnstile.pass", set.Signals["trace.resource_release_site"].Where.Function, "and not the closure in it")
		assert.Less(t, set.Signals["trace.resource_site"].Where.Line, set.Signals["trace.resource_blocked_site"].Where.Line)
		assert.Zero(t, value("trace.consumer_wait_share"))
		assert.Contains(t, set.Missing["trace.consumer_site"], "nothing of the kind")
		assert.Equal(t, "resource", w.Turns[0].Kind)
		assert.InDelta(t, value("trace.resource_wait_share"), w.Turns[0].Share, 1e-9)
	})
	t.Run("a resource that is not always waited for", func(t *testing.T) {
		s := make(turnstile, 2)
		set, _ := measured(t, func(http.ResponseWriter, *http.Request) {
			// All ten come at once: two need not wait, and the last two of the other eight
			// pass it to nobody.
			const every = 50 * time.Millisecond
			time.Sleep(every - time.Duration(time.Now().UnixNano())%every)
			s.pass()
		}, nil)
		assert.Less(t, set.Signals["trace.resource_slots_least"].Value, 2.0)
		assert.Contains(t, set.Signals, "trace.resource_slots_least", set.Missing["trace.resource_slots_least"])
		assert.Contains(t, set.Missing["trace.resource_slots"], "were seen to pass it on")
	})
	t.Run("a service", func(t *testing.T) {
		c := make(clerk)
		defer close(c)
		go c.serve()
		set, w := measured(t, func(http.ResponseWriter, *http.Request) { asks(c) }, map[string]any{
			bundle.GoroutineProfile: newProfile("goroutine").
				add("runtime.gopark:1 < runtime.chansend:2 < runtime.chansend1:3 < chokepoint/harness/signal_test.clerk.ask:9 < net/http.HandlerFunc.ServeHTTP:5 < net/http.serverHandler.ServeHTTP:6 < net/http.(*conn).serve:7", 3).
				add("time.Sleep:1 < main.elsewhere:9 < net/http.HandlerFunc.ServeHTTP:5 < net/http.serverHandler.ServeHTTP:6 < net/http.(*conn).serve:7", 1).p,
		})
		value := func(name string) float64 { return set.Signals[name].Value }
		assert.Greater(t, value("trace.consumer_wait_share"), 0.4)
		assert.Greater(t, value("trace.consumer_busy_share"), 0.8)
		assert.Greater(t, value("trace.consumer_queued_share"), 0.5)
		assert.Less(t, value("trace.consumer_late_share"), 0.2)
		assert.Equal(t, 1.0, value("trace.consumer_servers"))
		assert.Greater(t, value("trace.consumer_asleep_share"), 0.5)
		assert.Equal(t, pkg+"clerk.serve", set.Signals["trace.consumer_site"].Where.Function)
		assert.Equal(t, pkg+"clerk.ask", set.Signals["trace.consumer_waiter_site"].Where.Function)
		assert.Equal(t, pkg+"asks", set.Signals["trace.consumer_caller_site"].Where.Function)
		assert.Zero(t, value("trace.resource_wait_share"))
		assert.Contains(t, set.Signals, "pprof.consumer_parked_share", set.Missing["pprof.consumer_parked_share"])
		assert.Equal(t, "service", w.Turns[0].Kind)
	})

	// What those wait for whom requests wait for, requests wait for.
	const most = 0.5
	var mu sync.Mutex
	locked := func() {
		mu.Lock()
		defer mu.Unlock()
		time.Sleep(2 * time.Millisecond)
	}
	office := func(t *testing.T, clerks int, work func()) clerk {
		c := make(clerk)
		t.Cleanup(func() { close(c) })
		for range clerks {
			go func() {
				for done := range c {
					work()
					done <- struct{}{}
				}
			}()
		}
		return c
	}
	t.Run("clerks behind a resource", func(t *testing.T) {
		s := make(turnstile, 1)
		c := office(t, 5, s.pass)
		set, _ := measured(t, func(http.ResponseWriter, *http.Request) { c.ask() }, nil)
		value := func(name string) float64 { return set.Signals[name].Value }
		assert.Greater(t, value("trace.resource_wait_share"), most)
		assert.Equal(t, pkg+"turnstile.pass", set.Signals["trace.resource_site"].Where.Function)
		assert.Greater(t, value("trace.consumer_wait_share"), most)
		assert.Greater(t, value("trace.consumer_busy_share"), most, "they are not idle")
		assert.Greater(t, value("trace.consumer_resource_share"), most)
		assert.Zero(t, value("trace.consumer_lock_share"))
	})
	t.Run("clerks behind a lock", func(t *testing.T) {
		c := office(t, 5, locked)
		set, _ := measured(t, func(http.ResponseWriter, *http.Request) { c.ask() }, nil)
		value := func(name string) float64 { return set.Signals[name].Value }
		assert.Greater(t, value("trace.lock_wait_share"), most)
		assert.Greater(t, value("trace.consumer_lock_share"), most)
		assert.Zero(t, value("trace.consumer_resource_share"))
	})
	t.Run("a limit on those who queue for a lock", func(t *testing.T) {
		s := make(turnstile, 5)
		set, _ := measured(t, func(http.ResponseWriter, *http.Request) {
			s <- struct{}{}
			defer func() { <-s }()
			locked()
		}, nil)
		value := func(name string) float64 { return set.Signals[name].Value }
		assert.Greater(t, value("trace.lock_wait_share"), value("trace.resource_wait_share"))
		assert.Greater(t, value("trace.resource_lock_share"), most)
	})
	t.Run("clerks who are idle, and a lock of theirs", func(t *testing.T) {
		served := 0
		c := office(t, 5, func() { mu.Lock(); served++; mu.Unlock() })
		set, _ := measured(t, func(http.ResponseWriter, *http.Request) {
			time.Sleep(2 * time.Millisecond)
			c.ask()
		}, nil)
		assert.Less(t, set.Signals["trace.lock_wait_share"].Value, 0.1)
	})
}

func TestConnSignals(t *testing.T) {
	const handler = " < net/http.HandlerFunc.ServeHTTP:5 < net/http.serverHandler.ServeHTTP:6 < net/http.(*conn).serve:7"
	const conn = "runtime.gopark:1 < runtime.selectgo:2 < database/sql.(*DB).conn:3 < database/sql.(*DB).QueryContext:4 < "
	r := tenSeconds(map[string]any{bundle.GoroutineProfile: newProfile("goroutine").
		add(conn+"main.(*carts).price:41 < main.serve:9"+handler, 2).
		add(conn+"main.(*carts).price:41 < main.total:13 < main.serve:9"+handler, 4).
		add(conn+"main.(*carts).list:60 < main.serve:9"+handler, 2).
		add("time.Sleep:1 < main.serve:12"+handler, 2).
		add(conn+"main.background:3", 50).p})
	check(t, measure(t, r.write(t)), expected{
		"pprof.conn_parked_share":     0.8,
		"pprof.conn_site":             "main.(*carts).price:41",
		"pprof.conn_caller_site":      "main.total:13",
		"pprof.resource_parked_share": missing("was not captured"),
	})
}
