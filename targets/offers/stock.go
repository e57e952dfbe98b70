package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"chokepoint/targets/kit"
)

// suppliers asks suppliers for their stock.
type suppliers struct {
	http *http.Client
	base string
	wait time.Duration // what a supplier takes
	dead int
}

// newSuppliers keeps a connection for each of the many requests at once, which the
// client's default of two would close and open again.
func newSuppliers(addr string, o kit.Options) *suppliers {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, 2000
	client := &http.Client{Transport: t}
	if !o.Flawed() {
		client.Timeout = o.Duration("patience")
	}
	return &suppliers{http: client, base: "http://" + addr, wait: o.Duration("answer"), dead: o.Int("silent")}
}

// stock is how many of a product its supplier has.
func (s *suppliers) stock(ctx context.Context, product int) (string, error) {
	q := url.Values{"product": {strconv.Itoa(product)}, "wait": {s.wait.String()}}
	if silent(product, s.dead) {
		q.Set("wait", "never")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/stock?"+q.Encode(), nil)
	if err != nil {
		return "", fmt.Errorf("asking the supplier: %w", err)
	}
	resp, err := s.http.Do(req) // chokepoint:flaw missing-timeout
	if err != nil {
		return "", fmt.Errorf("asking the supplier: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("reading the supplier's answer: %w", err)
	}
	return string(body), nil
}

// stockAPI answers GET /stock?product=N.
type stockAPI struct {
	suppliers *suppliers
	shop      *kit.Dependency
}

func newStockAPI(ctx context.Context, o kit.Options) (http.Handler, error) {
	addr, err := kit.StartCompanion(ctx, "suppliers")
	if err != nil {
		return nil, err
	}
	api := &stockAPI{suppliers: newSuppliers(addr, o), shop: kit.NewDependency(ctx, o.Duration("delay"))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stock", api.serveStock)
	return mux, nil
}

func (a *stockAPI) serveStock(w http.ResponseWriter, r *http.Request) {
	product, ok := number(w, r, "product")
	if !ok {
		return
	}
	if err := a.shop.Call(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	stock, err := a.suppliers.stock(r.Context(), product)
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		stock, err = "unknown", nil
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprintf(w, "product %d: stock %s\n", product, stock)
}

// serveSuppliers is the suppliers' side: it answers after the wait that it is asked
// for, which may be never.
func serveSuppliers(l net.Listener) error {
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wait, err := time.ParseDuration(r.URL.Query().Get("wait"))
		if err != nil {
			<-r.Context().Done()
			return
		}
		time.Sleep(wait)
		fmt.Fprint(w, len(r.URL.Query().Get("product")))
	}))
}
