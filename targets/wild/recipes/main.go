// Recipes takes in recipes as YAML documents. Up to version 2.2.7 of the YAML library
// each token of a deeply nested flow sequence is compared with a thousand others that
// could still become keys (CVE-2019-11254).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	_ "net/http/pprof"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"gopkg.in/yaml.v2"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	k := open(128, 512<<10)
	http.HandleFunc("POST /recipe", k.publish)
	http.HandleFunc("GET /", k.list)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// recipe is what the kitchen reads of a document; other fields are left alone.
type recipe struct {
	Name  string   `yaml:"name"`
	Steps []string `yaml:"steps"`
}

// kitchen holds recipes by name, and photographs of its dishes.
type kitchen struct {
	photos [][]byte

	mu      sync.Mutex
	recipes map[string]recipe
}

func open(photos, size int) *kitchen {
	k := &kitchen{recipes: map[string]recipe{}}
	for range photos {
		k.photos = append(k.photos, make([]byte, size))
	}
	return k
}

func (k *kitchen) publish(w http.ResponseWriter, r *http.Request) {
	doc, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
	if err != nil {
		http.Error(w, "cannot read the recipe", http.StatusBadRequest)
		return
	}
	var dish recipe
	if err := yaml.Unmarshal(doc, &dish); err != nil {
		http.Error(w, "not a recipe: "+err.Error(), http.StatusBadRequest)
		return
	}
	k.mu.Lock()
	k.recipes[dish.Name] = dish
	k.mu.Unlock()
	fmt.Fprintf(w, "%s is published\n", dish.Name)
}

func (k *kitchen) list(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	n := len(k.recipes)
	k.mu.Unlock()
	fmt.Fprintf(w, "%d recipes, %d photographs\n", n, len(k.photos))
}
