// Command catalog is the product catalog of a shop: it takes reviews and recommends
// products. Its mode knob says which part does more work than it must:
//
//	reviews  a review is held against the house rules, patterns that are compiled for each review
//	related  what other customers bought is merged, and what was already taken is looked for
//	         in the whole list
//	all      both of these
//	vouchers a voucher is checked against its seal, which takes many rounds on purpose, so that
//	         nobody finds one by trying; both variants alike
//
// The fixed variant answers the same; it compiles the patterns when it starts, and
// keeps a set beside the list.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"chokepoint/targets/kit"
)

func main() { kit.Run(service()) }

func service() kit.Service {
	return kit.Service{
		About: "A product catalog with reviews and recommendations.",
		Knobs: map[string]string{
			"mode":    "reviews|related|all|vouchers",
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
	mode := o.String("mode")
	flawed := func(part string) bool { return o.Flawed() && (mode == part || mode == "all") }
	house, err := newHouse(o.Int("rules"))
	if err != nil {
		return nil, err
	}
	c := &catalog{
		stock:   kit.NewDependency(ctx, o.Duration("delay")),
		accepts: house.accepts,
		shelf:   &shelf{baskets: o.Int("baskets"), size: o.Int("basket"), merge: distinct},
		rounds:  o.Int("rounds"),
	}
	if flawed("reviews") {
		c.accepts = house.check
	}
	if flawed("related") {
		c.shelf.merge = unique
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /review", c.answer("product", c.review))
	mux.HandleFunc("GET /related", c.answer("product", c.related))
	mux.HandleFunc("GET /voucher", c.answer("n", c.voucher))
	return mux, nil
}

// catalog answers, each time after the warehouse has.
type catalog struct {
	stock   *kit.Dependency
	accepts func(text string) (broken int, ok bool)
	shelf   *shelf
	rounds  int
}

// answer serves requests that are for a number.
func (c *catalog) answer(name string, write func(w io.Writer, r *http.Request, n int)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Query().Get(name))
		if err != nil || n < 0 {
			http.Error(w, name+": give a whole number, 0 or more", http.StatusBadRequest)
			return
		}
		if err := c.stock.Call(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		write(w, r, n)
	}
}

func (c *catalog) review(w io.Writer, r *http.Request, product int) {
	text := r.URL.Query().Get("text")
	if broken, ok := c.accepts(text); !ok {
		fmt.Fprintf(w, "product %d: the review breaks house rule %d\n", product, broken)
		return
	}
	fmt.Fprintf(w, "product %d: the review of %d letters is taken\n", product, len(text))
}

func (c *catalog) related(w io.Writer, _ *http.Request, product int) {
	list := c.shelf.related(product)
	fmt.Fprintf(w, "product %d: %d related, first %v\n", product, len(list), list[:min(3, len(list))])
}

func (c *catalog) voucher(w io.Writer, _ *http.Request, n int) {
	fmt.Fprintf(w, "voucher %d has seal %s\n", n, seal(n, c.rounds))
}
