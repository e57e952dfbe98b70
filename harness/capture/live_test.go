package capture_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	httppprof "net/http/pprof"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	exptrace "golang.org/x/exp/trace"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
	"chokepoint/harness/capture/pprof"
	"chokepoint/harness/capture/proc"
	"chokepoint/harness/capture/trace"
)

// Three dimensions record this very process over the same seconds, while a
// fourth has nothing to record with.
func TestDimensionsSideBySide(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", httppprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", httppprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", httppprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", httppprof.Trace)
	mux.HandleFunc("/debug/metrics", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"x": 1}`) })
	s := httptest.NewServer(mux)
	defer s.Close()

	const window = 3 * time.Second
	r, err := capture.Prepare(t.Context(), []capture.Recorder{
		pprof.New(pprof.Config{Window: window}),
		trace.New(trace.Config{Window: window}),
		proc.New(proc.Config{Window: window}),
		unable{},
	}, capture.Subject{PID: os.Getpid(), DebugURL: s.URL + "/debug/pprof", MetricsURL: s.URL + "/debug/metrics"}, capture.Hooks{})
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()

	stop := make(chan struct{})
	go func() { // a CPU's worth of work, so that there is something to sample
		for sum := [32]byte{}; ; sum = sha256.Sum256(sum[:]) {
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	common, err := r.Window(t.Context(), window)
	close(stop)
	require.NoError(t, err)
	w, err := bundle.Create(filepath.Join(t.TempDir(), "b"), bundle.Manifest{})
	require.NoError(t, err)
	dims, err := r.Write(t.Context(), w)
	require.NoError(t, err)

	require.Len(t, dims, 4)
	assert.Equal(t, bundle.Dimension{Name: bundle.DimEBPF, Reason: "not root"}, dims[3])
	for _, d := range dims[:3] {
		assert.True(t, d.Captured, "%s: %s", d.Name, d.Reason)
		for _, p := range d.Probes {
			assert.True(t, p.Captured, "%s/%s: %s", d.Name, p.Name, p.Reason)
			overlap := min(p.Window.EndNS, common.EndNS) - max(p.Window.StartNS, common.StartNS)
			assert.Positive(t, overlap, "%s/%s was recorded in the window", d.Name, p.Name)
		}
	}
	assert.Positive(t, stackSamples(t, filepath.Join(w.Dir(), bundle.TraceOut)),
		"the CPU profile runs during the trace, and so its samples are in it")
}

func stackSamples(t *testing.T, path string) int {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	r, err := exptrace.NewReader(bufio.NewReader(f))
	require.NoError(t, err)
	n := 0
	for {
		e, err := r.ReadEvent()
		if err == io.EOF {
			return n
		}
		require.NoError(t, err)
		if e.Kind() == exptrace.EventStackSample {
			n++
		}
	}
}

// unable stands for a recorder that lacks what it needs on this machine.
type unable struct{}

func (unable) Dimension() string                              { return bundle.DimEBPF }
func (unable) Prepare(context.Context, capture.Subject) error { return errors.New("not root") }
func (unable) Start(context.Context) error                    { return errors.New("unused") }
func (unable) Stop(context.Context) error                     { return errors.New("unused") }
func (unable) Status() string                                 { return "" }
func (unable) Close() error                                   { return nil }
func (unable) Write(context.Context, *bundle.Writer) (bundle.Dimension, error) {
	return bundle.Dimension{}, errors.New("unused")
}
