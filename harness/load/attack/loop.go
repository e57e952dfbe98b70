package attack

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// loop sends requests through the meter from goroutines of its own, one for each
// place in flight. It does what vegeta's Attacker does, for a third of the CPU: the
// goroutine that has read a response sends the next request itself, where the
// Attacker passes each over two channels and three goroutines and builds what an
// http.Client wants. Vegeta's Pacer still says when, and its Targets what.
type loop struct {
	meter  *meter
	pacer  vegeta.Pacer
	next   func() (*http.Request, error)
	most   int  // goroutines
	closed bool // a place that becomes free is taken by who has freed it

	workers sync.WaitGroup
	started atomic.Int64
	ready   atomic.Int64 // goroutines that stand ready for a request

	turn  sync.Mutex // held by whoever waits for the pacer
	count uint64     // of the requests that the pacer has let out
	ended bool
	began time.Time
}

// run sends until the pacer or the gate says that the attack is over, and waits
// for the last request.
func (l *loop) run() {
	l.began = time.Now()
	l.grow()
	l.workers.Wait()
}

// grow starts one more goroutine if none stands ready and there may be more, so
// that there are no more than there were ever requests in flight, and one.
func (l *loop) grow() {
	if l.ready.Load() > 0 || l.started.Load() >= int64(l.most) {
		return
	}
	if l.started.Add(1) > int64(l.most) {
		return // another was faster
	}
	l.ready.Add(1)
	l.workers.Go(l.work)
}

// work is a goroutine of the loop. It is counted as ready when it begins.
func (l *loop) work() {
	x := exchange{meter: l.meter}
	gate := l.meter.gate
	for has := false; ; {
		k, ok := l.take()
		switch {
		case has && !ok:
			gate.giveBack(l.meter.rec.Now())
			return
		case !ok:
			return
		case !has:
			x.Free, ok = gate.take()
			l.ready.Add(-1)
			if !ok {
				return
			}
			l.grow()
		}
		freed := l.send(&x, k)
		if has = l.closed && gate.keep(); has {
			x = exchange{meter: l.meter}
			x.Free = freed
			continue
		}
		l.ready.Add(1)
		if !l.closed {
			gate.giveBack(freed)
		}
		x = exchange{meter: l.meter}
	}
}

// take waits until the next request is due and returns its number; false when
// the attack is over.
func (l *loop) take() (k uint64, ok bool) {
	l.turn.Lock()
	defer l.turn.Unlock()
	for !l.ended {
		wait, over := l.pacer.Pace(time.Since(l.began), l.count)
		if over {
			l.ended = true
			break
		}
		if wait <= 0 {
			l.count++
			return l.count - 1, true
		}
		time.Sleep(wait)
	}
	return 0, false
}

// send sends request k, reads its response to the end, and returns when its place
// became free again.
func (l *loop) send(x *exchange, k uint64) (freed int64) {
	req, err := l.next()
	if err != nil {
		x.unsent(k, err)
		return x.freed
	}
	if _, err := x.send(k, req); err == nil {
		x.drain()
	}
	return x.freed
}
