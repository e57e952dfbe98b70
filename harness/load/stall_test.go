package load

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/clock"
	"chokepoint/harness/load/client"
	"chokepoint/harness/load/request"
	"chokepoint/harness/load/schedule"
)

// staller is a server that can stop for a while. It keeps a log of when it
// answered which request.
type staller struct {
	stalled sync.RWMutex // written by a stall, read by each request

	mu       sync.Mutex
	answered map[uint64]int64 // CLOCK_MONOTONIC, by {seq}
}

func (s *staller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.stalled.RLock()
	defer s.stalled.RUnlock()
	n, err := strconv.ParseUint(r.URL.Query().Get("n"), 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprint(w, "done")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered[n] = clock.MonoNS()
}

// stall stops the server for so long.
func (s *staller) stall(d time.Duration) {
	s.stalled.Lock()
	defer s.stalled.Unlock()
	time.Sleep(d)
}

// waits are how long after it was due each request was answered that was
// answered in the window, in seconds, least first. Request n is due n/rate after
// the beginning: nothing that the generator measured is in it.
func (s *staller) waits(began int64, rate float64, from, to int64) []float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []float64
	for n, at := range s.answered {
		if at >= from && at < to {
			due := began + int64(float64(n)/rate*1e9)
			out = append(out, time.Duration(at-due).Seconds())
		}
	}
	slices.Sort(out)
	return out
}

// TestStallIsInTheCorrectedLatency: 500 requests a second are due, 20 may be in
// flight, and the server stops for two seconds. Twenty requests then take two
// seconds, but a thousand users wait, the first of them for two seconds and
// each later one for a five-hundredth less. A generator that counts from when it
// sent says that all was well.
func TestStallIsInTheCorrectedLatency(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it takes six seconds each")
	}
	const (
		rate   = 500.0
		places = 20
		stall  = 2 * time.Second
	)
	for name, change := range map[string]func(*Config){
		"lean":          func(*Config) {},
		"net/http":      func(c *Config) { c.Client.Engine = client.EngineNetHTTP },
		"three workers": func(c *Config) { c.Workers = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			server := &staller{answered: map[uint64]int64{}}
			target := httptest.NewServer(server)
			t.Cleanup(target.Close)
			c := closed(target.URL, 0).sending(request.Template{Path: "/?n={seq}"})
			c.Open, c.AtMost = true, places
			c.Stages = []schedule.Stage{{Level: rate, Captured: true}}
			change(&c)
			g := start(t, c)
			reach(t, g)

			from := clock.MonoNS()
			g.BeginWindow(from)
			time.Sleep(time.Second)
			server.stall(stall)
			time.Sleep(2500 * time.Millisecond)
			to := clock.MonoNS()
			g.EndWindow(to)
			stop(t, g)

			sum := summary(t, g)
			truth := server.waits(g.atNS, rate, from, to)
			n := len(truth)
			require.Greater(t, n, int(rate))
			assert.InEpsilon(t, n, sum.Requests.Ended, 0.1, "client and server saw the same requests")
			assert.LessOrEqual(t, sum.Reached.InFlightMax, places)
			p99 := truth[int(math.Ceil(0.99*float64(n)))-1]

			// Where 500/s are more than the machine can do, what is still due at the end
			// of the window is neither in the log nor in the account.
			if asked := rate * time.Duration(to-from).Seconds(); float64(n) < 0.97*asked {
				t.Skipf("this machine is too busy: %d of %.0f requests that were due in the window were answered in it", n, asked)
			}
			// The server's log against the closed form: of n requests one in a hundred
			// waits longer than the p99, and they are the first of the stall. A busy
			// machine adds to that and takes nothing from it.
			assert.GreaterOrEqual(t, p99, 0.95*(stall.Seconds()-0.01*float64(n)/rate), "the server stalled as it should")

			t.Logf("p99 of %d requests: truth %.3f s, corrected %.3f s, service %.3f s", n, p99, sum.CorrectedSeconds.P99, sum.LatencySeconds.P99)
			assert.InEpsilon(t, p99, sum.CorrectedSeconds.P99, 0.05)
			assert.InEpsilon(t, mean(truth), sum.CorrectedSeconds.Mean, 0.05)
			assert.InEpsilon(t, truth[n-1], sum.CorrectedSeconds.Max, 0.05)
			require.Len(t, sum.Stages, 1)
			assert.Greater(t, sum.Stages[0].CorrectedSeconds.P99, p99/2, "the stage says it too")
			worst := 0.0
			for _, s := range sum.Seconds {
				worst = max(worst, s.CorrectedP99)
			}
			assert.GreaterOrEqual(t, worst, 0.95*p99, "and so do the seconds")

			// Had corrected latency been service time, all of this would have failed.
			assert.Less(t, sum.LatencySeconds.P99, p99/2, "counted from when requests were sent the stall is not in p99")
			assert.Equal(t, sum.LatencySeconds.Count, sum.CorrectedSeconds.Count)
		})
	}
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}
