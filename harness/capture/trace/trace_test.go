package trace

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/pprof"
	"os"
	"path/filepath"
	"runtime"
	rtrace "runtime/trace"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	exptrace "golang.org/x/exp/trace"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
)

// server serves the tracing handler of net/http/pprof, or another in its place.
func server(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/trace", handler)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL + "/debug/pprof"
}

func record(t *testing.T, cfg Config, url string, wait time.Duration) (bundle.Dimension, string) {
	t.Helper()
	r := New(cfg)
	defer func() { require.NoError(t, r.Close()) }()
	require.NoError(t, r.Prepare(t.Context(), capture.Subject{DebugURL: url}))
	require.NoError(t, r.Start(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	require.NoError(t, r.Stop(ctx))
	w, err := bundle.Create(filepath.Join(t.TempDir(), "b"), bundle.Manifest{})
	require.NoError(t, err)
	d, err := r.Write(t.Context(), w)
	require.NoError(t, err)
	require.Len(t, d.Probes, 1)
	return d, filepath.Join(w.Dir(), bundle.TraceOut)
}

// countEvents reads a trace to where it ends or breaks.
func countEvents(t *testing.T, path string) (n int, broken error) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	r, err := exptrace.NewReader(bufio.NewReader(f))
	require.NoError(t, err)
	for {
		if _, err := r.ReadEvent(); err == io.EOF {
			return n, nil
		} else if err != nil {
			return n, err
		}
		n++
	}
}

// yield makes events, hundreds of thousands a second, until stop is closed.
func yield(stop <-chan struct{}) {
	for range 4 {
		go func() {
			for {
				select {
				case <-stop:
					return
				default:
					runtime.Gosched()
				}
			}
		}()
	}
}

func TestTrace(t *testing.T) {
	url := server(t, pprof.Trace)
	d, path := record(t, Config{For: time.Hour, Window: 1500 * time.Millisecond}, url, 10*time.Second)
	assert.True(t, d.Captured)
	p := d.Probes[0]
	assert.Equal(t, []string{bundle.TraceOut}, p.Artifacts)
	assert.Empty(t, p.Reason)
	assert.Empty(t, p.Lost)
	n, broken := countEvents(t, path)
	assert.NoError(t, broken)
	assert.Positive(t, n)
	assert.False(t, rtrace.IsEnabled())
}

func TestSpanFitsTheWindow(t *testing.T) {
	tests := []struct{ length, window, delay, want time.Duration }{
		{5 * time.Second, 10 * time.Second, time.Second, 5 * time.Second},
		{5 * time.Second, 5 * time.Second, time.Second, 4 * time.Second},
		{0, 10 * time.Second, time.Second, DefaultFor},
		{time.Second, time.Second, 200 * time.Millisecond, 800 * time.Millisecond},
	}
	for _, tt := range tests {
		delay, got := New(Config{For: tt.length, Window: tt.window}).span()
		assert.Equal(t, tt.delay, delay, "%+v", tt)
		assert.Equal(t, tt.want, got, "%+v", tt)
	}
}

// What came before the bound can be read.
func TestTraceIsBoundedInBytes(t *testing.T) {
	var whole bytes.Buffer
	require.NoError(t, rtrace.Start(&whole))
	time.Sleep(2500 * time.Millisecond) // two generations and a part
	rtrace.Stop()
	atMost := int64(whole.Len() - 100)
	url := server(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(whole.Bytes()) })
	d, path := record(t, Config{Window: time.Second, AtMost: atMost}, url, 10*time.Second)
	p := d.Probes[0]
	require.True(t, p.Captured, p.Reason)
	assert.Equal(t, map[string]int64{"bytes_cut": 1}, p.Lost)
	assert.Contains(t, p.Reason, "cut off at")
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, atMost, info.Size())
	n, broken := countEvents(t, path)
	assert.Positive(t, n)
	assert.Error(t, broken, "the end is missing")
}

