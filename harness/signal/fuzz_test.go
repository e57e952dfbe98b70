package signal_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal"
)

// FuzzTrace has all that is made of a bundle rest on a trace that nobody vouches
// for, with the kernel's events and the client's results beside it.
func FuzzTrace(f *testing.F) {
	a := recordAsked(f)
	a.keep(f, a.results, true, true)
	slow, cuts := bundle.SlowCalls{}, bundle.Cuts{}
	for _, p := range a.peers.Goroutines {
		at := a.manifest.Window.StartNS
		cuts.Intervals = append(cuts.Intervals, bundle.Cut{GoID: p.GoID, LeftNS: at, WokenNS: at + second/100, BackNS: at + second/50, State: "sleep", Syscall: "read", Stack: -1})
		slow.Calls = append(slow.Calls, bundle.SlowCall{GoID: p.GoID, StartNS: at, NS: second / 100, Syscall: "read", Stack: -1})
	}
	a.artifacts[bundle.EBPFCuts], a.artifacts[bundle.EBPFSlow] = cuts, slow
	data := a.artifacts[bundle.TraceOut].([]byte)
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Add([]byte("go 1.26 trace\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := recording{manifest: a.manifest, artifacts: map[string]any{}}
		for path, v := range a.artifacts {
			r.artifacts[path] = v
		}
		r.artifacts[bundle.TraceOut] = data
		b, err := bundle.Open(r.write(t))
		require.NoError(t, err)
		defer b.Close()
		for name, x := range signal.Measure(b.Evidence()).Signals {
			require.False(t, math.IsNaN(x.Value) || math.IsInf(x.Value, 0), name)
		}
		w, err := signal.Read(b.Evidence()).Where("")
		if err != nil {
			return
		}
		_, err = json.Marshal(w)
		require.NoError(t, err)
		e := w.BothEnds
		require.LessOrEqual(t, e.Client.Paired, e.Client.Requests)
		require.Equal(t, e.Client.Paired, e.ByConnection+e.ByTime)
		require.LessOrEqual(t, e.Sure, e.ByTime)
	})
}
