package signal

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/stack"
)

func TestFindOrphans(t *testing.T) {
	p := stack.Program{MainModule: "shop"}
	frames := func(above, name string, line int) []stack.Frame {
		return []stack.Frame{{Function: above}, {Function: name, File: "shop.go", Line: line}}
	}
	c := newCalls([]bundle.CallSite{
		{Callee: "sync.(*Mutex).Lock", Function: "main.fill", File: "shop.go", Line: 10}, {Callee: "sync.(*Mutex).Unlock", Function: "main.fill.deferwrap1", File: "shop.go", Line: 11},
	})
	request := func(w stack.Wait, n int64, f []stack.Frame) standing {
		return standing{frames: f, wait: w, goroutines: n, requests: n, stuck: n, stuckReqs: n}
	}
	other := func(w stack.Wait, n int64, f []stack.Frame) standing {
		return standing{frames: f, wait: w, goroutines: n, stuck: n}
	}
	group := request(stack.WaitGroup, 100, frames("sync.(*WaitGroup).Wait", "main.price", 47))
	signals := other(stack.Select, 1, frames("runtime.selectgo", "main.main", 90))
	accept := other(stack.NetAccept, 1, frames("internal/poll.(*FD).Accept", "main.serve", 80))
	moving := group
	moving.stuck, moving.stuckReqs = 99, 99
	for _, tt := range []struct {
		name  string
		list  []standing
		share float64
	}{
		{"who should call Done has gone", []standing{group, signals, accept}, 1},
		{"nobody receives", []standing{request(stack.ChanSend, 98, frames("runtime.chansend1", "main.put", 5)), signals}, 0.98},
		{"nobody has the lock", []standing{request(stack.Lock, 100, frames("sync.(*Mutex).Lock", "main.fill", 10)), signals}, 1},
		{"too few", []standing{request(stack.WaitGroup, 9, frames("sync.(*WaitGroup).Wait", "main.price", 47))}, 0},
		{"one moved", []standing{moving, signals}, 0},
		{"the maker waits for a peer", []standing{group, other(stack.HTTPClient, 1, frames("net/http.(*persistConn).roundTrip", "main.ask", 3))}, 0},
		{"the maker sleeps", []standing{group, request(stack.Sleep, 1, frames("time.Sleep", "main.ask", 3))}, 0},
		{"the maker waits for an event", []standing{group, request(stack.ChanRecv, 1, frames("runtime.chanrecv1", "main.ask", 3))}, 0},
		{"a worker without work", []standing{group, other(stack.Select, 1, frames("runtime.selectgo", "main.work", 3))}, 1},
		{"one that sees to the end of the program", []standing{group, other(stack.ChanRecv, 1, frames("runtime.chanrecv1", "main.main.func3", 9))}, 1},
		{"a worker in the middle of its work", []standing{group, other(stack.Select, 1, append(frames("runtime.selectgo", "main.ask", 3), stack.Frame{Function: "main.work", File: "shop.go", Line: 9}))}, 0},
		{"one holds the lock and waits for others", []standing{group, request(stack.WaitGroup, 1, frames("sync.(*WaitGroup).Wait", "main.fill", 14))}, 0},
		{"long polls", []standing{request(stack.ChanRecv, 100, frames("runtime.chanrecv1", "main.poll", 3))}, 0},
		{"hubs", []standing{request(stack.Select, 100, frames("runtime.selectgo", "main.poll", 3))}, 0},
		{"waiting for items", []standing{request(stack.Cond, 100, frames("sync.(*Cond).Wait", "main.next", 3))}, 0},
		{"nothing waits", nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := findOrphans(p, tt.list, c, 100)
			assert.InDelta(t, tt.share, o.share, 1e-9)
		})
	}
	assert.Equal(t, stack.Frame{Function: "main.price", File: "shop.go", Line: 47}, findOrphans(p, []standing{group, signals}, c, 100).where)
}
