package main

import (
	"context"
	"sync"
	"time"

	"chokepoint/targets/kit"
)

// seatHolds keeps seats for a request while its fare is worked out. A hold that is
// never given up expires.
type seatHolds struct {
	seats  int
	expiry time.Duration
	flawed bool

	mu    sync.Mutex
	taken map[uint64]struct{} // by number of the hold
	last  uint64
}

func newSeatHolds(o kit.Options) *seatHolds {
	return &seatHolds{seats: o.Int("seats"), expiry: o.Duration("expiry"), flawed: o.Flawed(), taken: map[uint64]struct{}{}}
}

// take holds a seat, until it is given up or expires.
func (h *seatHolds) take() (giveUp func()) {
	h.mu.Lock()
	h.last++
	hold := h.last
	h.taken[hold] = struct{}{}
	h.mu.Unlock()
	release := func() {
		h.mu.Lock()
		delete(h.taken, hold)
		h.mu.Unlock()
	}
	expires := time.AfterFunc(h.expiry, release) // chokepoint:flaw timer-churn
	if h.flawed {
		return release
	}
	return func() {
		expires.Stop()
		release()
	}
}

func (h *seatHolds) quote(_ context.Context, seq uint64) (cents int64, err error) {
	for seat := range h.seats {
		giveUp := h.take()
		cents += listed(seq + uint64(seat))
		giveUp()
	}
	return cents, nil
}

// held is how many seats are held.
func (h *seatHolds) held() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.taken)
}
