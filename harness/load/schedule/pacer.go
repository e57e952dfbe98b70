package schedule

import (
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// Pacer tells vegeta when the next request may leave. It waits inside Pace rather
// than have vegeta wait, which cannot be interrupted and does not ask again. Vegeta
// calls Pace from one goroutine, and so must others.
type Pacer struct {
	schedule *Schedule // nil: a closed loop
	start    time.Time
	done     <-chan struct{}
	released <-chan struct{} // nil once it has been seen
	timer    *time.Timer
}

var _ vegeta.Pacer = (*Pacer)(nil)

// OpenLoop paces by the schedule's due times, measured from start. That may lie in
// the future, for workers that begin together, and should come from time.Now, so
// that a step of the wall clock does not move it. Closing done ends the attack.
func OpenLoop(s *Schedule, start time.Time, done <-chan struct{}) *Pacer {
	return &Pacer{schedule: s, start: start, done: done, released: s.Released()}
}

// ClosedLoop never waits: what bounds the requests in flight stands elsewhere.
// Closing done ends the attack.
func ClosedLoop(done <-chan struct{}) *Pacer {
	return &Pacer{done: done}
}

// Pace implements vegeta.Pacer: it returns when request number hits is due, at once
// if that has passed, and with true when the attack is to end. Vegeta's elapsed is
// not used: each attack begins its own, and workers share one beginning.
//
// An idle Go process wakes up to a millisecond late, as epoll_wait counts in
// milliseconds; the requests that became due meanwhile then leave together, and the
// delay is part of their lag. Sleeping the last part with nanosleep was tried: at
// 5,000/s it took two to four times the CPU a request, which costs the target more.
func (p *Pacer) Pace(_ time.Duration, hits uint64) (time.Duration, bool) {
	for {
		select {
		case <-p.done:
			return 0, true
		default:
		}
		if p.schedule == nil {
			return 0, false
		}
		due, ok := p.schedule.Due(hits)
		var alarm <-chan time.Time // without one: until something changes
		if ok {
			elapsed := time.Since(p.start)
			if elapsed >= due {
				return 0, false
			}
			alarm = p.after(due, elapsed)
		}
		select {
		case <-p.done:
		case <-p.released:
			p.released = nil
		case <-alarm:
		}
		if p.timer != nil {
			p.timer.Stop()
		}
	}
}

// after sets the one timer to ring when due has come.
func (p *Pacer) after(due, elapsed time.Duration) <-chan time.Time {
	wait := due - elapsed
	if wait < 0 { // more than a time.Duration holds: a start far in the future
		wait = Never
	}
	if p.timer == nil {
		p.timer = time.NewTimer(wait)
	} else {
		p.timer.Reset(wait)
	}
	return p.timer.C
}

// Rate implements vegeta.Pacer: requests a second, 0 where that is not known, as in
// a closed loop. Vegeta's plots alone use it.
func (p *Pacer) Rate(elapsed time.Duration) float64 {
	if p.schedule == nil {
		return 0
	}
	return p.schedule.LevelAt(elapsed)
}
