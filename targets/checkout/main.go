// Command checkout is the checkout of a shop. Each request shows a signed token,
// whose signature is checked, reads the lines of a cart from an SQL database
// through a pool of connections, asks for the tax on each line, and then waits
// for the bank. Its mode knob says which part has a flaw:
//
//	pool  the connection that a cart is read through is kept while taxes are asked for
//	gifts the connection is never given back where reading ends early, at a gift
//	key   the keys that signatures are checked with are loaded for each check
//	ample no flaw: the connection is kept while taxes are asked for, in both
//	      variants, and there must be enough of them
//
// The fixed variant does the same work; it gives the connection back first, whatever it
// read, and loads the keys once.
//
// What a request does is marked with package mark, so that an execution trace
// says how long it waited for a connection or checked a signature.
package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"chokepoint/mark"
	"chokepoint/targets/kit"
)

func main() { kit.Run(service()) }

func service() kit.Service {
	return kit.Service{
		About: "A checkout that verifies tokens and reads carts from a database.",
		Knobs: map[string]string{
			"mode":  "pool|gifts|key|ample",
			"delay": "5s",   // what a request waits for the bank
			"hold":  "60ms", // what it waits for taxes, over all lines of a cart
			"conns": "4",    // database connections in the pool
			"keys":  "400",  // keys in the ring that signatures are checked with
		},
		Build: build,
	}
}

func build(ctx context.Context, o kit.Options) (http.Handler, error) {
	mode := o.String("mode")
	carts, err := openCarts(ctx, o.Int("conns"), mode == "gifts")
	if err != nil {
		return nil, fmt.Errorf("the carts: %w", err)
	}
	sessions, verifier, err := newTokens(ctx, o.Int("keys"))
	if err != nil {
		return nil, fmt.Errorf("the tokens: %w", err)
	}
	api := &checkoutAPI{
		carts: carts, sessions: sessions, verifier: verifier,
		taxes:  kit.NewDependency(ctx, o.Duration("hold")/linesPerCart),
		bank:   kit.NewDependency(ctx, o.Duration("delay")),
		verify: verifier.verify, price: carts.quote,
	}
	switch {
	case mode == "pool" && o.Flawed(), mode == "ample":
		api.price = carts.price
	case mode == "gifts" && o.Flawed():
		api.price = carts.due(carts.payable)
	case mode == "gifts":
		api.price = carts.due(carts.payableLines)
	case mode == "key" && o.Flawed():
		api.verify = verifier.check
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /checkout", api.serveCheckout)
	return mux, nil
}

// checkoutAPI answers GET /checkout?cart=N. Who asks is said by a bearer token,
// or else by the session that goes with the cart, whose token the shop keeps.
type checkoutAPI struct {
	carts       *cartStore
	sessions    []string // signed tokens
	verifier    *tokenVerifier
	taxes, bank *kit.Dependency

	verify func(ctx context.Context, token string) (customer string, err error)
	price  func(ctx context.Context, cart int, taxes *kit.Dependency) (cents int64, err error)
}

func (a *checkoutAPI) serveCheckout(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Query().Get("cart"))
	if err != nil || n < 0 {
		http.Error(w, "cart: give a whole number, 0 or more", http.StatusBadRequest)
		return
	}
	ctx, task := mark.Begin(r.Context(), "checkout")
	defer task.End()

	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		token = a.sessions[n%len(a.sessions)]
	}
	customer, err := mark.Call(ctx, "verify token", func() (string, error) { return a.verify(ctx, token) }, mark.String("alg", "ES256"))
	if err != nil {
		mark.Event(ctx, "refused")
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	cents, err := a.price(ctx, n%carts, a.taxes)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	mark.Do(ctx, "wait for bank", func() { err = a.bank.Call(ctx) })
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintf(w, "%s pays %d.%02d for cart %d\n", customer, cents/100, cents%100, n%carts)
}
