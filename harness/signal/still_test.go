package signal

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

func TestStillStanding(t *testing.T) {
	parked := func(w stack.Wait, n, requests int64, functions ...string) gotrace.Parked {
		x := gotrace.Parked{Wait: w, Where: stack.Frame{Function: functions[0], Line: 7}, Goroutines: n + 1, Throughout: n, ThroughoutRequests: requests}
		for _, f := range functions {
			x.Frames = append(x.Frames, stack.Frame{Function: f, Line: 7})
		}
		return x
	}
	s := &gotrace.Summary{Parked: []gotrace.Parked{
		parked(stack.ChanSend, 90, 90, "main.grind"),
		parked(stack.ChanRecv, 4, 0, "main.flush"),
		parked(stack.ChanRecv, 4, 0, "main.flush", "main.start"),
		parked(stack.Cond, 1, 0, "main.run"),
		parked(stack.Lock, 2, 0, "main.keep"),
		parked(stack.Select, 1, 0, "main.wait", "main.main"),
		parked(stack.NetAccept, 1, 0, "main.listen"),
		parked(stack.Sleep, 0, 0, "main.tick"),
	}}
	at := func(name string) bundle.Frame { return bundle.Frame{Function: name, Line: 7} }
	assert.Equal(t, []Still{
		{stack.Lock, at("main.keep"), 2},
		{stack.Cond, at("main.run"), 1},
		{stack.ChanRecv, at("main.flush"), 8},
	}, stillStanding(stack.Program{}, s))
	assert.Empty(t, stillStanding(stack.Program{}, &gotrace.Summary{}))
}
