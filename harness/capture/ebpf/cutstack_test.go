package ebpf

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/bundle"
	"chokepoint/harness/internal/testbuild"
)

// A stack of which a frame cannot be read is kept as far as it goes, is told from one
// that ends there, and is counted.
func TestStackThatIsCutIsTold(t *testing.T) {
	needBPF(t)
	// Every call by itself: one that a signal cuts short is over at once.
	rec := recordOnce(t, testbuild.Program{Dir: "testdata/cutstack"}, Config{Probes: []string{Syscalls, Sched}, Slow: time.Nanosecond}, "20")

	var slow bundle.SlowCalls
	rec.json(t, bundle.EBPFSlow, &slow)
	passes := func(stack []bundle.Frame, function string) bool {
		return slices.ContainsFunc(stack, func(f bundle.Frame) bool { return f.Function == function })
	}
	whole, cut := 0, 0
	for _, call := range slow.Calls {
		if call.Syscall != "clock_nanosleep" {
			continue
		}
		stack := slow.Stacks[call.Stack]
		switch {
		case passes(stack, "main.whole"):
			whole++
			assert.True(t, passes(stack, "main.main"), "%v", stack)
			assert.False(t, passes(stack, frameCut), "%v", stack)
		case passes(stack, "main.hidden"):
			cut++
			assert.Equal(t, frameCut, stack[len(stack)-1].Function, "%v", stack)
			assert.False(t, passes(stack, "main.main"), "%v", stack)
		default:
			assert.Fail(t, "a sleep in neither", "%v", stack)
		}
	}
	assert.Equal(t, 20, whole)
	assert.Equal(t, 20, cut)
	for _, p := range rec.dim.Probes {
		assert.GreaterOrEqual(t, p.Lost["stacks_cut"], int64(20), p.Name)
	}
	off := rec.profile(t, bundle.EBPFOffCPUProfile)
	assert.GreaterOrEqual(t, sum(off, 0, frameCut, map[string]string{"state": "sleep"}), int64(20*time.Millisecond))
}
