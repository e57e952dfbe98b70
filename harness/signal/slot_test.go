package signal

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/stack"
)

func TestTakesSlot(t *testing.T) {
	p := stack.Program{MainModule: "shop"}
	discards := func(callee, function string) bundle.CallSite {
		return bundle.CallSite{Callee: callee, Function: function, File: "shop.go", Line: 90, Discards: true}
	}
	chooses := func(function string, line, sends int) bundle.CallSite {
		return bundle.CallSite{Callee: "runtime.selectgo", Function: function, File: "shop.go", Line: line, Sends: sends, Receives: 1}
	}
	const send, choose, receive = "runtime.chansend1", "runtime.selectgo", "runtime.chanrecv1"
	c := newCalls([]bundle.CallSite{
		discards(receive, "main.serve.func1"),
		discards("runtime.selectnbrecv", "lib.(*pool).release"),
		discards(receive, "main.main.func2"),
		{Callee: receive, Function: "main.(*mill).work", File: "shop.go", Line: 80},
		chooses("lib.(*pool).acquire", 10, 1), chooses("lib.(*pool).acquire", 20, 0), chooses("main.(*mill).submit", 30, 1),
	})
	for _, tt := range []struct {
		name     string
		above    string
		function string
		line     int
		want     bool
	}{
		{"a handler that lets go in a closure", send, "main.serve", 5, true},
		{"a pool of a library, with a deadline", choose, "lib.(*pool).acquire", 10, true},
		{"a method of the value", choose, "lib.pool.acquire", 10, false},
		{"a select that only receives", choose, "lib.(*pool).acquire", 20, false},
		{"it waits for something to come", receive, "lib.(*pool).acquire", 10, false},
		{"work, which somebody has a use for", choose, "main.(*mill).submit", 30, false},
		{"another function of the package throws something away", send, "main.post", 5, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			frames := []stack.Frame{{Function: tt.above}, {Function: tt.function, File: "shop.go", Line: tt.line}, {Function: "main.handle", File: "shop.go", Line: 60}}
			assert.Equal(t, tt.want, c.takesSlot(p, frames))
		})
	}
	assert.False(t, c.takesSlot(p, []stack.Frame{{Function: send}}))
	assert.False(t, newCalls(nil).takesSlot(p, []stack.Frame{{Function: send}, {Function: "main.serve", Line: 5}}))

	assert.Equal(t, "main.pool", typeOf("main.(*pool).release"))
	assert.Equal(t, "main.pool", typeOf("main.pool.release"))
	assert.Equal(t, "gopkg.in/pool%2ev1.Pool", typeOf("gopkg.in/pool%2ev1.(*Pool).release"))
	assert.Empty(t, typeOf("main.release"))
	assert.Empty(t, typeOf("example.com/a/b.release"))
}
