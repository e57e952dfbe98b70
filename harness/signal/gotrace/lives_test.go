package gotrace

import (
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"testing"
	"time"

	"chokepoint/harness/internal/testtrace"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The programs under trace.

//go:noinline
func livesQuick(done chan<- struct{}) { done <- struct{}{} }

//go:noinline
func livesStuck(never <-chan struct{}) { <-never }

//go:noinline
func livesTicking(stop <-chan struct{}) {
	ticks := time.NewTicker(5 * time.Millisecond)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
		case <-stop:
			return
		}
	}
}

//go:noinline
func livesNap(d time.Duration) { time.Sleep(d) }

//go:noinline
func livesGo(f func()) { go f() }

//go:noinline
func livesByHelper(never <-chan struct{}) {
	livesGo(func() { <-never })
}

//go:noinline
func livesStart(never <-chan struct{}) { go livesStuck(never) }

func kindOf(t *testing.T, s *Summary, entry string) Kind {
	t.Helper()
	for _, k := range s.Kinds {
		if k.Entry.Function == pkg+entry {
			return k
		}
	}
	require.Failf(t, "no such kind", "%s in %+v", entry, s.Kinds)
	return Kind{}
}

func TestLives(t *testing.T) {
	never := make(chan struct{})
	defer close(never)
	done := make(chan struct{})
	const rounds = 40
	for range rounds { // of before the trace
		go livesNap(100 * time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond)
	s := read(t, testtrace.Record(t, func() {
		for range rounds {
			go livesQuick(done)
			<-done
			livesStart(never)
			livesByHelper(never)
			go livesTicking(never)
			go livesNap(time.Hour)
			time.Sleep(10 * time.Millisecond)
		}
	}))

	quick := kindOf(t, s, "livesQuick")
	assert.EqualValues(t, rounds, quick.Created)
	assert.GreaterOrEqual(t, quick.Ended, int64(rounds-1))

	stuck := kindOf(t, s, "livesStuck")
	assert.EqualValues(t, rounds, stuck.Created)
	assert.Zero(t, stuck.Ended)
	assert.EqualValues(t, rounds, stuck.Left)
	assert.Equal(t, pkg+"livesStart", stuck.Origin.Function)
	assert.Equal(t, pkg+"livesStuck", stuck.Stuck.Function)
	assert.NotZero(t, stuck.Stuck.Line)
	all, late := stuck.Growth()
	assert.EqualValues(t, rounds, all)
	assert.InDelta(t, rounds/2, late, rounds/4, "it grows all along")
	assert.Zero(t, stuck.Asleep)
	assert.False(t, stuck.Connections)

	helped := kindOf(t, s, "livesByHelper.func1")
	assert.EqualValues(t, rounds, helped.Left)
	assert.Equal(t, pkg+"livesByHelper", helped.Origin.Function, "not the helper")

	ticking := kindOf(t, s, "livesTicking")
	assert.EqualValues(t, rounds, ticking.Left, "they wake, and never end")

	nap := kindOf(t, s, "livesNap")
	assert.EqualValues(t, rounds, nap.Created)
	assert.EqualValues(t, rounds, nap.Ended, "as many of before the trace end as are started in it")
	assert.EqualValues(t, rounds, nap.Left)
	assert.GreaterOrEqual(t, nap.Asleep, int64(rounds-1), "what sleeps for the first time ends by itself")
}

func TestHeapGoal(t *testing.T) {
	kept := make([][]byte, 0, 64)
	s := read(t, testtrace.Record(t, func() {
		for range 64 {
			kept = append(kept, make([]byte, 1<<20))
		}
		runtime.GC()
		runtime.GC()
	}))
	runtime.KeepAlive(kept)
	require.Positive(t, s.GC.Lives)
	assert.InDelta(t, 2, float64(s.GC.Goals)/float64(s.GC.Lives), 0.5, "GOGC is 100")
	assert.Zero(t, s.GC.Asked, "the program asked, not the recording")

	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	s = read(t, testtrace.Record(t, func() {
		for range 4 {
			for range 200 {
				kept[0] = make([]byte, 1<<20) // 200 MiB, of which one stays
			}
			runtime.GC()
		}
	}))
	runtime.KeepAlive(kept)
	assert.Greater(t, float64(s.GC.Goals)/float64(s.GC.Lives), 2.0, "there is no goal, and the heap grew by more than what is in use")
}

// writes is called for each piece of a profile that is written to it.
type writes func()

func (w writes) Write(p []byte) (int, error) {
	w()
	return len(p), nil
}

// A recording's request may ask for a cycle, and it may be who starts one that is due.
func TestAskedCycles(t *testing.T) {
	var kept []byte
	for name, test := range map[string]struct {
		during func()
		asked  int
	}{
		"asked for": {runtime.GC, 1},
		"due":       {func() { kept = make([]byte, 256<<20) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			defer debug.SetGCPercent(debug.SetGCPercent(50))
			kept = nil
			runtime.GC()
			s := read(t, testtrace.Record(t, func() {
				var once sync.Once
				assert.NoError(t, pprof.Lookup("threadcreate").WriteTo(writes(func() { once.Do(test.during) }), 1))
			}))
			runtime.KeepAlive(kept)
			assert.Positive(t, s.GC.Cycles)
			assert.Equal(t, test.asked, s.GC.Asked)
		})
	}
}

//go:noinline
func livesInCall(fd int) { _, _ = unix.Read(fd, make([]byte, 1)) }

func TestLivesInCalls(t *testing.T) {
	var ends [2]int
	require.NoError(t, unix.Pipe(ends[:]))
	never := make(chan struct{})
	const rounds = 8
	var done sync.WaitGroup
	s := read(t, testtrace.Record(t, func() {
		for range rounds {
			done.Add(1)
			go func() {
				defer done.Done()
				livesInCall(ends[0])
			}()
			go livesStuck(never)
		}
		time.Sleep(50 * time.Millisecond)
	}))
	close(never)
	require.NoError(t, unix.Close(ends[1]))
	done.Wait()
	require.NoError(t, unix.Close(ends[0]))

	calls := kindOf(t, s, "TestLivesInCalls.func1.1")
	assert.EqualValues(t, rounds, calls.Left)
	assert.EqualValues(t, rounds, calls.InCall, "each keeps a thread")
	assert.Zero(t, kindOf(t, s, "livesStuck").InCall)
}
