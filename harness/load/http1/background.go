package http1

import (
	"context"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// A sweep comes once a twentieth of the time limit, so that a request is at
	// most 5% late; but not so often, nor so rarely.
	sweepShare = 20
	sweepLeast = 25 * time.Millisecond
	sweepMost  = time.Second
	// idleLook is how often idle connections are looked at.
	idleLook = time.Second
	// idleBatch are looked at while the lock is held: some 20 µs.
	idleBatch = 64

	// keepDials is how many connections Keep opens at a time: more than the
	// network needs, and fewer than a listener's backlog holds.
	keepDials = 64
	keepPause = 25 * time.Millisecond // doubles with each dial that fails
	keepLong  = 2 * time.Second       // up to this
)

// sweep ends the requests that are due, and drops idle connections that the
// peer has closed, until Close.
func (t *Transport) sweep() {
	defer t.work.Done()
	tick := time.NewTicker(min(max(t.opt.Timeout/sweepShare, sweepLeast), sweepMost))
	defer tick.Stop()
	looked := t.now()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-tick.C:
		}
		t.endDue()
		if now := t.now(); now-looked >= int64(idleLook) {
			looked = now
			t.dropStale()
		}
	}
}

// endDue ends the requests whose time is over.
func (t *Transport) endDue() {
	type late struct {
		c   *conn
		due int64
	}
	var over []late
	now := t.now()
	t.mu.Lock()
	for _, c := range t.conns {
		if due := c.due.Load(); due > 0 && due <= now {
			over = append(over, late{c, due})
		}
	}
	for _, w := range t.waiting {
		if w.due <= now {
			w.answer(grant{err: ErrTimeout})
		}
	}
	for len(t.waiting) > 0 && t.waiting[0].answered {
		t.waiting = t.waiting[1:]
	}
	t.mu.Unlock()
	for _, l := range over {
		l.c.hangUpOne(l.due, endTimeout)
	}
}

// dropStale closes idle connections that the peer has closed, the longest idle
// first. It lets go of the lock in between; what moves meanwhile is seen next time.
func (t *Transport) dropStale() {
	for from := 0; ; {
		var gone []*conn
		t.mu.Lock()
		to := min(from+idleBatch, len(t.idle))
		for i := to - 1; i >= from; i-- {
			if c := t.idle[i]; c.stale() {
				gone = append(gone, c)
				t.idle = slices.Delete(t.idle, i, i+1)
			}
		}
		done := to >= len(t.idle)+len(gone)
		from = to - len(gone)
		t.mu.Unlock()
		for _, c := range gone {
			c.hangUp(endDropped)
		}
		if done {
			return
		}
	}
}

// Keep has at least n connections open from now on, idle ones included: what is
// missing is opened in the background, also in place of what the peer closes.
// More than Options.MaxConns are not opened.
func (t *Transport) Keep(n int) {
	t.mu.Lock()
	first := t.keep == 0 && n > 0 && !t.keeping && !t.closed
	if first {
		t.keeping = true
		t.work.Add(1)
	}
	t.keep = min(n, t.opt.MaxConns)
	t.mu.Unlock()
	if first {
		go t.keeper()
	}
	t.wakeKeeper()
}

func (t *Transport) wakeKeeper() {
	select {
	case t.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// keeper opens the connections that are missing, until Close.
func (t *Transport) keeper() {
	defer t.work.Done()
	dials := make(chan struct{}, keepDials)
	var failures atomic.Int32 // since the last success
	for {
		for t.reserve() {
			select {
			case dials <- struct{}{}:
			case <-t.ctx.Done():
				t.unreserve()
				return
			}
			go func() {
				defer t.work.Done()
				defer func() { <-dials }()
				if t.keepOne() {
					failures.Store(0)
				} else {
					failures.Add(1)
				}
			}()
			if n := failures.Load(); n > 0 && !t.sleep(min(keepPause<<min(n, 10), keepLong)) {
				return
			}
		}
		select {
		case <-t.ctx.Done():
			return
		case <-t.wake:
		}
	}
}

// reserve counts the place of a connection that is missing, and the work of
// opening it.
func (t *Transport) reserve() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.open >= t.keep {
		return false
	}
	t.open++
	t.work.Add(1)
	return true
}

func (t *Transport) unreserve() {
	t.mu.Lock()
	t.open--
	t.mu.Unlock()
	t.work.Done()
}

// keepOne opens a connection whose place is counted.
func (t *Transport) keepOne() bool {
	ctx, cancel := context.WithTimeout(t.ctx, t.opt.Timeout)
	defer cancel()
	c, err := t.connect(ctx, 0)
	if err != nil {
		return false
	}
	t.putIdle(c)
	return true
}

// sleep is false when the Transport was closed meanwhile.
func (t *Transport) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-t.ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
