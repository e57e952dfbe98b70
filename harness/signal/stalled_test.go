package signal

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/stack"
)

func TestFindStall(t *testing.T) {
	p := stack.Program{MainModule: "shop"}
	at := func(name string, line int) stack.Frame {
		return stack.Frame{Function: name, File: "shop.go", Line: line}
	}
	on := func(above string, frames ...stack.Frame) []stack.Frame {
		return append([]stack.Frame{{Function: above}}, frames...)
	}
	const lock, send, receive = "sync.(*Mutex).Lock", "runtime.chansend1", "runtime.chanrecv1"
	call := func(callee, function string, line int) bundle.CallSite {
		return bundle.CallSite{Callee: callee, Function: function, File: "shop.go", Line: line}
	}
	c := newCalls([]bundle.CallSite{
		call(lock, "main.a", 10), call("sync.(*Mutex).Unlock", "main.a", 11), call(lock, "main.a", 14), // the first deferred
		call(lock, "main.b", 20), call("sync.(*Mutex).Unlock", "main.b", 21), call(lock, "main.b", 24),
		call(lock, "main.c", 30), call("sync.(*Mutex).Unlock", "main.c", 32), call(lock, "main.c", 34), // one after the other
		call(lock, "main.outer", 40),
		call("runtime.chanrecv2", "main.worker", 50), call("runtime.selectgo", "main.other", 60), call("runtime.selectgo", "main.submit", 5),
	})
	waits := func(w stack.Wait, n int64, frames []stack.Frame) standing {
		return standing{frames: frames, wait: w, goroutines: n, requests: n, stuck: n, stuckReqs: n}
	}
	worker := func(w stack.Wait, n int64, frames []stack.Frame) standing {
		s := waits(w, n, frames)
		s.requests, s.stuckReqs = 0, 0
		return s
	}
	queue := waits(stack.Lock, 97, on(lock, at("main.a", 10)))
	circle := []standing{queue, waits(stack.Lock, 1, on(lock, at("main.a", 14))), waits(stack.Lock, 2, on(lock, at("main.b", 24)))}
	moving := waits(stack.Lock, 1, on(lock, at("main.a", 14)))
	moving.stuck, moving.stuckReqs = 0, 0
	for _, tt := range []struct {
		name        string
		list        []standing
		share       float64
		where, held stack.Frame
	}{
		{"two orders of two locks", circle, 1, at("main.b", 24), at("main.b", 20)},
		{"the lock is held by a caller", []standing{queue, waits(stack.Lock, 3, on(lock, at("main.inner", 5), at("main.outer", 44)))}, 1, at("main.inner", 5), at("main.outer", 40)},
		{"a slow holder and its queue", []standing{queue, waits(stack.Sleep, 1, on("time.Sleep", at("main.a", 12)))}, 0, stack.Frame{}, stack.Frame{}},
		{"one lock after the other", []standing{queue, waits(stack.Lock, 3, on(lock, at("main.c", 34)))}, 0, stack.Frame{}, stack.Frame{}},
		{"the last of those who hold is at the network", append(circle, waits(stack.NetRead, 1, on("internal/poll.(*FD).Read", at("main.b", 23)))), 0, stack.Frame{}, stack.Frame{}},
		{"it moves", []standing{queue, moving}, 0, stack.Frame{}, stack.Frame{}},
		{"workers fill the queue that they empty", []standing{
			waits(stack.ChanSend, 90, on(send, at("main.submit", 3))), worker(stack.ChanSend, 8, on(send, at("main.worker", 55))),
		}, 0.9, at("main.worker", 55), at("main.worker", 50)},
		{"the next in line is at the network", []standing{
			waits(stack.ChanSend, 90, on(send, at("main.submit", 3))), worker(stack.ChanSend, 8, on(send, at("main.worker", 55))),
			worker(stack.HTTPClient, 1, on("net/http.(*persistConn).roundTrip", at("main.other", 66))),
		}, 0, stack.Frame{}, stack.Frame{}},
		{"long polls", []standing{waits(stack.Select, 100, on("runtime.selectgo", at("main.poll", 3)))}, 0, stack.Frame{}, stack.Frame{}},
		{"waiting for a worker that has nothing to do", []standing{waits(stack.ChanRecv, 100, on(receive, at("main.get", 3))), worker(stack.ChanRecv, 8, on(receive, at("main.worker", 50)))}, 0, stack.Frame{}, stack.Frame{}},
		{"nothing waits", nil, 0, stack.Frame{}, stack.Frame{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := findStall(p, tt.list, c, 200, 100)
			assert.InDelta(t, tt.share, s.share, 1e-9)
			assert.Equal(t, tt.where, s.where)
			assert.Equal(t, tt.held, s.held)
		})
	}
	assert.Equal(t, at("main.a", 14), findStall(p, circle, c, 200, 100).other, "the other side is named too")
}

