package overhead

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/capture/ebpf"
	"chokepoint/harness/scenario"
)

func names(modes []Mode) (list []string) {
	for _, m := range modes {
		list = append(list, m.Name)
	}
	return list
}

func TestModesCoverEveryProbe(t *testing.T) {
	got := names(Modes(scenario.Scenario{}, false))
	for _, k := range ebpf.Kinds() {
		assert.Contains(t, got, k.Name)
	}
	assert.Equal(t, []string{Off, Control, Floor}, got[:3])
	assert.Equal(t, []string{EBPF, Pprof, Trace, All}, got[len(got)-4:])
	with := names(Modes(scenario.Scenario{}, true))
	assert.Equal(t, append(got, "bpftrace", "strace", "perf-trace"), with)
	slices.Sort(with)
	assert.Len(t, slices.Compact(with), len(got)+3, "no two modes share a name")
}

func TestSelect(t *testing.T) {
	all := Modes(scenario.Scenario{}, false)
	picked, err := Select(all, []string{Trace, "syscalls"})
	require.NoError(t, err)
	assert.Equal(t, []string{Off, "syscalls", Trace}, names(picked))
	picked, err = Select(all, nil)
	require.NoError(t, err)
	assert.Equal(t, names(all), names(picked))
	for _, c := range []struct {
		names []string
		want  string
	}{
		{[]string{"syscall"}, `no mode is called "syscall"; the modes are off, control, floor, syscalls`},
		{[]string{Trace, Trace}, "mode trace is named twice"},
		{[]string{Off}, "mode off alone is compared with nothing"},
	} {
		_, err := Select(all, c.names)
		assert.ErrorContains(t, err, c.want)
	}
}

// Every mode comes as often as was asked for in a round, each between two windows of nothing; the order
// differs from round to round, and is the seed's.
func TestOrder(t *testing.T) {
	all := Modes(scenario.Scenario{}, true)
	const times = 3
	order := func(seed uint64) (rounds [][]string) {
		random := rand.New(rand.NewPCG(seed, 0))
		for range 4 {
			rounds = append(rounds, names(orderOf(random, all, times)))
		}
		return rounds
	}
	first := order(1)
	for _, round := range first {
		require.Len(t, round, 2*times*(len(all)-1)+1)
		var between []string
		for i, name := range round {
			assert.Equal(t, i%2 == 0, name == Off, "window %d is %s", i, name)
			if name != Off {
				between = append(between, name)
			}
		}
		for pass := range slices.Chunk(between, len(all)-1) {
			assert.ElementsMatch(t, names(all)[1:], pass)
		}
	}
	assert.NotEqual(t, first[0], first[1])
	assert.Equal(t, first, order(1))
	assert.NotEqual(t, first, order(2))
}
