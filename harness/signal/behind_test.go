package signal

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/stack"
)

func TestFindBehind(t *testing.T) {
	p := stack.Program{MainModule: "shop"}
	on := func(above, name string, line int) []stack.Frame {
		return []stack.Frame{{Function: above}, {Function: name, File: "shop.go", Line: line}}
	}
	const cond, send, receive, group, lock, choose = "sync.(*Cond).Wait", "runtime.chansend1", "runtime.chanrecv1", "sync.(*WaitGroup).Wait", "sync.(*Mutex).Lock", "runtime.selectgo"
	c := newCalls([]bundle.CallSite{
		{Callee: "runtime.chanrecv2", Function: "main.run", File: "shop.go", Line: 69},
		{Callee: "runtime.chanrecv1", Function: "shop/app.serve", File: "shop.go", Line: 20},
	})
	request := func(w stack.Wait, n int64, f []stack.Frame) standing {
		return standing{frames: f, wait: w, goroutines: n, requests: n, stuck: n, stuckReqs: n, throughout: n}
	}
	other := func(w stack.Wait, n int64, f []stack.Frame) standing {
		return standing{frames: f, wait: w, goroutines: n, stuck: n, throughout: n}
	}
	moving := func(w stack.Wait, requests int64, f []stack.Frame) standing {
		return standing{frames: f, wait: w, goroutines: 1, requests: requests, woken: 3}
	}
	senders := request(stack.ChanSend, 60, on(send, "main.grind", 84))
	answers := request(stack.ChanRecv, 40, on(receive, "main.grind", 85))
	dispatcher := other(stack.Cond, 1, on(cond, "main.run", 70))
	ticks := moving(stack.ChanRecv, 0, on(receive, "lib.purge", 69))
	accept := other(stack.NetAccept, 1, on("internal/poll.(*FD).Accept", "main.main", 90))
	supervisor := other(stack.WaitGroup, 9, on(group, "shop/app.serve", 25))
	for _, tt := range []struct {
		name  string
		list  []standing
		share float64
	}{
		{"a dispatcher waits for a free worker, of which there is none", []standing{senders, answers, dispatcher, ticks, accept}, 1},
		{"it waits for a lock", []standing{senders, answers, other(stack.Lock, 1, on(lock, "main.run", 70))}, 1},
		{"it waits for others to be done", []standing{senders, answers, other(stack.WaitGroup, 1, on(group, "main.run", 70))}, 1},
		{"requests wait for a group", []standing{request(stack.WaitGroup, 100, on(group, "main.grind", 90)), dispatcher}, 1},
		{"those who have sent may leave by a context", []standing{senders, request(stack.Select, 40, on(choose, "main.grind", 86)), dispatcher}, 1},
		{"others wait for news beside them", []standing{senders, request(stack.ChanRecv, 40, on(receive, "main.poll", 5)), dispatcher}, 0.6},
		{"a clock", []standing{senders, answers, dispatcher, moving(stack.Sleep, 0, on("time.Sleep", "lib.date", 3))}, 1},

		{"long polls, and a queue that is empty", []standing{request(stack.ChanRecv, 100, on(receive, "main.poll", 5)), dispatcher}, 0},
		{"the same by select", []standing{request(stack.Select, 100, on(choose, "main.poll", 5)), dispatcher}, 0},
		{"the same by a condition", []standing{request(stack.Cond, 100, on(cond, "main.poll", 5)), dispatcher}, 0},
		{"too few", []standing{request(stack.ChanSend, 9, on(send, "main.grind", 84)), dispatcher}, 0},
		{"the receiver is idle", []standing{senders, answers, other(stack.ChanRecv, 1, on(receive, "main.run", 69))}, 0},
		{"who waits for a condition receives nothing", []standing{senders, answers, other(stack.Cond, 1, on(cond, "main.flush", 70))}, 0},
		{"it has not received yet", []standing{senders, answers, other(stack.Cond, 1, on(cond, "main.run", 60))}, 0},
		{"it moves", []standing{senders, answers, moving(stack.Cond, 0, on(cond, "main.run", 70))}, 0},
		{"some get through", []standing{senders, moving(stack.ChanRecv, 1, on(receive, "main.grind", 85)), dispatcher}, 0},
		{"a worker asks a peer", []standing{senders, answers, dispatcher, other(stack.HTTPClient, 1, on("net/http.(*persistConn).roundTrip", "main.ask", 3))}, 0},
		{"a worker sleeps", []standing{senders, answers, dispatcher, other(stack.Sleep, 1, on("time.Sleep", "main.ask", 3))}, 0},
		{"a request has what they wait for, and waits for an event", []standing{senders, request(stack.Select, 1, on(choose, "main.ask", 3)), dispatcher}, 0},
		{"a request asks a peer", []standing{senders, request(stack.NetRead, 1, on("internal/poll.(*FD).Read", "main.ask", 3)), dispatcher}, 0},
		{"the main function waits for the end", []standing{senders, answers, other(stack.WaitGroup, 1, []stack.Frame{{Function: group}, {Function: "shop/app.serve", Line: 25}, {Function: "main.main"}})}, 0},
		{"nothing waits", nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.InDelta(t, tt.share, findBehind(p, tt.list, c, 100).share, 1e-9)
		})
	}
	at := func(name string, line int) stack.Frame {
		return stack.Frame{Function: name, File: "shop.go", Line: line}
	}
	assert.Equal(t, behind{share: 1, members: 1, where: at("main.run", 70), receives: at("main.run", 69), waiter: at("main.grind", 84)},
		findBehind(p, []standing{senders, answers, supervisor, dispatcher}, c, 100), "who receives where they send is asked before others")
	assert.Equal(t, at("shop/app.serve", 25), findBehind(p, []standing{senders, answers, supervisor}, c, 100).where, "unless there is none")
}

