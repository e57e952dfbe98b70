package account

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
)

const ms = int64(time.Millisecond)

// atHand is a Recorder on a clock of its own.
type atHand struct {
	*Recorder
	clock int64 // ns since the base
}

func newAtHand(c Config) *atHand {
	h := &atHand{Recorder: New(c)}
	h.elapsed = func() int64 { return h.clock }
	h.base = time.Unix(1_000_000_000, 0)
	h.baseMono = 5_000_000_000
	return h
}

func (h *atHand) at(ms int64) { h.clock = ms * int64(time.Millisecond) }

func (h *atHand) mono() int64 { return h.Mono(h.Now()) }

// sent is an exchange that has left.
func (h *atHand) sent(x Exchange) *Exchange {
	h.Send(&x)
	return &x
}

func (h *atHand) filled() bundle.Load {
	var l bundle.Load
	h.Account().Fill(&l)
	return l
}

// TestRecorderIsExact runs a known attack on a clock of its own.
func TestRecorderIsExact(t *testing.T) {
	var results []Exchange
	r := newAtHand(Config{Results: func(x Exchange) bool { results = append(results, x); return len(results) < 3 }})
	r.at(1000)
	r.Begin(r.mono())
	r.at(1500)
	r.Socket(+1)
	r.Socket(+1)
	a := r.sent(Exchange{Code: 200})
	b := r.sent(Exchange{Code: 500, BytesIn: 100})
	r.at(2500)
	r.BeginWindow(r.mono())
	r.at(3000)
	assert.Equal(t, int64(1), r.End(b)) // 1.5 s, an error
	r.at(3500)
	c := r.sent(Exchange{Code: 200, BytesIn: 300})
	d := r.sent(Exchange{Failure: kindReset})
	r.at(4000)
	assert.Zero(t, r.End(c)) // 0.5 s
	r.End(d)                 // no response: no bytes, no code, no latency
	r.Socket(-1)
	r.at(4500)
	r.EndWindow(r.mono())
	r.at(5000)
	r.End(a) // after the window
	r.Finish()
	r.at(100_000) // after the end no second is added
	assert.Equal(t, uint64(4), r.Over())
	sum := r.filled()

	assert.Equal(t, bundle.LoadReached{
		InFlightMin: 1, InFlightMax: 3,
		// 2 for 0.5 s, 1 for 0.5 s, 3 for 0.5 s, 1 for 0.5 s.
		InFlightMean: 1.75, InFlightAtCapture: 2,
		OpenSocketsMin: 1, OpenSocketsMax: 2, SocketsAtCapture: 2,
		RateHz: 1.5, SentRateHz: 1,
	}, sum.Reached)
	assert.Equal(t, bundle.LoadRequests{
		Ended: 3, OK: 1, ByCode: map[string]int64{"200": 1, "500": 1}, ByError: map[string]int64{kindReset: 1},
	}, sum.Requests)
	assert.Equal(t, int64(2), sum.LatencySeconds.Count)
	assert.InDelta(t, 1, sum.LatencySeconds.Mean, 1e-9)
	assert.InDelta(t, 0.5, sum.LatencySeconds.P50, 0.0005)
	assert.InDelta(t, 1.5, sum.LatencySeconds.Max, 1e-9)
	assert.Equal(t, sum.LatencySeconds, sum.CorrectedSeconds, "nothing was due before it left")
	assert.Equal(t, int64(2), sum.ResponseBytes.Count)
	assert.InDelta(t, 200, sum.ResponseBytes.Mean, 1e-9)
	assert.Equal(t, int64(1), sum.Generator.ResultsDropped, "the third was refused")
	require.Len(t, results, 3)
	assert.Equal(t, 4000*ms, results[2].Ended)

	require.Len(t, sum.Seconds, 4)
	var inFlight []int
	var sent, ended, errs []int64
	for _, s := range sum.Seconds {
		inFlight, sent = append(inFlight, s.InFlight), append(sent, s.Sent)
		ended, errs = append(ended, s.Ended), append(errs, s.Errors)
	}
	assert.Equal(t, r.Mono(1000*ms), sum.Seconds[0].StartNS)
	assert.Equal(t, []int{1, 2, 2, 1}, inFlight)
	assert.Equal(t, []int64{2, 0, 2, 0}, sent)
	assert.Equal(t, []int64{0, 0, 1, 2}, ended)
	assert.Equal(t, []int64{0, 0, 1, 1}, errs)
	assert.InDelta(t, 0.5, sum.Seconds[3].LatencyP50, 0.0005)
	assert.InDelta(t, 1.5, sum.Seconds[2].LatencyP99, 1e-9)
}