// TestStallOfThoseWhoChoose is a refresher and its workers who send to each other, as requests
// send to it, each by a select that a context ends.
func TestStallOfThoseWhoChoose(t *testing.T) {
	p := stack.Program{MainModule: "shop"}
	at := func(name string, line int) stack.Frame {
		return stack.Frame{Function: name, File: "shop.go", Line: line}
	}
	choose := func(function string, line, sends, receives int) bundle.CallSite {
		return bundle.CallSite{Callee: "runtime.selectgo", Function: function, File: "shop.go", Line: line, Sends: sends, Receives: receives}
	}
	c := newCalls([]bundle.CallSite{
		choose("main.add", 10, 1, 1), choose("main.add", 15, 1, 1), choose("main.add", 20, 0, 2), choose("main.wait", 25, 0, 2),
		choose("main.run", 30, 0, 4), choose("main.run", 35, 1, 1),
		choose("main.work", 40, 0, 2), choose("main.work", 45, 1, 1),
		choose("main.spool", 50, 0, 2), choose("main.spool", 55, 1, 2),
		choose("main.spill", 70, 1, 1), choose("main.spill", 77, 1, 1),
	})
	stands := func(n, requests int64, name string, line int) standing {
		return standing{frames: []stack.Frame{{Function: "runtime.selectgo"}, at(name, line)}, wait: stack.Select,
			goroutines: n, requests: requests, stuck: n, stuckReqs: requests, throughout: n}
	}
	queue, answers, polls := stands(60, 60, "main.add", 10), stands(40, 40, "main.add", 20), stands(100, 100, "main.wait", 25)
	backend, worker := stands(1, 0, "main.run", 35), stands(4, 0, "main.work", 45)
	moving := worker
	moving.stuck--
	gaveUp := func(x standing) standing {
		x.stuck, x.stuckReqs, x.throughout, x.woken, x.gaveUp = 0, 0, 0, 9, true
		return x
	}
	elsewhere := gaveUp(stands(100, 100, "shop/board.follow", 5))
	for _, tt := range []struct {
		name  string
		list  []standing
		share float64
		where stack.Frame
	}{
		{"they send to each other", []standing{queue, answers, backend, worker}, 1, at("main.work", 45)},
		{"requests wait for the answer alone", []standing{polls, backend, worker}, 1, at("main.work", 45)},
		{"it sends to those who ask it", []standing{queue, backend}, 0.6, at("main.run", 35)},
		{"what it takes and spills is put in by itself", []standing{queue, stands(1, 0, "main.spill", 77)}, 0.6, at("main.spill", 77)},

		{"requests that give up after a while", []standing{gaveUp(answers), backend, worker}, 0.4, at("main.work", 45)},
		{"long polls of another package, which give up as well", []standing{gaveUp(answers), elsewhere, backend, worker}, 0.4, at("main.work", 45)},

		{"a worker gets on", []standing{queue, answers, backend, moving}, 0, stack.Frame{}},
		{"they are idle", []standing{queue, answers, stands(1, 0, "main.run", 30), stands(4, 0, "main.work", 40)}, 0, stack.Frame{}},
		{"one that has nothing to send", []standing{polls, stands(1, 0, "main.spool", 55), stands(1, 0, "main.spill", 77)}, 0, stack.Frame{}},
		{"requests send twice, and nobody receives", []standing{stands(60, 60, "main.add", 15)}, 0, stack.Frame{}},
		{"long polls", []standing{polls}, 0, stack.Frame{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := findStall(p, c.choosing(p, tt.list), c, 200, 100)
			assert.InDelta(t, tt.share, s.share, 1e-9)
			assert.Equal(t, tt.where, s.where)
		})
	}
	assert.Zero(t, findStall(p, c.choosing(p, []standing{queue, answers, backend, worker}), c, 200, 100).asking, "it is the program's own")
	assert.InDelta(t, 0.6, findOrphans(p, c.choosing(p, []standing{queue}), c, 100).share, 1e-9, "nobody is left to receive")
	assert.Zero(t, findOrphans(p, c.choosing(p, []standing{polls}), c, 100).share)
	keeper := standing{frames: []stack.Frame{{Function: "sync.(*WaitGroup).Wait"}, at("main.run", 36)}, wait: stack.WaitGroup, goroutines: 1, stuck: 1, throughout: 1}
	assert.InDelta(t, 0.6, findBehind(p, c.choosing(p, []standing{queue, keeper}), c, 100).share, 1e-9)

	// The same in a library, which the requests call.
	c = newCalls([]bundle.CallSite{
		choose("lib.add", 10, 1, 1), choose("lib.add", 20, 0, 2), choose("lib.run", 30, 0, 4), choose("lib.run", 35, 1, 1), choose("lib.work", 40, 0, 2), choose("lib.work", 45, 1, 1),
	})
	called := stands(60, 60, "lib.add", 10)
	called.frames = append(called.frames, at("shop/desk.order", 7))
	inside := findStall(p, c.choosing(p, []standing{called, stands(1, 0, "lib.run", 35), stands(4, 0, "lib.work", 45)}), c, 200, 100)
	assert.Equal(t, at("lib.work", 45), inside.where)
	assert.Equal(t, at("shop/desk.order", 7), inside.asking)
}

