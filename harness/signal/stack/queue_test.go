package stack_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/signal/stack"
)

func TestActOf(t *testing.T) {
	p := stack.Program{MainModule: "shop"}
	for name, c := range map[string]struct {
		functions []string
		want      stack.Act
	}{
		"a receive":                    {[]string{"runtime.chanrecv1", "shop/gate.leave", "main.serve"}, stack.Takes},
		"a receive of two values":      {[]string{"runtime.chanrecv2", "main.run"}, stack.Takes},
		"a send":                       {[]string{"runtime.chansend1", "main.(*pool).put"}, stack.Gives},
		"a select":                     {[]string{"runtime.selectgo", "main.run"}, stack.Chooses},
		"a select that may go on":      {[]string{"runtime.selectnbsend", "main.run"}, stack.Chooses},
		"a close":                      {[]string{"main.(*batch).finish", "main.commit"}, stack.Closes},
		"a close of a library":         {[]string{"golang.org/x/sync/semaphore.(*Weighted).notifyWaiters", "golang.org/x/sync/semaphore.(*Weighted).Release", "main.scale"}, stack.Closes},
		"a signal":                     {[]string{"sync.(*Cond).Signal", "main.(*store).put"}, stack.Signals},
		"a broadcast":                  {[]string{"sync.(*Cond).Broadcast", "main.(*store).put"}, stack.Signals},
		"a connection of database/sql": {[]string{"runtime.chansend1", "database/sql.(*DB).putConnDBLocked", "database/sql.(*DB).putConn", "database/sql.(*Rows).Close", "main.read"}, stack.Lends},
		"a connection of net/http":     {[]string{"net/http.(*wantConn).tryDeliver", "net/http.(*Transport).tryPutIdleConn", "net/http.(*persistConn).readLoop.func2"}, stack.Lends},
		"a context that is cancelled":  {[]string{"context.(*cancelCtx).cancel", "context.WithCancel.func1", "main.serve"}, stack.GivesUp},
		"the last of a group":          {[]string{"sync.(*WaitGroup).Add", "sync.(*WaitGroup).Done", "main.work"}, stack.Finishes},
		"an unlock":                    {[]string{"sync.(*Mutex).Unlock", "main.serve"}, stack.NoAct},
		"a timer":                      {nil, stack.NoAct},
		"only what the program calls":  {[]string{"sync.(*Mutex).Unlock", "main.f", "runtime.chanrecv1"}, stack.NoAct},
	} {
		t.Run(name, func(t *testing.T) {
			var frames []stack.Frame
			for _, f := range c.functions {
				frames = append(frames, stack.Frame{Function: f})
			}
			assert.Equal(t, c.want, p.ActOf(frames))
		})
	}
}

func TestWaitsForATurn(t *testing.T) {
	for _, w := range []stack.Wait{stack.ChanRecv, stack.ChanSend, stack.Select, stack.Cond, stack.DBConn} {
		assert.True(t, w.Queues(), w)
	}
	for _, w := range []stack.Wait{stack.Lock, stack.Sleep, stack.NetRead, stack.HTTPClient, stack.WaitGroup, stack.Runtime, stack.Other, stack.Assist} {
		assert.False(t, w.Queues(), w)
	}
}
