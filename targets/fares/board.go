package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"chokepoint/targets/kit"
)

// board follows the prices of all routes, each in a goroutine of its own from
// start to end of the service, and now and then refreshes all at once. A
// request has a helper of its own, which ends with it.
type board struct {
	prices  []atomic.Int64
	archive *kit.Dependency
}

func newBoard(ctx context.Context, o kit.Options) *board {
	tick := max(o.Duration("tick"), time.Millisecond)
	b := &board{
		prices:  make([]atomic.Int64, max(1, o.Int("routes"))),
		archive: kit.NewDependency(ctx, 400*time.Millisecond),
	}
	for route := range b.prices {
		go b.follow(ctx, route, tick)
	}
	go b.refreshEvery(ctx, 2*tick)
	return b
}

func (b *board) follow(ctx context.Context, route int, tick time.Duration) {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for {
		b.prices[route].Store(listed(uint64(route)))
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

// refreshEvery has every tenth route read from the archive, all at once.
func (b *board) refreshEvery(ctx context.Context, period time.Duration) {
	ticks := time.NewTicker(period)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		var running sync.WaitGroup
		for route := 0; route < len(b.prices); route += 10 {
			running.Add(1)
			go func() { defer running.Done(); b.refresh(ctx, route) }()
		}
		running.Wait()
	}
}

func (b *board) refresh(ctx context.Context, route int) {
	if b.archive.Call(ctx) == nil {
		b.prices[route].Store(listed(uint64(route)))
	}
}

func (b *board) quote(ctx context.Context, seq uint64) (int64, error) {
	noted := make(chan error, 1)
	go func() { noted <- b.archive.Call(ctx) }()
	select {
	case err := <-noted:
		return listed(seq), err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}
