// Fares is a travel desk that quotes fares. GET /fare?seq=N looks up seats,
// which takes a few seconds of waiting, then does what its mode adds and
// answers with a fare.
//
// The modes that have a flaw, each in a file of its own:
//
//   - supplier: a supplier is asked, and an answer that comes too late finds
//     nobody to take it.
//   - follow: a price is followed for a request, and for ever after.
//   - legs: the wait for each leg of a journey has a timer of its own.
//   - holds: a hold on a seat expires by a timer that outlives the hold.
//
// Those that have none, and look as if:
//
//   - board: prices of all routes are followed for as long as the service
//     runs, and refreshed by many goroutines at once.
//   - bounded: each request has one deadline, and ends it.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strconv"

	"chokepoint/targets/kit"
)

func main() {
	// A sample in 32 KiB and not in 512: what a quotation allocates is small, and a
	// window of seconds at a twentieth of the load should still show it.
	runtime.MemProfileRate = 32 << 10
	kit.Run(service())
}

func service() kit.Service {
	return kit.Service{
		About: "a travel desk that quotes fares: GET /fare?seq=N",
		Knobs: map[string]string{
			"mode":     "supplier|follow|legs|holds|board|bounded",
			"delay":    "2500ms", // the time to look up seats
			"answer":   "50ms",   // how long the supplier usually takes; one answer in four takes four times as long (mode supplier)
			"patience": "100ms",  // how long it is waited for (mode supplier), or a leg may take (mode legs, times 300)
			"tick":     "2s",     // how often a followed price is read (modes follow, board)
			"legs":     "250",    // legs of a journey (mode legs)
			"seats":    "8",      // seats held for a request (mode holds)
			"expiry":   "10m",    // how long a seat may be held (mode holds)
			"routes":   "2000",   // routes whose prices are followed (mode board)
		},
		Build: build,
	}
}

// quoter adds what a mode is about to the quotation of one fare.
type quoter interface {
	quote(ctx context.Context, seq uint64) (cents int64, err error)
}

func build(ctx context.Context, o kit.Options) (http.Handler, error) {
	q, err := newQuoter(ctx, o)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /fare", &desk{seats: kit.NewDependency(ctx, o.Duration("delay")), quoter: q})
	return mux, nil
}

func newQuoter(ctx context.Context, o kit.Options) (quoter, error) {
	switch mode := o.String("mode"); mode {
	case "supplier":
		return newSupplierDesk(ctx, o), nil
	case "follow":
		return newFollower(ctx, o), nil
	case "legs":
		return newPlanner(o), nil
	case "holds":
		return newSeatHolds(o), nil
	case "board":
		return newBoard(ctx, o), nil
	case "bounded":
		return newBounded(ctx, o), nil
	default:
		return nil, fmt.Errorf("knob mode: %q is unknown", mode)
	}
}

// desk looks up seats, and has the fare quoted.
type desk struct {
	seats  *kit.Dependency
	quoter quoter
}

func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seq, err := strconv.ParseUint(r.URL.Query().Get("seq"), 10, 64)
	if err != nil {
		http.Error(w, "seq: a whole number is needed", http.StatusBadRequest)
		return
	}
	err = d.seats.Call(r.Context())
	var cents int64
	if err == nil {
		cents, err = d.quoter.quote(r.Context(), seq)
	}
	switch {
	case errors.Is(err, context.Canceled): // the caller has gone
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	default:
		fmt.Fprintf(w, "fare %d: %d cents\n", seq, cents)
	}
}

// listed is the fare that the desk's own tables have for a request.
func listed(seq uint64) int64 { return int64(10_000 + seq%997) }
