package requests

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/stack"
)

var (
	lockAt  = Part{Kind: WaitKind(stack.Lock), Where: stack.Frame{Function: "main.get", File: "a.go", Line: 3}, Basis: ByStack}
	runAt   = Part{Kind: Running, Where: stack.Frame{Function: "main.get", File: "a.go", Line: 5}, Basis: BySpan}
	blindly = Part{Kind: Running, Basis: Unknown}
)

func TestWhatIsExplained(t *testing.T) {
	line := stack.Frame{Function: "main.f", Line: 1}
	for _, c := range []struct {
		name string
		part Part
		want bool
	}{
		{"a wait at a line", lockAt, true},
		{"a wait in a library", Part{Kind: WaitKind(stack.NetRead), Cause: "net/http.(*body).Read", Basis: ByStack}, true},
		{"a wait of which nothing is known", Part{Kind: WaitKind(stack.Other), Basis: Unknown}, false},
		{"running between two lines of one function", runAt, true},
		{"running nobody knows where", blindly, false},
		{"running in a handler that was not seen", Part{Kind: Running, Cause: "in the handler", Basis: Unknown}, false},
		{"a system call by name", Part{Kind: Syscall, Cause: "syscall.write", Basis: ByStack}, true},
		{"a system call without a stack", Part{Kind: Syscall, Basis: Unknown}, false},
		{"waiting for a P, wherever", Part{Kind: Runnable, Basis: Unknown}, true},
		{"without a CPU, wherever", Part{Kind: RunQueue, Basis: Unknown}, true},
		{"the world stood still", Part{Kind: Stopped, Basis: Unknown}, true},
		{"a line that is a guess nobody made", Part{Kind: WaitKind(stack.Select), Where: line, Basis: Unknown}, false},
	} {
		assert.Equal(t, c.want, c.part.Explained(), c.name)
	}
}

// fill records n requests of random lengths, and tells them.
func fill(t *testing.T, n int) (*Recorder, []int64) {
	t.Helper()
	parts := NewParts()
	lock, run, blind := parts.Add(lockAt), parts.Add(runAt), parts.Add(blindly)
	r := NewRecorder(parts)
	rnd := rand.New(rand.NewPCG(1, 2))
	lengths := make([]int64, n)
	for i := range n {
		start := int64(i) * 1000
		o := r.Begin(start, int64(i%100))
		waited, ran, lost := rnd.Int64N(1_000_000), rnd.Int64N(1000)+1, rnd.Int64N(10)
		o.Add(lock, waited)
		o.Add(run, ran)
		o.Add(blind, lost)
		if i%3 == 0 {
			o.ChildStarted()
			o.AddChild(run, 7)
			o.ChildEnded()
		}
		r.At(o, stack.Frame{Function: []string{"main.a", "main.b"}[i%2]}, 4)
		lengths[i] = waited + ran + lost
		r.End(o, start+lengths[i], false)
	}
	return r, lengths
}

func TestSumsAreOfAllAlthoughNotAllAreKept(t *testing.T) {
	const n = MaxKept + MaxKept/2
	r, lengths := fill(t, n)
	tab := r.Table(Want{})
	assert.EqualValues(t, n, tab.Counts.Requests)
	assert.EqualValues(t, 2, tab.Counts.KeptOneIn)
	assert.LessOrEqual(t, tab.Counts.Kept, int64(MaxKept))
	assert.InDelta(t, n/2, tab.Counts.Kept, n/50)
	assert.Zero(t, tab.Counts.RestNS)
	var sum int64
	for _, ns := range lengths {
		sum += ns
	}
	all, ok := tab.Band(All)
	require.True(t, ok)
	assert.EqualValues(t, n, all.Requests)
	assert.Equal(t, sum, all.TotalNS)
	assert.EqualValues(t, n/3, all.Started.Goroutines)
	assert.EqualValues(t, 7*n/3, all.Started.TotalNS)
	require.Len(t, tab.Endpoints, 2)
	assert.Equal(t, sum, tab.Endpoints[0].TotalNS+tab.Endpoints[1].TotalNS)

	slices.Sort(lengths)
	p99, _ := tab.Band(P99)
	assert.InEpsilon(t, lengths[n*99/100], p99.MedianNS, 0.01)
	slowest, _ := tab.Band(Slowest)
	assert.Equal(t, lengths[n-1], slowest.MaxNS, "the slowest are kept whatever is dropped")
	assert.Equal(t, lengths[n-10], slowest.MinNS)
	for _, b := range tab.Bands {
		assert.Equal(t, b.TotalNS, b.ExplainedNS+b.UnexplainedNS)
		assert.Positive(t, b.UnexplainedNS)
		assert.InDelta(t, 1, b.ExplainedShare(), 0.01)
		assert.Less(t, b.ExplainedShare(), 1.0)
	}
	again := r.Table(Want{})
	assert.Equal(t, tab, again)
	one := r.Table(Want{Endpoint: "main.a"})
	require.Len(t, one.Endpoints, 1)
	assert.Equal(t, "main.a", one.Endpoints[0].Name)
	assert.Empty(t, r.Table(Want{Endpoint: "main.c"}).Bands)
}

