package http1

import "context"

// waiter is a request that waits for a connection because there may be no more.
type waiter struct {
	ready    chan grant // has room for the one answer
	due      int64
	answered bool // guarded by Transport.mu
}

// grant is what a waiter gets: a connection that is its own already, an error,
// or neither: then it may open a connection, whose place is counted, and which
// is work that Close waits for.
type grant struct {
	c   *conn
	err error
}

// answer gives w its answer if it has none. Transport.mu is held.
func (w *waiter) answer(g grant) {
	if !w.answered {
		w.answered = true
		w.ready <- g
	}
}

// nextWaiter takes the next one off the queue, and counts it as answered; nil
// when there is none. t.mu is held.
func (t *Transport) nextWaiter() *waiter {
	for len(t.waiting) > 0 {
		w := t.waiting[0]
		t.waiting[0] = nil
		t.waiting = t.waiting[1:]
		if !w.answered {
			w.answered = true
			return w
		}
	}
	return nil
}

// free is called when there may be room for one connection more.
func (t *Transport) free() {
	t.mu.Lock()
	if !t.closed && t.open < t.opt.MaxConns {
		if w := t.nextWaiter(); w != nil {
			t.open++
			t.work.Add(1)
			w.ready <- grant{}
		}
	}
	keep := t.keep > t.open
	t.mu.Unlock()
	if keep {
		t.wakeKeeper()
	}
}

// wait waits for w's answer.
func (t *Transport) wait(ctx context.Context, w *waiter) (*conn, error) {
	var g grant
	select {
	case g = <-w.ready:
	case <-ctx.Done():
		t.mu.Lock()
		w.answer(grant{err: context.Cause(ctx)})
		t.mu.Unlock()
		g = <-w.ready
	}
	switch {
	case g.err != nil:
		return nil, &Error{Phase: PhaseWait, Err: g.err}
	case g.c != nil:
		return g.c, nil
	}
	return t.dial(ctx, w.due)
}
