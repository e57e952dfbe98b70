package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"chokepoint/targets/kit"
)

// tracker knows where parcels are, and tells those who follow one when it has moved.
type tracker struct {
	mu        sync.Mutex
	followers map[int][]chan string
	moving    []int // parcels that somebody follows
}

func newTracker() *tracker { return &tracker{followers: map[int][]chan string{}} }

// follow is told once when the parcel moves.
func (t *tracker) follow(parcel int) <-chan string {
	c := make(chan string, 1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.followers[parcel]) == 0 {
		t.moving = append(t.moving, parcel)
	}
	t.followers[parcel] = append(t.followers[parcel], c)
	return c
}

// move has one of the parcels that are followed move.
func (t *tracker) move() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.moving) == 0 {
		return
	}
	i := rand.IntN(len(t.moving))
	parcel := t.moving[i]
	t.moving[i] = t.moving[len(t.moving)-1]
	t.moving = t.moving[:len(t.moving)-1]
	for _, c := range t.followers[parcel] {
		c <- "in transit"
	}
	delete(t.followers, parcel)
}

// run has parcels move, so many at each tick that one that is followed moves after
// delay in the mean.
func (t *tracker) run(ctx context.Context, delay time.Duration) {
	const tick = 10 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			t.mu.Lock()
			due := float64(len(t.moving)) * float64(tick) / float64(delay)
			t.mu.Unlock()
			for range int(due + rand.Float64()) {
				t.move()
			}
		case <-ctx.Done():
			return
		}
	}
}

// trackingAPI answers GET /tracking?parcel=N when the parcel has moved.
type trackingAPI struct {
	tracker *tracker
}

func newTrackingAPI(ctx context.Context, o kit.Options) http.Handler {
	api := &trackingAPI{newTracker()}
	go api.tracker.run(ctx, o.Duration("delay"))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /tracking", api.serveTracking)
	return mux
}

func (a *trackingAPI) serveTracking(w http.ResponseWriter, r *http.Request) {
	n, ok := parcel(w, r)
	if !ok {
		return
	}
	select {
	case where := <-a.tracker.follow(n):
		fmt.Fprintf(w, "parcel %d is %s\n", n, where)
	case <-r.Context().Done():
	}
}
