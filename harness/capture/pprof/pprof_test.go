package pprof

import (
	"bytes"
	"compress/gzip"
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
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
)

// handlers are those of net/http/pprof, as a program that imports it serves them.
func handlers() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	return mux
}

// record records one second and returns the dimension and the bundle's folder.
func record(t *testing.T, cfg Config, url string, during func()) (bundle.Dimension, string) {
	t.Helper()
	cfg.Window = time.Second
	r := New(cfg)
	defer func() { require.NoError(t, r.Close()) }()
	require.NoError(t, r.Prepare(t.Context(), capture.Subject{DebugURL: url}))
	require.NoError(t, r.Start(t.Context()))
	if during != nil {
		during()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	require.NoError(t, r.Stop(ctx))
	w, err := bundle.Create(filepath.Join(t.TempDir(), "b"), bundle.Manifest{})
	require.NoError(t, err)
	d, err := r.Write(t.Context(), w)
	require.NoError(t, err)
	return d, w.Dir()
}

func probe(t *testing.T, d bundle.Dimension, name string) bundle.Probe {
	t.Helper()
	for _, p := range d.Probes {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no probe %s in %+v", name, d)
	return bundle.Probe{}
}

// contend makes two goroutines wait for one lock until stop is closed.
func contend(stop <-chan struct{}) {
	var mu sync.Mutex
	for range 2 {
		go func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				mu.Lock()
				time.Sleep(time.Millisecond)
				mu.Unlock()
			}
		}()
	}
}

func TestAllProfiles(t *testing.T) {
	defer runtime.SetMutexProfileFraction(runtime.SetMutexProfileFraction(1))
	runtime.SetBlockProfileRate(1)
	defer runtime.SetBlockProfileRate(0)
	var accepted atomic.Int64
	s := httptest.NewUnstartedServer(handlers())
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			accepted.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	stop := make(chan struct{})
	defer close(stop)
	contend(stop)

	d, dir := record(t, Config{}, s.URL+"/debug/pprof/", nil)
	assert.True(t, d.Captured)
	var names []string
	for _, p := range d.Probes {
		names = append(names, p.Name)
		assert.True(t, p.Captured, "%s: %s", p.Name, p.Reason)
		assert.Positive(t, p.Window.Duration())
		for _, path := range p.Artifacts {
			data, err := os.ReadFile(filepath.Join(dir, path))
			require.NoError(t, err)
			_, err = profile.ParseData(data)
			assert.NoError(t, err, path)
		}
	}
	assert.Equal(t, All(), names)
	assert.ElementsMatch(t, []string{bundle.HeapProfile, bundle.HeapDeltaProfile, bundle.HeapLateProfile}, probe(t, d, "heap").Artifacts)
	assert.ElementsMatch(t, []string{bundle.GoroutineProfile, bundle.GoroutineDeltaProfile}, probe(t, d, "goroutine").Artifacts)
	for _, name := range []string{"mutex", "block"} {
		assert.Empty(t, probe(t, d, name).Reason, "there was contention")
	}
	assert.EqualValues(t, 10, accepted.Load(), "connections are those opened before the load, one a request")
}

// What the target allocates between the two readings is the difference.
func TestAllocationsOfTheWindow(t *testing.T) {
	defer func(rate int) { runtime.MemProfileRate = rate }(runtime.MemProfileRate)
	runtime.MemProfileRate = 1
	s := httptest.NewServer(handlers())
	defer s.Close()
	const objects = 50
	var kept [][]byte
	_, dir := record(t, Config{Profiles: []string{"heap", "allocs"}, Window: time.Second}, s.URL+"/debug/pprof", func() {
		time.Sleep(300 * time.Millisecond) // after the first reading
		for range objects {
			kept = append(kept, allocateKnown())
		}
	})
	runtime.KeepAlive(kept)
	for artifact, sampleType := range map[string]string{
		bundle.AllocsProfile: "alloc_space", bundle.HeapDeltaProfile: "inuse_space",
	} {
		data, err := os.ReadFile(filepath.Join(dir, artifact))
		require.NoError(t, err)
		p, err := profile.ParseData(data)
		require.NoError(t, err)
		assert.Equal(t, sampleType, p.DefaultSampleType)
		assert.EqualValues(t, objects*knownSize, sumUnder(p, sampleType, "pprof.allocateKnown"), artifact)
	}
}

