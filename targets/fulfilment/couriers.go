package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"chokepoint/targets/kit"
)

// errand asks for a courier.
type errand struct {
	parcel  int
	courier chan string
}

// dispatchers pick couriers: so many goroutines that wait for errands. There are more
// than are ever needed at a time, so that nobody waits for one.
type dispatchers struct {
	errands chan errand
	pick    time.Duration
}

func newDispatchers(ctx context.Context, workers int, pick time.Duration) *dispatchers {
	d := &dispatchers{errands: make(chan errand), pick: pick}
	for i := range workers {
		go d.work(ctx, fmt.Sprintf("courier %d", i))
	}
	return d
}

func (d *dispatchers) work(ctx context.Context, courier string) {
	for {
		select {
		case e := <-d.errands:
			time.Sleep(d.pick)
			e.courier <- courier
		case <-ctx.Done():
			return
		}
	}
}

func (d *dispatchers) send(ctx context.Context, parcel int) (courier string, err error) {
	e := errand{parcel, make(chan string, 1)}
	select {
	case d.errands <- e:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	return <-e.courier, nil
}

// courierAPI answers POST /errands?parcel=N. All that a request waits for it waits
// for in the dispatchers.
type courierAPI struct {
	dispatchers *dispatchers
}

func newCourierAPI(ctx context.Context, o kit.Options) http.Handler {
	api := &courierAPI{newDispatchers(ctx, o.Int("workers"), o.Duration("delay"))}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /errands", api.serveErrands)
	return mux
}

func (a *courierAPI) serveErrands(w http.ResponseWriter, r *http.Request) {
	n, ok := parcel(w, r)
	if !ok {
		return
	}
	courier, err := a.dispatchers.send(r.Context(), n)
	if err != nil {
		unavailable(w, err)
		return
	}
	fmt.Fprintf(w, "%s takes parcel %d\n", courier, n)
}
