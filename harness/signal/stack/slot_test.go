package stack_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/signal/stack"
)

func TestTakesSlot(t *testing.T) {
	p := stack.Program{MainModule: "shop"}
	for name, c := range map[string]struct {
		functions []string
		want      bool
	}{
		"a semaphore":                              {[]string{"runtime.selectgo", "golang.org/x/sync/semaphore.(*Weighted).Acquire", "shop/gate.enter", "main.serve"}, true},
		"one inside a library":                     {[]string{"runtime.selectgo", "golang.org/x/sync/semaphore.(*Weighted).Acquire", "github.com/jackc/puddle/v2.(*Pool[go.shape.*uint8]).Acquire", "main.serve"}, true},
		"a connection of database/sql":             {[]string{"runtime.selectgo", "database/sql.(*DB).conn", "database/sql.(*DB).query", "main.serve"}, true},
		"one that is dialled":                      {[]string{"internal/poll.(*FD).WaitWrite", "net.(*netFD).connect", "github.com/lib/pq.dial", "database/sql.(*DB).conn", "main.serve"}, false},
		"a connection of redigo":                   {[]string{"runtime.chanrecv1", "github.com/gomodule/redigo/redis.(*Pool).waitVacantConn", "github.com/gomodule/redigo/redis.(*Pool).GetContext", "main.serve"}, true},
		"a connection of go-redis":                 {[]string{"runtime.selectgo", "github.com/redis/go-redis/v9/internal/pool.(*ConnPool).waitTurn", "main.serve"}, true},
		"an older go-redis":                        {[]string{"runtime.selectgo", "github.com/go-redis/redis/v8/internal/pool.(*ConnPool).waitTurn", "main.serve"}, true},
		"another's pool of that name":              {[]string{"runtime.selectgo", "example.com/mq/internal/pool.(*ConnPool).waitTurn", "main.serve"}, false},
		"a lock inside the semaphore":              {[]string{"sync.(*Mutex).Lock", "golang.org/x/sync/semaphore.(*Weighted).Acquire", "main.serve"}, false},
		"a rate limit":                             {[]string{"runtime.selectgo", "golang.org/x/time/rate.(*Limiter).wait", "golang.org/x/time/rate.(*Limiter).Wait", "main.serve"}, false},
		"a long poll":                              {[]string{"runtime.selectgo", "main.(*room).next", "main.serve"}, false},
		"a channel of one's own":                   {[]string{"runtime.chansend1", "main.(*gate).enter", "main.serve"}, false},
		"what the program does for one that waits": {[]string{"runtime.chanrecv1", "main.dial", "golang.org/x/sync/semaphore.(*Weighted).Acquire"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var frames []stack.Frame
			for _, f := range c.functions {
				frames = append(frames, stack.Frame{Function: f})
			}
			assert.Equal(t, c.want, p.TakesSlot(frames))
		})
	}
}
