// Command fulfilment takes orders of a shop to the door. Its mode knob says which
// of its parts serves:
//
//	audit     each order is entered in the audit trail, which one goroutine writes
//	labels    the label of each parcel is read, drawn and sent to the print shop,
//	          in stages
//	couriers  a courier is picked by a pool of workers
//	tracking  a parcel is followed: a request waits until it has moved
//	rates     a carrier is asked for its rate, over one connection for all
//
// In the first two modes the flawed variant has everything wait for one goroutine
// that takes its time for each; the fixed one does the same work. The other modes
// are sound in both.
package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"chokepoint/targets/kit"
)

func main() { kit.Run(service()) }

func service() kit.Service {
	return kit.Service{
		About: "A service that takes orders to the door.",
		Knobs: map[string]string{
			"mode":    "audit|labels|couriers|tracking|rates",
			"delay":   "2500ms", // what a request waits for other services, in all
			"hold":    "10ms",   // what a write to the audit trail, or sending a label, takes
			"draw":    "200us",  // what drawing a label takes of a CPU
			"workers": "64",     // couriers' pool; drawers of labels, where one is not enough
		},
		Build: build,
	}
}

func build(ctx context.Context, o kit.Options) (http.Handler, error) {
	switch mode := o.String("mode"); mode {
	case "audit":
		return newAuditAPI(ctx, o)
	case "labels":
		return newLabelAPI(ctx, o)
	case "couriers":
		return newCourierAPI(ctx, o), nil
	case "tracking":
		return newTrackingAPI(ctx, o), nil
	case "rates":
		return newRateAPI(ctx, o)
	default:
		return nil, fmt.Errorf("mode %q is not built", mode)
	}
}

// parcels is how many there are: requests are numbered without end, and what is
// kept must not grow with them.
const parcels = 10_000

// parcel returns the parcel that r is for, or answers r with what is wrong.
func parcel(w http.ResponseWriter, r *http.Request) (n int, ok bool) {
	n, err := strconv.Atoi(r.URL.Query().Get("parcel"))
	if err != nil || n < 0 {
		http.Error(w, "parcel: give a whole number, 0 or more", http.StatusBadRequest)
		return 0, false
	}
	return n % parcels, true
}

// unavailable answers that a service behind this one failed.
func unavailable(w http.ResponseWriter, err error) {
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}
