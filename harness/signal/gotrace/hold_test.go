package gotrace

import (
	"hash/crc32"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/exp/trace"

	"chokepoint/harness/bundle"
	"chokepoint/harness/internal/testtrace"
	"chokepoint/harness/signal/requests"
	"chokepoint/harness/signal/stack"
)

// Assembly over a large piece of memory keeps its P until it is done, and a stop of
// the world has to wait for it.
func TestStopWaitsForAssembly(t *testing.T) {
	if runtime.GOMAXPROCS(0) < 2 {
		t.Skip("needs two Ps: one to hash, one to stop the world")
	}
	large := make([]byte, 1<<30)
	for i := 0; i < len(large); i += 4096 {
		large[i] = 1 // so that reading it waits for no page
	}
	s := read(t, testtrace.Record(t, func() {
		var hashing sync.WaitGroup
		hashing.Go(func() {
			for range 4 {
				checksumWhole(large)
			}
		})
		for range 40 {
			time.Sleep(5 * time.Millisecond)
			runtime.GC()
		}
		hashing.Wait()
	}))
	// Who stops the world and waits is none, unless the kernel has taken its CPU just then.
	unpreempted := s.Scheduler.Unpreempted
	require.NotEmpty(t, unpreempted)
	assert.Contains(t, unpreempted[0].Where.Function, pkg+"checksumWhole")
	for _, other := range unpreempted[1:] {
		assert.Less(t, other.NS, unpreempted[0].NS/4, "%+v", other)
	}
	require.NotEmpty(t, s.Scheduler.Held)
	assert.Contains(t, s.Scheduler.Held[0].Where.Function, pkg+"checksumWhole")
	assert.LessOrEqual(t, s.Scheduler.Held[0].NS, s.Scheduler.StoppingNS)
}

//go:noinline
func checksumWhole(b []byte) uint32 { return crc32.ChecksumIEEE(b) }

// Step by step: who gave up the last P is to blame, if he had it for long.
func TestBlameForAStop(t *testing.T) {
	site := &place{ours: true, own: stack.Frame{Function: "main.hash", Line: 7}}
	const from, long = 1_000_000_000, UnpreemptedNS + 1
	for _, tt := range []struct {
		name string
		ran  int64       // since
		end  int64       // when it gave up its P
		last int64       // when the last P stood
		cuts *bundle.Cut // when it had no CPU
		held int64
	}{
		{"for long, and the last", from - long, from + 10_000_000, from + 10_001_000, nil, 10_001_000},
		{"not for long", from - 1_000_000, from + 10_000_000, from + 10_001_000, nil, 0},
		{"not the last", from - long, from + 1_000_000, from + 10_000_000, nil, 0},
		{"without a CPU for most of it", from - long, from + 10_000_000, from + 10_001_000, &bundle.Cut{GoID: 5, LeftNS: from - long + 1000, BackNS: from}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var k *requests.Kernel
			if tt.cuts != nil {
				k = requests.NewKernel(&bundle.Cuts{Intervals: []bundle.Cut{*tt.cuts}}, nil)
			}
			c := newScheduler(k)
			c.last = 1
			c.proc(0, trace.ProcRunning, from-2*long)
			c.stopped("stop-the-world (test)", from)
			c.ranFrom(5, &goroutine{ran: tt.ran}, site, tt.end)
			c.proc(0, trace.ProcIdle, tt.last)
			c.started(tt.last + 1000)
			var held int64
			for _, x := range c.finish(tt.last + 2000).Held {
				assert.Equal(t, site.own, x.Where)
				held += x.NS
			}
			assert.Equal(t, tt.held, held)
		})
	}
}

// Goroutines that wait for each other are there at the end, as they were at the start.
func TestParkedThroughout(t *testing.T) {
	var first, second sync.Mutex
	first.Lock()
	second.Lock()
	go waitsFor(&first)
	time.Sleep(20 * time.Millisecond)
	s := read(t, testtrace.Record(t, func() {
		go waitsFor(&second)
		time.Sleep(20 * time.Millisecond)
	}))
	first.Unlock()
	second.Unlock()
	var throughout, since int64
	for _, p := range s.Parked {
		if p.Wait == stack.Lock {
			assert.Contains(t, p.Where.Function, pkg+"waitsFor")
			throughout += p.Throughout
			since += p.Goroutines - p.Throughout
			assert.Zero(t, p.Woken)
		}
	}
	assert.EqualValues(t, 1, throughout)
	assert.EqualValues(t, 1, since)
}

//go:noinline
func waitsFor(mu *sync.Mutex) {
	mu.Lock()
	defer mu.Unlock()
}

func TestRunnableByLine(t *testing.T) {
	s := read(t, testtrace.Record(t, func() { times(8, func(int) { spin(15 * time.Millisecond) }) }))
	require.NotEmpty(t, s.Runnable)
	var sum int64
	for _, x := range s.Runnable {
		sum += x.NS
	}
	assert.LessOrEqual(t, sum, s.Scheduler.RunnableNS)
}
