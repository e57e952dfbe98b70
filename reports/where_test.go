package reports_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/requests"
	"chokepoint/harness/signal/stack"
	"chokepoint/reports"
)

// slowStore is where the time went of a server whose requests wait for a lock, and
// whose threads do not always get a CPU.
func slowStore() *signal.Where {
	frames := []stack.Frame{
		{Function: "syscall.fsync", File: "/go/src/syscall/zsyscall.go", Line: 10},
		{Function: "os.(*File).Sync", File: "/go/src/os/file.go", Line: 20},
		{Function: "main.(*store).save", File: "/src/store.go", Line: 55},
		{Function: "main.(*store).ServeHTTP", File: "/src/store.go", Line: 30},
	}
	parts := requests.NewParts()
	lock := parts.Add(requests.Part{Kind: requests.WaitKind(stack.Lock), Where: frames[3], Frames: frames[3:], Basis: requests.ByStack})
	sync := parts.Add(requests.Part{Kind: requests.Syscall, Where: frames[2], Cause: "fsync", Frames: frames, Basis: requests.ByStack})
	queue := parts.Add(requests.Part{Kind: requests.RunQueue, Where: frames[2], Frames: frames[2:], Basis: requests.BySpan})
	reads := parts.Add(requests.Part{Kind: requests.Running, Cause: "the server reads the request", Basis: requests.BySpan})
	blind := parts.Add(requests.Part{Kind: requests.Running, Basis: requests.Unknown})
	sends := parts.Add(requests.Part{Kind: requests.WaitKind(stack.ChanSend), Where: stack.Frame{Function: "main.(*log).write", File: "/src/log.go", Line: 8}, Basis: requests.ByStack})
	r := requests.NewRecorder(parts)
	r.Hijacked()
	r.Diagnostic()
	r.Diagnostic()
	const ms = 1_000_000
	for i := range int64(200) {
		start := i * 10 * ms
		o := r.Begin(start, 100+i)
		r.At(o, stack.Frame{Function: []string{"main.(*store).ServeHTTP", "main.health"}[i%2], File: "/src/store.go"}, 4)
		o.Add(reads, ms/10)
		o.Add(lock, i*ms)
		o.Add(sync, 4*ms)
		o.Add(queue, ms)
		o.Add(blind, ms/20)
		if i%10 == 0 {
			o.ChildStarted()
			o.AddChild(sends, 3*ms)
			o.ChildEnded()
		}
		call := &bundle.SlowCall{StartNS: start + 2*ms, NS: 4*ms + i*1000, Syscall: "fsync", GoID: 100 + i}
		if i < 195 {
			call = nil
		}
		r.Border(o, 100+i, start+ms, start+7*ms, true, sync, requests.OffCPU{AsleepNS: 3 * ms, QueuedNS: ms + i*100, Cuts: 2, Syscall: "fsync", Slow: call}, false)
		r.Joined(4 * ms)
		r.End(o, start+i*ms+5*ms+ms/10+ms/20, false)
	}
	r.Stray(ms)
	return &signal.Where{
		Source: "requests",
		Table:  r.Table(requests.Want{TraceNS: 4_000 * ms, OffCPU: true}),
		Scheduler: gotrace.Scheduler{
			Procs: 4, RunningNS: 3_000 * ms, RunnableNS: 800 * ms, IdleWhileRunnableNS: 40 * ms, WastedPNS: 60 * ms,
			LongRuns:  []gotrace.LongRun{{Goroutine: 17, StartNS: 5, NS: 93 * ms, Where: frames[2]}, {Goroutine: 18, StartNS: 6, NS: 4 * ms, Where: frames[2]}},
			Stops:     []gotrace.Stop{{Reason: "stop-the-world (GC mark termination)", StartNS: 9, NS: 95 * ms, StoppingNS: 93 * ms}},
			StopCount: 12, StopNS: 120 * ms, StoppingNS: 101 * ms,
			Assists: []gotrace.SiteTime{{Where: frames[3], NS: 30 * ms}},
		},
		Outside: signal.Outside{InFlight: 6, Served: 5.2, Share: 0.8 / 6, ClientP50: 0.118, ClientP99: 0.24},
		BothEnds: signal.BothEnds{
			Client:       signal.Matched{Requests: 205, Paired: 198, BeganBefore: 3, Outlasted: 2, NoResponse: 1, NoneFits: 1},
			Served:       signal.Matched{Requests: 200, Paired: 198, NoneFits: 2},
			ByConnection: 150, ByTime: 48, Sure: 36,
			Before: signal.Times{Count: 197, MeanNS: 300_000, P50NS: 140_000, P90NS: 800_000, P99NS: 4 * ms, MaxNS: 9 * ms},
			After:  signal.Times{Count: 196, MeanNS: 100_000, P50NS: 90_000, P90NS: 120_000, P99NS: ms, MaxNS: 2 * ms},
			Longer: signal.Times{Count: 195, MeanNS: 350_000, P50NS: 200_000, P90NS: 900_000, P99NS: 5 * ms, MaxNS: 10 * ms},
			Bands: []signal.BandBefore{
				{Name: requests.All, Times: signal.Times{Count: 197, P50NS: 140_000}},
				{Name: requests.P99, Times: signal.Times{Count: 2, P50NS: 4 * ms}},
			},
		},
		Machine: signal.Machine{CPUs: 8, MayUse: 4, IdleShare: 0.55, BarredShare: 0.5},
		Kernel:  signal.KernelView{Covered: 0.8, Lost: map[string]int64{"events_dropped": 12}},
	}
}