// TestFindHungBehind is a pool of workers that ask a peer, which requests hand over to.
func TestFindHungBehind(t *testing.T) {
	p := stack.Program{MainModule: "shop"}
	at := func(name string, line int) stack.Frame {
		return stack.Frame{Function: name, File: "shop.go", Line: line}
	}
	c := newCalls([]bundle.CallSite{
		{Callee: "runtime.selectgo", Function: "shop/pool.do", File: "shop.go", Line: 50, Sends: 1, Receives: 1},
		{Callee: "runtime.selectgo", Function: "shop/pool.do", File: "shop.go", Line: 55, Receives: 2},
		{Callee: "runtime.chanrecv2", Function: "shop/pool.work", File: "shop.go", Line: 36},
		{Callee: "runtime.chanrecv1", Function: "shop/feed.listen", File: "shop.go", Line: 80},
		{Callee: "runtime.chanrecv1", Function: "lib.reader", File: "lib.go", Line: 8},
	})
	stands := func(w stack.Wait, n, requests int64, frames ...stack.Frame) standing {
		return standing{frames: frames, wait: w, goroutines: n, requests: requests, stuck: n, stuckReqs: requests, throughout: n}
	}
	late := func(x standing) standing {
		x.stuck, x.stuckReqs, x.throughout = 0, 0, 0
		return x
	}
	moving := func(x standing) standing {
		x.stuck, x.stuckReqs, x.woken = 0, 0, 5
		return x
	}
	gaveUp := func(x standing) standing {
		x = moving(x)
		x.gaveUp = true
		return x
	}
	choose, roundTrip := stack.Frame{Function: "runtime.selectgo"}, stack.Frame{Function: "net/http.(*persistConn).roundTrip"}
	reads := func(n int64, on ...stack.Frame) standing {
		return stands(stack.NetRead, n, 0, append([]stack.Frame{{Function: "internal/poll.(*FD).Read"}, {Function: "net.(*conn).Read"}}, on...)...)
	}
	queue, joined := stands(stack.Select, 40, 40, choose, at("shop/pool.do", 50)), late(stands(stack.Select, 40, 40, choose, at("shop/pool.do", 50)))
	answers := stands(stack.Select, 20, 20, choose, at("shop/pool.do", 55))
	hung := stands(stack.HTTPClient, 8, 0, roundTrip, at("shop/risk.consult", 17), at("shop/pool.work", 38))
	reader := reads(1, stack.Frame{Function: "lib.reader", File: "lib.go", Line: 9})
	listener := reads(1, at("shop/feed.listen", 81))
	for _, tt := range []struct {
		name  string
		list  []standing
		share float64
	}{
		{"all workers hang", []standing{queue, joined, answers, hung}, 1},
		{"each reads of a connection of its own", []standing{queue, answers, reads(1, at("shop/risk.consult", 17), at("shop/pool.work", 38))}, 0.6},
		{"beside others that listen", []standing{queue, answers, hung, reader, listener}, 0.6},
		{"and an idle one of the same package", []standing{queue, answers, hung, stands(stack.ChanRecv, 1, 0, stack.Frame{Function: "runtime.chanrecv2"}, at("shop/pool.work", 36))}, 0.6},

		{"requests give up after a while", []standing{gaveUp(queue), gaveUp(joined), gaveUp(answers), hung}, 1},

		{"one of them gets answers", []standing{queue, answers, hung, moving(hung)}, 0},
		{"one is at something else", []standing{queue, answers, hung, stands(stack.Sleep, 1, 0, stack.Frame{Function: "time.Sleep"}, at("shop/risk.back", 30), at("shop/pool.work", 38))}, 0},
		{"some get through", []standing{queue, moving(answers), hung}, 0},
		{"nobody hangs", []standing{queue, answers}, 0},
		{"who listens has taken no work", []standing{queue, answers, listener, reader}, 0},
		{"too few", []standing{stands(stack.Select, 9, 9, choose, at("shop/pool.do", 50)), hung}, 0},
		{"long polls", []standing{stands(stack.Select, 99, 99, choose, at("shop/pool.poll", 70)), hung}, 0},
		{"nothing waits", nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.InDelta(t, tt.share, findHungBehind(p, c.choosing(p, tt.list), c, 100).share, 1e-9)
		})
	}
	assert.Equal(t, behind{share: 0.6, members: 8, where: at("shop/risk.consult", 17), receives: at("shop/pool.work", 36), waiter: at("shop/pool.do", 50)},
		findHungBehind(p, c.choosing(p, []standing{queue, answers, hung}), c, 100))
}

