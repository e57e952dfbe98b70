package main

import (
	"context"
	"time"

	"chokepoint/targets/kit"
)

// supplierDesk asks a supplier for its fare and falls back on the desk's own
// when that takes too long.
type supplierDesk struct {
	prompt, late *kit.Dependency
	patience     time.Duration
	room         int // for answers that nobody waits for any more
}

func newSupplierDesk(ctx context.Context, o kit.Options) *supplierDesk {
	d := &supplierDesk{
		prompt:   kit.NewDependency(ctx, o.Duration("answer")),
		late:     kit.NewDependency(ctx, 4*o.Duration("answer")),
		patience: o.Duration("patience"),
		room:     1,
	}
	if o.Flawed() {
		d.room = 0
	}
	return d
}

// ask waits for the supplier's fare.
func (d *supplierDesk) ask(seq uint64) int64 {
	supplier := d.prompt
	if seq%4 == 0 {
		supplier = d.late
	}
	// The call is not the request's: what is asked is booked with the supplier.
	if err := supplier.Call(context.Background()); err != nil {
		return 0
	}
	return listed(seq)
}

func (d *supplierDesk) quote(ctx context.Context, seq uint64) (int64, error) {
	answers := make(chan int64, d.room)
	go func() { // chokepoint:flaw goroutine-leak
		answers <- d.ask(seq)
	}()
	patience := time.NewTimer(d.patience)
	defer patience.Stop()
	select {
	case cents := <-answers:
		return cents, nil
	case <-patience.C:
		return listed(seq), nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}