func TestWhere(t *testing.T) {
	unknown := slowStore()
	unknown.Table.OffCPU, unknown.Table.Borders = false, nil
	unknown.Kernel = signal.KernelView{CutsMissing: "ebpf was not captured", SlowMissing: "ebpf was not captured"}
	unknown.Machine = signal.Machine{Missing: "ebpf was not captured"}
	unknown.Outside = signal.Outside{Missing: "load was not captured"}
	unknown.BothEnds = signal.BothEnds{Missing: "load was not captured"}
	unknown.Cut = "after 1200 events: unexpected EOF"
	for name, c := range map[string]struct {
		where *signal.Where
		band  string
	}{
		"where.txt":         {slowStore(), ""},
		"where-p50.txt":     {slowStore(), requests.P50},
		"where-unknown.txt": {unknown, ""},
		"where-empty.txt":   {&signal.Where{Outside: signal.Outside{Missing: "load was not captured"}, BothEnds: signal.BothEnds{Missing: "load was not captured"}, Machine: signal.Machine{Missing: "ebpf was not captured"}, Kernel: signal.KernelView{CutsMissing: "ebpf was not captured", SlowMissing: "ebpf was not captured"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, reports.Where(&b, c.where, c.band, reports.TextOptions{Width: 100}))
			golden(t, name, b.Bytes())
			assert.NotContains(t, b.String(), "NaN")
		})
	}
	assert.Error(t, reports.Where(full{}, slowStore(), "", reports.TextOptions{}))
}

func TestWhereCannotSteerTheTerminal(t *testing.T) {
	w := slowStore()
	evil := "main.\x1b[2Jf\nPASS"
	for i := range w.Table.Endpoints {
		w.Table.Endpoints[i].Name = evil
	}
	for i := range w.Table.Bands {
		for j := range w.Table.Bands[i].Parts {
			w.Table.Bands[i].Parts[j].Where.Function, w.Table.Bands[i].Parts[j].Cause = evil, evil
		}
	}
	for i := range w.Table.Borders {
		b := &w.Table.Borders[i]
		b.Endpoint, b.Where.Function, b.Syscall, b.Stack[0].Function = evil, evil, evil, evil
	}
	w.Scheduler.Stops[0].Reason = evil
	w.Cut = evil
	var b bytes.Buffer
	require.NoError(t, reports.Where(&b, w, "", reports.TextOptions{}))
	assert.NotContains(t, b.String(), "\x1b")
}
