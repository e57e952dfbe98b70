package gotrace

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/internal/testtrace"
	"chokepoint/harness/signal/stack"
)

//go:noinline
func spinsOnSelect(ctx context.Context, in <-chan int) {
	for {
		select {
		case <-in:
		case <-ctx.Done():
			return
		default: //lint:ignore SA5004 it spins, which is what is told here
		}
	}
}

//go:noinline
func worksAndWaits(ctx context.Context) {
	for ctx.Err() == nil {
		for end := time.Now().Add(10 * time.Millisecond); time.Now().Before(end); {
		}
		time.Sleep(time.Millisecond)
	}
}

//go:noinline
func yieldsUntil(ctx context.Context) {
	for ctx.Err() == nil {
		runtime.Gosched()
	}
}

// Goroutines that use CPU are listed with what they did, and how often they waited.
func TestAwake(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a CPU profile of some length")
	}
	if err := pprof.StartCPUProfile(io.Discard); err != nil {
		t.Skipf("no CPU profile: %v", err)
	}
	defer pprof.StopCPUProfile()
	ctx, cancel := context.WithCancel(t.Context())
	data := testtrace.Record(t, func() {
		done := make(chan struct{})
		for _, f := range []func(){
			func() { spinsOnSelect(ctx, make(chan int)) }, func() { worksAndWaits(ctx) }, func() { yieldsUntil(ctx) },
		} {
			go func() { f(); done <- struct{}{} }()
		}
		time.Sleep(2 * time.Second)
		cancel()
		for range 3 {
			<-done
		}
	})
	s, err := Read(bytes.NewReader(data), thisProgram)
	require.NoError(t, err)
	in := func(function string) Awake {
		names := func(f stack.Frame) bool { return strings.HasSuffix(f.Function, "."+function) }
		i := slices.IndexFunc(s.Awake, func(a Awake) bool {
			return slices.ContainsFunc(a.Yielded, names) ||
				slices.ContainsFunc(a.Samples, func(x Sample) bool { return slices.ContainsFunc(x.Frames, names) })
		})
		require.GreaterOrEqual(t, i, 0, "%s is not among %d", function, len(s.Awake))
		return s.Awake[i]
	}
	spins, works, yields := in("spinsOnSelect"), in("worksAndWaits"), in("yieldsUntil")
	assert.LessOrEqual(t, spins.Waits, int64(1), "for what started it, at most")
	assert.Zero(t, spins.Yields)
	assert.Greater(t, works.Waits, int64(5))
	assert.Greater(t, yields.Yields, int64(fewestYields))
	assert.True(t, slices.IsSortedFunc(s.Awake, func(a, b Awake) int { return int(b.NS - a.NS) }))
}
