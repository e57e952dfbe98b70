// Catalogue is a shop's catalogue. GET /item?seq=N asks for the stock of an
// item, which takes a few seconds of waiting, then does what its mode adds and
// answers with a page.
//
// The modes that have a flaw, each in a file of its own:
//
//   - replies: pages are kept for callers that ask again, all of them.
//   - trail: what was answered is noted in a trail, which is never cut.
//   - render: a page is put together of thousands of small parts, each new.
//   - budget: a memory limit is set that the items do not fit in.
//
// Those that have none, and look as if:
//
//   - shelf: the last pages are kept, as many as there is room for.
//   - roomy: parts are new for each page, and memory is plenty.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"chokepoint/targets/kit"
)

func main() { kit.Run(service()) }

func service() kit.Service {
	return kit.Service{
		About: "a shop's catalogue: GET /item?seq=N",
		Knobs: map[string]string{
			"mode":   "replies|trail|render|budget|shelf|roomy",
			"delay":  "2500ms", // the time to ask for the stock
			"page":   "16KiB",  // the size of a page (modes replies, trail, shelf)
			"keep":   "256",    // pages and notes that the fixed variant keeps (modes replies, trail), and the shelf holds
			"parts":  "1000",   // parts of a page (modes render, roomy)
			"items":  "100000", // items in memory (modes render, budget, roomy)
			"budget": "64MiB",  // the memory limit of the flawed variant (mode budget)
			"ample":  "4GiB",   // that of the fixed variant
		},
		Build: build,
	}
}

// pageWriter writes the page of a request.
type pageWriter interface {
	page(b *bytes.Buffer, seq uint64)
}

func build(ctx context.Context, o kit.Options) (http.Handler, error) {
	p, err := newPages(o)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /item", &counter{stock: kit.NewDependency(ctx, o.Duration("delay")), pages: p})
	return mux, nil
}

func newPages(o kit.Options) (pageWriter, error) {
	switch mode := o.String("mode"); mode {
	case "replies":
		return newReplies(o), nil
	case "trail":
		return newTrail(o), nil
	case "render":
		return newSheets(o, o.Flawed()), nil
	case "roomy":
		return newSheets(o, true), nil
	case "budget":
		return newStock(o), nil
	case "shelf":
		return newShelf(o), nil
	default:
		return nil, fmt.Errorf("knob mode: %q is unknown", mode)
	}
}

// counter asks for the stock and answers with a page.
type counter struct {
	stock *kit.Dependency
	pages pageWriter
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seq, err := strconv.ParseUint(r.URL.Query().Get("seq"), 10, 64)
	if err != nil {
		http.Error(w, "seq: a whole number is needed", http.StatusBadRequest)
		return
	}
	if err := c.stock.Call(r.Context()); err != nil {
		if !errors.Is(err, context.Canceled) {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
		return
	}
	var b bytes.Buffer
	c.pages.page(&b, seq)
	// An error means that the caller has gone.
	_, _ = w.Write(b.Bytes())
}
