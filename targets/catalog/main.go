// Command catalog is the product catalog of a shop: it takes reviews and recommends
// products. Its mode knob says which part does more work than it must:
//
//	reviews  a review is held against the house rules, patterns that are compiled for each review
//	related  what other customers bought is merged, and what was already taken is looked for
//	         in the whole list
//	vouchers a voucher is checked against its seal, which takes many rounds on purpose, so that
//	         nobody finds one by trying; both variants alike
//
// The fixed variant answers the same; it compiles the patterns when it starts, and
// keeps a set beside the list.
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
		About: "A product catalog with reviews and recommendations.",
		Knobs: map[string]string{
			"mode":    "reviews|related|vouchers",
			"delay":   "2.5s",  // what a request waits for the warehouse
			"rules":   "60",    // house rules
			"baskets": "50",    // of other customers, merged for a recommendation
			"basket":  "100",   // products in one
			"rounds":  "40000", // of a voucher's seal
		},
		Build: build,
	}
}

func build(ctx context.Context, o kit.Options) (http.Handler, error) {
	stock := kit.NewDependency(ctx, o.Duration("delay"))
	mux := http.NewServeMux()
	if o.String("mode") == "related" {
		shelf := &shelf{baskets: o.Int("baskets"), size: o.Int("basket"), merge: distinct}
		if o.Flawed() {
			shelf.merge = unique
		}
		mux.HandleFunc("GET /related", number("product", func(w http.ResponseWriter, r *http.Request, n int) {
			if err := stock.Call(r.Context()); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			list := shelf.related(n)
			fmt.Fprintf(w, "product %d: %d related, first %v\n", n, len(list), list[:min(3, len(list))])
		}))
		return mux, nil
	}
	if o.String("mode") == "vouchers" {
		rounds := o.Int("rounds")
		mux.HandleFunc("GET /voucher", number("n", func(w http.ResponseWriter, r *http.Request, n int) {
			if err := stock.Call(r.Context()); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			fmt.Fprintf(w, "voucher %d has seal %s\n", n, seal(n, rounds))
		}))
		return mux, nil
	}
	house, err := newHouse(o.Int("rules"))
	if err != nil {
		return nil, err
	}
	accepts := house.accepts
	if o.Flawed() {
		accepts = house.check
	}
	mux.HandleFunc("GET /review", number("product", func(w http.ResponseWriter, r *http.Request, n int) {
		if err := stock.Call(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		text := r.URL.Query().Get("text")
		if broken, ok := accepts(text); !ok {
			fmt.Fprintf(w, "product %d: the review breaks house rule %d\n", n, broken)
			return
		}
		fmt.Fprintf(w, "product %d: the review of %d letters is taken\n", n, len(text))
	}))
	return mux, nil
}

func number(name string, serve func(http.ResponseWriter, *http.Request, int)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Query().Get(name))
		if err != nil || n < 0 {
			http.Error(w, name+": give a whole number, 0 or more", http.StatusBadRequest)
			return
		}
		serve(w, r, n)
	}
}
