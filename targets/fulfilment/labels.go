package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"net/http"
	"strconv"
	"time"

	"chokepoint/targets/kit"
)

// label is a parcel's, as it passes through the stages.
type label struct {
	parcel  int
	address string
	picture uint64 // what is drawn, in short
	err     error
	done    chan struct{} // closed when it is printed
}

// press makes labels in three stages: addresses are looked up, labels are drawn and
// sent to the print shop, and those who ordered them are told.
type press struct {
	draw  time.Duration // of a CPU, for each
	shops chan *wire    // connections to the print shop that are free

	orders, addressed, printed chan *label
}

func newPress(ctx context.Context, draw time.Duration, shops []*wire) *press {
	p := &press{
		draw: draw, shops: make(chan *wire, len(shops)),
		orders: make(chan *label, 64), addressed: make(chan *label, 64), printed: make(chan *label, 64),
	}
	for _, s := range shops {
		p.shops <- s
	}
	go stage(ctx, p.orders, p.addressed, p.address)
	go p.tell(ctx)
	return p
}

// stage takes labels from one channel, does its work and passes them on to another.
func stage(ctx context.Context, from <-chan *label, to chan<- *label, work func(*label)) {
	for {
		select {
		case l := <-from:
			work(l)
			select {
			case to <- l:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (p *press) address(l *label) { l.address = "Main Street " + strconv.Itoa(l.parcel) }

// print draws a label and has it printed.
func (p *press) print(l *label) {
	h := fnv.New64a()
	for end := time.Now().Add(p.draw); ; {
		for range 64 {
			fmt.Fprint(h, l.address)
		}
		if !time.Now().Before(end) {
			break
		}
	}
	l.picture = h.Sum64()
	shop := <-p.shops
	l.err = shop.tell(l.address)
	p.shops <- shop
}

// printLabels is the stage in the middle.
func (p *press) printLabels(ctx context.Context) {
	for {
		select { // chokepoint:flaw channel-bottleneck
		case l := <-p.addressed:
			p.print(l)
			p.printed <- l
		case <-ctx.Done():
			return
		}
	}
}

func (p *press) tell(ctx context.Context) {
	for {
		select {
		case l := <-p.printed:
			close(l.done)
		case <-ctx.Done():
			return
		}
	}
}

// order has a label printed.
func (p *press) order(ctx context.Context, parcel int) (*label, error) {
	l := &label{parcel: parcel, done: make(chan struct{})}
	select {
	case p.orders <- l:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	<-l.done
	return l, l.err
}

// labelAPI answers POST /labels?parcel=N.
type labelAPI struct {
	press     *press
	warehouse *kit.Dependency
}

func newLabelAPI(ctx context.Context, o kit.Options) (http.Handler, error) {
	addr, err := kit.ListenPeer(ctx, o.Duration("hold"))
	if err != nil {
		return nil, fmt.Errorf("the print shop: %w", err)
	}
	workers := 1
	if !o.Flawed() {
		workers = o.Int("workers")
	}
	var shops []*wire
	for range workers {
		shop, err := dialWire(ctx, "print shop", addr)
		if err != nil {
			return nil, err
		}
		shops = append(shops, shop)
	}
	api := &labelAPI{press: newPress(ctx, o.Duration("draw"), shops), warehouse: kit.NewDependency(ctx, o.Duration("delay"))}
	for range workers {
		go api.press.printLabels(ctx)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /labels", api.serveLabels)
	return mux, nil
}

func (a *labelAPI) serveLabels(w http.ResponseWriter, r *http.Request) {
	n, ok := parcel(w, r)
	if !ok {
		return
	}
	if err := a.warehouse.Call(r.Context()); err != nil {
		unavailable(w, err)
		return
	}
	l, err := a.press.order(r.Context(), n)
	if err != nil {
		unavailable(w, err)
		return
	}
	fmt.Fprintf(w, "to %s\n", l.address)
}
