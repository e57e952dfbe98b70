package signal

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// Where a library's goroutine is queued for, the program's line that waits is asked for.
func TestAsksLibrary(t *testing.T) {
	own, other, waits := frameAt("shop/shelf.(*Shelf).take", 70), frameAt("lib/cache.(*Cache).worker", 199), frameAt("lib/cache.(*Cache).promote", 170)
	for name, tt := range map[string]struct {
		serve, waiter stack.Frame
		waited        int64
		want          stack.Frame
	}{
		"a library's worker":                 {other, own, 9, own},
		"the program's":                      {frameAt("shop/feed.(*Feed).Run", 16), own, 9, stack.Frame{}},
		"a library that waits for itself":    {other, waits, 9, stack.Frame{}},
		"nobody waits":                       {other, own, 0, stack.Frame{}},
		"a closure of a function of its own": {other, frameAt("shop/shelf.(*Shelf).take.func1", 71), 9, frameAt("shop/shelf.(*Shelf).take", 71)},
	} {
		t.Run(name, func(t *testing.T) {
			pick := func(*evidence) (queued, error) {
				return queued{queue: gotrace.Queue{Serve: tt.serve, Waiters: []gotrace.WaitTime{{Where: tt.waiter}}}, waited: tt.waited}, nil
			}
			e := &evidence{program: stack.Program{MainModule: "shop"}}
			assert.Equal(t, tt.want, placeOf(t, e, asksLibrary(pick)))
		})
	}
}
