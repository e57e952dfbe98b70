package main

import (
	"context"
	"sync/atomic"
	"time"

	"chokepoint/targets/kit"
)

// follower follows the price of what a request asks for while it negotiates.
type follower struct {
	running context.Context // ends with the service
	tick    time.Duration
	talks   *kit.Dependency
	flawed  bool
	reads   atomic.Int64
}

func newFollower(ctx context.Context, o kit.Options) *follower {
	return &follower{
		running: ctx,
		tick:    o.Duration("tick"),
		talks:   kit.NewDependency(ctx, 50*time.Millisecond),
		flawed:  o.Flawed(),
	}
}

// follow reads a price at every tick until ctx ends.
func (f *follower) follow(ctx context.Context, price *atomic.Int64, seq uint64) {
	ticks := time.NewTicker(max(f.tick, time.Millisecond))
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			price.Store(listed(seq))
			f.reads.Add(1)
		}
	}
}

func (f *follower) quote(ctx context.Context, seq uint64) (int64, error) {
	var price atomic.Int64
	price.Store(listed(seq))
	during, done := context.WithCancel(ctx)
	defer done()
	if f.flawed {
		during = f.running
	}
	go f.follow(during, &price, seq) // chokepoint:flaw goroutine-leak
	if err := f.talks.Call(ctx); err != nil {
		return 0, err
	}
	return price.Load(), nil
}