func TestMorePartsThanAreKeptApart(t *testing.T) {
	parts := NewParts()
	r := NewRecorder(parts)
	o := r.Begin(0, 1)
	for i := range maxParts + 50 {
		p := lockAt
		p.Where.Line = i + 1
		o.Add(parts.Add(p), 10)
	}
	r.End(o, 10*(maxParts+50), false)
	tab := r.Table(Want{})
	all, _ := tab.Band(All)
	assert.Zero(t, tab.Counts.RestNS)
	assert.EqualValues(t, 10*(maxParts+50), all.TotalNS)
	assert.EqualValues(t, 500, all.UnexplainedNS)
	for range MaxParts {
		parts.Add(lockAt)
	}
	assert.Equal(t, PartOther, parts.Add(lockAt))
	assert.Positive(t, r.Counts().PartsLost)
}

// What nobody accounted for is in the table, and not explained.
func TestTimeThatNoPartAccountsFor(t *testing.T) {
	r := NewRecorder(NewParts())
	r.End(r.Begin(0, 1), 100, false)
	tab := r.Table(Want{})
	all, _ := tab.Band(All)
	assert.EqualValues(t, 100, all.TotalNS)
	assert.EqualValues(t, 100, all.UnexplainedNS)
	assert.EqualValues(t, 100, tab.Counts.RestNS)
}

func TestBandsWhereTheTraceIsShort(t *testing.T) {
	parts := NewParts()
	lock, run := parts.Add(lockAt), parts.Add(runAt)
	r := NewRecorder(parts)
	add := func(start, end int64, before, after bool, p PartID) {
		o := r.Begin(start, 1)
		if before {
			o.CutStart()
		}
		o.Add(p, end-start)
		r.End(o, end, after)
	}
	for range 5 {
		add(0, 1000, true, true, lock)
	}
	for i := range int64(10) {
		add(0, 100+i, true, false, run)
		add(500, 900+i, false, true, run)
	}
	add(10, 20, false, false, run)
	tab := r.Table(Want{TraceNS: 1000})
	assert.Equal(t, BySeen, tab.Ranked)
	for _, name := range []string{P90, P99, Slowest} {
		b, _ := tab.Band(name)
		assert.EqualValues(t, 5, b.Requests, "%s: all that were there throughout", name)
		assert.EqualValues(t, 5, b.Cut)
		assert.InDelta(t, 1, b.Share(WaitKind(stack.Lock)), 0)
	}
	p50, _ := tab.Band(P50)
	assert.LessOrEqual(t, p50.MaxNS, int64(999))
	assert.EqualValues(t, Counts{Requests: 26, CutStart: 15, CutEnd: 15, CutBoth: 5, Kept: 26, KeptOneIn: 1, HandlerNotSeen: 26}, tab.Counts)
}

func TestEndpointsThatAreResolvedLater(t *testing.T) {
	parts := NewParts()
	r := NewRecorder(parts)
	run := parts.Add(runAt)
	known, guessed := r.Begin(0, 1), r.Begin(0, 2)
	r.At(known, stack.Frame{Function: "main.a"}, 4)
	known.Add(run, 10)
	later := r.Unresolved()
	r.Guess(guessed, later)
	r.Guess(known, later)
	guessed.Add(run, 10)
	r.End(known, 10, false)
	r.End(guessed, 10, false)
	require.Len(t, r.Table(Want{}).Endpoints, 2)
	assert.EqualValues(t, 1, r.Counts().HandlerNotSeen)
	r.Resolve(later, stack.Frame{Function: "main.a"})
	tab := r.Table(Want{})
	require.Len(t, tab.Endpoints, 1)
	assert.EqualValues(t, 2, tab.Endpoints[0].Requests)
	assert.Zero(t, tab.Counts.HandlerNotSeen)
}

