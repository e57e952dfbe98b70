package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"

	"chokepoint/targets/kit"
)

// conn is a connection to the catalogue, which answers each line with one.
type conn struct {
	net.Conn
	in *bufio.Reader
}

// look reads an item from the catalogue.
func (c *conn) look(item int) error {
	if _, err := fmt.Fprintf(c, "item %d\n", item); err != nil {
		return fmt.Errorf("asking the catalogue: %w", err)
	}
	if _, err := c.in.ReadString('\n'); err != nil {
		return fmt.Errorf("waiting for the catalogue: %w", err)
	}
	return nil
}

// conns are connections that are free.
type conns struct {
	free chan *conn
}

func dialConns(ctx context.Context, addr string, n int) (*conns, error) {
	p := &conns{make(chan *conn, n)}
	var d net.Dialer
	for range n {
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, fmt.Errorf("connecting to the catalogue: %w", err)
		}
		context.AfterFunc(ctx, func() { c.Close() })
		p.free <- &conn{c, bufio.NewReader(c)}
	}
	return p, nil
}

// price is what an item costs now. What the catalogue says is asked for first, and
// the connection given back last of all.
func (p *conns) price(ctx context.Context, item int, prices *kit.Dependency) (cents int, err error) {
	c := <-p.free // chokepoint:flaw pool-exhaustion
	defer func() { p.free <- c }()
	if err := c.look(item); err != nil {
		return 0, err
	}
	return 100 + item, prices.Call(ctx)
}

// quote is price with the connection given back as soon as the catalogue has answered.
func (p *conns) quote(ctx context.Context, item int, prices *kit.Dependency) (cents int, err error) {
	if err := p.look(item); err != nil {
		return 0, err
	}
	return 100 + item, prices.Call(ctx)
}

func (p *conns) look(item int) error {
	c := <-p.free
	defer func() { p.free <- c }()
	return c.look(item)
}

// catalogueAPI answers GET /items?item=N.
type catalogueAPI struct {
	price              func(ctx context.Context, item int, prices *kit.Dependency) (cents int, err error)
	prices, warehouses *kit.Dependency
}

func newCatalogueAPI(ctx context.Context, o kit.Options) (http.Handler, error) {
	addr, err := kit.ListenPeer(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("the catalogue: %w", err)
	}
	pool, err := dialConns(ctx, addr, o.Int("turns"))
	if err != nil {
		return nil, err
	}
	api := &catalogueAPI{
		price:      pool.quote,
		prices:     kit.NewDependency(ctx, o.Duration("hold")),
		warehouses: kit.NewDependency(ctx, o.Duration("delay")),
	}
	if o.Flawed() {
		api.price = pool.price
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /items", api.serveItems)
	return mux, nil
}

func (a *catalogueAPI) serveItems(w http.ResponseWriter, r *http.Request) {
	n, ok := item(w, r)
	if !ok {
		return
	}
	cents, err := a.price(r.Context(), n, a.prices)
	if err == nil {
		err = a.warehouses.Call(r.Context())
	}
	if err != nil {
		unavailable(w, err)
		return
	}
	fmt.Fprintf(w, "item %d costs %d cents\n", n, cents)
}