// TestWindowOfTheFuture: processes that are told the same moment open and close
// then, with what stands then, whenever their next event comes.
func TestWindowOfTheFuture(t *testing.T) {
	r := newAtHand(Config{})
	r.Begin(r.mono())
	r.at(100)
	a := r.sent(Exchange{Code: 200})
	r.BeginWindow(r.Mono(1000 * ms))
	r.at(500)
	b := r.sent(Exchange{Code: 200})
	r.at(600)
	r.End(b) // before it
	assert.Zero(t, r.Account().Window)
	r.EndWindow(r.Mono(3000 * ms))
	r.at(2000)
	c := r.sent(Exchange{Code: 200})
	r.at(4000)
	r.End(a) // after it
	r.End(c)
	w := r.Account().Window
	assert.Equal(t, r.Mono(1000*ms), w.StartNS)
	assert.Equal(t, r.Mono(3000*ms), w.EndNS)
	assert.Equal(t, 2000*ms, w.ObservedNS)
	assert.Equal(t, 3000*ms, w.InFlightNS, "1 for a second, 2 for a second")
	assert.Equal(t, 1, w.InFlightAtStart)
	assert.Equal(t, 1, w.InFlightMin)
	assert.Equal(t, 2, w.InFlightMax)
	assert.Equal(t, int64(1), w.Sent)
	assert.Zero(t, w.Ended)

	late := newAtHand(Config{})
	late.BeginWindow(late.Mono(1000 * ms))
	late.Finish()
	late.at(5000)
	late.Live(false)
	assert.Zero(t, late.Account().Window, "its time never came")
}

func TestFinishEndsTheWindow(t *testing.T) {
	r := newAtHand(Config{})
	r.at(1000)
	r.BeginWindow(r.mono())
	r.at(3000)
	r.Finish()
	r.EndWindow(r.mono())
	r.BeginWindow(r.mono())
	w := r.Account().Window
	assert.Equal(t, r.Mono(1000*ms), w.StartNS)
	assert.Equal(t, r.Mono(3000*ms), w.EndNS)
}

func TestLagAndBothLatencies(t *testing.T) {
	tests := []struct {
		name                      string
		x                         Exchange // ms; sent at 1000, ended at 1050
		lag, own, service, corred int64
	}{
		{"in time", Exchange{Due: 1000}, 0, 0, 50, 50},
		{"late by itself", Exchange{Due: 800}, 200, 200, 50, 250},
		{"no place was free", Exchange{Due: 800, Free: 990}, 200, 10, 50, 250},
		{"a place was free before", Exchange{Due: 800, Free: 500}, 200, 200, 50, 250},
		{"early", Exchange{Due: 1010}, 0, 0, 50, 50},
		{"due is not known", Exchange{}, 0, 0, 50, 50},
		{"read late", Exchange{Due: 1000, Lay: 20}, 0, 0, 30, 30},
		{"late, and read late", Exchange{Due: 800, Lay: 20}, 200, 200, 30, 230},
		{"lay for longer than it took", Exchange{Due: 1000, Lay: 70}, 0, 0, 0, 0},
		{"lay for less than nothing", Exchange{Due: 1000, Lay: -20}, 0, 0, 50, 50},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			r := newAtHand(Config{})
			r.Begin(r.mono())
			r.BeginWindow(r.mono())
			r.at(1000)
			tc.x.Due, tc.x.Free, tc.x.Lay, tc.x.Code = tc.x.Due*ms, tc.x.Free*ms, tc.x.Lay*ms, 200
			x := r.sent(tc.x)
			r.at(1050)
			r.End(x)
			r.Finish()
			w := r.Account().Window
			for want, got := range map[*int64]Histogram{
				&tc.lag: w.SendLag, &tc.own: w.OwnLag, &tc.service: w.Service, &tc.corred: w.Corrected,
			} {
				assert.Equal(t, int64(1), got.Count)
				assert.Equal(t, *want*1000, got.Max, "µs")
			}
			l := r.filled()
			assert.InDelta(t, float64(tc.lag)/1000, l.Generator.SendLagP99, 1e-9)
			assert.InDelta(t, float64(tc.own)/1000, l.Generator.OwnLagSeconds.Max, 1e-9)
		})
	}
}