func TestStoppedRatio(t *testing.T) {
	const second = int64(1e9)
	w := bundle.Window{StartNS: 3*second + second/2, EndNS: 8*second + second/2}
	seconds := func(inFlight int, ended ...int64) (list []bundle.LoadSecond) {
		for i, n := range ended {
			s := bundle.LoadSecond{StartNS: int64(i) * second, Ended: n, InFlight: inFlight}
			if n > 0 {
				s.LatencyP99 = 0.1
			}
			list = append(list, s)
		}
		return list
	}
	for _, tt := range []struct {
		name string
		load bundle.Load
		want float64
	}{
		{"before the window", bundle.Load{Reached: bundle.LoadReached{InFlightMin: 9}, Seconds: seconds(9, 5, 5, 5, 0, 0, 0, 0, 0, 0)}, 50},
		{"in the window", bundle.Load{Requests: bundle.LoadRequests{Ended: 3}, Seconds: seconds(9, 5, 5, 5, 3, 0, 0, 0, 0, 0)}, 45},
		{"never", bundle.Load{Requests: bundle.LoadRequests{Ended: 25}, Seconds: seconds(9, 5, 5, 5, 5, 5, 5, 5, 5, 5)}, 0},
		{"the last second is not listed", bundle.Load{Requests: bundle.LoadRequests{Ended: 25}, Seconds: seconds(9, 5, 5, 5, 5, 5, 5, 5, 5)}, 0},
		{"a pause", bundle.Load{Requests: bundle.LoadRequests{Ended: 8}, Seconds: seconds(9, 5, 5, 5, 3, 0, 0, 0, 0, 5)}, 0},
		{"what ends after the window is no matter", bundle.Load{Requests: bundle.LoadRequests{Ended: 3}, Seconds: seconds(9, 5, 5, 5, 3, 0, 0, 0, 0, 0, 99)}, 45},
		{"nobody asks any more", bundle.Load{Requests: bundle.LoadRequests{Ended: 3}, Seconds: seconds(0, 5, 5, 5, 3, 0, 0, 0, 0, 0)}, 0},
		{"nobody asked at times", bundle.Load{Seconds: seconds(1, 5, 5, 5, 0, 0, 0, 0, 0, 0)}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := stoppedRatio(&tt.load, w)
			require.NoError(t, err)
			assert.InDelta(t, tt.want, got, 1e-9)
		})
	}
	none := bundle.Load{Reached: bundle.LoadReached{InFlightMin: 9}, Seconds: seconds(9, 0, 0, 0, 0)}
	assert.InDelta(t, 8.5e9, neverEnded(&none, w), 1)
	none.Seconds[1].Ended = 1
	assert.Zero(t, neverEnded(&none, w), "one did")
	assert.Zero(t, neverEnded(&bundle.Load{Seconds: seconds(9, 0, 0, 0, 0)}, w), "none was in flight at times")
	_, err := stoppedRatio(&bundle.Load{Reached: bundle.LoadReached{InFlightMin: 9}, Seconds: seconds(9, 0, 0, 0, 0)}, w)
	assert.ErrorContains(t, err, "no request ended")
}
