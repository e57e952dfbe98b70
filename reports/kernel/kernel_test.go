package kernel

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
)

var update = flag.Bool("update", false, "write the golden files anew")

// synthetic is a bundle of a window of two seconds in which two goroutines wrote
// slowly.
func synthetic(t *testing.T, without ...string) bundle.Evidence {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bundle")
	w, err := bundle.Create(dir, bundle.Manifest{})
	require.NoError(t, err)
	save := []bundle.Frame{{Function: "syscall.write"}, {Function: "main.save", File: "/src/save.go", Line: 12}, {Function: "main.handle", File: "/src/main.go", Line: 30}}
	ended := int64(12)
	documents := map[string]any{
		bundle.EBPFSyscalls: bundle.Syscalls{
			Calls: []bundle.Syscall{
				{Name: "write", Count: 4, TotalNS: 9_000_000, Log2NS: []int64{20: 2, 21: 1, 22: 1}},
				{Name: "read", Count: 4000, TotalNS: 4_000_000, Errors: map[string]int64{"EAGAIN": 2000}, Ended: &ended, Log2NS: []int64{9: 3990, 14: 10}},
			},
			Epoll: bundle.EpollFacts{Waits: 90, ReturnedEvents: 80, Empty: 10, ZeroTimeout: 12},
		},
		bundle.EBPFSlow: bundle.SlowCalls{
			ThresholdNS: 1_000_000,
			Stacks:      [][]bundle.Frame{save},
			Calls: []bundle.SlowCall{
				{StartNS: 10, NS: 1_500_000, Syscall: "write", Result: 10, GoID: 7, TID: 101},
				{StartNS: 20, NS: 5_000_000, Syscall: "write", Result: -28, Error: "ENOSPC", GoID: 8, TID: 102},
				{StartNS: 30, NS: 2_000_000, Syscall: "fsync", TID: 102, Stack: -1},
			},
		},
		bundle.EBPFCuts: bundle.Cuts{Stacks: [][]bundle.Frame{save}, Intervals: []bundle.Cut{
			{LeftNS: 100, BackNS: 30_000_100, GoID: 7, TID: 101, State: "runnable", Stack: -1},
			{LeftNS: 200, WokenNS: 6_500_200, BackNS: 6_600_200, GoID: 8, TID: 102, State: "disk", Syscall: "write"},
		}},
		bundle.EBPFNet: bundle.Net{
			Absent: map[string]string{"drops": "the kernel has no tracepoint skb/kfree_skb"},
			Accepts: &bundle.NetAccepts{Accepted: 40, Errors: map[string]int64{"EMFILE": 9}, Waiting: 2,
				Wait: &bundle.NetTimes{Count: 40, TotalNS: 4_000_000, Log2NS: []int64{16: 39, 20: 1}}},
			Connections: &bundle.NetConnections{Incoming: 42, Closed: map[string]int64{"LAST_ACK": 38}},
			Sends:       &bundle.NetSends{Count: 4000, Bytes: 80_000, Blocked: 3, BlockedAtEnd: 1, BlockedTime: bundle.NetTimes{Count: 3, TotalNS: 3_000_000, Log2NS: []int64{19: 3}}},
			Retransmits: &bundle.NetCount{}, ResetsReceived: &bundle.NetCount{Target: 2, Elsewhere: 5},
			ResetsSent: &bundle.NetReasons{NetCount: bundle.NetCount{Target: 7}, Reasons: map[string]int64{"TCP_ABORT_ON_CLOSE": 7}},
			Listeners:  []bundle.NetListener{{Address: "127.0.0.1:8080", Port: 8080, QueueAtEnd: 2, Limit: 4096}},
		},
		bundle.EBPFGoRuntime: bundle.GoRuntime{
			Counts: map[string]int64{"goroutines_parked": 900, "pool_misses": 0, "threads_started": 3},
			Parks: []bundle.GoPark{{Reason: "chan receive", Parks: 900, ParkedNS: 5_000_000_000,
				Delay: bundle.GoDelay{Count: 890, TotalNS: 8_900_000, Over100US: 4, Log2NS: []int64{12: 880, 17: 10}}}},
			Delay:    &bundle.GoDelay{Count: 890, TotalNS: 8_900_000, Over100US: 4, Log2NS: []int64{12: 880, 17: 10}},
			LockSlow: &bundle.GoLocks{Count: 12, TotalNS: 120_000},
			Missing:  map[string]string{"cleanups_queued": "the executable has no runtime.(*cleanupQueue).enqueue"},
		},
		bundle.EBPFCustom: bundle.Custom{Probes: []bundle.CustomProbe{
			{Name: "get", Function: "main.(*store).get", Counts: &bundle.CustomCounts{Calls: 40, LeftOut: 2},
				Timed:  &bundle.CustomTimed{Ended: 40, TotalNS: 40_000_000, Log2NS: []int64{19: 39, 22: 1}},
				Number: &bundle.CustomNumber{Name: "len(key)", Type: "int", Log2: []int64{3: 40}}, Notes: []string{"2 copies are inlined; calls there are not seen"}},
			{Name: "gone", Function: "main.gone", Missing: "the executable has no such function"},
		}},
		bundle.EBPFSched: bundle.Sched{
			CPUs: 2, TargetOnCPUNS: 1_200_000_000, IdleNS: 1_000_000_000, UnknownNS: 30_000_000, RunQueueNS: 50_000_000, Switches: 90,
			RunQueueLog2NS: []int64{12: 10, 13: 40, 14: 1},
			ByThread: []bundle.ThreadTimes{
				{TID: 101, OnCPUNS: 900_000_000, RunQueueNS: 40_000_000, OffCPUNS: 1_060_000_000, Switches: 60, Wakeups: 50, Migrations: 3},
				{OnCPUNS: 300_000_000, RunQueueNS: 10_000_000, Switches: 30},
			},
		},
	}
	for path, doc := range documents {
		if !contains(without, path) {
			require.NoError(t, w.WriteJSON(path, doc))
		}
	}
	profiles := map[string]*profile.Profile{
		bundle.EBPFOffCPUProfile: prof("delay",
			row{stack: []string{"syscall.write:1", "main.save:12"}, ns: 6_500_000, state: "disk"},
			row{stack: []string{"runtime.futex:1", "runtime.mPark:2"}, ns: 900_000_000, state: "sleep"}),
		bundle.EBPFRunQueueProfile: prof("delay", row{stack: []string{"main.compute:40"}, ns: 30_000_000}),
		bundle.EBPFOnCPUProfile: prof("cpu",
			row{stack: []string{"main.compute:40", "main.handle:31"}, ns: 800_000_000, goid: 7},
			row{stack: []string{"vfs_write [kernel]:0", "syscall.write:1", "main.save:12"}, ns: 20_000_000, goid: 8}),
	}
	for path, p := range profiles {
		if contains(without, path) {
			continue
		}
		var out bytes.Buffer
		require.NoError(t, p.Write(&out))
		require.NoError(t, w.WriteFile(path, out.Bytes()))
	}
	require.NoError(t, w.Update(func(m *bundle.Manifest) {
		m.Window = bundle.Window{StartNS: 1, EndNS: 2_000_000_001}
		m.Target.MainModule = "example.com/server"
		m.Dimensions = []bundle.Dimension{{Name: bundle.DimEBPF, Captured: true, Probes: []bundle.Probe{
			{Name: "syscalls", Captured: true, Lost: map[string]int64{"events_dropped": 3}},
			{Name: "sched", Reason: "CAP_BPF missing"}, {Name: "oncpu", Captured: true},
		}}}
	}))
	require.NoError(t, w.Finish())
	b, err := bundle.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	return b.Evidence()
}