// TestStallShowsInCorrectedLatency: one request at a time, 500 due a second, and
// a server that stops for two seconds. Every request that was due in the stall
// waited for the rest of it; only the one that met it knows by itself.
func TestStallShowsInCorrectedLatency(t *testing.T) {
	r := newAtHand(Config{})
	r.Begin(r.mono())
	r.BeginWindow(r.mono())
	const n, every, stallFrom, stallTo = 5000, 2, 2001, 4001
	waited := make([]int64, 0, n) // µs
	free := int64(0)
	for i := range int64(n) {
		due := i*every + 1 // 0 would say that it is not known
		leaves := max(due, free)
		r.at(leaves)
		x := r.sent(Exchange{Due: due * ms, Free: free * ms, Code: 200})
		ends := leaves
		if leaves >= stallFrom && leaves < stallTo {
			ends = stallTo
		}
		r.at(ends)
		r.End(x)
		free = ends
		waited = append(waited, (ends-due)*1000)
	}
	r.Finish()
	l := r.filled()
	want := histogramOf(waited...)
	assert.InDelta(t, float64(want.At(99)[0])/1e6, l.CorrectedSeconds.P99, 1e-9)
	assert.InDelta(t, 1.9, l.CorrectedSeconds.P99, 0.1)
	assert.Zero(t, l.LatencySeconds.P99)
	assert.Zero(t, l.Generator.OwnLagSeconds.Max, "the generator was never late by itself")
}

func TestTimeoutsHaveALatencyAndOtherFailuresNone(t *testing.T) {
	r := newAtHand(Config{})
	r.Begin(r.mono())
	r.BeginWindow(r.mono())
	var out []*Exchange
	for _, x := range []Exchange{{Code: 200}, {Code: 503}, {Failure: "timeout connecting"}, {Failure: kindTimeout}, {Failure: KindRefused}, {Failure: kindCut}} {
		out = append(out, r.sent(x))
	}
	for i, x := range out {
		r.at(int64(i+1) * 1000)
		r.End(x)
	}
	r.at(7000)
	r.Finish()
	a := r.Account()
	for name, h := range map[string]Histogram{
		"window": a.Window.Service, "corrected": a.Window.Corrected, "stage": a.Stages[0].Service,
	} {
		assert.Equal(t, histogramOf(1_000_000, 2_000_000, 3_000_000, 4_000_000), h, name)
	}
	var counted int64
	for _, s := range a.Seconds {
		counted += s.Service.Count
	}
	assert.Equal(t, int64(4), counted)
	assert.Equal(t, int64(6), a.Window.Ended)
	assert.Equal(t, int64(6), a.Window.SendLag.Count)
	assert.Equal(t, int64(1), a.Window.OK)
}

func TestTimeoutsStayTimedWhenThereAreTooManyKinds(t *testing.T) {
	r := newAtHand(Config{})
	r.BeginWindow(r.mono())
	for i := range maxKinds {
		r.End(r.sent(Exchange{Failure: fmt.Sprintf("kind %c", 'a'+i)}))
	}
	r.End(r.sent(Exchange{Failure: kindTimeout}))
	w := r.Account().Window
	assert.Equal(t, int64(1), w.ByError[kindOther])
	assert.Equal(t, int64(1), w.Service.Count)
}

func TestKindsAreBounded(t *testing.T) {
	r := newAtHand(Config{})
	r.BeginWindow(r.mono())
	for i := range 3 * maxKinds {
		r.End(r.sent(Exchange{Failure: fmt.Sprintf("kind %c%c", 'a'+i/26, 'a'+i%26)}))
	}
	kinds := r.filled().Requests.ByError
	assert.Len(t, kinds, maxKinds+1)
	assert.Equal(t, int64(2*maxKinds), kinds[kindOther])
}

