// Sessions is a login service that keeps sessions in an LRU cache and writes
// those that fall out of it to a journal. The cache's lock is held while its
// eviction callback runs, up to version 0.5.4 of the cache (its pull request 80):
// every request waits for the journal of every other.
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

	s, err := newStore(1000)
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/login", s.login)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

type store struct{ recent *lru.Cache }

func newStore(size int) (*store, error) {
	s := &store{}
	c, err := lru.NewWithEvict(size, s.archive)
	s.recent = c
	return s, err
}

// archive appends a session to the journal on another machine.
func (s *store) archive(_, _ any) { time.Sleep(4 * time.Millisecond) }

func (s *store) login(w http.ResponseWriter, r *http.Request) {
	time.Sleep(400 * time.Millisecond) // the directory checks the password
	user := r.FormValue("user")
	s.recent.Add(user, time.Now())
	fmt.Fprintf(w, "welcome %s\n", user)
}
