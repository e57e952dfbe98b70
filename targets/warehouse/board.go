package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// board tells of deliveries: whoever asks waits for the next one.
type board struct {
	mu   sync.Mutex
	seen int
	next chan struct{} // closed when a delivery comes
}

// ring announces a delivery every period until ctx ends.
func (b *board) ring(ctx context.Context, period time.Duration) {
	ticks := time.NewTicker(max(period, time.Millisecond))
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			b.mu.Lock()
			b.seen++
			close(b.next)
			b.next = make(chan struct{})
			b.mu.Unlock()
		}
	}
}

// serveNext answers GET /next when the next delivery has come.
func (b *board) serveNext(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	next, n := b.next, b.seen
	b.mu.Unlock()
	select {
	case <-next:
		fmt.Fprintf(w, "delivery %d has come\n", n+1)
	case <-r.Context().Done():
	}
}
