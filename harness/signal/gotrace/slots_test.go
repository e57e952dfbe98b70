package gotrace

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/internal/testtrace"
	"chokepoint/harness/signal/stack"
)

// turns are slots that are passed on without a pause, each from its own moment on, as
// far as a trace of that length has both ends of a turn.
func turnsOf(slots int, length int64, holds ...int64) *tenure {
	e := &tenure{}
	for i := range slots {
		now := -holds[0] * int64(i) / int64(slots)
		for n := i; now < length; n++ {
			h := holds[n%len(holds)]
			if now >= 0 && now+h < length {
				e.add(&turn{since: now}, stack.Frame{}, now+h)
			}
			now += h
		}
	}
	return e
}

func TestSlots(t *testing.T) {
	const ms = int64(time.Millisecond)
	for name, tt := range map[string]struct {
		slots int
		holds []int64
		known bool
	}{
		"one, held shortly":              {1, []int64{2 * ms}, true},
		"held for a tenth of the trace":  {8, []int64{100 * ms}, true},
		"held for a third":               {12, []int64{330 * ms}, true},
		"held for shorter and longer":    {9, []int64{5 * ms, 40 * ms, 200 * ms}, true},
		"held for more than half of it":  {8, []int64{600 * ms}, false},
		"mostly briefly, and often long": {8, []int64{1 * ms, 700 * ms, 1 * ms}, false},
		"held for longer than the trace": {8, []int64{1200 * ms}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := turnsOf(tt.slots, 1000*ms, tt.holds...).slots(1000 * ms)
			if !tt.known {
				assert.Zero(t, got)
				return
			}
			assert.InEpsilon(t, tt.slots, got, 0.1)
		})
	}
}

func TestFollowedShare(t *testing.T) {
	assert.Zero(t, Queue{}.FollowedShare())
	assert.Equal(t, 1.0, Queue{Ended: 104, Holds: 100, Slots: 4}.FollowedShare())
	assert.Equal(t, 0.5, Queue{Ended: 100, Holds: 48, Slots: 2}.FollowedShare(), "half found nobody who waited")
	assert.Equal(t, 1.0, Queue{Ended: 3, Holds: 3, Slots: 2}.FollowedShare())
}

// Those that have waited since before the trace wait at a line that is not known, and
// have what they get for as long as others.
func TestSlotsOfWaitsFromBeforeTheTrace(t *testing.T) {
	const slots, crowd = 4, 80
	tokens := make(chan struct{}, slots)
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		tokens <- struct{}{}
		defer func() { <-tokens }()
		time.Sleep(10 * time.Millisecond)
	}))
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: crowd}}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range crowd {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					get(t, client, srv.URL)
				}
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	s := read(t, testtrace.Record(t, func() { time.Sleep(400 * time.Millisecond) }))
	close(stop)
	wg.Wait()
	q := longestQueue(s, Bounded)
	require.NotZero(t, q.Holds, "%+v", s.Queues)
	assert.InDelta(t, slots, q.Slots, 0.1*slots)
	assert.Greater(t, q.FollowedShare(), 0.9)

	var known int64
	for _, w := range q.Waiters {
		known += w.NS
	}
	assert.Less(t, known, int64(0.9*float64(crowd)*float64(s.DurationNS())), "else the trace told of all waits")
}
