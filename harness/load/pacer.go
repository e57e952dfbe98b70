package load

import (
	"math"
	"sync/atomic"
	"time"
)

// pacer says when the next request may leave. It waits inside Pace rather than
// have vegeta wait, which cannot be interrupted and does not ask again.
type pacer struct {
	inFlight int
	rateHz   float64
	ramp     time.Duration
	done     <-chan struct{} // closed to end the attack
	// ended counts the requests that have ended, for the closed loop's ramp.
	ended *atomic.Uint64
}

// recheck is the longest wait of the closed loop's ramp before it looks again
// whether requests have ended.
const recheck = 5 * time.Millisecond

// Pace implements vegeta.Pacer. Vegeta calls it from one goroutine.
func (p *pacer) Pace(elapsed time.Duration, hits uint64) (time.Duration, bool) {
	began := time.Now().Add(-elapsed)
	for {
		select {
		case <-p.done:
			return 0, true
		default:
		}
		wait := p.wait(time.Since(began), hits)
		if wait <= 0 {
			return 0, false
		}
		timer := time.NewTimer(wait)
		select {
		case <-p.done:
			timer.Stop()
			return 0, true
		case <-timer.C:
		}
	}
}

// wait is how long to wait, at least, before the request after hits others.
func (p *pacer) wait(elapsed time.Duration, hits uint64) time.Duration {
	if p.rateHz > 0 {
		return p.due(hits) - elapsed
	}
	if elapsed >= p.ramp {
		return 0 // the slots are the bound
	}
	// The request that brings n in flight may leave at n/inFlight of the ramp.
	n := float64(hits-p.ended.Load()) + 1
	at := time.Duration(n / float64(p.inFlight) * float64(p.ramp))
	return min(at-elapsed, recheck)
}

// due is when request n, counted from 0, is due in an open loop, measured from
// the beginning. The rate is R t/T until T, the end of the ramp, so that R t²/2T
// requests are due by then; after it, R.
func (p *pacer) due(n uint64) time.Duration {
	inRamp := p.rateHz * p.ramp.Seconds() / 2
	var seconds float64
	if float64(n) < inRamp {
		seconds = math.Sqrt(2 * float64(n) * p.ramp.Seconds() / p.rateHz)
	} else {
		seconds = p.ramp.Seconds() + (float64(n)-inRamp)/p.rateHz
	}
	return time.Duration(seconds * float64(time.Second))
}

// Rate implements vegeta.Pacer; vegeta's plots alone use it.
func (p *pacer) Rate(elapsed time.Duration) float64 {
	if p.ramp == 0 || elapsed >= p.ramp {
		return p.rateHz
	}
	return p.rateHz * float64(elapsed) / float64(p.ramp)
}