// A target that makes too much is no longer traced once it has been cut off.
func TestBoundEndsTracing(t *testing.T) {
	url := server(t, pprof.Trace)
	stop := make(chan struct{})
	defer close(stop)
	yield(stop)
	d, _ := record(t, Config{For: 20 * time.Second, Window: 30 * time.Second, AtMost: 64 << 10}, url, 40*time.Second)
	require.Eventually(t, func() bool { return !rtrace.IsEnabled() }, 5*time.Second, 10*time.Millisecond)
	assert.False(t, d.Captured)
	assert.Contains(t, d.Reason, "raise capture.trace.at_most above 0.1 MiB")
	assert.Equal(t, map[string]int64{"bytes_cut": 1}, d.Probes[0].Lost)
}

func TestTraceAsLargeAsAllowedIsNotCut(t *testing.T) {
	var whole bytes.Buffer
	require.NoError(t, rtrace.Start(&whole))
	rtrace.Stop()
	url := server(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(whole.Bytes()) })
	d, _ := record(t, Config{Window: time.Second, AtMost: int64(whole.Len())}, url, 5*time.Second)
	assert.True(t, d.Captured)
	assert.Empty(t, d.Probes[0].Lost)
}

func TestTraceThatGoesWrong(t *testing.T) {
	tests := map[string]struct {
		handler http.HandlerFunc
		says    string
	}{
		"not served": {http.NotFound, "does not serve /debug/pprof/trace"},
		"in use": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "Could not enable tracing: tracing is already enabled", http.StatusInternalServerError)
		}, "already enabled"},
		"garbage":   {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html><body>not here</body></html>") }, "no execution trace"},
		"too short": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "go 1.") }, "no execution trace"},
		"header only": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "go 1.26 trace\x00\x00\x00")
		}, "no event that can be read"},
		"nothing": {func(http.ResponseWriter, *http.Request) {}, "empty trace"},
		"hangs":   {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "had not sent all of the trace"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, path := record(t, Config{Window: time.Second}, server(t, tt.handler), 2*time.Second)
			assert.False(t, d.Captured)
			assert.Contains(t, d.Reason, tt.says)
			assert.NoFileExists(t, path)
		})
	}
}

// The connection breaks in the middle: what came is kept, and that it broke is said.
func TestTraceThatBreaksOff(t *testing.T) {
	url := server(t, func(w http.ResponseWriter, r *http.Request) {
		if err := rtrace.Start(w); err != nil {
			return
		}
		time.Sleep(200 * time.Millisecond)
		rtrace.Stop()
		_ = http.NewResponseController(w).Flush()
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_ = conn.(*net.TCPConn).SetLinger(0)
		time.Sleep(200 * time.Millisecond) // let the client read before the reset
		_ = conn.Close()
	})
	d, _ := record(t, Config{Window: time.Second}, url, 5*time.Second)
	require.True(t, d.Captured, d.Reason)
	assert.Contains(t, d.Probes[0].Reason, "broke off")
}

func TestPrepareErrors(t *testing.T) {
	r := New(Config{Window: time.Second})
	assert.ErrorContains(t, r.Prepare(t.Context(), capture.Subject{}), "import net/http/pprof")
	assert.ErrorContains(t, New(Config{}).Prepare(t.Context(), capture.Subject{DebugURL: "http://127.0.0.1:1"}), "how long")
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
}

func TestCloseInTheMiddleEndsTracing(t *testing.T) {
	url := server(t, pprof.Trace)
	r := New(Config{Window: time.Minute})
	require.NoError(t, r.Prepare(t.Context(), capture.Subject{DebugURL: url}))
	require.NoError(t, r.Start(t.Context()))
	require.Eventually(t, rtrace.IsEnabled, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, r.Close())
	require.Eventually(t, func() bool { return !rtrace.IsEnabled() }, 10*time.Second, 10*time.Millisecond)
}
