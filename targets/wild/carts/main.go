// Carts keeps the shopping carts of a shop for half an hour each. In version 3.1.0 of
// the cache library, going through an empty cache panics with its lock held (issue
// 116). The panic is recovered from, the lock is never let go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	_ "net/http/pprof"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/jellydator/ttlcache/v3"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	s := open()
	go s.carts.Start()
	mux := http.NewServeMux()
	mux.HandleFunc("/cart", s.put)
	mux.HandleFunc("/report", s.report)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen, Handler: recovered(mux)}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// recovered answers with 500 where a handler panics.
func recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				log.Printf("%s %s: %v", r.Method, r.URL.Path, p)
				http.Error(w, "internal error", http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// cart is what a customer has chosen.
type cart struct {
	customer int
	articles int
}

// shop has the carts of at most 2,000 customers.
type shop struct {
	carts *ttlcache.Cache[int, cart]
}

func open() *shop {
	return &shop{carts: ttlcache.New(ttlcache.WithTTL[int, cart](30 * time.Minute))}
}

func (s *shop) put(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.FormValue("customer"))
	if err != nil {
		http.Error(w, "whose cart?", http.StatusBadRequest)
		return
	}
	c := cart{customer: n % 2000, articles: 1 + n%7}
	s.carts.Set(c.customer, c, ttlcache.DefaultTTL)
	fmt.Fprintf(w, "cart of customer %d: %d articles\n", c.customer, c.articles)
}

// report counts what is in all carts.
func (s *shop) report(w http.ResponseWriter, r *http.Request) {
	carts, articles := 0, 0
	s.carts.Range(func(item *ttlcache.Item[int, cart]) bool {
		carts++
		articles += item.Value().articles
		return true
	})
	fmt.Fprintf(w, "%d carts, %d articles\n", carts, articles)
}
