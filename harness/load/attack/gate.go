package attack

import "sync"

// gate bounds the requests in flight: each takes a place and gives it back. The
// number of places may change while requests wait and are in flight.
//
// Whoever waits at the gate has its request ready to leave, so that a place
// stands empty for no longer than it takes to wake one goroutine. Vegeta's own
// way from the end of a request to the next leads over its results, its pacer
// and two channels; with nothing but that, hundreds of 10,000 places stood empty
// when responses came in bursts.
type gate struct {
	mu      sync.Mutex
	free    sync.Cond
	places  int
	taken   int
	waiting int
	shut    bool

	// since tells of each free place when it became free, oldest first: a ring
	// that begins at head and has places-taken entries.
	since []int64
	head  int
}

// newGate makes a gate that will never have more than most places; it begins
// with none.
func newGate(most int) *gate {
	g := &gate{since: make([]int64, max(1, most))}
	g.free.L = &g.mu
	return g
}

// take waits for a place and returns when that place had become free. It is
// false when the gate was shut first.
func (g *gate) take() (freeSince int64, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.taken >= g.places && !g.shut {
		g.waiting++
		g.free.Wait()
		g.waiting--
	}
	if g.shut {
		return 0, false
	}
	freeSince = g.since[g.head]
	if g.head++; g.head == len(g.since) {
		g.head = 0
	}
	g.taken++
	return freeSince, true
}

// giveBack frees a place at time now and reports whether someone waits for it.
func (g *gate) giveBack(now int64) (awaited bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.taken--
	if g.taken >= g.places {
		return false // the gate has become narrower
	}
	g.since[(g.head+g.places-g.taken-1)%len(g.since)] = now
	if g.waiting > 0 {
		g.free.Signal()
	}
	return g.waiting > 0
}

// keep leaves the caller the place that it has, for its next request; when it is
// false the place is gone, because the gate has become narrower or was shut.
func (g *gate) keep() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.taken > g.places || g.shut {
		g.taken--
		return false
	}
	return true
}

// resize makes it places at time now. Requests in flight beyond that go on; their
// places vanish as they end. places must not be above the most.
func (g *gate) resize(places int, now int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	places = min(max(places, 0), len(g.since))
	free := max(0, g.places-g.taken)
	g.places = places
	// Fewer: the places that have stood free longest stay.
	for ; free < places-g.taken; free++ {
		g.since[(g.head+free)%len(g.since)] = now
		if g.waiting > 0 {
			g.free.Signal()
		}
	}
}

// shutDown sends all who wait away, now and later.
func (g *gate) shutDown() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	g.free.Broadcast()
}

// full reports whether every place is taken.
func (g *gate) full() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.taken >= g.places
}
