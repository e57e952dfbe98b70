package load

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"chokepoint/harness/clock"
	"chokepoint/harness/load/request"
	"chokepoint/harness/load/worker"
)

// TestSeveralWorkersAreOneLoad: three processes hold what one is asked for, send
// no number twice, begin when all are ready, and their accounts are one.
func TestSeveralWorkersAreOneLoad(t *testing.T) {
	const workers, inFlight = 3, 100 // which three do not share evenly
	var now, most atomic.Int64
	var mu sync.Mutex
	seen := map[uint64]int{}
	first := map[uint64]int64{} // CLOCK_MONOTONIC, by worker
	target := handler(func(w http.ResponseWriter, r *http.Request) {
		at := clock.MonoNS()
		defer now.Add(-1)
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		n, err := strconv.ParseUint(r.URL.Query().Get("n"), 10, 64)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		seen[n]++
		if _, known := first[n%workers]; !known {
			first[n%workers] = at
		}
		mu.Unlock()
		time.Sleep(50 * time.Millisecond)
	})
	c := closed(target(t), inFlight).sending(request.Template{Path: "/?n={seq}"})
	c.Workers = workers
	g := start(t, c)
	reach(t, g)
	assert.LessOrEqual(t, most.Load(), int64(inFlight))
	measure(g, time.Second)
	stop(t, g)
	_, results := write(t, g)
	sum := summary(t, g)

	mu.Lock()
	defer mu.Unlock()
	for n, times := range seen {
		require.Equal(t, 1, times, "request %d", n)
	}
	require.Len(t, first, workers)
	for i, at := range first {
		assert.GreaterOrEqual(t, at, g.atNS, "worker %d began before the barrier", i)
	}
	assert.InEpsilon(t, inFlight, sum.Reached.InFlightMean, 0.1)
	assert.LessOrEqual(t, sum.Reached.InFlightMax, inFlight)
	assert.Len(t, results, int(sum.Requests.Ended), "the results of all")
	require.Len(t, sum.Generator.Workers, workers)
	var ended int64
	for _, w := range sum.Generator.Workers {
		assert.Positive(t, w.Ended)
		assert.Positive(t, w.CPUSeconds)
		assert.Positive(t, w.PeakRSSBytes)
		ended += w.Ended
	}
	assert.Equal(t, sum.Requests.Ended, ended)
	assert.Equal(t, sum.LatencySeconds.Count, ended)
}

// TestWorkerThatDies: the load is no longer what was asked for, and it is said
// at once by what and how.
func TestWorkerThatDies(t *testing.T) {
	c := closed(handler(waiting(time.Minute))(t), 20)
	c.Workers = 2
	g, err := New(c)
	require.NoError(t, err)
	require.NoError(t, g.Start(t.Context()))
	reach(t, g)
	g.BeginWindow(clock.MonoNS())
	dead := g.members()[1].process.PID()
	require.NoError(t, unix.Kill(dead, unix.SIGKILL))
	select {
	case <-g.Died():
	case <-time.After(10 * time.Second):
		t.Fatal("nobody noticed")
	}
	require.ErrorIs(t, g.Err(), worker.ErrDied)
	for _, words := range []string{"load worker 1", strconv.Itoa(dead), "killed"} {
		assert.ErrorContains(t, g.Err(), words)
	}
	err = g.WaitReached(t.Context())
	require.ErrorIs(t, err, worker.ErrDied, "nobody waits for a load that cannot come")
	assert.ErrorContains(t, err, "asked for 20 requests in flight")
	stop(t, g)
	_, _ = write(t, g)
}

// TestStuckWorkerIsKilled: a worker that no longer answers is not left behind.
func TestStuckWorkerIsKilled(t *testing.T) {
	c := closed(handler(waiting(time.Minute))(t), 20)
	c.Workers = 2
	g, err := New(c)
	require.NoError(t, err)
	require.NoError(t, g.Start(t.Context()))
	reach(t, g)
	stuck := g.members()[0].process.PID()
	require.NoError(t, unix.Kill(stuck, unix.SIGSTOP))
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	err = g.Stop(ctx)
	require.Error(t, err)
	assert.ErrorContains(t, err, "load worker 0")
	err = g.Kill()
	require.ErrorIs(t, err, worker.ErrStuck)
	assert.ErrorContains(t, err, strconv.Itoa(stuck))
	stop(t, g)
}

// TestStartsOnlyWhole: where one worker cannot start, none is left.
func TestStartsOnlyWhole(t *testing.T) {
	c := closed("http://127.0.0.1:1", 20)
	c.Workers, c.Command = 2, []string{"/bin/sh", "-c", "echo out of luck >&2; exit 3"}
	g, err := New(c)
	require.NoError(t, err)
	err = g.Start(t.Context())
	require.ErrorIs(t, err, worker.ErrDied)
	for _, words := range []string{"load worker 0", "exit status 3", "out of luck", "1 more of 2 workers"} {
		assert.ErrorContains(t, err, words)
	}
	require.NoError(t, g.Stop(t.Context()), "there is nothing to stop")
}
