// Poolmisuse is a billing service that renders documents into pooled buffers.
// GET /render?seq=N fetches an order, which takes a few seconds of waiting, and
// answers with the document made of it.
//
// Its flaws are five ways to misuse a sync.Pool, one a mode, each in a
// document kind of its own:
//
//   - never-put: invoices take a buffer and do not give it back.
//   - per-request: labels make a pool for each request.
//   - oversized: statements give back buffers however large they have grown.
//   - boxed: records give back slices, each boxed by an allocation.
//   - dirty: receipts are filled in without being cleared of the previous one.
package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"chokepoint/targets/kit"
)

func main() { kit.Run(service()) }

func service() kit.Service {
	return kit.Service{
		About: "a billing service that renders documents: GET /render?seq=N",
		Knobs: map[string]string{
			"mode":  "never-put|per-request|oversized|boxed|dirty",
			"delay": "2500ms", // the time to fetch an order
			"spool": "50ms",   // the time to spool a statement (mode oversized)
			"keep":  "64KiB",  // the largest buffer that the fixed variant keeps (mode oversized)
		},
		Build: build,
	}
}

func build(ctx context.Context, o kit.Options) (http.Handler, error) {
	docs, err := newRenderer(ctx, o)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /render", &handler{
		orders: kit.NewDependency(ctx, o.Duration("delay")),
		docs:   docs,
		issued: time.Now().Format(time.DateOnly),
	})
	return mux, nil
}

// newRenderer returns the renderer of the document kind that shows the mode.
func newRenderer(ctx context.Context, o kit.Options) (renderer, error) {
	switch mode := o.String("mode"); mode {
	case "never-put":
		return newInvoices(!o.Flawed()), nil
	case "per-request":
		return newLabels(!o.Flawed()), nil
	case "oversized":
		keep := o.Bytes("keep")
		if o.Flawed() {
			keep = keepAny
		}
		return newStatements(kit.NewDependency(ctx, o.Duration("spool")), keep), nil
	case "boxed":
		if o.Flawed() {
			return newRecords(newSliceScratch()), nil
		}
		return newRecords(newPointerScratch()), nil
	case "dirty":
		return newReceipts(!o.Flawed()), nil
	default:
		return nil, fmt.Errorf("knob mode: %q is unknown", mode)
	}
}