func contains(list []string, s string) bool {
	return strings.Contains(strings.Join(list, " ")+" ", s+" ")
}

type row struct {
	stack []string // "function:line", innermost first
	ns    int64
	goid  int64
	state string
}

func prof(what string, rows ...row) *profile.Profile {
	p := &profile.Profile{SampleType: []*profile.ValueType{{Type: what, Unit: "nanoseconds"}}}
	for _, r := range rows {
		s := &profile.Sample{Value: []int64{r.ns}}
		for _, f := range r.stack {
			name, line, _ := strings.Cut(f, ":")
			fn := &profile.Function{ID: uint64(len(p.Function) + 1), Name: name}
			if strings.HasPrefix(name, "main.") {
				fn.Filename = "/src/main.go"
			}
			l := &profile.Location{ID: uint64(len(p.Location) + 1), Line: []profile.Line{{Function: fn, Line: number(line)}}}
			p.Function, p.Location = append(p.Function, fn), append(p.Location, l)
			s.Location = append(s.Location, l)
		}
		if r.goid != 0 {
			s.NumLabel = map[string][]int64{"goid": {r.goid}}
		}
		if r.state != "" {
			s.Label = map[string][]string{"state": {r.state}}
		}
		p.Sample = append(p.Sample, s)
	}
	return p
}

func number(s string) (n int64) {
	for _, c := range s {
		n = n*10 + int64(c-'0')
	}
	return n
}

func TestText(t *testing.T) {
	for _, c := range []struct {
		name    string
		options Options
		without []string
	}{
		{"whole", Options{}, nil},
		{"one call", Options{Syscall: "write", Top: 1}, nil},
		{"one goroutine", Options{GoID: 8}, nil},
		{"little captured", Options{}, []string{bundle.EBPFSched, bundle.EBPFSlow, bundle.EBPFOffCPUProfile, bundle.EBPFRunQueueProfile, bundle.EBPFCustom, bundle.EBPFCuts}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			require.NoError(t, New(synthetic(t, c.without...), c.options).Text(&out))
			path := filepath.Join("testdata", strings.ReplaceAll(c.name, " ", "-")+".txt")
			if *update {
				require.NoError(t, os.MkdirAll("testdata", 0o755))
				require.NoError(t, os.WriteFile(path, out.Bytes(), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, string(want), out.String())
		})
	}
}

func TestQuantileIsAnUpperBound(t *testing.T) {
	assert.Zero(t, quantile(nil, 0.5))
	log2 := []int64{3: 99, 10: 1}
	assert.EqualValues(t, 16, quantile(log2, 0.5))
	assert.EqualValues(t, 16, quantile(log2, 0.99))
	assert.EqualValues(t, 2048, quantile(log2, 0.999))
}

func TestDurationsHaveThreeDigitsAndAUnit(t *testing.T) {
	for ns, want := range map[int64]string{
		0: "0 ns", 999: "999 ns", 1000: "1 µs", 1536: "1.54 µs", 65_536: "65.5 µs", 1_500_000: "1.5 ms", 2_000_000_000: "2 s", 90_000_000_000: "90.0 s",
	} {
		assert.Equal(t, want, duration(ns))
	}
}
