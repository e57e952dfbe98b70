package gotrace

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/gofunc"
	"chokepoint/harness/internal/foreman"
	"chokepoint/harness/internal/testtrace"
	"chokepoint/harness/signal/stack"
)

const foremanPkg = "chokepoint/harness/internal/foreman."

// besidesForeman is a program of which the foreman is a library.
var besidesForeman = stack.Program{MainModule: "chokepoint/harness/signal/gotrace"}

//go:noinline
func handsOver(f *foreman.Foreman) { f.Bring() }

func foremansKind(t *testing.T, data []byte, function string) Kind {
	t.Helper()
	s, err := Read(bytes.NewReader(data), besidesForeman)
	require.NoError(t, err)
	for _, k := range s.Kinds {
		if k.Entry.Function == foremanPkg+function {
			return k
		}
	}
	require.Failf(t, "no such kind", "%s in %+v", function, s.Kinds)
	return Kind{}
}

// What a library's own goroutine starts, which runs for longer than the trace, is told at
// the line that gave it work.
func TestHandedToALibrary(t *testing.T) {
	for name, room := range map[string]int{"who brings waits": 0, "jobs lie about": 16} {
		t.Run(name, func(t *testing.T) {
			f := foreman.New(room)
			defer f.Stop()
			time.Sleep(10 * time.Millisecond) // it is there before the trace
			const callers, rounds = 8, 10
			k := foremansKind(t, testtrace.Record(t, func() {
				times(callers, func(int) {
					for range rounds {
						handsOver(f)
						time.Sleep(time.Millisecond)
					}
				})
				time.Sleep(20 * time.Millisecond)
			}), "(*Foreman).work")
			assert.EqualValues(t, callers*rounds, k.Left)
			assert.Equal(t, pkg+"handsOver", k.Origin.Function)
			assert.NotZero(t, k.Origin.Line)
			assert.Equal(t, foremanPkg+"(*Foreman).loop", k.Library.Function)
		})
	}
}

func TestHandedByNobody(t *testing.T) {
	f := foreman.Every(2 * time.Millisecond)
	defer f.Stop()
	time.Sleep(10 * time.Millisecond)
	k := foremansKind(t, testtrace.Record(t, func() { time.Sleep(60 * time.Millisecond) }), "(*Foreman).work")
	assert.Equal(t, foremanPkg+"Every", gofunc.Base(k.Origin.Function), "nothing but the library's line is known")
	assert.Zero(t, k.Library, "which is not told twice")
}

// A library's goroutine that the program started in the trace is known by that.
func TestStartedThroughALibrary(t *testing.T) {
	var f *foreman.Foreman
	k := foremansKind(t, testtrace.Record(t, func() {
		f = foreman.Every(2 * time.Millisecond)
		time.Sleep(60 * time.Millisecond)
	}), "(*Foreman).work")
	f.Stop()
	assert.Equal(t, pkg+"TestStartedThroughALibrary", gofunc.Base(k.Origin.Function))
	assert.Equal(t, foremanPkg+"Every", gofunc.Base(k.Library.Function))
}

func TestHandedBy(t *testing.T) {
	a, b := stack.Frame{Function: "main.a", Line: 1}, stack.Frame{Function: "main.b", Line: 2}
	for name, c := range map[string]struct {
		handed map[stack.Frame]int64
		want   stack.Frame
	}{
		"the line of most":            {map[stack.Frame]int64{a: 3, b: 5, {}: 2}, b},
		"nothing is known of half":    {map[stack.Frame]int64{a: 3, b: 2, {}: 5}, stack.Frame{}},
		"as many: always the same":    {map[stack.Frame]int64{a: 2, b: 2}, a},
		"nothing at all":              {nil, stack.Frame{}},
		"many lines with little each": {map[stack.Frame]int64{a: 2, b: 3, {}: 4}, b},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, (&kind{handed: c.handed}).handedBy())
		})
	}
}

// Only what ends a wait for work hands any over.
func TestHand(t *testing.T) {
	line := func(wait stack.Wait) *place { return &place{wait: wait, ours: true} }
	program := &place{mine: true, ours: true}
	requester := &goroutine{}
	loop := func(wait stack.Wait) *goroutine { return &goroutine{at: line(wait), blamed: wait} }

	g := loop(stack.Select)
	g.hand(requester, program)
	assert.Same(t, program, g.handed)
	g.at, g.blamed = line(stack.Lock), stack.Lock
	g.hand(&goroutine{}, &place{ours: true})
	assert.Same(t, program, g.handed, "a lock is no work")
	g.at, g.blamed = line(stack.Select), stack.Select
	next := loop(stack.ChanRecv)
	next.hand(g, &place{ours: true})
	assert.Same(t, program, next.handed, "a library's goroutine passes it on")
	g.hand(nil, nil)
	assert.Nil(t, g.handed, "a time has come")

	sender := &goroutine{at: &place{mine: true, ours: true, wait: stack.ChanSend}, blamed: stack.ChanSend}
	sender.hand(g, &place{ours: true, act: stack.Chooses})
	assert.Same(t, sender.at, g.handed, "who takes has it from the one that waited")
}
