package gotrace

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/signal/stack"
)

func placeAt(function string, line int, wait stack.Wait) *place {
	own := stack.Frame{Function: function, File: "f.go", Line: line}
	return &place{own: own, frames: []stack.Frame{own}, ours: true, wait: wait, unlocks: wait == ""}
}

// What the scheduler does only now and then, step by step.

func TestTimeBelongsToOneHolder(t *testing.T) {
	l := newLocks(stack.Program{})
	lock, quick, slow := placeAt("main.use", 1, stack.Lock), placeAt("main.use", 3, ""), placeAt("main.flush", 9, "")
	a, b, c := &goroutine{}, &goroutine{}, &goroutine{}
	for _, g := range []*goroutine{a, b, c} {
		l.wait(g, lock, 0)
	}
	// Two that never waited release at 10 and at 15: the second had it for 5.
	w, ok := l.endWait(a, 10)
	assert.True(t, ok)
	l.release(nil, slow, w, 10)
	w, _ = l.endWait(b, 15)
	l.release(nil, quick, w, 15)
	// One that was woken at 15 releases at 35. Another lock of the group that is
	// released at 30 does not make that less.
	a.acquired = &hold{at: lock, since: 15}
	l.find(waitSite(lock)).lastRelease = 30
	w, _ = l.endWait(c, 35)
	l.release(a, quick, w, 35)

	got := l.list()
	assert.Len(t, got, 1)
	assert.Equal(t, int64(10+15+35), got[0].WaitedNS)
	assert.Equal(t, []int64{25, 10}, []int64{got[0].Holders[0].NS, got[0].Holders[1].NS})
	assert.Equal(t, "main.use", got[0].Holders[0].Unlock.Function)
	assert.Equal(t, int64(20), got[0].Holders[0].ObservedNS)
	assert.Nil(t, a.acquired, "it let go")
}

func TestWokenAndBeatenToIt(t *testing.T) {
	s := newScan(stack.Program{}, Beside{})
	lock := placeAt("main.use", 1, stack.Lock)
	g := &goroutine{blamed: stack.Lock, acquired: &hold{at: lock, since: 5}}
	s.blocked(g, lock, 6)
	assert.Nil(t, g.acquired, "it waits for that lock again, so it does not hold it")
	assert.Contains(t, s.locks.waiting, g)

	// Waiting for another lock, or asleep, in the same function it keeps it.
	g = &goroutine{blamed: stack.Lock, acquired: &hold{at: lock, since: 5}}
	s.blocked(g, placeAt("main.use", 2, stack.Lock), 6)
	assert.NotNil(t, g.acquired)
	// Asleep above the lock in a loop it has let go of it while nobody waited.
	loop := &goroutine{blamed: stack.Sleep, acquired: &hold{at: placeAt("main.use", 3, stack.Lock), since: 5}}
	s.blocked(loop, placeAt("main.use", 2, stack.Sleep), 6)
	assert.Nil(t, loop.acquired)
	// Elsewhere it has let go of it.
	g.blamed = stack.NetRead
	s.blocked(g, placeAt("main.idle", 2, stack.NetRead), 7)
	assert.Nil(t, g.acquired)
}

func TestWaitsThatAreNotTheProgram(t *testing.T) {
	l := newLocks(stack.Program{})
	l.wait(&goroutine{diag: true}, placeAt("main.use", 1, stack.Lock), 0)
	l.wait(&goroutine{}, &place{wait: stack.Lock}, 0)
	l.wait(&goroutine{}, nil, 0)
	assert.Empty(t, l.waiting)
}

func TestGroupsThatMeetBecomeOne(t *testing.T) {
	l := newLocks(stack.Program{})
	lockA, lockB := placeAt("main.a", 1, stack.Lock), placeAt("main.b", 1, stack.Lock)
	readA := placeAt("main.view", 3, "")
	readA.reads = true
	write := placeAt("main.write", 9, "")
	l.release(nil, readA, lockWait{lockA, 0}, 10)
	l.release(nil, readA, lockWait{lockB, 10}, 20)
	l.release(nil, write, lockWait{lockB, 20}, 25)
	other := l.find("another")
	other.holder(holderKey{"main.view", true}).NS = 7
	l.join("another", waitSite(lockA))
	g := l.find(waitSite(lockB))
	assert.Len(t, g.holders, 2, "a function that reads stays one holder when groups merge")
	assert.Equal(t, int64(27), g.holders[holderKey{"main.view", true}].NS)
	assert.Equal(t, int64(5), g.holders[holderKey{"main.write", false}].NS)
}
