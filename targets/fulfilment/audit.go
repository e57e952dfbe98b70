package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"chokepoint/targets/kit"
)

// entry is a line of the audit trail on its way there.
type entry struct {
	text string
	safe chan error // told once it is
}

// trail is written by one goroutine, so that entries stand in the order in which
// they came.
type trail struct {
	store   *wire // answers once what it was told is safe
	entries chan entry
}

// pendingEntries is how many entries may wait for the writer before those who bring
// more wait too.
const pendingEntries = 1024

func newTrail(store *wire) *trail {
	return &trail{store: store, entries: make(chan entry, pendingEntries)}
}

// enter has text in the trail and returns when it is safe.
func (t *trail) enter(ctx context.Context, text string) error {
	e := entry{text, make(chan error, 1)}
	select {
	case t.entries <- e:
	case <-ctx.Done():
		return ctx.Err()
	}
	return <-e.safe
}

// write takes entries as they come, and has each safe before it takes the next.
func (t *trail) write(ctx context.Context) {
	for {
		select { // chokepoint:flaw channel-bottleneck
		case e := <-t.entries:
			e.safe <- t.store.tell(e.text)
		case <-ctx.Done():
			return
		}
	}
}

// writeGathered is write with all that has come meanwhile made safe together.
func (t *trail) writeGathered(ctx context.Context) {
	var batch []entry
	var text strings.Builder
	for {
		select {
		case e := <-t.entries:
			batch = append(batch[:0], e)
		case <-ctx.Done():
			return
		}
		for range len(t.entries) {
			batch = append(batch, <-t.entries)
		}
		text.Reset()
		for _, e := range batch {
			text.WriteString(e.text)
			text.WriteByte(';')
		}
		err := t.store.tell(text.String())
		for _, e := range batch {
			e.safe <- err
		}
	}
}

// auditAPI answers POST /orders?parcel=N.
type auditAPI struct {
	trail     *trail
	warehouse *kit.Dependency
}

func newAuditAPI(ctx context.Context, o kit.Options) (http.Handler, error) {
	addr, err := kit.ListenPeer(ctx, o.Duration("hold"))
	if err != nil {
		return nil, fmt.Errorf("the audit store: %w", err)
	}
	store, err := dialWire(ctx, "audit store", addr)
	if err != nil {
		return nil, err
	}
	api := &auditAPI{trail: newTrail(store), warehouse: kit.NewDependency(ctx, o.Duration("delay"))}
	if o.Flawed() {
		go api.trail.write(ctx)
	} else {
		go api.trail.writeGathered(ctx)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", api.serveOrders)
	return mux, nil
}

func (a *auditAPI) serveOrders(w http.ResponseWriter, r *http.Request) {
	n, ok := parcel(w, r)
	if !ok {
		return
	}
	if err := a.warehouse.Call(r.Context()); err != nil {
		unavailable(w, err)
		return
	}
	if err := a.trail.enter(r.Context(), fmt.Sprintf("parcel %d left the warehouse", n)); err != nil {
		unavailable(w, err)
		return
	}
	fmt.Fprintf(w, "parcel %d is on its way\n", n)
}
