package main

import (
	"context"
	"fmt"
	"time"
)

// views counts which pages are read.
type views struct {
	read  chan int // page
	count map[int]int
	top   int // page that is read most
}

// backlog is how many views may wait to be counted; others go uncounted.
const backlog = 1024

func newViews() *views { return &views{read: make(chan int, backlog), count: map[int]int{}} }

// seen notes that a page is read, and holds nobody up.
func (v *views) seen(page int) {
	select {
	case v.read <- page:
	default:
	}
}

func (v *views) add(page int) {
	v.count[page]++
	if v.count[page] > v.count[v.top] {
		v.top = page
	}
}

// tally counts views until ctx ends, and tells every so often which page is read most.
func (v *views) tally(ctx context.Context, pause time.Duration, tell func(string)) {
	told := time.Now()
	for ctx.Err() == nil {
		select {
		case page := <-v.read: // chokepoint:flaw cpu-hot-path
			v.add(page)
		default:
			if time.Since(told) >= pause {
				v.tell(tell)
				told = time.Now()
			}
		}
	}
}

// tallyByTicks is tally, which sleeps until there is something.
func (v *views) tallyByTicks(ctx context.Context, pause time.Duration, tell func(string)) {
	ticks := time.NewTicker(pause)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case page := <-v.read:
			v.add(page)
		case <-ticks.C:
			v.tell(tell)
		}
	}
}

func (v *views) tell(tell func(string)) {
	if len(v.count) > 0 {
		tell(fmt.Sprintf("page %d is read most", v.top))
	}
}
