package schedule

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// The clock of these tests is synctest's, which moves only when all wait: times are
// exact, and nothing here depends on the machine.

func TestPacerWaitsUntilDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t, Stage{Level: 100, Ramp: sec, Captured: true})
		start := time.Now().Add(3 * sec) // workers are told of a common start ahead of it
		p := OpenLoop(s, start, nil)
		for n := range uint64(200) {
			wait, stop := p.Pace(time.Hour, n) // vegeta's elapsed is another clock
			require.False(t, stop)
			require.Zero(t, wait)
			due, _ := s.Due(n)
			require.Equal(t, due, time.Since(start), "request %d", n)
		}
	})
}

func TestPacerCatchesUpAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t, Stage{Level: 500, Captured: true})
		start := time.Now()
		p := OpenLoop(s, start, nil)
		time.Sleep(2 * sec) // a stall
		for n := range uint64(1001) {
			_, stop := p.Pace(0, n)
			require.False(t, stop)
		}
		assert.Equal(t, 2*sec, time.Since(start), "1001 requests were overdue")
		p.Pace(0, 1001)
		assert.Equal(t, 2*sec+2*ms, time.Since(start), "the stall moves no due time")
	})
}

func TestPacerWakesAtRelease(t *testing.T) {
	tests := map[string]struct {
		captured float64
		after    float64
		want     time.Duration // when request 1 leaves
	}{
		"from never to due":   {captured: 0, after: 1, want: 6 * sec},
		"from late to sooner": {captured: 0.01, after: 1, want: 5*sec + 950*ms},
		"from soon to later":  {captured: 0.1, after: 0.05, want: 15 * sec},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := mustNew(t, Stage{Level: tc.captured, Captured: true}, Stage{Level: tc.after})
				start := time.Now()
				p := OpenLoop(s, start, nil)
				time.AfterFunc(4*sec, func() { s.Release(5 * sec) })
				for n := range uint64(2) {
					_, stop := p.Pace(0, n)
					require.False(t, stop)
				}
				assert.Equal(t, tc.want, time.Since(start))
			})
		})
	}
}

func TestPacerEndsOnDone(t *testing.T) {
	tests := map[string]struct {
		level    float64
		released bool
		inAYear  bool // start
		hits     uint64
	}{
		"waiting for a request":     {level: 1, hits: 100},
		"waiting for the start":     {level: 1, inAYear: true},
		"waiting for nothing":       {level: 0},
		"nothing, and no way out":   {level: 0, released: true},
		"beyond what the clock has": {level: 1, hits: 1 << 63},
		"the longest wait there is": {level: 1, hits: 9_200_000_000, inAYear: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := mustNew(t, Stage{Level: tc.level, Captured: true})
				if tc.released {
					s.Release(0)
				}
				done := make(chan struct{})
				began := time.Now()
				start := began
				if tc.inAYear {
					start = start.Add(365 * 24 * time.Hour)
				}
				p := OpenLoop(s, start, done)
				time.AfterFunc(10*sec, func() { close(done) })
				_, stop := p.Pace(0, tc.hits)
				assert.True(t, stop)
				assert.Equal(t, 10*sec, time.Since(began))
				_, stop = p.Pace(0, 0)
				assert.True(t, stop, "done comes before what is overdue")
			})
		})
	}
}

func TestClosedLoopNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		p := ClosedLoop(done)
		began := time.Now()
		for n := range uint64(1000) {
			wait, stop := p.Pace(0, n)
			require.False(t, stop)
			require.Zero(t, wait)
		}
		assert.Zero(t, time.Since(began))
		assert.Zero(t, p.Rate(sec))
		close(done)
		_, stop := p.Pace(0, 1000)
		assert.True(t, stop)
	})
}

// answer is a server that takes a while.
type answer func()

func (a answer) RoundTrip(r *http.Request) (*http.Response, error) {
	a()
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
}

// TestThreeAttacksSendWhatOneWould drives vegeta's own attacks.
func TestThreeAttacksSendWhatOneWould(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t, Stage{Level: 200, Ramp: sec, Captured: true}, Stage{Level: 10, Ramp: sec})
		s.Release(1500 * ms)
		start := time.Now().Add(sec)
		done := make(chan struct{})
		time.AfterFunc(4*sec-1, func() { close(done) }) // 3 s after the start
		var mu sync.Mutex
		var sent []time.Duration
		client := &http.Client{Transport: answer(func() {
			mu.Lock()
			sent = append(sent, time.Since(start))
			mu.Unlock()
			time.Sleep(700 * ms)
		})}
		targets := vegeta.NewStaticTargeter(vegeta.Target{Method: http.MethodGet, URL: "http://127.0.0.1/"})
		var attacks sync.WaitGroup
		for i := range 3 {
			p := OpenLoop(mustShard(t, s, i, 3), start, done)
			attacks.Go(func() {
				attacker := vegeta.NewAttacker(vegeta.Client(client), vegeta.Workers(1))
				for range attacker.Attack(targets, p, 0, "") {
				}
			})
		}
		attacks.Wait()
		want := make([]time.Duration, s.DueBefore(3*sec-1))
		for n := range want {
			want[n], _ = s.Due(uint64(n))
		}
		require.Len(t, want, 100+100+105+5) // 0.5 s of the last second is the hold's
		assert.Equal(t, want, sent)
	})
}

// BenchmarkLag tells how late requests leave if nothing but the timers of the
// runtime and the operating system holds them up.
func BenchmarkLag(b *testing.B) {
	s := mustNew(b, Stage{Level: 5000, Captured: true})
	start := time.Now()
	p := OpenLoop(s, start, nil)
	var lags []time.Duration
	for n := uint64(0); b.Loop(); n++ {
		p.Pace(0, n)
		due, _ := s.Due(n)
		lags = append(lags, time.Since(start)-due)
	}
	slices.Sort(lags)
	b.ReportMetric(float64(lags[len(lags)/2].Microseconds()), "p50-µs-late")
	b.ReportMetric(float64(lags[len(lags)*99/100].Microseconds()), "p99-µs-late")
}
