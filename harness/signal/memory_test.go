package signal_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/internal/testtrace"
)

// heapProfile is a heap profile whose draws are single objects: its period is a byte.
func heapProfile(m *profileMaker) *profile.Profile {
	m.p.Period = 1
	return m.p
}

func heapDelta() *profileMaker {
	return newProfile("alloc_objects", "alloc_space", "inuse_objects", "inuse_space")
}

func heapInUse() *profileMaker { return newProfile("inuse_objects", "inuse_space") }

// clients is a load whose client has more connections at the end than before.
func clients(first, last int) bundle.Load {
	return bundle.Load{
		Reached: bundle.LoadReached{InFlightMean: 100, RateHz: 50},
		Seconds: []bundle.LoadSecond{
			{StartNS: 4 * second, OpenSockets: first, InFlight: first},
			{StartNS: 14 * second, OpenSockets: last, InFlight: last},
		},
	}
}

// manyKinds is the memory of as many functions of a library, a third of which grow a little.
func manyKinds(n int) *profileMaker {
	m := heapDelta()
	for i := range n {
		more := int64(i%3 - 1)
		m.add(fmt.Sprintf("lib.part%d:4 < main.serve:8", i)+handler, 20, 20_000, more, 1000*more)
	}
	return m
}

// opened is a load whose client has opened connections by the middle, and by the end.
func opened(first, middle, last int) bundle.Load {
	l := clients(first, last)
	for i, n := range []int{middle, middle, last} {
		l.Seconds = append(l.Seconds, bundle.LoadSecond{StartNS: int64(7+2*i) * second, OpenSockets: n, InFlight: first, Ended: 50})
	}
	l.Seconds[0].InFlight, l.Seconds[1].InFlight = first, first
	slices.SortFunc(l.Seconds, func(a, b bundle.LoadSecond) int { return cmp.Compare(a.StartNS, b.StartNS) })
	return l
}

func TestGoroutinesGrown(t *testing.T) {
	const send = "runtime.gopark:1 < runtime.chansend:1 < runtime.chansend1:1 < main.(*desk).quote.func1:7"
	profiles := func(grown, before int64, stack string) map[string]any {
		const idle = "runtime.gopark:1 < internal/poll.(*FD).Read:1 < net/http.(*conn).serve:1"
		return map[string]any{
			bundle.GoroutineDeltaProfile: newProfile("goroutine").add(stack, grown).add(idle, 5000).add("runtime.gopark:1 < main.tick:3", 2).p,
			bundle.GoroutineProfile:      newProfile("goroutine").add(stack, before+grown).add(idle, 9000).add("runtime.gopark:1 < main.tick:3", 2).p,
		}
	}
	with := func(artifacts map[string]any, name string, more any) map[string]any {
		artifacts[name] = more
		return artifacts
	}
	for name, c := range map[string]struct {
		artifacts map[string]any
		load      any
		want      expected
	}{
		"left behind": {artifacts: profiles(250, 250, send), want: expected{
			"pprof.goroutines_grown_per_request": 0.5, "pprof.goroutines_grown_share": 0.5, "pprof.goroutines_asleep_share": 0.0,
			"pprof.goroutine_stuck_site": "main.(*desk).quote.func1:7",
		}},
		"as many as chance makes it": {artifacts: profiles(100, 10_000, send), want: expected{
			"pprof.goroutines_grown_per_request": 0.0, "pprof.goroutine_stuck_site": missing("nothing of the kind"),
		}},
		"as many as new connections": {artifacts: profiles(250, 250, send), load: clients(100, 350), want: expected{
			"pprof.goroutines_grown_per_request": 0.0,
		}},
		"more than new connections": {artifacts: profiles(450, 50, send), load: clients(100, 125), want: expected{
			"pprof.goroutines_grown_per_request": 0.8,
		}},
		"asleep": {artifacts: profiles(250, 250, "runtime.gopark:1 < time.Sleep:1 < main.later:9"), want: expected{
			"pprof.goroutines_asleep_share": 1.0, "pprof.goroutine_stuck_site": "main.later:9",
		}},
		"at a line that makes the timer it waits for": {artifacts: with(profiles(250, 250, "runtime.gopark:1 < runtime.chanrecv1:1 < main.later:9"), bundle.TargetCallSites, calls(call("time.NewTimer", "main.later", 9))),
			want: expected{"pprof.goroutines_asleep_share": 1.0}},
		"at a line below one that makes a timer": {artifacts: with(profiles(250, 250, "runtime.gopark:1 < runtime.chanrecv1:1 < main.later:9"), bundle.TargetCallSites, calls(call("time.NewTimer", "main.later", 8))),
			want: expected{"pprof.goroutines_asleep_share": 0.0}},
		"connections alone": {artifacts: profiles(0, 250, send), want: expected{"pprof.goroutines_grown_per_request": 0.0}},
		"no difference":     {artifacts: map[string]any{bundle.GoroutineProfile: newProfile("goroutine").add(send, 9).p}, want: expected{"pprof.goroutines_grown_per_request": missing("goroutine-delta")}},
	} {
		t.Run(name, func(t *testing.T) {
			r := tenSeconds(c.artifacts)
			if c.load != nil {
				r.artifacts[bundle.LoadSummary] = c.load
			}
			check(t, measure(t, r.write(t)), c.want)
		})
	}
}

