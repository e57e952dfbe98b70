package capture

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/clock"
)

// fake is a recorder that does as it is told in each call; nil: nothing.
type fake struct {
	name                           string
	onPrepare, onStart, onStop     func(context.Context) error
	onWrite                        func(context.Context) error
	onClose                        func() error
	mu                             sync.Mutex
	calls                          []string
	startedNS, stoppedNS, closings int64
}

func (f *fake) call(name string, ctx context.Context, do func(context.Context) error) error {
	f.mu.Lock()
	f.calls = append(f.calls, name)
	f.mu.Unlock()
	if do == nil {
		return nil
	}
	return do(ctx)
}

func (f *fake) Dimension() string { return f.name }
func (f *fake) Prepare(ctx context.Context, _ Subject) error {
	return f.call("prepare", ctx, f.onPrepare)
}
func (f *fake) Start(ctx context.Context) error {
	err := f.call("start", ctx, f.onStart)
	f.startedNS = clock.MonoNS()
	return err
}
func (f *fake) Stop(ctx context.Context) error {
	f.stoppedNS = clock.MonoNS()
	return f.call("stop", ctx, f.onStop)
}
func (f *fake) Write(ctx context.Context, w *bundle.Writer) (bundle.Dimension, error) {
	err := f.call("write", ctx, f.onWrite)
	return bundle.Dimension{Captured: true}, err
}
func (f *fake) Status() string { return "fine" }
func (f *fake) Close() error {
	f.mu.Lock()
	f.closings++
	f.mu.Unlock()
	return f.call("close", context.Background(), func(context.Context) error {
		if f.onClose == nil {
			return nil
		}
		return f.onClose()
	})
}

func (f *fake) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

// quick are limits at which a recorder that hangs is given up soon.
func quick() limits {
	const t = 100 * time.Millisecond
	return limits{prepare: t, start: t, stop: t, write: t, close: t, grace: t}
}

func newWriter(t *testing.T) *bundle.Writer {
	t.Helper()
	w, err := bundle.Create(t.TempDir(), bundle.Manifest{})
	require.NoError(t, err)
	return w
}

// record goes the whole way.
func record(t *testing.T, hooks Hooks, recorders ...Recorder) (bundle.Window, []bundle.Dimension, error) {
	t.Helper()
	r, err := prepare(t.Context(), recorders, Subject{}, hooks, quick())
	require.NoError(t, err)
	w, err := r.Window(t.Context(), 50*time.Millisecond)
	require.NoError(t, err)
	dims, writeErr := r.Write(t.Context(), newWriter(t))
	_ = r.Close()
	return w, dims, writeErr
}

func TestHooksAreToldTheWindow(t *testing.T) {
	var told bundle.Window
	w, _, err := record(t, Hooks{
		Begun: func(ns int64) { told.StartNS = ns },
		Ended: func(ns int64) { told.EndNS = ns },
	}, &fake{name: "a"})
	require.NoError(t, err)
	assert.Equal(t, w, told)
}

func TestRecordingOfHealthyRecorders(t *testing.T) {
	a, b := &fake{name: "a"}, &fake{name: "b", onStart: func(context.Context) error {
		time.Sleep(20 * time.Millisecond)
		return nil
	}}
	w, dims, err := record(t, Hooks{Lost: func(string, error) { t.Error("nothing was lost") }}, a, b)
	require.NoError(t, err)
	assert.Equal(t, []bundle.Dimension{{Name: "a", Captured: true}, {Name: "b", Captured: true}}, dims)
	all := []string{"prepare", "start", "stop", "write", "close"}
	assert.Equal(t, all, a.seen())
	assert.Equal(t, all, b.seen())
	// The window is the part that all of them share.
	for _, f := range []*fake{a, b} {
		assert.LessOrEqual(t, f.startedNS, w.StartNS)
		assert.GreaterOrEqual(t, f.stoppedNS, w.EndNS)
	}
	assert.GreaterOrEqual(t, w.Duration(), 50*time.Millisecond)
}

