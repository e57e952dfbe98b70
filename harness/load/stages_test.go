package load

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/clock"
	"chokepoint/harness/load/schedule"
)

// TestStagesShareTheirConnections: 10, 100 and 1,000 in flight in one run. No
// connection is opened but for those that are one more than before, and in flight
// and sockets over time are in the account.
func TestStagesShareTheirConnections(t *testing.T) {
	var accepted atomic.Int64
	s := httptest.NewUnstartedServer(waiting(500 * time.Millisecond))
	s.Config.ConnState = count(&accepted)
	s.Start()
	t.Cleanup(s.Close)
	c := closed(s.URL, 0)
	c.Stages = []schedule.Stage{
		{Level: 10, Hold: 1500 * time.Millisecond},
		{Level: 100, Ramp: 500 * time.Millisecond, Hold: 1500 * time.Millisecond},
		{Level: 1000, Ramp: time.Second, Captured: true},
	}
	g := start(t, c)
	reach(t, g)
	measure(g, 1500*time.Millisecond)
	stop(t, g)
	assert.EqualValues(t, 1000, accepted.Load(), "a connection for each place, kept over all stages")

	sum := summary(t, g)
	assert.Equal(t, 1000, sum.Asked.InFlight)
	assert.LessOrEqual(t, sum.Reached.OpenSocketsMax, 1000)
	require.Len(t, sum.Stages, 3)
	for i, level := range []int{10, 100, 1000} {
		stage := sum.Stages[i]
		assert.Equal(t, level, stage.InFlight)
		assert.Equal(t, i == 2, stage.Captured)
		assert.Positive(t, stage.Ended)
		assert.Positive(t, stage.LatencySeconds.Count)
		assert.Less(t, stage.StartNS, stage.EndNS)
		if i > 0 {
			assert.Equal(t, sum.Stages[i-1].EndNS, stage.StartNS)
		}
	}
	last := 0 // sockets
	for _, second := range sum.Seconds {
		assert.LessOrEqual(t, second.InFlight, 1000)
		assert.GreaterOrEqual(t, second.OpenSockets, last, "connections are kept")
		last = second.OpenSockets
	}
	assert.Equal(t, 1000, last)
	for i, level := range []int{10, 100, 1000} {
		assert.InEpsilon(t, level, inFlightIn(t, sum, i), 0.2, "stage %d", i)
	}
}

// inFlightIn is how many were in flight, on average, in the last second that lies
// wholly in the stage.
func inFlightIn(t *testing.T, l bundle.Load, stage int) int {
	t.Helper()
	s := l.Stages[stage]
	last := -1
	for _, second := range l.Seconds {
		if second.StartNS >= s.StartNS && second.StartNS+int64(time.Second) <= s.EndNS {
			assert.Equal(t, stage, second.Stage)
			last = second.InFlight
		}
	}
	require.NotEqual(t, -1, last, "no second lies in stage %d", stage)
	return last
}

func count(accepted *atomic.Int64) func(_ net.Conn, s http.ConnState) {
	return func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			accepted.Add(1)
		}
	}
}

// TestSpike: the stages behind the captured one follow by the clock from when it
// was reached, up and down again, while the window is open.
func TestSpike(t *testing.T) {
	c := closed(handler(waiting(100*time.Millisecond))(t), 0)
	c.Stages = []schedule.Stage{
		{Level: 20, Hold: time.Second, Captured: true},
		{Level: 200, Hold: 2 * time.Second},
		{Level: 40, Hold: 2500 * time.Millisecond},
	}
	g := start(t, c)
	assert.Zero(t, g.Rest(), "it is not known before the captured stage stands")
	reach(t, g)
	g.BeginWindow(clock.MonoNS())
	assert.Greater(t, g.Rest(), 4*time.Second)
	var stages []int
	peak := map[int]int{}
	for g.Rest() > 0 {
		s := g.Status()
		if len(stages) == 0 || stages[len(stages)-1] != s.Stage {
			stages = append(stages, s.Stage)
		}
		assert.Equal(t, 3, s.Stages)
		peak[s.Stage] = max(peak[s.Stage], s.InFlight)
		time.Sleep(20 * time.Millisecond)
	}
	g.EndWindow(clock.MonoNS())
	stop(t, g)
	assert.Equal(t, []int{0, 1, 2}, stages)
	assert.GreaterOrEqual(t, peak[1], 190, "the spike")
	sum := summary(t, g)
	assert.Equal(t, 200, sum.Reached.InFlightMax)
	for i, level := range []int{20, 200, 40} {
		assert.Equal(t, level, sum.Stages[i].InFlight)
		assert.Positive(t, sum.Stages[i].Ended)
		assert.InEpsilon(t, level, inFlightIn(t, sum, i), 0.2, "stage %d", i)
	}
}

// TestIdleConnectionsStandBesideThoseInFlight.
func TestIdleConnectionsStandBesideThoseInFlight(t *testing.T) {
	var accepted atomic.Int64
	s := httptest.NewUnstartedServer(waiting(20 * time.Millisecond))
	s.Config.ConnState = count(&accepted)
	s.Start()
	t.Cleanup(s.Close)
	for name, workers := range map[string]int{"one worker": 1, "two workers": 2} {
		t.Run(name, func(t *testing.T) {
			accepted.Store(0)
			c := closed(s.URL, 20)
			c.Client.Connections, c.Workers = 101, workers
			g := start(t, c)
			reach(t, g)
			measure(g, time.Second)
			stop(t, g)
			sum := summary(t, g)
			assert.Equal(t, 101, sum.Asked.Connections)
			assert.Equal(t, 101, sum.Reached.OpenSocketsMin)
			assert.Equal(t, 101, sum.Reached.OpenSocketsMax)
			assert.LessOrEqual(t, sum.Reached.InFlightMax, 20)
			assert.EqualValues(t, 101, accepted.Load())
		})
	}
}