// TestGoroutinesLeftInTrace traces goroutines that never end, some that do, and
// a burst.
func TestGoroutinesLeftInTrace(t *testing.T) {
	never := make(chan int)
	defer close(never)
	record := func(body func(round int)) recording {
		r := tenSeconds(map[string]any{bundle.TraceOut: testtrace.Record(t, func() {
			for round := range 50 {
				body(round)
				time.Sleep(8 * time.Millisecond)
			}
		})})
		r.manifest.Target.MainModule = "chokepoint"
		return r
	}
	const left, asleep = "trace.goroutines_left_per_request", "trace.sleepers_left_per_request"

	set := measure(t, record(func(int) {
		leave(never)
		go func() { time.Sleep(time.Millisecond) }()
	}).write(t))
	require.Contains(t, set.Signals, left, set.Missing[left])
	assert.Positive(t, set.Signals[left].Value)
	// The last one or two may not have got to their wait when the trace ends.
	assert.InDelta(t, 1, set.Signals["trace.goroutines_left_share"].Value, 0.05)
	assert.Equal(t, "chokepoint/harness/signal_test.leave", set.Signals["trace.goroutine_start_site"].Where.Function)
	assert.Equal(t, "chokepoint/harness/signal_test.leave.func1", set.Signals["trace.goroutine_stuck_site"].Where.Function)

	t.Run("they sleep on", func(t *testing.T) {
		set := measure(t, record(func(int) { nap() }).write(t))
		require.Contains(t, set.Signals, asleep, set.Missing[asleep])
		assert.Positive(t, set.Signals[asleep].Value)
		assert.InDelta(t, 1, set.Signals["trace.sleepers_left_share"].Value, 0.05)
		assert.Equal(t, "chokepoint/harness/signal_test.nap", set.Signals["trace.sleeper_start_site"].Where.Function)
	})
	t.Run("they wake up", func(t *testing.T) {
		set := measure(t, record(func(int) { go func() { time.Sleep(time.Millisecond) }() }).write(t))
		check(t, set, expected{asleep: 0.0})
	})

	for name, body := range map[string]func(round int){
		"they end": func(int) { go func() { time.Sleep(time.Millisecond) }() },
		"a burst": func(round int) {
			if round == 5 {
				for range 500 {
					leave(never)
				}
			}
		},
		"they nap": func(int) { nap() },
		"a handful": func(round int) {
			if round%10 == 0 {
				leave(never)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, measure(t, record(body).write(t)), expected{left: 0.0, "trace.goroutine_start_site": missing("nothing of the kind")})
		})
	}
}

//go:noinline
func leave(never <-chan int) {
	go func() { <-never }()
}

