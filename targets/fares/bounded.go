package main

import (
	"context"
	"time"

	"chokepoint/targets/kit"
)

// bounded gives each request one deadline, and a retry timer that it stops.
type bounded struct{ ledger *kit.Dependency }

func newBounded(ctx context.Context, o kit.Options) *bounded {
	return &bounded{ledger: kit.NewDependency(ctx, o.Duration("answer"))}
}

func (b *bounded) quote(ctx context.Context, seq uint64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	retry := time.AfterFunc(10*time.Second, cancel)
	defer retry.Stop()
	if err := b.ledger.Call(ctx); err != nil {
		return 0, err
	}
	return listed(seq), nil
}
