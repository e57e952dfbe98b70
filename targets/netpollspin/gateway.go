package main

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"chokepoint/targets/kit"
)

// pricer asks for the price of an item, in cents.
type pricer interface {
	price(ctx context.Context, item uint64) (uint64, error)
}

// gateway is the HTTP face of a pricer.
type gateway struct{ prices pricer }

func (g *gateway) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	item, err := strconv.ParseUint(req.URL.Query().Get("item"), 10, 64)
	if err != nil {
		http.Error(w, "item: a whole number is needed", http.StatusBadRequest)
		return
	}
	cents, err := g.prices.price(req.Context(), item)
	switch {
	case errors.Is(err, context.Canceled):
		return // nobody waits for the answer
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	body := make([]byte, 0, 64)
	body = append(body, `{"item":`...)
	body = strconv.AppendUint(body, item, 10)
	body = append(body, `,"cents":`...)
	body = strconv.AppendUint(body, cents, 10)
	body = append(body, "}\n"...)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // an error means that the caller has gone
}

// directPricer works prices out itself once the engine has given leave.
type directPricer struct{ engine *kit.Dependency }

func (p *directPricer) price(ctx context.Context, item uint64) (uint64, error) {
	if err := p.engine.Call(ctx); err != nil {
		return 0, err
	}
	return priceOf(item), nil
}

// priceOf is the price list: any fixed function that tells items apart.
func priceOf(item uint64) uint64 { return 100 + item*2654435761%99_900 }