func TestHeapGrowth(t *testing.T) {
	// 500 requests end in the window.
	const page = "main.newPage:4 < main.(*store).get:8" + handler
	delta := func(m *profileMaker) *profile.Profile { return heapProfile(m) }
	for name, c := range map[string]struct {
		delta, late, whole *profileMaker
		sites              bundle.CallSites
		load               any
		want               expected
	}{
		"kept, one for a request": {
			delta: heapDelta().add(page, 500, 500_000, 500, 500_000).add("main.scratch:3"+handler, 9000, 9_000_000, 5, 5000),
			late:  heapDelta().add(page, 250, 250_000, 250, 250_000),
			whole: heapInUse().add(page, 900, 900_000).add("main.scratch:3", 100, 100_000),
			sites: calls(call("runtime.mapassign_faststr", "main.(*store).get", 8)),
			want: expected{
				"pprof.heap_grown_share": 0.5, "pprof.heap_kept_share": 1.0, "pprof.heap_late_share": 0.5, "pprof.heap_kept_per_request": 1.0,
				"pprof.heap_growth_site": "main.(*store).get:8", "pprof.heap_alloc_site": "main.newPage:4", "pprof.heap_held_site": "main.newPage:4",
			},
		},
		"kept by a line below": {
			delta: heapDelta().add("main.(*store).get:8"+handler, 500, 500_000, 500, 500_000),
			whole: heapInUse().add("main.(*store).get:8", 500, 500_000),
			sites: calls(call("runtime.mapassign_fast64", "main.(*store).get", 5), call("runtime.mapassign_fast64", "main.(*store).get", 11)),
			want:  expected{"pprof.heap_growth_site": "main.(*store).get:11", "pprof.heap_late_share": missing("heap-late")},
		},
		"kept by a map that another function fills, and that grew": {
			delta: heapDelta().add("main.decode:9 < main.serve:3"+handler, 500, 500_000, 500, 500_000).
				add("main.(*store).put:20 < main.serve:4"+handler, 40, 80_000, 20, 40_000),
			whole: heapInUse().add("main.decode:9", 500, 500_000),
			sites: calls(call("runtime.mapassign_fast64", "main.(*store).put", 20)),
			want:  expected{"pprof.heap_growth_site": "main.(*store).put:20", "pprof.heap_keeper_site": "main.(*store).put:20", "pprof.heap_put_site": missing("nothing of the kind"), "pprof.heap_alloc_site": "main.decode:9"},
		},
		"kept by a function that is called with it": {
			delta: heapDelta().add(page, 500, 500_000, 500, 500_000),
			whole: heapInUse().add(page, 500, 500_000),
			sites: calls(call("runtime.mapassign_faststr", "app/store.(*Keyed[go.shape.int]).Put", 30), call("app/store.(*Keyed).Put", "main.(*store).get", 9),
				call("runtime.mapassign_faststr", "main.early", 3), call("main.early", "main.(*store).get", 7)),
			want: expected{"pprof.heap_growth_site": "app/store.(*Keyed[go.shape.int]).Put:30", "pprof.heap_alloc_site": "main.newPage:4", "pprof.heap_keepers": 0.0},
		},
		"a header is set further down": {
			delta: heapDelta().add("main.serve:58"+handler, 500, 500_000, 500, 500_000),
			whole: heapInUse().add("main.serve:58", 500, 500_000),
			sites: bundle.CallSites{Sites: []bundle.CallSite{{Callee: "runtime.mapassign_faststr", Function: "main.serve", File: "main.go", Line: 63, Through: "net/http.Header.Set"}}},
			want:  expected{"pprof.heap_growth_site": "main.serve:58", "pprof.heap_keeper_site": missing("nothing of the kind"), "pprof.heap_put_site": missing("nothing of the kind"), "pprof.heap_keepers": 0.0},
		},
		"a header is set further down, by the profile": {
			delta: heapDelta().add("main.serve:58"+handler, 500, 500_000, 500, 500_000).
				add("net/textproto.MIMEHeader.Set:22 < net/http.Header.Set:40 < main.serve:63"+handler, 500, 50_000, 0, 0),
			whole: heapInUse().add("main.serve:58", 500, 500_000),
			sites: calls(call("runtime.mapassign_faststr", "main.serve", 63)),
			want:  expected{"pprof.heap_growth_site": "main.serve:58", "pprof.heap_put_site": missing("nothing of the kind")},
		},
		"a slice of the program's is inserted into by the library": {
			delta: heapDelta().add("main.serve:58"+handler, 500, 500_000, 500, 500_000),
			whole: heapInUse().add("main.serve:58", 500, 500_000),
			sites: bundle.CallSites{Sites: []bundle.CallSite{{Callee: "runtime.growslice", Function: "main.serve", File: "main.go", Line: 63, Through: "slices.Insert"}}},
			want:  expected{"pprof.heap_growth_site": "main.serve:63", "pprof.heap_put_site": "main.serve:63", "pprof.heap_keeper_site": missing("nothing of the kind")},
		},
		"timers, of which it cannot be told whether they are kept, are memory": {
			delta: heapDelta().add("time.newTimer:1 < time.AfterFunc:1 < main.hold:3"+handler, 500, 50_000, 4, 400).
				add("main.hold:3"+handler, 500, 500_000, 500, 500_000),
			whole: heapInUse().add("main.hold:3", 500, 500_000),
			want:  expected{"pprof.timers_kept_share": 0.0, "pprof.heap_grown_share": 1.0, "pprof.heap_growth_site": "main.hold:3"},
		},
		"nothing says what keeps it": {
			delta: heapDelta().add(page, 500, 500_000, 500, 500_000),
			whole: heapInUse().add(page, 500, 500_000),
			want:  expected{"pprof.heap_growth_site": "main.newPage:4"},
		},
		"a slice that is replaced by a larger one": {
			delta: heapDelta().add("main.(*trail).note:7"+handler, 1, 1_000_000, -1, -2_500_000).
				add("main.(*trail).note:7 < main.(*trail).page:3"+handler, 1, 4_000_000, 1, 4_000_000).add("main.scratch:3", 4000, 4_000_000, 3, 3000),
			whole: heapInUse().add("main.(*trail).note:7", 1, 4_000_000),
			sites: calls(call("runtime.growslice", "main.(*trail).note", 7)),
			want:  expected{"pprof.heap_growth_site": "main.(*trail).note:7", "pprof.heap_grown_share": 0.375, "pprof.heap_late_share": 0.5},
		},
		"large arrays come and go": {
			delta: heapDelta().add("main.(*trail).note:7"+handler, 200, 800_000_000, 3, 12_000_000),
			whole: heapInUse().add("main.(*trail).note:7", 30, 120_000_000),
			sites: calls(call("runtime.growslice", "main.(*trail).note", 7)),
			want:  expected{"pprof.heap_growth_site": missing("nothing of the kind"), "pprof.heap_grown_share": 0.0},
		},
		"what chance makes of few draws": {
			delta: heapDelta().add(page, 60, 60_000, 20, 20_000),
			whole: heapInUse().add(page, 100, 100_000),
			want:  expected{"pprof.heap_grown_share": 0.0},
		},
		"it has stopped": {
			delta: heapDelta().add(page, 500, 500_000, 500, 500_000),
			late:  heapDelta().add(page, 5, 5000, 0, 0),
			whole: heapInUse().add(page, 500, 500_000),
			want:  expected{"pprof.heap_late_share": 0.0},
		},
		"it came with new clients": {
			delta: heapDelta().add(page, 500, 500_000, 500, 500_000),
			whole: heapInUse().add(page, 750, 750_000),
			load:  clients(50, 150),
			want:  expected{"pprof.heap_grown_share": 0.0, "pprof.heap_came_share": 1.0},
		},
		"as it came with new clients, the first there are": {
			delta: heapDelta().add(page, 500, 500_000, 500, 500_000),
			late:  heapDelta().add(page, 250, 250_000, 250, 250_000),
			whole: heapInUse().add(page, 500, 500_000),
			load:  clients(0, 150),
			want:  expected{"pprof.heap_grown_share": 0.0, "pprof.heap_came_share": 1.0},
		},
		"new clients at once, and it grows on without": {
			delta: heapDelta().add(page, 500, 500_000, 500, 500_000),
			late:  heapDelta().add(page, 250, 250_000, 250, 250_000),
			whole: heapInUse().add(page, 750, 750_000),
			load:  opened(50, 150, 150),
			want:  expected{"pprof.heap_grown_share": 2.0 / 3, "pprof.heap_came_share": 0.0},
		},
		"new clients late, and what grew before may be over": {
			delta: heapDelta().add(page, 30, 30_000, 30, 30_000),
			late:  heapDelta().add(page, 10, 10_000, 10, 10_000),
			whole: heapInUse().add(page, 45, 45_000),
			load:  opened(50, 50, 150),
			want:  expected{"pprof.heap_grown_share": 0.0, "pprof.heap_came_share": 1.0},
		},
		"new clients at once, and it grows with them": {
			delta: heapDelta().add(page, 500, 500_000, 500, 500_000),
			late:  heapDelta().add(page, 3, 3_000, 3, 3_000),
			whole: heapInUse().add(page, 750, 750_000),
			load:  opened(50, 150, 150),
			want:  expected{"pprof.heap_grown_share": 0.0, "pprof.heap_came_share": 1.0},
		},
		"far more than the clients before had": {
			delta: heapDelta().add(page, 5000, 5_000_000, 5000, 5_000_000),
			whole: heapInUse().add(page, 5025, 5_025_000),
			load:  clients(50, 150),
			want:  expected{"pprof.heap_grown_share": (5000 - 3*(25+3*math.Sqrt(26))) / 5025},
		},
		"a library keeps all of one kind, and drops much else": {
			delta: heapDelta().add("lib.newSeries:4 < lib.With:9 < main.serve:8"+handler, 15, 15_000, 15, 15_000).
				add("lib.labels:4 < lib.With:8 < main.serve:8"+handler, 400, 400_000, 2, 2_000),
			late:  heapDelta().add("lib.newSeries:4 < lib.With:9 < main.serve:8"+handler, 1, 1000, 1, 1000),
			whole: heapInUse().add("lib.newSeries:4 < lib.With:9 < main.serve:8"+handler, 30, 30_000),
			want:  expected{"pprof.heap_kept_share": 1.0, "pprof.heap_grown_share": 0.5, "pprof.heap_alloc_site": "main.serve:8", "pprof.heap_late_share": 1.0 / 15},
		},
		"of many kinds, chance makes one that is kept": {
			delta: manyKinds(60).add("lib.one:4 < main.serve:8"+handler, 10, 10_000, 10, 10_000),
			whole: heapInUse().add("main.serve:8"+handler, 30, 30_000),
			want:  expected{"pprof.heap_grown_share": 0.0, "pprof.heap_alloc_site": missing("nothing of the kind"), "pprof.heap_late_share": missing("nothing of the kind")},
		},
		"a slice of the request takes what is called there": {
			delta: heapDelta().add("main.get:30 < main.show:42"+handler, 500, 500_000, 500, 500_000).
				add("main.show:42"+handler, 200, 200_000, 10, 10_000),
			whole: heapInUse().add("main.get:30 < main.show:42"+handler, 500, 500_000),
			sites: calls(call("runtime.growslice", "main.show", 42)),
			want:  expected{"pprof.heap_growth_site": "main.get:30", "pprof.heap_keepers": 0.0},
		},
		"a slice that grows takes what is called there": {
			delta: heapDelta().add("main.get:30 < main.show:42"+handler, 500, 500_000, 500, 500_000).
				add("main.show:42"+handler, 200, 200_000, 50, 50_000),
			whole: heapInUse().add("main.get:30 < main.show:42"+handler, 500, 500_000),
			sites: calls(call("runtime.growslice", "main.show", 42)),
			want:  expected{"pprof.heap_growth_site": "main.show:42", "pprof.heap_keepers": 1.0},
		},
		"timers and pools are others'": {
			delta: heapDelta().add("time.newTimer:1 < time.AfterFunc:1 < main.hold:3"+handler, 500, 500_000, 500, 500_000).
				add("main.fresh:4 < sync.(*Pool).Get:1 < main.render:8"+handler, 500, 500_000, 500, 500_000),
			whole: heapInUse().add("main.hold:3", 500, 500_000),
			want:  expected{"pprof.heap_grown_share": 0.0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			artifacts := map[string]any{bundle.HeapDeltaProfile: delta(c.delta), bundle.HeapProfile: heapProfile(c.whole), bundle.TargetCallSites: c.sites}
			if c.late != nil {
				artifacts[bundle.HeapLateProfile] = heapProfile(c.late)
			}
			if c.load != nil {
				artifacts[bundle.LoadSummary] = c.load
			}
			check(t, measure(t, tenSeconds(artifacts).write(t)), c.want)
		})
	}
}

