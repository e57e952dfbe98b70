package gotrace

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/signal/stack"
)

// The line that counts is that of most waiting time, also if it is none.
func TestCallersOfLocks(t *testing.T) {
	l := newLocks(stack.Program{})
	often, long, direct := placeAt("main.enter", 1, stack.Lock), placeAt("main.enter", 1, stack.Lock), placeAt("main.serve", 5, stack.Lock)
	often.caller = stack.Frame{Function: "main.list", Line: 7}
	long.caller = stack.Frame{Function: "main.show", Line: 9}
	wait := func(at *place, ns int64) {
		g := &goroutine{}
		l.wait(g, at, 0)
		w, _ := l.endWait(g, ns)
		l.release(nil, placeAt("main.leave", 3, ""), w, ns)
	}
	for range 5 {
		wait(often, 10)
	}
	wait(long, 60)
	wait(direct, 40)
	require.Len(t, l.list(), 1)
	assert.Equal(t, long.caller, l.list()[0].Caller)
	wait(direct, 40)
	assert.Zero(t, l.list()[0].Caller)
}
