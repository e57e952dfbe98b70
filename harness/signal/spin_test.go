package signal_test

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/bundle"
	"chokepoint/harness/internal/testtrace"
)

// TestSpinIsTheWholeLoop holds what of a process's CPU is a spin: not the call alone, and
// not what a function does between calls that are few beside it.
func TestSpinIsTheWholeLoop(t *testing.T) {
	const loop = " < main.(*feed).follow:"
	for name, tt := range map[string]struct {
		profile *profileMaker
		want    expected
	}{
		"the loop round the call": {
			profile: newProfile("samples", "cpu").
				add("internal/poll.(*FD).ReadFrom:1 < net.(*UDPConn).ReadFromUDP:1"+loop+"42", 20, 1).
				add("internal/poll.setDeadlineImpl:1 < net.(*conn).SetReadDeadline:1"+loop+"41", 20, 1).
				add("time.Now:1"+loop+"41", 20, 1).
				add("errors.Is:1"+loop+"43", 10, 1).
				// What the scheduler does on its own stack is nobody's without a trace.
				add("runtime.schedule:1 < runtime.goschedImpl:1 < runtime.gosched_m:1 < runtime.mcall:1", 30, 1).
				add("main.compute:2"+handler, 100, 1),
			want: expected{"pprof.netio_spin_share": 0.35, "pprof.netio_spin_site": "main.(*feed).follow:42"},
		},
		"the call in a helper": {
			profile: newProfile("samples", "cpu").
				add("internal/poll.(*FD).Read:1 < net.(*conn).Read:1 < main.(*feed).next:12"+loop+"42", 40, 1).
				add("time.Now:1"+loop+"41", 40, 1).
				add("main.compute:2"+handler, 120, 1),
			want: expected{"pprof.netio_spin_share": 0.4, "pprof.netio_spin_site": "main.(*feed).next:12"},
		},
		"a function that works between its calls": {
			profile: newProfile("samples", "cpu").
				add("internal/poll.(*FD).Read:1 < net.(*conn).Read:1"+loop+"42", 10, 1).
				add("encoding/json.Unmarshal:1"+loop+"45", 90, 1).
				add("main.compute:2"+handler, 100, 1),
			want: expected{"pprof.netio_spin_share": 0.05, "pprof.netio_spin_site": "main.(*feed).follow:42"},
		},
		"calls that do reach the kernel": {
			profile: newProfile("samples", "cpu").
				add("internal/poll.(*FD).Read:1 < net.(*conn).Read:1"+loop+"42", 20, 1).
				add("syscall.Syscall:1 < syscall.read:1 < internal/poll.(*FD).Read:1 < net.(*conn).Read:1"+loop+"42", 40, 1).
				add("internal/poll.setDeadlineImpl:1 < net.(*conn).SetReadDeadline:1"+loop+"41", 60, 1),
			want: expected{"pprof.netio_spin_share": 0.0, "pprof.netio_spin_site": missing("nothing of the kind")},
		},
		"a pipe in memory": {
			profile: newProfile("samples", "cpu").
				add("runtime.selectgo:1 < net.(*pipe).read:1 < net.(*pipe).Read:1"+loop+"42", 80, 1),
			want: expected{"pprof.netio_spin_share": 0.0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := tenSeconds(map[string]any{bundle.CPUProfile: tt.profile.p})
			check(t, measure(t, r.write(t)), tt.want)
		})
	}
}

// TestSpinThatYields holds that what the scheduler does on its own stack is the loop's that
// lets others run each time round, as far as the trace says that it is this one which does.
func TestSpinThatYields(t *testing.T) {
	const asks, polite = "chokepoint/harness/signal_test.asksAndYields", "chokepoint/harness/signal_test.yields"
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	runtime.GC() // which ends the sweep: the sweeper yields as well
	for name, tt := range map[string]struct {
		body func()
		want float64
	}{
		"it alone":     {func() { asksAndYields(100_000) }, 0.9},
		"and another":  {func() { asksAndYields(50_000); yields(50_000) }, 0.65},
		"others alone": {func() { yields(100_000) }, 0.4},
	} {
		t.Run(name, func(t *testing.T) {
			r := tenSeconds(map[string]any{
				bundle.TraceOut: testtrace.Record(t, tt.body),
				bundle.CPUProfile: newProfile("samples", "cpu").
					add("internal/poll.(*FD).Read:1 < net.(*conn).Read:1 < "+asks+":42", 20, 1).
					add("time.Now:1 < "+asks+":41", 20, 1).
					add("runtime.schedule:1 < runtime.goschedImpl:1 < runtime.gosched_m:1 < runtime.mcall:1", 50, 1).
					add("runtime.Gosched:1 < "+polite+":3", 10, 1).p,
			})
			r.manifest.Target.MainModule = "chokepoint"
			set := measure(t, r.write(t))
			assert.InDelta(t, tt.want, set.Signals["pprof.netio_spin_share"].Value, 0.02, set.Missing["pprof.netio_spin_share"])
		})
	}
}

//go:noinline
func asksAndYields(times int) {
	for range times {
		runtime.Gosched()
	}
}

//go:noinline
func yields(times int) {
	for range times {
		runtime.Gosched()
	}
}