// TestHeapGrowthOfRequestsThatPileUp holds that what requests hold that do not get
// on is not taken for kept.
func TestHeapGrowthOfRequestsThatPileUp(t *testing.T) {
	const page = "main.newPage:4 < main.(*store).get:8" + handler
	artifacts := func(piled int64) map[string]any {
		return map[string]any{
			bundle.HeapDeltaProfile: heapProfile(heapDelta().add(page, 500, 500_000, 500, 500_000)),
			bundle.HeapProfile:      heapProfile(heapInUse().add(page, 500, 500_000)),
			bundle.GoroutineDeltaProfile: newProfile("goroutine").
				add("runtime.gopark:1 < main.save:9"+handler, piled).add("runtime.gopark:1 < main.ask:3"+handler, -piled).p,
		}
	}
	check(t, measure(t, tenSeconds(artifacts(40)).write(t)), expected{"pprof.heap_grown_share": 0.0, "pprof.heap_growth_site": missing("nothing of the kind")})
	check(t, measure(t, tenSeconds(artifacts(5)).write(t)), expected{"pprof.heap_grown_share": 1.0})
}

// TestHeapGrowthOfRequestsThatComeIn holds that where few requests end, those that have
// come to be where they hold much are taken for what they are, and those elsewhere not.
func TestHeapGrowthOfRequestsThatComeIn(t *testing.T) {
	const page = "main.newPage:4 < main.(*store).get:8" + handler
	for name, c := range map[string]struct {
		come string
		kept float64
	}{
		"in the function that allocates":          {"runtime.gopark:1 < runtime.mallocgc:1 < main.newPage:5 < main.(*store).get:8" + handler, 0.5},
		"in the one that calls it, further below": {"runtime.gopark:1 < main.(*store).get:9" + handler, 0.5},
		"elsewhere": {"runtime.gopark:1 < main.save:9" + handler, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := tenSeconds(map[string]any{
				bundle.HeapDeltaProfile:      heapProfile(heapDelta().add(page, 500, 500_000, 500, 500_000)),
				bundle.HeapProfile:           heapProfile(heapInUse().add(page, 500, 500_000)),
				bundle.GoroutineDeltaProfile: newProfile("goroutine").add(c.come, 20).add("runtime.gopark:1 < main.ask:3"+handler, -20).p,
			})
			load := clients(100, 100)
			load.Reached.RateHz = 4 // 40 requests end
			r.artifacts[bundle.LoadSummary] = load
			check(t, measure(t, r.write(t)), expected{"pprof.heap_kept_share": c.kept})
		})
	}
}

