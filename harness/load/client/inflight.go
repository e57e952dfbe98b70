package client

import "sync"

// inFlight counts calls, so that whoever ends them can wait until they have
// returned. A sync.WaitGroup does not allow calls to begin while it is waited for.
type inFlight struct {
	mu     sync.Mutex
	none   *sync.Cond
	n      int
	closed bool
}

func newInFlight() *inFlight {
	f := &inFlight{}
	f.none = sync.NewCond(&f.mu)
	return f
}

// begin is false when no more calls are wanted.
func (f *inFlight) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.n++
	return true
}

func (f *inFlight) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n--
	if f.n == 0 {
		f.none.Broadcast()
	}
}

// wait refuses new calls and returns when none is left.
func (f *inFlight) wait() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for f.n > 0 {
		f.none.Wait()
	}
}