// TestStallBehindAWrapper is a hook that logs to the logger that runs it, whose lock is taken and
// released by methods of its own.
func TestStallBehindAWrapper(t *testing.T) {
	p := stack.Program{MainModule: "shop"}
	at := func(name string, line int) stack.Frame {
		return stack.Frame{Function: name, File: "shop.go", Line: line}
	}
	call := func(callee, function string, line int) bundle.CallSite {
		return bundle.CallSite{Callee: callee, Function: function, File: "shop.go", Line: line}
	}
	const lock, unlock = "sync.(*Mutex).Lock", "sync.(*Mutex).Unlock"
	wrappers := []bundle.CallSite{call(lock, "logs.(*guard).Lock", 5), call(unlock, "logs.(*guard).Unlock", 9)}
	callers := []bundle.CallSite{
		call("logs.(*guard).Lock", "logs.(*logger).log", 20), call("logs.(*guard).Unlock", "logs.(*logger).log", 22),
		call("logs.(*guard).Lock", "logs.(*logger).hooks", 40), call("logs.(*guard).Unlock", "logs.(*logger).hooks.deferwrap1", 41),
	}
	stands := func(w stack.Wait, n int64, frames ...stack.Frame) standing {
		return standing{frames: frames, wait: w, goroutines: n, requests: n, stuck: n, stuckReqs: n}
	}
	mutex := stack.Frame{Function: lock}
	all := stands(stack.Lock, 99, mutex, at("logs.(*guard).Lock", 5), at("logs.(*logger).log", 20), at("main.place", 60))
	hook := stands(stack.Lock, 1, mutex, at("logs.(*guard).Lock", 5), at("logs.(*logger).log", 20),
		at("main.fire", 35), at("logs.(*logger).hooks", 43), at("logs.(*logger).log", 24), at("main.place", 60))
	later := stands(stack.ChanRecv, 1, stack.Frame{Function: "runtime.chanrecv1"}, at("main.wait", 70), at("logs.(*logger).log", 24))
	posts := stands(stack.HTTPClient, 1, stack.Frame{Function: "net/http.(*persistConn).roundTrip"}, at("main.fire", 33), at("logs.(*logger).hooks", 43))

	known := newCalls(append(wrappers, callers...))
	s := findStall(p, []standing{all, hook}, known, 100, 100)
	assert.Equal(t, 1.0, s.share)
	assert.Equal(t, at("main.fire", 35), s.where)
	assert.Equal(t, at("logs.(*logger).hooks", 40), s.held)

	old := newCalls(wrappers) // of before calls of wrappers were recorded
	s = findStall(p, []standing{all, hook}, old, 100, 100)
	assert.Equal(t, at("main.fire", 35), s.where)
	assert.Zero(t, s.held, "where it is released is not known")

	assert.Zero(t, findStall(p, []standing{all, posts}, known, 100, 100).share, "the holder waits for a peer")
	assert.Zero(t, findStall(p, []standing{all, later}, known, 100, 100).share, "it has released what it took")
	assert.Zero(t, findStall(p, []standing{all, later}, old, 100, 100).share, "it may have released what it took")
	alone := stands(stack.ChanRecv, 1, stack.Frame{Function: "runtime.chanrecv1"}, at("main.wait", 70), at("logs.(*logger).hooks", 43))
	assert.Zero(t, findStall(p, []standing{alone}, known, 100, 100).share, "nobody waits for what it holds")
	assert.Equal(t, 1.0, findStall(p, []standing{all, alone}, known, 100, 100).share)

	assert.Equal(t, atWork{1, at("logs.(*logger).hooks", 40)}, findKeepers(p, []standing{all, posts}, known))
	assert.Zero(t, findKeepers(p, []standing{all, hook}, known))
}
