// Command storefront shows a shop's goods. Its mode knob says which of its parts
// serves:
//
//	reviews    reviews are asked of a partner, who takes so many calls at a time
//	catalogue  goods are read over connections to the catalogue, of which there are few
//	images     images are scaled by an image service, which has so much memory
//
// The flawed variant has far fewer turns than it needs: it takes the partner's limit
// for a tenth of what it is, keeps its connection while it does something else, or
// takes each image for as large as can be. The fixed one does the same work.
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
		About: "A service that shows a shop's goods.",
		Knobs: map[string]string{
			"mode":  "reviews|catalogue|images",
			"delay": "2500ms", // what a request waits for other services, in all
			"hold":  "20ms",   // what the partner, the price service or the image service takes
			"turns": "8",      // calls to the partner at a time, connections, or the largest images at a time
			"ample": "400",    // calls to the partner that there may be at a time
		},
		Build: build,
	}
}

func build(ctx context.Context, o kit.Options) (http.Handler, error) {
	switch mode := o.String("mode"); mode {
	case "reviews":
		return newReviewAPI(ctx, o), nil
	case "catalogue":
		return newCatalogueAPI(ctx, o)
	case "images":
		return newImageAPI(ctx, o), nil
	default:
		return nil, fmt.Errorf("mode %q is not built", mode)
	}
}

// goods is how many there are: requests are numbered without end.
const goods = 10_000

// item returns the item that r is for, or answers r with what is wrong.
func item(w http.ResponseWriter, r *http.Request) (n int, ok bool) {
	n, err := strconv.Atoi(r.URL.Query().Get("item"))
	if err != nil || n < 0 {
		http.Error(w, "item: give a whole number, 0 or more", http.StatusBadRequest)
		return 0, false
	}
	return n % goods, true
}

// unavailable answers that a service behind this one failed.
func unavailable(w http.ResponseWriter, err error) {
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}
