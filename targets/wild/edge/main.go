// Edge decides which experiments a visitor takes part in, by the baggage that comes
// with the request. Version 1.39.0 of the tracing library bounds each header of
// baggage, and not how many there are: it reads them all (CVE-2026-29181).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"hash/fnv"
	"log"
	"net/http"
	_ "net/http/pprof"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	e := &edge{
		carried:     propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}),
		experiments: []experiment{{"new-cart", 10}, {"dark", 50}, {"fast-lane", 5}},
	}
	http.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	http.Handle("/decide", e.traced(e.decide))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// experiment is shown to a share of the visitors, in percent.
type experiment struct {
	name  string
	share uint32
}

type edge struct {
	carried     propagation.TextMapPropagator
	experiments []experiment
}

// traced passes on what the request carries of its trace.
func (e *edge) traced(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := e.carried.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		next(w, r.WithContext(ctx))
	})
}

// taken says of each experiment whether a user takes part.
func (e *edge) taken(ctx context.Context, user string) map[string]bool {
	cohort := baggage.FromContext(ctx).Member("cohort").Value()
	taken := make(map[string]bool, len(e.experiments))
	for _, x := range e.experiments {
		h := fnv.New32a()
		_, _ = h.Write([]byte(x.name + cohort + user))
		taken[x.name] = h.Sum32()%100 < x.share
	}
	return taken
}

func (e *edge) decide(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(e.taken(r.Context(), r.FormValue("user")))
}
