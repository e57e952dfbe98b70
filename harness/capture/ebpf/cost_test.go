package ebpf

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
)

// counting is a probe that knows some of its programs' runs.
type counting struct {
	probe
	runs map[string]int64
	err  error
}

func (c counting) targetRuns() (map[string]int64, error) { return c.runs, c.err }

func TestCostAddsUp(t *testing.T) {
	s := &slot{probe: counting{runs: map[string]int64{"enter": 9_000, "never": 0}}}
	m := &meter{
		hooks: HookCosts{
			HookSyscall: {Kind: HookSyscall, NS: 25, Q1: 20, Q3: 30, EmptyNS: 40, StatisticsNS: 150},
			HookUprobe:  {Kind: HookUprobe, NS: 700, Q1: 600, Q3: 800, EmptyNS: 40},
		},
		cpu:        5 * time.Second,
		window:     bundle.Window{StartNS: 1e9, EndNS: 11e9},
		statistics: 500 * time.Millisecond, // a twentieth
		programs: []*reading{
			// 500 runs of 140 ns, 40 of which are the statistics' own: in all 10,000 of 100 ns.
			{metered: metered{name: "enter", hook: HookSyscall}, slot: s, runs: 500, ns: 70_000, otherNS: 10},
			{metered: metered{name: "park", hook: HookUprobe}, slot: s, runs: 50, ns: 52_000},
			{metered: metered{name: "elsewhere", hook: HookSyscall}, slot: &slot{}, runs: 1e6, ns: time.Hour},
			{metered: metered{name: "never", hook: HookUprobe}, slot: s, runs: 10, ns: 10_400},
			{metered: metered{name: "odd"}, slot: s, runs: 1, ns: 50},
		},
	}
	c, err := m.cost(s)
	require.NoError(t, err)
	enter, park := c.Programs[0], c.Programs[1]
	assert.Equal(t, bundle.ProgramCost{
		Name: "enter", Hook: "syscall", Runs: 10_000, ProgramNS: 1_000_000,
		TargetRuns: 9_000, TargetProgramNS: 990_000, // less 1,000 runs of 10 ns
		TargetHookNS: 225_000, TargetStatisticsNS: 67_500, // 9,000 runs, a twentieth of them with 150 ns more
		HookNSPerRun: 25, HookNSPerRunQ1: 20, HookNSPerRunQ3: 30, OtherNSPerRun: 10,
	}, enter)
	assert.EqualValues(t, 1_000, park.TargetRuns, "a uprobe is in the target's memory alone")
	assert.EqualValues(t, 1_000_000, park.TargetProgramNS)
	assert.EqualValues(t, 700_000, park.TargetHookNS)
	assert.Zero(t, c.Programs[2].TargetProgramNS, "what never ran for the target cost it nothing")
	assert.Equal(t, []string{
		"all runs of odd count as the target's, for it does not tell them apart",
		"what the hook of odd costs is not known and not in the figures",
	}, c.Notes)
	assert.EqualValues(t, 11_220, c.Runs)
	assert.EqualValues(t, 500e6, c.StatisticsNS)
	assert.EqualValues(t, 5e9, c.TargetCPUNS)
	assert.InDelta(t, float64(990_000+1_000_000+1_000+225_000+700_000+67_500)/5e9, c.TargetShare, 1e-12)

	failure := errors.New("gone")
	_, err = m.cost(&slot{probe: counting{err: failure}})
	assert.ErrorIs(t, err, failure)
	m.err = failure
	_, err = m.cost(s)
	assert.ErrorIs(t, err, failure)
	none, err := (*meter)(nil).cost(s)
	assert.Nil(t, none)
	assert.NoError(t, err)
}

// A hook that could not be measured is said, and not taken for free.
func TestCostWithoutItsHook(t *testing.T) {
	s := &slot{probe: counting{runs: map[string]int64{"enter": 1}}}
	m := &meter{
		hooks:  HookCosts{HookSyscall: {Err: errors.New("not permitted")}},
		window: bundle.Window{EndNS: 2e9}, statistics: time.Second,
		programs: []*reading{{metered: metered{name: "enter", hook: HookSyscall}, slot: s, runs: 1, ns: 100}},
	}
	c, err := m.cost(s)
	require.NoError(t, err)
	assert.Equal(t, []string{"what hooks cost is not in the figures: not permitted"}, c.Notes)
	assert.Zero(t, c.TargetShare, "without a CPU time of the target there is no share")
}

// What each probe cost a busy target is in the bundle, and is no more than there was.
func TestCostOfALiveTarget(t *testing.T) {
	needBPF(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	k := startKnown(t)
	r := New(Config{})
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	require.NoError(t, r.Prepare(ctx, capture.Subject{PID: k.cmd.Process.Pid, Executable: k.cmd.Path}))
	require.NoError(t, r.Start(ctx))
	k.tell(t)
	k.line(t)
	time.Sleep(2 * firstWithin)
	require.NoError(t, r.Stop(ctx))
	w, err := bundle.Create(filepath.Join(t.TempDir(), "bundle"), bundle.Manifest{})
	require.NoError(t, err)
	dim, err := r.Write(ctx, w)
	require.NoError(t, err)
	require.Len(t, dim.Probes, len(Defaults()))
	for _, p := range dim.Probes {
		require.NotNil(t, p.Cost, "%s: %s", p.Name, p.CostReason)
		assert.Empty(t, p.Cost.Notes, p.Name)
		assert.Positive(t, p.Cost.TargetCPUNS, p.Name)
		assert.Positive(t, p.Cost.StatisticsNS, p.Name)
		assert.Less(t, p.Cost.StatisticsNS, p.Window.Duration().Nanoseconds(), p.Name)
		if p.Name != Net { // it has no connection
			assert.Positive(t, p.Cost.TargetRuns, p.Name)
			assert.Positive(t, p.Cost.TargetShare, p.Name)
		}
		assert.Less(t, p.Cost.TargetShare, 1.0, p.Name)
		for _, program := range p.Cost.Programs {
			assert.NotEmpty(t, program.Hook, program.Name)
		}
	}
}

func TestUnmeteredHasNoCost(t *testing.T) {
	needBPF(t)
	k := startKnown(t)
	r := New(Config{Probes: []string{OnCPU}, Unmetered: true})
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	require.NoError(t, r.Prepare(t.Context(), capture.Subject{PID: k.cmd.Process.Pid, Executable: k.cmd.Path}))
	require.NoError(t, r.Start(t.Context()))
	require.NoError(t, r.Stop(t.Context()))
	w, err := bundle.Create(filepath.Join(t.TempDir(), "bundle"), bundle.Manifest{})
	require.NoError(t, err)
	dim, err := r.Write(t.Context(), w)
	require.NoError(t, err)
	assert.Nil(t, dim.Probes[0].Cost)
	assert.Empty(t, dim.Probes[0].CostReason)
}