// What blocked before the window is not in the difference.
func TestBlockingOfTheWindow(t *testing.T) {
	runtime.SetBlockProfileRate(1)
	defer runtime.SetBlockProfileRate(0)
	s := httptest.NewServer(handlers())
	defer s.Close()
	block := func(times int) {
		for range times {
			blockKnown(time.After(time.Millisecond))
		}
	}
	block(70)
	_, dir := record(t, Config{Profiles: []string{"block", "goroutine"}}, s.URL+"/debug/pprof", func() {
		time.Sleep(300 * time.Millisecond) // after the first reading
		block(30)
	})
	data, err := os.ReadFile(filepath.Join(dir, bundle.BlockProfile))
	require.NoError(t, err)
	p, err := profile.ParseData(data)
	require.NoError(t, err)
	var times int64
	for _, s := range p.Sample {
		for _, l := range s.Location {
			if strings.HasSuffix(l.Line[0].Function.Name, "pprof.blockKnown") {
				times += s.Value[0]
			}
		}
	}
	assert.EqualValues(t, 30, times)
}

//go:noinline
func blockKnown(c <-chan time.Time) { <-c }

const knownSize = 64 << 10

//go:noinline
func allocateKnown() []byte { return make([]byte, knownSize) }

// sumUnder adds up one sample type of the stacks that begin in the function.
func sumUnder(p *profile.Profile, sampleType, function string) (sum int64) {
	for i, st := range p.SampleType {
		if st.Type != sampleType {
			continue
		}
		for _, s := range p.Sample {
			if strings.HasSuffix(s.Location[0].Line[0].Function.Name, function) {
				sum += s.Value[i]
			}
		}
	}
	return sum
}

func TestConnectionsOpenedBeforeSurviveATargetThatAcceptsNoMore(t *testing.T) {
	s := httptest.NewServer(handlers())
	defer s.Close()
	r := New(Config{Profiles: []string{"heap", "goroutine"}, Window: time.Second})
	defer r.Close()
	require.NoError(t, r.Prepare(t.Context(), capture.Subject{DebugURL: s.URL + "/debug/pprof"}))
	require.NoError(t, s.Listener.Close())
	require.NoError(t, r.Start(t.Context()))
	require.NoError(t, r.Stop(t.Context()))
	for _, f := range r.fetches {
		assert.NoError(t, f.err, f.path)
	}
}

func TestEmptyMutexAndBlockProfilesAreNoted(t *testing.T) {
	defer runtime.SetMutexProfileFraction(runtime.SetMutexProfileFraction(0))
	s := httptest.NewServer(handlers())
	defer s.Close()
	d, _ := record(t, Config{Profiles: []string{"mutex", "block"}}, s.URL+"/debug/pprof", nil)
	for name, says := range map[string]string{"mutex": "SetMutexProfileFraction", "block": "SetBlockProfileRate"} {
		p := probe(t, d, name)
		assert.True(t, p.Captured)
		assert.Contains(t, p.Reason, says)
	}
}

func TestNoDebugURL(t *testing.T) {
	r := New(Config{Window: time.Second})
	assert.ErrorContains(t, r.Prepare(t.Context(), capture.Subject{}), "import net/http/pprof")
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	r := New(Config{Window: time.Second})
	err = r.Prepare(t.Context(), capture.Subject{DebugURL: "http://" + l.Addr().String()})
	assert.ErrorContains(t, err, "nobody listens at "+l.Addr().String())
	require.NoError(t, r.Close())
}