func TestStagesHoldWhatWasDueInThem(t *testing.T) {
	r := newAtHand(Config{Stages: 3, StageAt: func(ns int64) int { return int(ns / (2 * secondNS)) }})
	r.at(1000)
	r.Begin(r.mono())
	r.at(4500)
	early := r.sent(Exchange{Due: 2900 * ms, Code: 200})    // due 1.9 s after the beginning
	late := r.sent(Exchange{Code: 500})                     // due when it left
	beyond := r.sent(Exchange{Due: 60_000 * ms, Code: 200}) // cut to the last
	hungUp := r.sent(Exchange{Due: 2900 * ms})              // sent, and never ended
	other := r.sent(Exchange{Due: 60_000 * ms, Code: 200})
	before := r.sent(Exchange{Due: 1, Failure: KindRefused}) // cut to the first
	for _, x := range []*Exchange{early, late, beyond, other, before} {
		r.End(x)
	}
	r.HungUp()
	assert.NotNil(t, hungUp)
	r.at(7000)
	r.Finish()
	l := bundle.Load{Stages: []bundle.LoadStage{{StartNS: 1, EndNS: 2, InFlight: 3}}}
	r.Account().Fill(&l)
	require.Len(t, l.Stages, 3)
	assert.Equal(t, int64(1), l.Stages[0].StartNS, "what is not the account's is left alone")
	counts := func(s bundle.LoadStage) []int64 {
		return []int64{s.Sent, s.Ended, s.Errors, s.LatencySeconds.Count}
	}
	assert.Equal(t, []int64{3, 2, 1, 1}, counts(l.Stages[0]))
	assert.Equal(t, []int64{1, 1, 1, 1}, counts(l.Stages[1]))
	assert.Equal(t, []int64{2, 2, 0, 2}, counts(l.Stages[2]))
	assert.InDelta(t, 1.6, l.Stages[0].CorrectedSeconds.Max, 1e-9)
	var stages []int
	for _, s := range l.Seconds {
		stages = append(stages, s.Stage)
	}
	assert.Equal(t, []int{0, 0, 1, 1, 2, 2}, stages)
	assert.Equal(t, uint64(6), r.Over())
}

func TestBadClientsCountInFlightAndAlone(t *testing.T) {
	r := newAtHand(Config{Behaviours: []string{"reads slowly", "hangs up"}, Results: func(Exchange) bool {
		t.Error("a result of a badly behaved client")
		return true
	}})
	r.Begin(r.mono())
	before := r.sent(Exchange{Behaviour: 1, Code: 200})
	r.End(before) // before the window
	r.BeginWindow(r.mono())
	slow := r.sent(Exchange{Behaviour: 1, Code: 200})
	failed := r.sent(Exchange{Behaviour: 1, Failure: kindReset})
	hung := r.sent(Exchange{Behaviour: 2, Failure: kindCut, Misbehaved: true})
	assert.Equal(t, 3, r.Live(false).InFlight)
	r.at(1500)
	for _, x := range []*Exchange{slow, failed, hung} {
		assert.Zero(t, r.End(x))
	}
	r.Finish()
	l := bundle.Load{Clients: []bundle.LoadClient{{Share: 0.1}}}
	r.Account().Fill(&l)
	require.Len(t, l.Clients, 2)
	one, two := l.Clients[0], l.Clients[1]
	assert.Equal(t, "reads slowly", one.Behaviour)
	assert.InDelta(t, 0.1, one.Share, 0)
	assert.Equal(t, int64(2), one.Ended)
	assert.Equal(t, map[string]int64{kindReset: 1}, one.ByError)
	assert.InDelta(t, 1.5, one.Seconds.P50, 1e-3)
	assert.Equal(t, int64(1), two.Ended)
	assert.Empty(t, two.ByError)
	assert.Equal(t, 3, l.Reached.InFlightMax)
	assert.Zero(t, l.Requests.Ended)
	assert.Zero(t, l.Reached.SentRateHz)
	assert.Zero(t, l.LatencySeconds)
	assert.Zero(t, l.Stages[0])
	require.Len(t, l.Seconds, 1)
	assert.Equal(t, 3, l.Seconds[0].InFlight)
	assert.Zero(t, l.Seconds[0].Sent+l.Seconds[0].Ended+l.Seconds[0].Errors)
	live := r.Live(true)
	assert.Zero(t, live.OK+live.Errors)
	assert.Empty(t, live.Kinds)
}

func TestChecks(t *testing.T) {
	r := newAtHand(Config{})
	r.BeginWindow(r.mono())
	for _, x := range []Exchange{
		{Code: 200}, {Code: 200, Checked: true}, {Code: 200, Checked: true, Missing: true},
		{Code: 200, Checked: true, Missing: true, Foreign: "first"}, {Code: 200, Checked: true, Foreign: "second"},
	} {
		r.End(r.sent(x))
	}
	assert.Equal(t, bundle.LoadChecks{Checked: 4, Missing: 2, Foreign: 2, Example: "first"}, r.filled().Checks)
}

