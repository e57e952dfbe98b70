package reports_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal"
	"chokepoint/reports"
)

func at(function string, line int) bundle.Frame {
	return bundle.Frame{Function: function, File: "/src/shop.go", Line: line}
}

// waiting is a server whose requests wait for each other in every way there is.
func waiting() *signal.Where {
	const ms = 1_000_000
	w := slowStore()
	w.Turns = []signal.Turn{
		{
			Kind: "service", Share: 0.4, Servers: 1, BusyShare: 0.99, QueuedShare: 0.95,
			Waiters: []signal.TurnWaiter{{What: "send", Where: at("main.(*trail).enter", 30), NS: 90 * ms}, {What: "receive", Where: at("main.(*trail).enter", 31), NS: 10 * ms}},
			Holders: []signal.TurnHolder{{Where: at("main.(*trail).write", 47), NS: 50 * ms, KnownNS: 50 * ms, Doing: []signal.TurnDoing{
				{What: "read", Where: at("main.(*line).tell", 70), NS: 45 * ms}, {What: "running", NS: 5 * ms},
			}}},
		},
		{
			Kind: "resource", Share: 0.3, Slots: 3.9,
			Waiters: []signal.TurnWaiter{{What: "db conn", Where: at("main.(*carts).price", 12), NS: 70 * ms}},
			Holders: []signal.TurnHolder{{Where: at("main.(*carts).price", 12), Release: at("main.(*carts).price", 20), NS: 60 * ms, KnownNS: 60 * ms, Doing: []signal.TurnDoing{
				{What: "select", Where: at("main.tax", 40), NS: 59 * ms},
			}}},
		},
		{
			Kind: "read-write lock", Share: 0.2,
			Waiters: []signal.TurnWaiter{{What: "read lock", Where: at("main.(*routes).find", 5), NS: 60 * ms}, {What: "lock", Where: at("main.(*routes).set", 9), NS: 1 * ms}},
			Holders: []signal.TurnHolder{
				{Where: at("main.(*routes).set", 9), NS: 30 * ms, KnownNS: 20 * ms, Doing: []signal.TurnDoing{{What: "syscall", Where: at("main.save", 50), NS: 20 * ms}}},
				{Release: at("main.(*routes).find", 7), Reads: true, NS: 10 * ms},
			},
		},
		{Kind: "lock", Share: 0.001, Waiters: []signal.TurnWaiter{{What: "lock", Where: at("main.count", 1), NS: ms}}},
	}
	return w
}

func TestWhereTellsOfTurns(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, reports.Where(&b, waiting(), "", reports.TextOptions{Width: 100}))
	golden(t, "where-turns.txt", b.Bytes())
	assert.NotContains(t, b.String(), "main.count", "what next to nobody waits for is left out")
}

func TestTurnsCannotSteerTheTerminal(t *testing.T) {
	w := waiting()
	evil := at("main.\x1b[2Jf\nPASS", 1)
	for i := range w.Turns {
		for j := range w.Turns[i].Waiters {
			w.Turns[i].Waiters[j].Where = evil
		}
		for j := range w.Turns[i].Holders {
			h := &w.Turns[i].Holders[j]
			h.Where, h.Release = evil, evil
			for k := range h.Doing {
				h.Doing[k].Where = evil
			}
		}
	}
	var b bytes.Buffer
	require.NoError(t, reports.Where(&b, w, "", reports.TextOptions{}))
	assert.NotContains(t, b.String(), "\x1b")
	assert.NotContains(t, b.String(), "\nPASS")
}