func TestWhatTheKernelSawOfAnInterval(t *testing.T) {
	k := NewKernel(&bundle.Cuts{Intervals: []bundle.Cut{
		{GoID: 7, LeftNS: 100, BackNS: 150, State: "runnable"},
		{GoID: 7, LeftNS: 200, WokenNS: 260, BackNS: 300, State: "sleep", Syscall: "fsync"},
		{GoID: 7, LeftNS: 400, BackNS: 500, State: "disk"},
		{GoID: 8, LeftNS: 0, BackNS: 10, State: "runnable"},
		{GoID: 0, LeftNS: 0, BackNS: 1000, State: "runnable"},
		{GoID: 9, LeftNS: 50, BackNS: 50, State: "runnable"},
	}}, &bundle.SlowCalls{Calls: []bundle.SlowCall{{GoID: 7, StartNS: 190, NS: 120, Syscall: "fsync"}}})
	c := k.Of(7)
	assert.Equal(t, OffCPU{}, c.In(0, 100))
	assert.Equal(t, OffCPU{QueuedNS: 20, Cuts: 1}, c.In(100, 120))
	assert.Equal(t, OffCPU{QueuedNS: 30, Cuts: 1}, c.In(120, 180))
	off := c.In(180, 320)
	require.NotNil(t, off.Slow)
	assert.EqualValues(t, 120, off.Slow.NS)
	assert.Equal(t, []int64{60, 40}, []int64{off.AsleepNS, off.QueuedNS})
	assert.Equal(t, "fsync", off.Syscall)
	assert.Equal(t, OffCPU{AsleepNS: 100, Cuts: 1}, c.In(320, 1000), "it slept all the time, as far as is known")
	assert.Equal(t, OffCPU{}, c.In(1000, 2000))
	assert.Nil(t, k.Of(9))
	assert.Nil(t, k.Of(0))
	assert.Equal(t, OffCPU{QueuedNS: 20, Cuts: 1}, k.Of(7).In(100, 120), "a cursor begins anew for another reading")
	var none *Kernel
	assert.True(t, none.Of(7).In(0, 10).Zero())
	assert.False(t, none.HasCuts())
	assert.False(t, NewKernel(nil, nil).HasCuts())
}

// However intervals are cut up, and however damaged the recording is, no time is
// counted twice.
func TestCutsAreCountedOnce(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		doc := &bundle.Cuts{}
		var off [1000]bool
		for range rnd.IntN(20) {
			left := rnd.Int64N(1000)
			back := left + rnd.Int64N(100)
			x := bundle.Cut{GoID: 1, LeftNS: left, BackNS: back, State: []string{"runnable", "sleep"}[rnd.IntN(2)]}
			if x.State == "sleep" {
				x.WokenNS = left + rnd.Int64N(150)
			}
			doc.Intervals = append(doc.Intervals, x)
			for at := left; at < min(back, 1000); at++ {
				off[at] = true
			}
		}
		c := NewKernel(doc, nil).Of(1)
		for from := int64(0); from < 1000; {
			to := min(1000, from+1+rnd.Int64N(200))
			var want int64
			for at := from; at < to; at++ {
				if off[at] {
					want++
				}
			}
			got := c.In(from, to)
			require.Equal(t, want, got.AsleepNS+got.QueuedNS)
			require.GreaterOrEqual(t, got.QueuedNS, int64(0))
			from = to
		}
	}
}

func TestTheLongestDelaysAreKept(t *testing.T) {
	parts := NewParts()
	run := parts.Add(runAt)
	r := NewRecorder(parts)
	for i := range int64(100) {
		o := r.Begin(i*1000, i)
		r.At(o, stack.Frame{Function: "main.h"}, 4)
		o.Add(run, 500)
		r.Border(o, i, i*1000, i*1000+400, false, run, OffCPU{QueuedNS: (i * 37) % 100, Cuts: 1}, false)
		if i == 27 { // 99 ns, the longest, of what was no request
			r.Drop(o)
			continue
		}
		r.End(o, i*1000+500, false)
	}
	b := r.Table(Want{}).Borders
	require.Len(t, b, keptBorders)
	assert.EqualValues(t, 98, b[0].RunQueueNS)
	assert.True(t, slices.IsSortedFunc(b, func(a, b Border) int { return int(b.RunQueueNS - a.RunQueueNS) }))
	for _, x := range b {
		assert.Equal(t, "main.h", x.Endpoint)
		assert.EqualValues(t, 500, x.RequestNS)
		assert.Equal(t, x.RequestStartNS, x.StartNS)
		assert.Equal(t, frame(runAt.Where), x.Where)
	}
}
