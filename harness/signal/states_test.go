package signal

import (
	"encoding/json"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
)

// evidenceOf is a bundle with these artifacts: samples of /proc a line each, all
// others one JSON document.
func evidenceOf(t *testing.T, m bundle.Manifest, artifacts map[string]any) bundle.Evidence {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bundle")
	w, err := bundle.Create(dir, m)
	require.NoError(t, err)
	for path, v := range artifacts {
		samples, ok := v.([]bundle.ProcSample)
		if !ok {
			require.NoError(t, w.WriteJSON(path, v))
			continue
		}
		var data []byte
		for _, x := range samples {
			line, err := json.Marshal(x)
			require.NoError(t, err)
			data = append(append(data, line...), '\n')
		}
		require.NoError(t, w.WriteFile(path, data))
	}
	require.NoError(t, w.Finish())
	b, err := bundle.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	return b.Evidence()
}

func summaryOf(slot int64, slots int, end int64, procs int) *gotrace.Summary {
	s := &gotrace.Summary{StartNS: 1000, EndNS: end}
	s.Scheduler.Procs = procs
	s.Scheduler.States = gotrace.States{StartNS: 1000, SlotNS: slot, Running: make([]float64, slots)}
	return s
}

// Threads by the kernel's view, in the trace's slots; the last is half as long.
func TestThreadsOverTime(t *testing.T) {
	b := evidenceOf(t, bundle.Manifest{}, map[string]any{
		bundle.EBPFCuts: bundle.Cuts{Intervals: []bundle.Cut{
			{LeftNS: 1050, BackNS: 1150, State: "runnable"},
			{LeftNS: 1100, WokenNS: 1160, BackNS: 1200, State: "sleep"},
			{LeftNS: 1225, BackNS: 9999, State: "sleep"},
			{LeftNS: 0, BackNS: 1010, State: "runnable"},
			{LeftNS: 2000, BackNS: 3000, State: "runnable"},
		}},
		bundle.ProcSamples: []bundle.ProcSample{{MonoNS: 900, Threads: 4}, {MonoNS: 1140, Threads: 6}, {MonoNS: 5000, Threads: 99}},
	})
	got := newEvidence(b).threads(summaryOf(100, 3, 1250, 2))
	assert.Empty(t, got.Missing)
	assert.Equal(t, []float64{4, 6, 6}, got.Count)
	for i, want := range []float64{0.6, 0.9, 0} {
		assert.InDelta(t, want, got.RunQueue[i], 1e-9, i)
	}
	for i, want := range []float64{0, 0.6, 0.5} {
		assert.InDelta(t, want, got.Asleep[i], 1e-9, i)
	}

	none := newEvidence(evidenceOf(t, bundle.Manifest{}, nil)).threads(summaryOf(100, 3, 1250, 2))
	assert.Nil(t, none.Count)
	assert.Nil(t, none.RunQueue)
	assert.Len(t, none.Missing, 2)
}

// CPUs that stand idle and that the process may not use: only the kernel knows,
// and how many it may use is asked of the runtime, or counted in the trace.
func TestCPUsOutOfReach(t *testing.T) {
	window := bundle.Window{StartNS: 0, EndNS: 1000}
	manifest := func(procs, allowed int) bundle.Manifest {
		return bundle.Manifest{Host: bundle.Host{CPUs: 8}, Window: window, Target: bundle.Target{GOMAXPROCS: procs, CPUsAllowed: allowed}}
	}
	sched := map[string]any{bundle.EBPFSched: bundle.Sched{CPUs: 8, IdleNS: 6000}}
	samples := map[string]any{bundle.ProcSamples: []bundle.ProcSample{{MachineTotalNS: 100}, {MachineTotalNS: 8100, MachineIdleNS: 2000}}}
	for _, c := range []struct {
		name      string
		files     map[string]any
		procs     int
		allowed   int
		inTrace   int
		mayUse    int
		from      string
		idle, bar float64
	}{
		{"it may use two of eight", sched, 2, 8, 2, 2, "runtime", 0.75, 0.75},
		{"the kernel lets it use one", sched, 4, 1, 4, 1, "runtime", 0.75, 0.75},
		{"half are idle and it may use six: two could be out of reach", map[string]any{bundle.EBPFSched: bundle.Sched{CPUs: 8, IdleNS: 4000}}, 6, 8, 6, 6, "runtime", 0.5, 0.25},
		{"it may use all", sched, 8, 8, 8, 8, "runtime", 0.75, 0},
		{"nobody asked the runtime: the trace has two Ps", sched, 0, 8, 2, 2, "trace", 0.75, 0.75},
		{"neither: the kernel's word alone", sched, 0, 3, 0, 3, "", 0.75, 0.625},
		{"nothing is known of what it may use", sched, 0, 0, 0, 0, "", 0.75, 0},
		{"without eBPF, by /proc", samples, 2, 8, 2, 2, "runtime", 0.25, 0.25},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEvidence(evidenceOf(t, manifest(c.procs, c.allowed), c.files))
			m := e.machine(summaryOf(100, 1, 1100, c.inTrace))
			require.Empty(t, m.Missing)
			assert.Equal(t, 8, m.CPUs)
			assert.Equal(t, c.mayUse, m.MayUse)
			assert.Equal(t, c.from, m.MayUseFrom)
			assert.InDelta(t, c.idle, m.IdleShare, 1e-9)
			assert.InDelta(t, c.bar, m.BarredShare, 1e-9)
			assert.False(t, math.IsNaN(m.IdleShare))
		})
	}
	m := newEvidence(evidenceOf(t, manifest(2, 8), nil)).machine(summaryOf(100, 1, 1100, 2))
	assert.NotEmpty(t, m.Missing)
}
