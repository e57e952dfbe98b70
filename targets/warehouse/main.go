// Command warehouse takes orders and keeps the stock. Its mode knob says which part
// may come to a stand:
//
//	order   orders and deliveries need both the order book and the stock; the flawed variant
//	        locks them in another order for the one than for the other
//	import  lists of goods are imported by a few workers; in the flawed variant a worker puts the
//	        parts of a list into the queue that it works off itself, in the fixed one it imports them
//	poll    neither: clients wait for the next delivery, as they mean to
package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"chokepoint/targets/kit"
)

func main() { kit.Run(service()) }

func service() kit.Service {
	return kit.Service{
		About: "A warehouse with an order book.",
		Knobs: map[string]string{
			"mode":    "order|import|poll",
			"delay":   "2.5s",  // what a request waits for the bank
			"book":    "100us", // CPU time that a booking takes
			"workers": "2",     // that import
			"queue":   "4",     // lists that wait for one
			"parts":   "6",     // of a list
			"every":   "10m",   // a delivery comes
		},
		Build: build,
	}
}

func build(ctx context.Context, o kit.Options) (http.Handler, error) {
	bank := kit.NewDependency(ctx, o.Duration("delay"))
	mux := http.NewServeMux()
	paid := func(path string, serve func(context.Context, int) (string, error)) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			n, err := strconv.Atoi(r.URL.Query().Get("item"))
			if err != nil || n < 0 {
				http.Error(w, "item: give a whole number, 0 or more", http.StatusBadRequest)
				return
			}
			if err = bank.Call(r.Context()); err == nil {
				var said string
				if said, err = serve(r.Context(), n); err == nil {
					fmt.Fprintln(w, said)
					return
				}
			}
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		})
	}
	switch o.String("mode") {
	case "order":
		s := newStores(o.Duration("book"))
		deliver := s.receive
		if o.Flawed() {
			deliver = s.deliver
		}
		paid("/order", func(_ context.Context, n int) (string, error) { return s.order(n), nil })
		paid("/delivery", func(_ context.Context, n int) (string, error) { return deliver(n), nil })
	case "import":
		i := newImporter(o.Duration("book"), o.Int("queue"), o.Int("parts"))
		work := i.work
		if o.Flawed() {
			work = i.serve
		}
		for range max(1, o.Int("workers")) {
			go work(ctx)
		}
		paid("/import", i.submit)
	case "poll":
		b := &board{next: make(chan struct{})}
		go b.ring(ctx, o.Duration("every"))
		mux.HandleFunc("GET /next", b.serveNext)
	}
	return mux, nil
}

// spend takes CPU time, by the clock: what bookkeeping costs.
func spend(d time.Duration) {
	for began := time.Now(); time.Since(began) < d; {
	}
}
