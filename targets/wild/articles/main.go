// Articles is a magazine that says how many read an article in the last minute. Version
// 0.1.0 of its counter starts a goroutine for each reader, which sleeps that minute
// to take the reader off again (its issue 2).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	_ "net/http/pprof"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/paulbellamy/ratecounter"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	t := &trending{readers: map[string]*ratecounter.RateCounter{}}
	http.HandleFunc("/articles/{slug}", t.article)
	http.HandleFunc("/trending", t.list)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// trending knows how many readers each article had in the last minute.
type trending struct {
	mu      sync.RWMutex
	readers map[string]*ratecounter.RateCounter
}

func (t *trending) of(slug string) *ratecounter.RateCounter {
	t.mu.RLock()
	c := t.readers[slug]
	t.mu.RUnlock()
	if c != nil {
		return c
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if c = t.readers[slug]; c == nil {
		c = ratecounter.NewRateCounter(time.Minute)
		t.readers[slug] = c
	}
	return c
}

// read counts a reader and says how many there are.
func (t *trending) read(slug string) int64 {
	c := t.of(slug)
	c.Incr(1)
	return c.Rate()
}

func (t *trending) article(w http.ResponseWriter, r *http.Request) {
	slug := r.PathValue("slug")
	fmt.Fprintf(w, "<h1>%s</h1><p>%d read this now.</p>\n", slug, t.read(slug))
}

func (t *trending) list(w http.ResponseWriter, _ *http.Request) {
	readers := map[string]int64{}
	t.mu.RLock()
	for slug, c := range t.readers {
		readers[slug] = c.Rate()
	}
	t.mu.RUnlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(readers)
}
