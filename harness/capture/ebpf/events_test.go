package ebpf

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
)

// slowAnswer is what testdata/slow says that it did.
type slowAnswer struct {
	GoID  int64
	Reads []struct{ Before, After int64 }
	Quick int
	Burn  int64
	Rival int64
}

// Every call that is slow is told, with its goroutine, its stack and its time on
// the one clock, and no other; and so is every time that a goroutine lost its CPU.
func TestSingleEvents(t *testing.T) {
	needBPF(t)
	k := startSource(t, "./testdata/slow")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := New(Config{Probes: []string{Syscalls, Sched}, Slow: 5 * time.Millisecond})
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	require.NoError(t, r.Prepare(ctx, capture.Subject{PID: k.cmd.Process.Pid, Executable: k.cmd.Path}))
	require.NoError(t, r.Start(ctx))
	k.tell(t)
	var did slowAnswer
	require.NoError(t, json.Unmarshal([]byte(k.line(t)), &did))
	require.NoError(t, r.Stop(ctx))
	k.end(t)
	rec := recording{dir: filepath.Join(t.TempDir(), "bundle")}
	w, err := bundle.Create(rec.dir, bundle.Manifest{})
	require.NoError(t, err)
	rec.dim, err = r.Write(ctx, w)
	require.NoError(t, err)
	for _, p := range rec.dim.Probes {
		assert.True(t, p.Captured, "%+v", p)
		if p.Name == Sched {
			delete(p.Lost, "events_unmatched") // a kernel may hide switches from some of its processes
		}
		assert.Empty(t, p.Lost, p.Name)
		assert.Empty(t, p.Reason, p.Name)
	}

	t.Run("slow calls", func(t *testing.T) {
		var doc bundle.SlowCalls
		rec.json(t, bundle.EBPFSlow, &doc)
		assert.EqualValues(t, 5*time.Millisecond, doc.ThresholdNS)
		var reads []bundle.SlowCall
		for _, c := range doc.Calls {
			assert.GreaterOrEqual(t, c.NS, doc.ThresholdNS)
			if c.Syscall == "read" && c.GoID == did.GoID {
				reads = append(reads, c)
			}
		}
		require.Len(t, reads, len(did.Reads))
		for i, c := range reads {
			assert.GreaterOrEqual(t, c.StartNS, did.Reads[i].Before)
			assert.LessOrEqual(t, c.StartNS+c.NS, did.Reads[i].After)
			assert.EqualValues(t, 1, c.Result)
			require.GreaterOrEqual(t, c.Stack, 0)
			assert.Contains(t, functions(doc.Stacks[c.Stack]), "main.read")
		}
		p := rec.profile(t, bundle.EBPFSlowProfile)
		assert.EqualValues(t, len(did.Reads), sum(p, 0, "main.read", map[string]string{"syscall": "read"}))
	})

	t.Run("cuts", func(t *testing.T) {
		var doc bundle.Cuts
		rec.json(t, bundle.EBPFCuts, &doc)
		slept, preempted := 0, map[int64]int64{}
		for _, c := range doc.Intervals {
			assert.NotZero(t, c.GoID)
			assert.Greater(t, c.BackNS, c.LeftNS)
			if c.WokenNS != 0 {
				assert.GreaterOrEqual(t, c.WokenNS, c.LeftNS)
				assert.LessOrEqual(t, c.WokenNS, c.BackNS)
			}
			if c.GoID == did.GoID && c.Syscall == "read" && c.BackNS-c.LeftNS > int64(5*time.Millisecond) {
				slept++
				assert.Equal(t, "sleep", c.State)
				assert.NotZero(t, c.WokenNS)
				assert.True(t, slices.ContainsFunc(did.Reads, func(s struct{ Before, After int64 }) bool {
					return s.Before <= c.LeftNS && c.BackNS <= s.After
				}), "it slept inside one of its reads")
			}
			if c.State == "runnable" {
				assert.Zero(t, c.WokenNS)
				preempted[c.GoID] += c.BackNS - c.LeftNS
			}
		}
		assert.Equal(t, len(did.Reads), slept)
		assert.Positive(t, preempted[did.Burn], "two that want one CPU take it from each other")
		assert.Positive(t, preempted[did.Rival])
	})

	t.Run("threads", func(t *testing.T) {
		var doc bundle.Sched
		rec.json(t, bundle.EBPFSched, &doc)
		require.NotEmpty(t, doc.ByThread)
		var all bundle.ThreadTimes
		for _, th := range doc.ByThread {
			all.OnCPUNS += th.OnCPUNS
			all.RunQueueNS += th.RunQueueNS
			all.OffCPUNS += th.OffCPUNS
			all.Switches += th.Switches
			all.Wakeups += th.Wakeups
			all.Migrations += th.Migrations
		}
		assert.InEpsilon(t, doc.TargetOnCPUNS, all.OnCPUNS, 0.01, "threads and CPUs tell the same time")
		assert.Equal(t, doc.RunQueueNS, all.RunQueueNS)
		assert.Equal(t, doc.Switches, all.Switches)
		assert.Equal(t, doc.Wakeups, all.Wakeups)
		assert.Equal(t, doc.Migrations, all.Migrations)
		var off int64
		for _, ns := range doc.OffCPUNS {
			off += ns
		}
		assert.Equal(t, off, all.OffCPUNS)
	})
}

func functions(frames []bundle.Frame) []string {
	var out []string
	for _, f := range frames {
		out = append(out, strings.TrimSuffix(f.Function, ".abi0"))
	}
	return out
}
