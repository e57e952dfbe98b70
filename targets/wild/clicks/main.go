// Clicks is a counter of page views, watched by OpenTelemetry. Up to version
// 0.43.0 its HTTP instrumentation keeps a time series for every User-Agent it ever
// saw (CVE-2023-45142).
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

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/sdk/metric"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	provider := metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))
	views := http.NewServeMux()
	views.HandleFunc("/", view)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen, Handler: watched(views, provider)}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

func watched(next http.Handler, provider *metric.MeterProvider) http.Handler {
	counted := otelhttp.NewHandler(next, "views", otelhttp.WithMeterProvider(provider))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counted.ServeHTTP(w, r)
	})
}

func view(w http.ResponseWriter, r *http.Request) {
	time.Sleep(100 * time.Millisecond) // the page comes from elsewhere
	fmt.Fprintln(w, "seen")
}
