package main

import (
	"context"
	"errors"
	"time"

	"chokepoint/targets/kit"
)

var errSlowLeg = errors.New("a leg of the journey took too long to price")

// planner prices the legs of a journey one after the other, and gives up when
// they take too long.
type planner struct {
	legs     int
	patience time.Duration
	flawed   bool
}

func newPlanner(o kit.Options) *planner {
	return &planner{legs: o.Int("legs"), patience: 300 * o.Duration("patience"), flawed: o.Flawed()}
}

// price sends the price of each leg.
func (p *planner) price(ctx context.Context, seq uint64, prices chan<- int64) {
	for leg := range p.legs {
		select {
		case prices <- listed(seq + uint64(leg)):
		case <-ctx.Done():
			return
		}
	}
}

func (p *planner) quote(ctx context.Context, seq uint64) (int64, error) {
	ctx, done := context.WithCancel(ctx)
	defer done()
	prices := make(chan int64, 8)
	go p.price(ctx, seq, prices)
	if p.flawed {
		return p.sumEach(ctx, prices)
	}
	return p.sumAll(ctx, prices)
}

// sumEach allows each leg its time.
func (p *planner) sumEach(ctx context.Context, prices <-chan int64) (sum int64, err error) {
	for range p.legs {
		select {
		case cents := <-prices:
			sum += cents
		case <-time.After(p.patience): // chokepoint:flaw timer-churn
			return 0, errSlowLeg
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return sum, nil
}

// sumAll allows all legs their time together.
func (p *planner) sumAll(ctx context.Context, prices <-chan int64) (sum int64, err error) {
	patience := time.NewTimer(p.patience)
	defer patience.Stop()
	for range p.legs {
		select {
		case cents := <-prices:
			sum += cents
		case <-patience.C:
			return 0, errSlowLeg
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return sum, nil
}