func TestLive(t *testing.T) {
	r := newAtHand(Config{})
	r.Begin(r.mono())
	assert.Zero(t, r.Live(true).Last)
	r.End(r.sent(Exchange{Code: 204}))
	r.End(r.sent(Exchange{Code: 503}))
	r.End(r.sent(Exchange{Code: 4711}))
	r.End(r.sent(Exchange{Failure: kindReset}))
	from := r.Live(false)
	assert.Nil(t, from.Kinds)
	r.sent(Exchange{})
	r.at(1000)
	r.sent(Exchange{})
	r.at(2000)
	now := r.Live(true)
	assert.InDelta(t, 1.5, now.MeanSince(from), 1e-9)
	assert.InDelta(t, 2, now.MeanSince(now), 0, "no time has passed")
	assert.Equal(t, 2, now.InFlight)
	assert.Equal(t, []int64{1, 3, 3}, []int64{now.OK, now.Errors, now.Streak})
	assert.Equal(t, map[string]int64{"status 503": 1, "status 0": 1, kindReset: 1}, now.Kinds)
	assert.Equal(t, r.Mono(1000*ms), now.Last.StartNS)
	assert.Equal(t, int64(1), now.Last.Sent)
	r.at(2500)
	r.End(r.sent(Exchange{Code: 200}))
	assert.Zero(t, r.Live(false).Streak)
}

// TestRecorderTakesManyAtOnce finds the same sums however calls interleave.
func TestRecorderTakesManyAtOnce(t *testing.T) {
	const workers, each = 8, 500
	// The clock goes on by a millisecond with every look, so that seconds end while
	// others look; Recorder reads it under its mutex.
	var clock int64
	r := New(Config{Stages: 2, StageAt: func(ns int64) int { return int(ns / (3 * secondNS)) }})
	r.elapsed = func() int64 { clock += ms; return clock }
	r.Begin(r.baseMono)
	r.BeginWindow(r.baseMono)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := range each {
				r.Socket(+1)
				x := Exchange{Code: 200}
				r.Send(&x)
				if i%100 == 0 {
					r.Live(true)
				}
				r.End(&x)
				r.Socket(-1)
			}
		})
	}
	all.Wait()
	r.Finish()
	a := r.Account()
	assert.Equal(t, int64(workers*each), a.Window.Ended)
	assert.Equal(t, int64(workers*each), a.Window.Service.Count)
	assert.Equal(t, int64(workers*each), a.Stages[0].Ended+a.Stages[1].Ended)
	var ended, timed int64
	for _, s := range a.Seconds {
		assert.Equal(t, s.Ended, s.Service.Count)
		ended, timed = ended+s.Ended, timed+s.Service.Count
	}
	assert.InDelta(t, workers*each, ended, 1000, "only the last, broken second is missing")
	assert.Equal(t, ended, timed)
	assert.LessOrEqual(t, a.Window.InFlightMax, workers)
}

// TestSecondsArePutByCompactly: ten minutes of seconds keep no more than the
// histograms that are being filled and a spare.
func TestSecondsArePutByCompactly(t *testing.T) {
	const length = 600
	r := newAtHand(Config{})
	r.Begin(r.mono())
	for s := range int64(length) {
		for i := range int64(50) {
			r.at(s*1000 + i)
			x := r.sent(Exchange{Code: 200, Due: r.clock - ms})
			r.at(s*1000 + 100 + 2*i)
			r.End(x)
		}
	}
	r.at(length * 1000)
	r.Finish()
	a := r.Account()
	require.Len(t, a.Seconds, length)
	size := 0
	for _, s := range a.Seconds {
		require.Equal(t, int64(50), s.Service.Count)
		require.Equal(t, int64(50), s.Corrected.Count)
		size += cap(s.Service.packed) + cap(s.Corrected.packed)
	}
	assert.Less(t, size, length*1024)
	assert.LessOrEqual(t, len(r.put.spare), 2)
}

func TestSendAndEndAllocateNothing(t *testing.T) {
	r := New(Config{Stages: 2, Results: func(Exchange) bool { return true }})
	r.Begin(r.Mono(r.Now()))
	r.BeginWindow(r.Mono(r.Now()))
	x := Exchange{Code: 200, Due: 1}
	r.Send(&x)
	r.End(&x) // the stage's histograms are made by its first request
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		r.Send(&x)
		r.End(&x)
	}))
}

func BenchmarkSendEnd(b *testing.B) {
	r := New(Config{Stages: 2, StageAt: func(int64) int { return 1 }, Results: func(Exchange) bool { return true }})
	r.Begin(r.Mono(r.Now()))
	r.BeginWindow(r.Mono(r.Now()))
	b.ReportAllocs()
	var x Exchange
	for b.Loop() {
		x = Exchange{Code: 200, Due: 1, BytesIn: 100}
		r.Send(&x)
		r.End(&x)
	}
}
