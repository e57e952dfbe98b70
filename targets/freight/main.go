// Command freight compares what carriers ask for a shipment. Each request asks
// several carriers side by side, gathers their offers as they come, and works out
// the best: it parses the tariffs, prices the parcels, ranks the offers and signs
// what it answers.
//
// The mode knob names what the process does about the CPUs of its machine:
//
//	limit  the flawed variant sets GOMAXPROCS to procs, as its deployment's settings
//	       have said since it ran on a smaller machine; the fixed one leaves it to the runtime
//	plain  both leave it to the runtime, and to the environment
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
		About: "A comparison of freight offers.",
		Knobs: map[string]string{
			"mode":     "limit|plain",
			"procs":    "1",     // what the settings say
			"carriers": "4",     // asked for each shipment
			"delay":    "2.5s",  // the slowest carrier takes
			"parcels":  "40",    // in a shipment
			"pricing":  "300us", // CPU time that pricing and ranking take; as many parcels are priced as that allows
		},
		Build: build,
	}
}

func build(ctx context.Context, o kit.Options) (http.Handler, error) {
	if o.String("mode") == "limit" && o.Flawed() {
		deployment{procs: o.Int("procs")}.apply()
	}
	d := newDesk(ctx, o)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /offers", d.serveOffers)
	return mux, nil
}

// serveOffers answers GET /offers?shipment=N.
func (d *desk) serveOffers(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Query().Get("shipment"))
	if err != nil || n < 0 {
		http.Error(w, "shipment: give a whole number, 0 or more", http.StatusBadRequest)
		return
	}
	offers, err := d.gather(r.Context(), n)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	best := d.best(n, offers)
	fmt.Fprintf(w, "shipment %d goes with %s for %d.%02d, seal %s\n", n, best.carrier, best.cents/100, best.cents%100, best.seal)
}
