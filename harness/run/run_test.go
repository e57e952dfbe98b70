package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
	"chokepoint/harness/scenario"
)

// What runs do to live targets is tried in harness/cli.

func newRun(c Config) *run {
	r := &run{Config: c, plan: c.Scenario.Scenario}
	r.progress = startProgress(c, r.snapshot)
	return r
}

func TestTheCauseIsToldOnce(t *testing.T) {
	stop := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	r := newRun(Config{})
	failure := errors.New("all that failed")
	assert.Equal(t, failure, r.because(ctx, failure), "while ctx lives, the error is the thing")

	r.progress.enter(Capturing, time.Second)
	cancel(stop)
	err := r.because(ctx, errors.Join(failure, context.Canceled))
	assert.EqualError(t, err, "interrupted while capturing")
	assert.ErrorIs(t, err, stop)

	ctx, cancel = context.WithCancelCause(t.Context())
	cancel(fmt.Errorf("%w: it crashed", ErrCutShort))
	assert.EqualError(t, r.because(ctx, failure), "the recording was cut short: it crashed")
}

func TestExplainTouchesOnlyWhatWasNotStarted(t *testing.T) {
	dims := []bundle.Dimension{{Name: "a", Reason: capture.NothingRecorded}, {Name: "b", Reason: "not root"}, {Name: "c", Captured: true}}
	explain(dims, "the load did not stand")
	assert.Equal(t, "nothing was recorded: the load did not stand", dims[0].Reason)
	assert.Equal(t, "not root", dims[1].Reason)
	assert.Empty(t, dims[2].Reason)
}

func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	r := newRun(Config{Out: dir})
	err := r.diskFull(&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC})
	assert.ErrorIs(t, err, syscall.ENOSPC)
	assert.ErrorContains(t, err, "the disk of "+dir+" is full")
	assert.ErrorContains(t, err, "iB free of ")
	assert.ErrorContains(t, err, "--out")
	other := errors.New("other")
	assert.Equal(t, other, r.diskFull(other))
	assert.NoError(t, r.diskFull(nil))
}

func TestBundlesOfOneSecondHaveNamesOfTheirOwn(t *testing.T) {
	c := Config{Out: t.TempDir(), Scenario: scenario.Resolved{Variant: scenario.Fixed, Scenario: scenario.Scenario{Name: "a/b"}}}
	seen := map[string]bool{}
	for range 3 {
		w, err := newRun(c).createBundle()
		require.NoError(t, err)
		assert.False(t, seen[w.Dir()])
		seen[w.Dir()] = true
		assert.Regexp(t, `^a-b-fixed-\d{8}-\d{6}(-\d)?$`, filepath.Base(w.Dir()))
	}
}

func TestProgressEndsWithTheRun(t *testing.T) {
	var phases []Phase
	r := newRun(Config{Observe: func(s Status) { phases = append(phases, s.Phase) }})
	r.progress.enter(Building, 0)
	r.progress.enter(Starting, 0)
	r.progress.stop()
	told := len(phases)
	assert.Equal(t, []Phase{Building, Starting}, phases[:2])
	time.Sleep(2 * every) // were it told on, the race detector or the count would show it
	assert.Len(t, phases, told)
}
