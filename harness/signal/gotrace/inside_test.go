package gotrace

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/signal/stack"
)

// What a library does is told at the program's line, and beside it that it is the library's.
func TestGoroutinesOfALibrary(t *testing.T) {
	p := stack.Program{MainModule: "acme.dev/fares"}
	run := stack.Frame{Function: "other.org/deadline.(*Deadline).Run", File: "d.go", Line: 34}
	fare := stack.Frame{Function: "main.(*partner).fare", File: "main.go", Line: 43}
	inside := stack.Frame{Function: "other.org/deadline.(*Deadline).Run.func1", File: "d.go", Line: 35}
	k := &kind{entry: inside, origins: map[origin]int64{
		{by: &place{frames: []stack.Frame{run, fare}, own: fare, mine: true}}:                3,
		{by: &place{frames: []stack.Frame{run, {Function: "main.test", Line: 9}}, own: run}}: 1,
	}}
	by, library := k.origin(p, inside)
	assert.Equal(t, fare, by, "not the library, whose own closure it runs")
	assert.Equal(t, run, library)

	by, library = k.origin(p, stack.Frame{Function: "main.(*partner).fare.func1", File: "main.go", Line: 44})
	assert.Equal(t, fare, by)
	assert.Zero(t, library, "it runs the program's code, and that is what stands")
}

func TestLockOfALibrary(t *testing.T) {
	frame := func(function string, line int) stack.Frame {
		return stack.Frame{Function: function, File: "f.go", Line: line}
	}
	takes, lets := frame("other.org/cache.New.func3", 74), frame("other.org/cache.New.func3", 76)
	look, product, serve := frame("main.look", 29), frame("main.product", 36), frame("main.serve", 9)
	stand := func(frames ...stack.Frame) *place { return &place{frames: frames, own: frames[0], ours: true} }
	waits := func(outer ...stack.Frame) *place {
		at := stand(append([]stack.Frame{takes}, outer...)...)
		if len(outer) > 0 {
			at.own = outer[0]
		}
		at.wait, at.library = stack.Lock, takes
		return at
	}
	unlocks := stand(lets)
	handler, kept := stand(look, product, frame("other.org/web.next", 5), lets), stand(frame("other.org/cache.get", 3), lets)

	// turn is one that waits and then has the lock, while it stands at places for so long.
	turn := func(l *locks, at *place, stood map[*place]int64) {
		g, next := &goroutine{}, &goroutine{}
		l.wait(g, at, 0)
		w, ok := l.endWait(g, 10)
		require.True(t, ok)
		g.acquired = &hold{at: w.at, since: 10}
		for in, ns := range stood {
			g.state, g.at = waiting, in
			g.acquired.stand(g, ns)
			g.state = running
			g.acquired.stand(g, 1000)
		}
		l.wait(next, at, 5)
		w, ok = l.endWait(next, 90)
		require.True(t, ok)
		l.release(g, unlocks, w, 90)
	}
	for name, tt := range map[string]struct {
		at              *place
		stood           map[*place]int64
		library, called stack.Frame
	}{
		"it calls the program":                       {waits(), map[*place]int64{handler: 60, kept: 20}, takes, product},
		"it mostly does something of its own":        {waits(), map[*place]int64{handler: 20, kept: 60}, takes, stack.Frame{}},
		"the program is part of waiting for it":      {waits(serve), map[*place]int64{handler: 80}, takes, stack.Frame{}},
		"what stands there is outside of the lock's": {waits(), map[*place]int64{stand(look, product): 80}, takes, stack.Frame{}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLocks(stack.Program{MainModule: "acme.dev/shop"})
			turn(l, tt.at, tt.stood)
			require.Len(t, l.list(), 1)
			assert.Equal(t, tt.library, l.list()[0].Library)
			assert.Equal(t, tt.called, l.list()[0].Called)
		})
	}

	// Who never had to wait for it is asked what it did of late.
	l := newLocks(stack.Program{MainModule: "acme.dev/shop"})
	h, g := &goroutine{state: waiting, blamed: stack.Sleep, at: handler}, &goroutine{}
	h.recent.add(h, 10, 80)
	l.wait(g, waits(), 0)
	w, ok := l.endWait(g, 90)
	require.True(t, ok)
	l.release(h, unlocks, w, 90)
	require.Len(t, l.list(), 1)
	assert.Equal(t, product, l.list()[0].Called)
}