func TestCollector(t *testing.T) {
	cpu := newProfile("samples", "cpu").
		add("runtime.gcDrain:1 < runtime.gcBgMarkWorker:1", 60, 60).
		add("runtime.gcDrain:1 < runtime.gcDrainMarkWorkerIdle:1 < runtime.gcBgMarkWorker.func2:1 < runtime.gcBgMarkWorker:1", 20, 20).
		add("main.layOut:4"+handler, 20, 20).p
	sample := func(at, automatic, total, live, goal, limit float64) any {
		return bundle.MetricsSample{MonoNS: int64(at) * second, Values: map[string]float64{
			"/gc/cycles/automatic:gc-cycles": automatic, "/gc/cycles/total:gc-cycles": total,
			"/gc/heap/live:bytes": live, "/gc/heap/goal:bytes": goal, "/gc/gomemlimit:bytes": limit,
		}}
	}
	artifacts := map[string]any{
		bundle.CPUProfile:       cpu,
		bundle.EBPFOnCPUProfile: cpu,
		bundle.ProcMetrics:      jsonLines(t, sample(5, 10, 10, 100, 110, 90), sample(15, 19, 22, 100, 100, 90)),
		bundle.ProcSamples:      jsonLines(t, bundle.ProcSample{MonoNS: 5 * second}, bundle.ProcSample{MonoNS: 15 * second, UserNS: 12 * second, SystemNS: 3 * second}),
		bundle.TargetCallSites: calls(call("runtime/debug.SetGCPercent", "main.tune", 3), call("runtime/debug.SetMemoryLimit", "lib.auto", 5),
			call("runtime/debug.SetMemoryLimit", "main.limit.func1", 7)),
		bundle.AllocsProfile: newProfile("alloc_objects", "alloc_space").
			add("main.layOut:4"+handler, 1000, 60_000).add("main.layOut:5"+handler, 500, 20_000).add("main.other:1", 500, 20_000).p,
		bundle.HeapDeltaProfile: heapDelta().add("main.layOut:4"+handler, 1000, 60_000, 100, 6000).add("main.layOut:5"+handler, 500, 20_000, 25, 2000).p,
	}
	check(t, measure(t, tenSeconds(artifacts).write(t)), expected{
		// 9 of the 12 collections were not asked for.
		"pprof.gc_own_share": 0.45, "ebpf.gc_own_share": 0.45, "pprof.gc_work_share": 0.6, "ebpf.gc_work_share": 0.6, "proc.gc_goal_to_live": 1.05, "proc.memory_limit_to_live": 0.9, "proc.cpus_used": 1.5,
		"proc.memory_limit_site": "main.limit:7",
		"pprof.alloc_top_share":  0.8, "pprof.alloc_top_kept_share": 0.1, "pprof.alloc_top_per_request": 3.0, "pprof.alloc_top_site": "main.layOut:4",
	})

	artifacts[bundle.TargetCallSites] = calls(call("runtime/debug.SetGCPercent", "main.tune", 3))
	artifacts[bundle.ProcMetrics] = jsonLines(t, sample(5, 1, 1, 0, 4, 1<<63), sample(15, 1, 1, 0, 4, 1<<63))
	check(t, measure(t, tenSeconds(artifacts).write(t)), expected{
		"pprof.gc_own_share": 0.0, "proc.gc_goal_to_live": missing("no collection"), "proc.memory_limit_to_live": missing("no memory limit"),
		"proc.memory_limit_site": "main.tune:3",
	})

	delete(artifacts, bundle.ProcMetrics)
	check(t, measure(t, tenSeconds(artifacts).write(t)), expected{"pprof.gc_own_share": missing("trace"), "trace.gc_goal_to_live": missing("trace")})
}

