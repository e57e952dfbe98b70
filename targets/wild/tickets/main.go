// Tickets is a help desk that keeps open tickets in an LRU cache; its eviction
// callback asks the cache how full it is, to log it. Up to version 0.5.4 of the
// cache the callback runs under the cache's lock (its pull request 80), and the
// help desk stands still from the first ticket that falls out.
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
	"sync/atomic"
	"syscall"
	"time"

	lru "github.com/hashicorp/golang-lru"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	d, err := newDesk(20_000)
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/ticket", d.open)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

type desk struct {
	tickets *lru.Cache
	full    atomic.Int64 // how many tickets there were when one fell out
}

func newDesk(size int) (*desk, error) {
	d := &desk{}
	c, err := lru.NewWithEvict(size, d.fellOut)
	d.tickets = c
	return d, err
}

func (d *desk) fellOut(_, _ any) { d.full.Store(int64(d.tickets.Len())) }

func (d *desk) open(w http.ResponseWriter, r *http.Request) {
	time.Sleep(50 * time.Millisecond) // the customer's record
	id := r.FormValue("id")
	d.tickets.Add(id, time.Now())
	fmt.Fprintf(w, "ticket %s\n", id)
}
