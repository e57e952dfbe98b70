// Museum serves the works of a collection, and counts its requests by method and
// status for Prometheus. Clients behind proxies that let only GET and POST pass name
// their method in a header. Up to version 1.11.0 of the metrics library each name that
// a client makes up becomes series of its own, kept for ever (CVE-2022-21698).
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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles and metrics")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	m := open(10_000)
	http.Handle("/metrics", promhttp.Handler())
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen, Handler: m}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// museum holds its works in memory.
type museum struct {
	works   []string
	counted http.Handler
}

func open(n int) *museum {
	m := &museum{works: make([]string, n)}
	for i := range m.works {
		m.works[i] = fmt.Sprintf("work %d, oil on canvas", i)
	}
	m.counted = counted(http.HandlerFunc(m.work))
	return m
}

// counted wraps a handler so that its requests are counted and measured.
func counted(next http.Handler) http.Handler {
	labels := []string{"code", "method"}
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "museum_requests_total",
		Help: "Requests served.",
	}, labels)
	took := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "museum_request_duration_seconds",
		Help:    "How long requests took.",
		Buckets: prometheus.DefBuckets,
	}, labels)
	sent := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "museum_response_size_bytes",
		Help:    "How large responses were.",
		Buckets: prometheus.ExponentialBuckets(64, 4, 10),
	}, labels)
	prometheus.MustRegister(total, took, sent)
	return promhttp.InstrumentHandlerCounter(total,
		promhttp.InstrumentHandlerDuration(took,
			promhttp.InstrumentHandlerResponseSize(sent, next)))
}

func (m *museum) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if name := r.Header.Get("X-HTTP-Method-Override"); name != "" && r.Method == http.MethodPost {
		r.Method = name
	}
	m.counted.ServeHTTP(w, r)
}

// work describes one work, whatever the method; there is nothing to change here.
func (m *museum) work(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.FormValue("id"))
	if err != nil || id < 0 {
		fmt.Fprintf(w, "%d works\n", len(m.works))
		return
	}
	fmt.Fprintln(w, m.works[id%len(m.works)])
}
