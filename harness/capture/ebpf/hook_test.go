package ebpf

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/bpf"
)

func TestHooksOfOurPrograms(t *testing.T) {
	specs := map[string]func() (*ebpf.CollectionSpec, error){"syscalls": bpf.LoadSyscalls, "sched": bpf.LoadSched, "oncpu": bpf.LoadOnCPU}
	want := map[string]HookKind{"syscalls": HookSyscall, "sched": HookTracepoint, "oncpu": HookSample}
	for name, load := range specs {
		spec, err := load()
		require.NoError(t, err)
		for program, s := range spec.Programs {
			assert.Equal(t, want[name], hookOf(s), program)
		}
	}
	assert.Equal(t, HookRecord, hookOf(&ebpf.ProgramSpec{Type: ebpf.TracePoint}))
	assert.Equal(t, HookUprobe, hookOf(&ebpf.ProgramSpec{Type: ebpf.Kprobe}))
	assert.Equal(t, HookUnknown, hookOf(&ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry}))
	assert.Equal(t, HookUnknown, hookOf(&ebpf.ProgramSpec{Type: ebpf.XDP}))
}

// Every kind is run into as often as was asked for, which the measurement itself
// holds against what the program saw. What it takes is for a benchmark to say.
func TestMeasureHooks(t *testing.T) {
	needBPF(t)
	costs := MeasureHooks(t.Context(), AllHooks()...)
	require.Len(t, costs, len(AllHooks()))
	for _, k := range AllHooks() {
		c := costs[k]
		require.NoError(t, c.Err)
		assert.Equal(t, k, c.Kind)
		assert.GreaterOrEqual(t, c.Pairs, leastSamples, k)
		assert.LessOrEqual(t, c.Q1, c.NS, k)
		assert.LessOrEqual(t, c.NS, c.Q3, k)
		assert.Positive(t, c.EmptyNS, k)
	}
	unknown := MeasureHooks(t.Context(), HookUnknown)[HookUnknown]
	assert.ErrorContains(t, unknown.Err, "no way to measure")
}

// BenchmarkHooks says what hooks cost on this machine, as metrics.
func BenchmarkHooks(b *testing.B) {
	for _, k := range AllHooks() {
		b.Run(string(k), func(b *testing.B) {
			var c HookCost
			for b.Loop() {
				c = MeasureHooks(b.Context(), k)[k]
			}
			if c.Err != nil {
				b.Skip(c.Err)
			}
			b.ReportMetric(c.NS, "ns/run")
			b.ReportMetric(c.StatisticsNS, "statistics-ns/run")
			b.ReportMetric(c.EmptyNS, "empty-ns/run")
		})
	}
}