func TestTimers(t *testing.T) {
	const after = "time.newTimer:1 < time.NewTimer:1 < time.After:1 < main.wait:20" + handler
	const hold = "time.newTimer:1 < time.AfterFunc:1 < main.hold:40" + handler
	cpu := newProfile("samples", "cpu").
		add("runtime.mallocgc:1 < "+after, 10, 10).
		add("runtime.(*timer).maybeAdd:1 < runtime.blockTimerChan:1 < runtime.selectgo:1 < main.wait:20"+handler, 10, 10).
		add("runtime.(*timers).run:1 < runtime.(*timers).check:1 < runtime.findRunnable:1", 5, 5).
		// What it does when it is due: it wakes who waits for it.
		add("runtime.goready:1 < runtime.chansend:1 < time.sendTime:1 < runtime.(*timer).unlockAndRun:1 < runtime.(*timers).run:1 < runtime.(*timers).check:1 < runtime.findRunnable:1", 7, 7).
		add("runtime.(*timer).modify:1 < internal/poll.setDeadlineImpl:1 < net.(*conn).SetReadDeadline:1 < main.read:3"+handler, 15, 15).
		add("context.(*timerCtx).cancel:1 < main.work:8"+handler, 3, 3).
		add("main.work:9"+handler, 50, 50).p
	check(t, measure(t, tenSeconds(map[string]any{
		bundle.CPUProfile: cpu, bundle.EBPFOnCPUProfile: cpu,
		bundle.HeapDeltaProfile: heapProfile(heapDelta().add(after, 4000, 400_000, 10, 1000).add(hold, 5000, 500_000, 4500, 450_000).add("main.hold:40"+handler, 5000, 50_000, 4500, 45_000)),
		bundle.HeapProfile:      heapProfile(heapInUse().add(hold, 6000, 600_000).add("main.hold:40", 6000, 100_000).add("main.work:1", 1, 300_000)),
	}).write(t)), expected{
		"pprof.timer_cpu_share": 0.28, "ebpf.timer_cpu_share": 0.28, "pprof.timer_call_share": 0.1, "pprof.timer_call_site": "main.wait:20",
		"pprof.timers_per_request": 10.0, "pprof.timers_kept_share": 0.9, "pprof.timers_kept_per_request": 9.0, "pprof.timers_held_share": 0.7,
		"pprof.timer_site": "main.hold:40",
	})

	check(t, measure(t, tenSeconds(map[string]any{
		bundle.HeapDeltaProfile: heapProfile(heapDelta().add(after, 4000, 400_000, 10, 1000)),
		bundle.HeapProfile:      heapProfile(heapInUse().add(after, 100, 10_000).add("main.work:1", 1, 990_000)),
	}).write(t)), expected{
		"pprof.timers_per_request": 8.0, "pprof.timers_kept_share": 0.0, "pprof.timers_held_share": 0.01, "pprof.timer_cpu_share": missing(bundle.CPUProfile),
	})

	check(t, measure(t, tenSeconds(map[string]any{
		bundle.HeapDeltaProfile: heapProfile(heapDelta().add("main.work:1", 1, 1, 0, 0)), bundle.HeapProfile: heapProfile(heapInUse().add("main.work:1", 1, 1)),
	}).write(t)), expected{"pprof.timers_per_request": 0.0, "pprof.timers_kept_share": 0.0, "pprof.timer_site": missing("nothing of the kind")})
}

