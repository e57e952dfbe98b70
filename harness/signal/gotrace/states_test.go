package gotrace

import (
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"chokepoint/harness/internal/testtrace"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/exp/trace"
)

// Held against counting every nanosecond's worth, of as many slots as are halved
// several times.
func TestStatesOverTime(t *testing.T) {
	for _, length := range []int64{10, 900_000, 1_000_000, 255_500_000, 256_000_000, 700_000_000, 9_100_000_000} {
		rnd := rand.New(rand.NewPCG(1, uint64(length)))
		const start = int64(5_000_000)
		gs := []trace.GoState{trace.GoNotExist, trace.GoRunnable, trace.GoRunning, trace.GoWaiting, trace.GoSyscall}
		type span struct {
			state    trace.GoState
			from, to int64
		}
		var s states
		var all []span
		s.begin(start)
		is, since := make([]trace.GoState, 50), make([]int64, 50)
		now := start
		for range 3000 {
			now = min(start+length, now+rnd.Int64N(length/1500+2))
			i, to := rnd.IntN(len(is)), gs[rnd.IntN(len(gs))]
			if is[i] == trace.GoUndetermined {
				// It was there all the time, and nobody said so.
				if to == trace.GoNotExist {
					continue
				}
				since[i] = start
			} else {
				all = append(all, span{is[i], since[i], now})
				since[i] = now
			}
			s.goroutine(is[i], to, now)
			is[i] = to
		}
		end := start + length
		for i := range is {
			if is[i] != trace.GoUndetermined {
				all = append(all, span{is[i], since[i], end})
			}
		}
		out := s.finish(end)
		assert.LessOrEqual(t, len(out.Waiting), stateSlots+1)
		assert.GreaterOrEqual(t, len(out.Waiting), min(stateSlots/2, int((length+firstStateSlotNS-1)/firstStateSlotNS)))
		for state, series := range map[trace.GoState][]float64{
			trace.GoRunning: out.Running, trace.GoRunnable: out.Runnable, trace.GoWaiting: out.Waiting, trace.GoSyscall: out.Syscall,
		} {
			for i, got := range series {
				a := out.StartNS + int64(i)*out.SlotNS
				b := min(a+out.SlotNS, end)
				var ns int64
				for _, x := range all {
					if x.state == state {
						ns += max(0, min(x.to, b)-max(x.from, a))
					}
				}
				require.InDelta(t, float64(ns)/float64(b-a), got, 1e-6, "%s in slot %d of a trace of %d ns", state, i, length)
			}
		}
	}
}

// A damaged trace may have any times.
func TestStatesOfADamagedTrace(t *testing.T) {
	for _, start := range []int64{0, 1, math.MaxInt64 - 5, -math.MaxInt64 / 4} {
		var s states
		s.begin(start)
		s.goroutine(trace.GoUndetermined, trace.GoRunning, start)
		s.goroutine(trace.GoRunning, trace.GoWaiting, math.MaxInt64-1)
		s.goroutine(trace.GoWaiting, trace.GoRunning, math.MaxInt64)
		assert.LessOrEqual(t, len(s.finish(math.MaxInt64).Running), stateSlots+1)
	}
}

func TestStatesOfATrace(t *testing.T) {
	s := read(t, testtrace.Record(t, func() {
		times(3, func(int) { time.Sleep(20 * time.Millisecond) })
		spin(20 * time.Millisecond)
	}))
	x, c := s.Scheduler.States, s.Scheduler
	sum := func(series []float64) (ns float64) {
		for i, v := range series {
			ns += v * float64(min(x.SlotNS, s.EndNS-x.StartNS-int64(i)*x.SlotNS))
		}
		return ns
	}
	assert.Equal(t, s.StartNS, x.StartNS)
	// The counters beside begin when the trace first tells of something, the states
	// when the trace does.
	assert.GreaterOrEqual(t, sum(x.Runnable)+1, float64(c.RunnableNS))
	assert.GreaterOrEqual(t, sum(x.PUsed)+1, float64(c.RunningNS))
	assert.LessOrEqual(t, sum(x.PUsed), float64(c.Procs)*float64(s.DurationNS())+1)
	assert.GreaterOrEqual(t, sum(x.Waiting), float64(3*20*time.Millisecond)*0.99)
	for i := range x.Running {
		assert.InDelta(t, runtime.GOMAXPROCS(0), x.PUsed[i]+x.PIdle[i], 1e-6)
		assert.LessOrEqual(t, x.Running[i], float64(c.Procs)+1e-6)
		for _, v := range []float64{x.Running[i], x.Runnable[i], x.Waiting[i], x.Syscall[i], x.PUsed[i], x.PIdle[i]} {
			assert.GreaterOrEqual(t, v, 0.0)
		}
	}
}
