package signal

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

func TestSomebodyReceives(t *testing.T) {
	p := stack.Program{MainModule: "shop"}
	c := newCalls([]bundle.CallSite{
		{Callee: "runtime.chanrecv2", Function: "lib.(*mill).work", File: "mill.go", Line: 20},
		{Callee: "runtime.selectgo", Function: "lib.(*mill).submit", File: "mill.go", Line: 40, Sends: 1, Receives: 1},
		{Callee: "runtime.chanrecv1", Function: "main.main", File: "main.go", Line: 9},
	})
	stands := func(goroutines, requests int64, frames ...stack.Frame) gotrace.Parked {
		return gotrace.Parked{Frames: frames, Goroutines: goroutines, Requests: requests}
	}
	sender := stands(9, 9, stack.Frame{Function: "runtime.selectgo"}, stack.Frame{Function: "lib.(*mill).submit", File: "mill.go", Line: 40})
	for _, tt := range []struct {
		name   string
		parked []gotrace.Parked
		want   bool
		works  bool
	}{
		{"requests alone", []gotrace.Parked{sender}, false, false},
		{"a worker that is idle", []gotrace.Parked{sender, stands(1, 0, stack.Frame{Function: "runtime.chanrecv2"}, stack.Frame{Function: "lib.(*mill).work", Line: 20})}, true, false},
		{"a worker that is held up elsewhere", []gotrace.Parked{sender, stands(1, 0, stack.Frame{Function: "time.Sleep"}, stack.Frame{Function: "main.grind", Line: 3}, stack.Frame{Function: "lib.(*mill).work.func1", Line: 22})}, true, true},
		{"one of another package", []gotrace.Parked{sender, stands(1, 0, stack.Frame{Function: "runtime.chanrecv1"}, stack.Frame{Function: "main.main", Line: 9})}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, c.somebodyReceives(p, "lib", tt.parked))
			assert.Equal(t, tt.works, c.somebodyWorks(p, "lib", tt.parked))
		})
	}
	assert.True(t, c.sends(p, sender.Frames))
	assert.False(t, c.takesSlot(p, sender.Frames), "nothing of the type throws away what it receives")
	assert.False(t, c.somebodyReceives(p, "main", []gotrace.Parked{stands(1, 0, stack.Frame{Function: "runtime.chanrecv1"}, stack.Frame{Function: "main.main", Line: 9})}),
		"the main function waits for the end")
}