func TestRecorderThatGoesWrongLosesItsOwnDimensionOnly(t *testing.T) {
	broken := errors.New("no BTF")
	fails := func(context.Context) error { return broken }
	panics := func(context.Context) error { panic("index out of range") }
	// It waits for its context only so that the test leaves no goroutine: the
	// recording must give it up by itself, at 2x100 ms.
	release := make(chan struct{})
	defer close(release)
	hangs := func(context.Context) error { <-release; return nil }
	tests := map[string]struct {
		sick     *fake
		says     string
		writeErr bool
	}{
		"prepare fails":  {&fake{onPrepare: fails}, "no BTF", false},
		"start fails":    {&fake{onStart: fails}, "start: no BTF", false},
		"stop fails":     {&fake{onStop: fails}, "stop: no BTF", false},
		"write fails":    {&fake{onWrite: fails}, "write what was recorded: no BTF", true},
		"prepare panics": {&fake{onPrepare: panics}, "panicked: index out of range", false},
		"start panics":   {&fake{onStart: panics}, "panicked: index out of range", false},
		"stop panics":    {&fake{onStop: panics}, "panicked: index out of range", false},
		"write panics":   {&fake{onWrite: panics}, "panicked: index out of range", true},
		"prepare hangs":  {&fake{onPrepare: hangs}, "prepare: the recorder hangs", false},
		"start hangs":    {&fake{onStart: hangs}, "start: the recorder hangs", false},
		"stop hangs":     {&fake{onStop: hangs}, "stop: the recorder hangs", false},
		"write hangs":    {&fake{onWrite: hangs}, "write what was recorded: the recorder hangs", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.sick.name = "sick"
			var mu sync.Mutex
			lost := map[string]error{}
			hooks := Hooks{Lost: func(d string, err error) { mu.Lock(); lost[d] = err; mu.Unlock() }}
			healthy := &fake{name: "healthy"}
			_, dims, err := record(t, hooks, tt.sick, healthy)
			assert.Equal(t, tt.writeErr, err != nil, "what could not be written is told to who writes: %v", err)
			require.Len(t, dims, 2)
			assert.False(t, dims[0].Captured)
			assert.Contains(t, dims[0].Reason, tt.says)
			assert.Equal(t, bundle.Dimension{Name: "healthy", Captured: true}, dims[1])
			assert.Len(t, lost, 1)
			assert.ErrorContains(t, lost["sick"], tt.says)
			assert.EqualValues(t, 1, tt.sick.closings, "what it holds is released, once")
		})
	}
}

func TestPanicKeepsItsStack(t *testing.T) {
	m := &member{}
	err := m.call(t.Context(), time.Second, "start", func(context.Context) error { panic("x") })
	var p *PanicError
	require.ErrorAs(t, err, &p)
	assert.Contains(t, string(p.Stack), "TestPanicKeepsItsStack")
}

func TestCancelStopsAndClosesAll(t *testing.T) {
	interrupted := errors.New("interrupted")
	t.Run("while recording", func(t *testing.T) {
		f := &fake{name: "f"}
		ctx, cancel := context.WithCancelCause(t.Context())
		f.onStart = func(context.Context) error { cancel(interrupted); return nil }
		r, err := Prepare(ctx, []Recorder{f}, Subject{}, Hooks{})
		require.NoError(t, err)
		_, err = r.Window(ctx, time.Hour)
		require.ErrorIs(t, err, interrupted)
		assert.Equal(t, []string{"prepare", "start", "stop", "close"}, f.seen())
		require.NoError(t, r.Close())
		assert.EqualValues(t, 1, f.closings)
	})
	t.Run("while preparing", func(t *testing.T) {
		f := &fake{name: "f"}
		ctx, cancel := context.WithCancelCause(t.Context())
		f.onPrepare = func(ctx context.Context) error { cancel(interrupted); <-ctx.Done(); return ctx.Err() }
		_, err := Prepare(ctx, []Recorder{f}, Subject{}, Hooks{})
		require.ErrorIs(t, err, interrupted)
		assert.Equal(t, []string{"prepare", "close"}, f.seen())
	})
}

func TestWriteWithoutWindow(t *testing.T) {
	r, err := Prepare(t.Context(), []Recorder{&fake{name: "f"}}, Subject{}, Hooks{})
	require.NoError(t, err)
	dims, err := r.Write(t.Context(), newWriter(t))
	require.NoError(t, err)
	assert.Equal(t, []bundle.Dimension{{Name: "f", Reason: "nothing was recorded"}}, dims)
	require.NoError(t, r.Close())
}

func TestOneRecorderPerDimension(t *testing.T) {
	_, err := Prepare(t.Context(), []Recorder{&fake{name: "f"}, &fake{name: "f"}}, Subject{}, Hooks{})
	assert.ErrorContains(t, err, "two recorders")
}

func TestStatus(t *testing.T) {
	sick := &fake{name: "sick", onPrepare: func(context.Context) error { return errors.New("no BTF") }}
	r, err := Prepare(t.Context(), []Recorder{&fake{name: "f"}, sick}, Subject{}, Hooks{})
	require.NoError(t, err)
	defer r.Close()
	assert.Equal(t, []Status{
		{Dimension: "f", Phase: PhaseReady, Text: "fine"},
		{Dimension: "sick", Phase: PhaseLost, Text: "no BTF"},
	}, r.Status())
}
