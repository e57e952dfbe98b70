package proc

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
)

func metricsServer(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL + "/debug/metrics"
}

func healthyMetrics(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprint(w, `{"/sched/gomaxprocs:threads": 2, "/sched/goroutines:goroutines": 7, "/sched/latencies:seconds": {"buckets": []}}`)
}

// record records for a little over a second.
func record(t *testing.T, s capture.Subject, during func()) (bundle.Dimension, string) {
	t.Helper()
	r := New(Config{Window: time.Second})
	defer func() { require.NoError(t, r.Close()) }()
	require.NoError(t, r.Prepare(t.Context(), s))
	require.NoError(t, r.Start(t.Context()))
	if during != nil {
		during()
	}
	time.Sleep(1200 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	require.NoError(t, r.Stop(ctx))
	w, err := bundle.Create(filepath.Join(t.TempDir(), "b"), bundle.Manifest{})
	require.NoError(t, err)
	d, err := r.Write(t.Context(), w)
	require.NoError(t, err)
	return d, w.Dir()
}

func readLines[T any](t *testing.T, dir, path string) []T {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, path))
	require.NoError(t, err)
	defer f.Close()
	var all []T
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var v T
		require.NoError(t, json.Unmarshal(lines.Bytes(), &v))
		all = append(all, v)
	}
	return all
}

func TestProcessAndMetrics(t *testing.T) {
	url := metricsServer(t, healthyMetrics)
	// Work that must show: CPU time, and a socket with bytes nobody reads.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	writer, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer writer.Close()
	_, err = writer.Write(make([]byte, 1000))
	require.NoError(t, err)
	reader, err := l.Accept()
	require.NoError(t, err)
	defer reader.Close()

	d, dir := record(t, capture.Subject{PID: os.Getpid(), MetricsURL: url}, func() {
		for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); {
		}
	})
	assert.True(t, d.Captured)
	require.Len(t, d.Probes, 3)
	for _, p := range d.Probes {
		assert.True(t, p.Captured, "%s: %s", p.Name, p.Reason)
		assert.Empty(t, p.Reason)
		assert.Positive(t, p.Window.Duration())
	}

	samples := readLines[bundle.ProcSample](t, dir, bundle.ProcSamples)
	require.GreaterOrEqual(t, len(samples), 2)
	first, last := samples[0], samples[len(samples)-1]
	assert.Greater(t, last.MonoNS, first.MonoNS)
	assert.Greater(t, last.UserNS+last.SystemNS, first.UserNS+first.SystemNS)
	assert.Greater(t, last.MachineTotalNS, first.MachineTotalNS)
	assert.GreaterOrEqual(t, last.MachineTotalNS, last.MachineIdleNS)
	assert.Positive(t, first.RSSBytes)
	assert.Positive(t, first.FDLimit)
	assert.GreaterOrEqual(t, first.FDs, 3)
	assert.Positive(t, first.Threads)
	assert.Positive(t, last.VoluntaryCS)
	withSockets := 0
	for _, s := range samples {
		if s.Sockets != nil {
			withSockets++
			assert.GreaterOrEqual(t, s.Sockets["ESTABLISHED"], 2)
			assert.GreaterOrEqual(t, s.Sockets["LISTEN"], 2)
			assert.GreaterOrEqual(t, s.RecvQBytes, int64(1000))
		}
	}
	assert.Equal(t, 3, withSockets)

	metrics := readLines[bundle.MetricsSample](t, dir, bundle.ProcMetrics)
	require.GreaterOrEqual(t, len(metrics), 2, "at the start and at the end at least")
	assert.Equal(t, map[string]float64{"/sched/gomaxprocs:threads": 2, "/sched/goroutines:goroutines": 7}, metrics[0].Values)
}

func TestGOMAXPROCS(t *testing.T) {
	r := New(Config{Window: time.Second})
	defer r.Close()
	require.NoError(t, r.Prepare(t.Context(), capture.Subject{MetricsURL: metricsServer(t, healthyMetrics)}))
	assert.Equal(t, 2, r.GOMAXPROCS())
}

func TestMetricsAlone(t *testing.T) {
	d, _ := record(t, capture.Subject{MetricsURL: metricsServer(t, healthyMetrics)}, nil)
	assert.True(t, d.Captured)
	assert.False(t, d.Probes[0].Captured)
	assert.Contains(t, d.Probes[0].Reason, "bare URL")
	assert.False(t, d.Probes[1].Captured)
	assert.Contains(t, d.Probes[1].Reason, "bare URL")
	assert.True(t, d.Probes[2].Captured)
}

func TestMetricsThatGoWrong(t *testing.T) {
	tests := map[string]struct {
		handler http.HandlerFunc
		says    string
	}{
		"not served": {http.NotFound, "does not serve /debug/metrics"},
		"garbage":    {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "want a JSON object"},
		"no numbers": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"a": "b"}`) }, "no number in it"},
		"too large": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat(" ", maxMetrics+1))
		}, "larger than 1024 KiB"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, _ := record(t, capture.Subject{PID: os.Getpid(), MetricsURL: metricsServer(t, tt.handler)}, nil)
			assert.True(t, d.Captured)
			assert.True(t, d.Probes[0].Captured)
			assert.False(t, d.Probes[2].Captured)
			assert.Contains(t, d.Probes[2].Reason, tt.says)
		})
	}
}

// A target that stops answering in the window keeps what it had said before.
func TestMetricsThatHangLater(t *testing.T) {
	asked := make(chan struct{}, 100)
	url := metricsServer(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		if len(asked) > 3 { // twice in Prepare, once at the start
			<-r.Context().Done()
			return
		}
		healthyMetrics(w, r)
	})
	d, dir := record(t, capture.Subject{MetricsURL: url}, nil)
	p := d.Probes[2]
	assert.True(t, p.Captured)
	assert.Len(t, readLines[bundle.MetricsSample](t, dir, bundle.ProcMetrics), 1)
}

func TestTargetEndsInTheWindow(t *testing.T) {
	child := exec.Command("sleep", "100")
	require.NoError(t, child.Start())
	d, dir := record(t, capture.Subject{PID: child.Process.Pid}, func() {
		time.Sleep(300 * time.Millisecond)
		require.NoError(t, child.Process.Kill())
		_ = child.Wait()
	})
	p := d.Probes[0]
	assert.True(t, p.Captured, "what was seen before is kept")
	assert.Contains(t, p.Reason, "has ended")
	assert.NotEmpty(t, readLines[bundle.ProcSample](t, dir, bundle.ProcSamples))
}

func TestNothingToRead(t *testing.T) {
	r := New(Config{Window: time.Second})
	err := r.Prepare(t.Context(), capture.Subject{})
	assert.ErrorContains(t, err, "bare URL")
	assert.ErrorContains(t, err, "metrics URL")
	require.NoError(t, r.Close())
	err = New(Config{}).Prepare(t.Context(), capture.Subject{PID: 1 << 30})
	assert.ErrorContains(t, err, "has ended")
}

func TestCPUsAllowed(t *testing.T) {
	n, err := CPUsAllowed(os.Getpid())
	require.NoError(t, err)
	assert.Positive(t, n)
	_, err = CPUsAllowed(1 << 30)
	assert.Error(t, err)
}

func TestCancelEndsSampling(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := New(Config{Window: time.Hour})
	require.NoError(t, r.Prepare(ctx, capture.Subject{PID: os.Getpid()}))
	require.NoError(t, r.Start(ctx))
	cancel()
	r.running.Wait()
	require.NoError(t, r.Close())
}
