// Command offers is a product catalogue that asks others before it answers. Its
// mode knob says which part of it serves:
//
//	supplier  a product's stock, asked of its supplier over HTTP
//	prices    a product's price, asked of the price book over connections of our own
//	changes   what changed since a given revision, told when something does
//	channel   the same on a connection that the handler takes over
//
// One supplier in so many has stopped answering, and so has one shelf of the price
// book. In the flawed variant a request waits for them without end; in the fixed
// one it has patience for so long, and then answers without.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"chokepoint/targets/kit"
)

func main() {
	kit.Companions(companions())
	kit.Run(service())
}

// companions are the other sides, in processes of their own.
func companions() map[string]func(net.Listener) error {
	return map[string]func(net.Listener) error{"suppliers": serveSuppliers, "price book": servePrices}
}

func service() kit.Service {
	return kit.Service{
		About: "A product catalogue that asks others before it answers.",
		Knobs: map[string]string{
			"mode":     "supplier|prices|changes|channel",
			"delay":    "2500ms", // what a request waits for other services, before it asks the supplier or price book
			"answer":   "20ms",   // what these take
			"silent":   "4",      // one product in so many is with one that does not answer; 0: none is
			"patience": "1s",     // how long the fixed variant waits for one
			"poll":     "20s",    // how long a request for changes is held when there are none
		},
		Build: build,
	}
}

func build(ctx context.Context, o kit.Options) (http.Handler, error) {
	switch mode := o.String("mode"); mode {
	case "supplier":
		return newStockAPI(ctx, o)
	case "prices":
		return newPriceAPI(ctx, o)
	case "changes":
		return newChangesAPI(ctx, o), nil
	case "channel":
		return newChannelAPI(ctx, o), nil
	default:
		return nil, fmt.Errorf("mode %q is not built", mode)
	}
}

// number returns a request's whole number of that name, or answers what is wrong.
func number(w http.ResponseWriter, r *http.Request, name string) (n int, ok bool) {
	n, err := strconv.Atoi(r.URL.Query().Get(name))
	if err != nil || n < 0 {
		http.Error(w, name+": give a whole number, 0 or more", http.StatusBadRequest)
		return 0, false
	}
	return n, true
}

// silent reports whether the one that a product is with does not answer.
func silent(product, oneIn int) bool { return oneIn > 0 && product%oneIn == 0 }
