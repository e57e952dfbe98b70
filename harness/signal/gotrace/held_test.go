package gotrace

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/signal/stack"
)

// A wait before the lock was taken is none under it, wherever its function is seen.
func TestHeldFrom(t *testing.T) {
	frame := func(function string, line int) stack.Frame {
		return stack.Frame{Function: function, File: "f.go", Line: line}
	}
	stand := func(w stack.Wait, frames ...stack.Frame) *place {
		return &place{frames: frames, own: frames[0], ours: true, wait: w}
	}
	lock, unlock := stack.Frame{Function: "sync.(*Mutex).Lock"}, stack.Frame{Function: "sync.(*Mutex).Unlock"}
	nap := stack.Frame{Function: "time.Sleep"}
	serve := frame("main.serve", 9)
	push := stand(stack.Lock, lock, frame("other.org/q.Push", 50), frame("main.announce", 53), serve)
	pushed := stand("", unlock, frame("other.org/q.Push", 70), frame("main.announce", 53), serve)
	own := stand(stack.Lock, lock, frame("main.get", 40), serve)
	let := stand("", unlock, frame("main.get.deferwrap1", 41), frame("main.get", 60), serve)
	helper := stand(stack.Lock, lock, frame("main.(*store).lock", 5), frame("main.put", 20), serve)
	helped := stand("", unlock, frame("main.(*store).unlock", 8), frame("main.put", 30), serve)
	for name, tt := range map[string]struct {
		waits, lets, slept *place
		asleep             int64
	}{
		"in who calls the function that takes it": {push, pushed, stand(stack.Sleep, nap, frame("main.put", 57), serve), 0},
		"in what it calls under it":               {push, pushed, stand(stack.Sleep, nap, frame("main.Weigh", 3), frame("other.org/q.Push", 60), frame("main.announce", 53), serve), 40},
		"above the lock in one function":          {own, let, stand(stack.Sleep, nap, frame("main.get", 35), serve), 0},
		"below the lock in one function":          {own, let, stand(stack.Sleep, nap, frame("main.get", 45), serve), 40},
		"in a closure under it":                   {own, let, stand(stack.Sleep, nap, frame("main.get.func1", 46), frame("main.get", 45), serve), 40},
		"between helpers that lock and unlock":    {helper, helped, stand(stack.Sleep, nap, frame("main.put", 25), serve), 40},
		"before a helper that locks":              {helper, helped, stand(stack.Sleep, nap, frame("main.put", 15), serve), 0},
		"where nobody is seen to wait so":         {stand(stack.Lock, lock, frame("main.other", 1)), let, stand(stack.Sleep, nap, frame("main.get", 35), serve), 40},
		"where it is not known":                   {own, let, nil, 40},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLocks(stack.Program{MainModule: "acme.dev/shop"})
			h, g := &goroutine{state: waiting, blamed: stack.Sleep, at: tt.slept}, &goroutine{}
			h.recent.add(h, 10, 50)
			l.wait(g, tt.waits, 0)
			w, ok := l.endWait(g, 90)
			assert.True(t, ok)
			l.release(h, tt.lets, w, 90)
			got := l.list()
			assert.Len(t, got, 1)
			x := got[0].Holders[0]
			assert.EqualValues(t, 90, x.NS, "the lock was not free for anybody else")
			assert.EqualValues(t, 90, got[0].ReleasedNS)
			var asleep, sum int64
			for _, d := range x.Doing {
				sum += d.NS
				if d.What == string(stack.Sleep) {
					asleep += d.NS
				}
			}
			assert.Equal(t, tt.asleep, asleep)
			assert.Equal(t, x.ObservedNS, sum)
			if tt.asleep == 0 {
				assert.EqualValues(t, 40, x.ObservedNS, "from its end on")
			}
		})
	}
}