// TestTimersByAllThatIsMadeWithThem holds that a leak of contexts is told where the
// timers alone are too few draws, and that too few of all are not taken for none.
func TestTimersByAllThatIsMadeWithThem(t *testing.T) {
	const (
		timer  = "time.newTimer:390 < time.AfterFunc:211 < context.WithDeadlineCause:652 < context.WithTimeout:704 < main.detach:13" + handler
		heap   = "time.newTimer:407 < time.AfterFunc:211 < context.WithDeadlineCause:652 < context.WithTimeout:704 < main.detach:13" + handler
		made   = "context.WithDeadlineCause:640 < context.WithTimeout:704 < main.detach:13" + handler
		cancel = "context.WithDeadlineCause:656 < context.WithTimeout:704 < main.detach:13" + handler
		other  = "encoding/json.Marshal:9 < main.detach:13" + handler
	)
	for name, c := range map[string]struct {
		delta, whole *profileMaker
		piled        int64
		inFlight     float64 // 100 unless said; 500 requests ended
		want         expected
	}{
		"contexts that nobody cancels": {
			// The cancel function is dropped at once, and the runtime's heap of timers is
			// drawn whatever happens.
			delta: heapDelta().add(timer, 6, 600, 6, 600).add(made, 12, 1200, 12, 1200).add(cancel, 3, 48, 0, 0).add(heap, 1, 180_000, -6, -900_000).add(other, 90, 9000, 0, 0),
			whole: heapInUse().add(timer, 9, 900).add(made, 20, 2000).add("main.work:1", 1, 1100),
			want:  expected{"pprof.timers_kept_share": 18.0 / 21, "pprof.timers_per_request": 0.012, "pprof.timer_site": "main.detach:13"},
		},
		"too few": {
			delta: heapDelta().add(timer, 4, 400, 4, 400).add(made, 3, 300, 3, 300),
			whole: heapInUse().add(timer, 4, 400).add(made, 3, 300),
			want:  expected{"pprof.timers_kept_share": missing("too few to tell"), "pprof.timers_kept_per_request": missing("too few to tell")},
		},
		"a request's own, of which none happened to be drawn when the window began": {
			// 5,000 are in use all along, of which the profiler draws five in the mean.
			delta: heapDelta().add(timer, 14, 1400, 9, 900).add(made, 1, 100, 1, 100),
			whole: heapInUse().add(timer, 9, 900).add(made, 1, 100),

			inFlight: 250,
			want:     expected{"pprof.timers_kept_share": missing("too few to tell")},
		},
		"as many, and few requests that could have them": {
			delta: heapDelta().add(timer, 14, 1400, 9, 900).add(made, 1, 100, 1, 100),
			whole: heapInUse().add(timer, 9, 900).add(made, 1, 100),
			want:  expected{"pprof.timers_kept_share": 10.0 / 15},
		},
		"as many as end": {
			delta: heapDelta().add(timer, 40, 4000, 1, 100).add(made, 40, 4000, 0, 0),
			whole: heapInUse().add(timer, 2, 200).add(made, 1, 100),
			want:  expected{"pprof.timers_kept_share": 0.0},
		},
		"those of requests that pile up": {
			delta: heapDelta().add(timer, 40, 4000, 40, 4000).add(made, 40, 4000, 40, 4000),
			whole: heapInUse().add(timer, 40, 4000).add(made, 40, 4000),
			piled: 40,
			want:  expected{"pprof.timers_kept_share": 0.0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := tenSeconds(map[string]any{
				bundle.HeapDeltaProfile: heapProfile(c.delta), bundle.HeapProfile: heapProfile(c.whole),
				bundle.GoroutineDeltaProfile: newProfile("goroutine").add("runtime.gopark:1 < main.save:9"+handler, c.piled).add("main.tick:1", 1).p,
			})
			if c.inFlight > 0 {
				load := r.artifacts[bundle.LoadSummary].(bundle.Load)
				load.Reached.InFlightMean = c.inFlight
				r.artifacts[bundle.LoadSummary] = load
			}
			check(t, measure(t, r.write(t)), c.want)
		})
	}
}

// nap starts a goroutine that sleeps for longer than the recording.
func nap() { go func() { time.Sleep(time.Second) }() }