func TestUnknownProfile(t *testing.T) {
	r := New(Config{Profiles: []string{"hepa"}, Window: time.Second})
	err := r.Prepare(t.Context(), capture.Subject{DebugURL: "http://127.0.0.1:1"})
	assert.ErrorContains(t, err, "known are cpu, heap")
}

// packed is what gzip makes of size zero bytes.
func packed(t *testing.T, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := io.CopyN(z, zeros{}, size)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// One profile goes wrong, in all the ways it may; the other is there.
func TestProfileThatGoesWrong(t *testing.T) {
	tests := map[string]struct {
		heap http.HandlerFunc
		says string
	}{
		"not served": {http.NotFound, "does not serve /debug/pprof/heap"},
		"refused": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "profiling already in use", http.StatusInternalServerError)
		}, "500 Internal Server Error: profiling already in use"},
		"garbage":       {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "no packed profile"},
		"packed trash":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(packed(t, 100)) }, "no profile"},
		"breaks packed": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(packed(t, 1000)[:20]) }, "cannot be unpacked"},
		"nothing":       {func(http.ResponseWriter, *http.Request) {}, "no packed profile (0 bytes)"},
		"breaks off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, "half")
		}, "broke off after 4 bytes"},
		"too large": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.CopyN(w, zeros{}, maxProfile+1)
		}, "larger than 64 MiB"},
		"hangs": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "had not sent it when recording ended"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mux := handlers()
			mux.HandleFunc("/debug/pprof/heap", tt.heap)
			s := httptest.NewServer(mux)
			defer s.Close()
			d, dir := record(t, Config{Profiles: []string{"heap", "mutex"}}, s.URL+"/debug/pprof", nil)
			assert.True(t, d.Captured)
			assert.True(t, probe(t, d, "mutex").Captured)
			p := probe(t, d, "heap")
			assert.False(t, p.Captured)
			assert.Empty(t, p.Artifacts)
			assert.Contains(t, p.Reason, tt.says)
			assert.NoFileExists(t, filepath.Join(dir, bundle.HeapProfile))
		})
	}
}

func TestProfileThatUnpacksToTooMuch(t *testing.T) {
	const limit = 1 << 20
	_, err := check(packed(t, limit+1), limit)
	assert.ErrorContains(t, err, "unpacks to more than 1 MiB")
}

func TestCPUProfileInUse(t *testing.T) {
	s := httptest.NewServer(handlers())
	defer s.Close()
	other := make(chan struct{})
	go func() {
		defer close(other)
		resp, err := http.Get(s.URL + "/debug/pprof/profile?seconds=2")
		if err == nil {
			resp.Body.Close()
		}
	}()
	time.Sleep(300 * time.Millisecond)
	d, _ := record(t, Config{Profiles: []string{"cpu"}}, s.URL+"/debug/pprof", nil)
	<-other
	assert.False(t, d.Captured)
	assert.Contains(t, d.Reason, "already in use")
}

func TestServerWithoutPprof(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	d, _ := record(t, Config{}, s.URL+"/debug/pprof", nil)
	assert.False(t, d.Captured)
	assert.Contains(t, d.Reason, "register the handlers of net/http/pprof")
	assert.Len(t, d.Probes, len(All()))
}

func TestCloseInTheMiddle(t *testing.T) {
	s := httptest.NewServer(handlers())
	defer s.Close()
	r := New(Config{Window: time.Minute})
	require.NoError(t, r.Prepare(t.Context(), capture.Subject{DebugURL: s.URL + "/debug/pprof"}))
	require.NoError(t, r.Start(t.Context()))
	require.NoError(t, r.Close())
	for _, f := range r.fetches {
		assert.Error(t, f.err, f.path)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("\x1f\x8b\x08"))
	var b bytes.Buffer
	p := &profile.Profile{SampleType: []*profile.ValueType{{Type: "a", Unit: "b"}}}
	if err := p.Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := check(data, 1<<20)
		if err == nil && p == nil {
			t.Error("neither a profile nor an error")
		}
		if err != nil && strings.TrimSpace(err.Error()) == "" {
			t.Error("an error without words")
		}
	})
}
