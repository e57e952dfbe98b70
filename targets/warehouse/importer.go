package main

import (
	"context"
	"fmt"
	"time"
)

// goodsList is goods to import, and whom to tell when it is done.
type goodsList struct {
	item  int
	parts int // that it is made of; 1: a part itself
	done  chan<- struct{}
}

// importer imports lists through a queue that its workers work off.
type importer struct {
	booking time.Duration // CPU time that a part takes

	queue chan goodsList
	parts int // of a list
}

func newImporter(booking time.Duration, queue, parts int) *importer {
	return &importer{booking: booking, queue: make(chan goodsList, queue), parts: max(1, parts)}
}

// submit queues a list and waits until all of it is imported.
func (i *importer) submit(ctx context.Context, item int) (string, error) {
	done := make(chan struct{}, i.parts)
	i.queue <- goodsList{item, i.parts, done}
	for range i.parts {
		select {
		case <-done:
		case <-ctx.Done():
			return "", fmt.Errorf("importing item %d: %w", item, context.Cause(ctx))
		}
	}
	return fmt.Sprintf("item %d is imported, in %d parts", item, i.parts), nil
}

// serve works off the queue. The parts of a list go to whoever is free.
func (i *importer) serve(ctx context.Context) {
	for {
		select {
		case l := <-i.queue:
			if l.parts == 1 {
				spend(i.booking)
				l.done <- struct{}{}
				continue
			}
			for range l.parts {
				i.queue <- goodsList{l.item, 1, l.done} // chokepoint:flaw stalled
			}
		case <-ctx.Done():
			return
		}
	}
}

// work is serve by a worker that imports the parts itself.
func (i *importer) work(ctx context.Context) {
	for {
		select {
		case l := <-i.queue:
			for range l.parts {
				spend(i.booking)
				l.done <- struct{}{}
			}
		case <-ctx.Done():
			return
		}
	}
}
