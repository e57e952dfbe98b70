package signal

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// TestBusyWaits tells goroutines that wait by asking from those that work, and from those
// that ask and sleep.
func TestBusyWaits(t *testing.T) {
	frames := func(functions ...string) (s []stack.Frame) {
		for i, f := range functions {
			s = append(s, stack.Frame{Function: f, Line: i + 1})
		}
		return s
	}
	samples := func(n int64, functions ...string) gotrace.Sample {
		return gotrace.Sample{Frames: frames(functions...), Count: n}
	}
	const second = 1e9
	scheduler := samples(100, "runtime.schedule", "runtime.gosched_m", "runtime.mcall")
	for name, tt := range map[string]struct {
		awake   gotrace.Awake
		yields  []gotrace.Sample
		samples int64
		site    string
	}{
		"a select with a default": {
			awake:   gotrace.Awake{NS: second, Samples: []gotrace.Sample{samples(90, "runtime.selectgo", "main.run"), samples(10, "main.run")}},
			samples: 100, site: "main.run",
		},
		"with what it does now and then": {
			awake:   gotrace.Awake{NS: second, Waits: 5, Samples: []gotrace.Sample{samples(92, "runtime.selectgo", "main.run"), samples(8, "fmt.Sprintf", "main.tell", "main.run")}},
			samples: 100, site: "main.run",
		},
		"by way of a library": {
			awake:   gotrace.Awake{NS: second, Samples: []gotrace.Sample{samples(60, "runtime.selectnbrecv", "example.com/queue.(*Q).Try", "main.run"), samples(40, "example.com/queue.(*Q).Try", "main.run")}},
			samples: 100, site: "main.run",
		},
		"others are let run each time": {
			awake:   gotrace.Awake{NS: second, Yields: 9000, Yielded: frames("runtime.Gosched", "main.await")},
			yields:  []gotrace.Sample{samples(10000, "runtime.Gosched", "main.await")},
			samples: 90, site: "main.await",
		},
		"it sleeps between": {
			awake: gotrace.Awake{NS: second, Waits: 1000, Samples: []gotrace.Sample{samples(90, "runtime.selectgo", "main.run"), samples(10, "main.run")}},
		},
		"it works": {
			awake: gotrace.Awake{NS: second, Samples: []gotrace.Sample{samples(20, "runtime.selectnbrecv", "main.run"), samples(80, "main.run")}},
		},
		"it works, and asks after each piece": {
			awake: gotrace.Awake{NS: second, Samples: []gotrace.Sample{samples(60, "runtime.selectnbrecv", "main.run"), samples(40, "encoding/json.Unmarshal", "main.run")}},
		},
		"work of others is let run after each piece": {
			awake:  gotrace.Awake{NS: second, Yields: 9000, Yielded: frames("runtime.Gosched", "main.run"), Samples: []gotrace.Sample{samples(100, "main.run")}},
			yields: []gotrace.Sample{samples(9000, "runtime.Gosched", "main.run"), samples(81000, "runtime.Gosched", "main.other")},
		},
		"no code of the program": {
			awake: gotrace.Awake{NS: second, Samples: []gotrace.Sample{samples(100, "runtime.selectgo", "time.goFunc")}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			others := samples(300, "main.compute", "main.serve")
			list := append([]gotrace.Sample{others, scheduler}, tt.awake.Samples...)
			busy := gotrace.Awake{NS: second, Samples: []gotrace.Sample{others}}
			w := busyWaitsOf(stack.Program{MainModule: "main"}, []gotrace.Awake{busy, tt.awake}, list, tt.yields)
			assert.Equal(t, tt.samples, w.samples)
			assert.Equal(t, samplesIn(list), w.all)
			assert.Equal(t, tt.site, top(ranked(w.lines)).where.Function)
			assert.Equal(t, tt.site != "", w.goroutines == 1)
		})
	}
}
