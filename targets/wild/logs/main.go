// Logs takes the logs of other services as OpenTelemetry's JSON and counts them by
// severity. Skipping a field that it does not know, the decoder goes round for ever
// where the field's value is missing, up to version 1.32.0 (CVE-2024-24786).
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
	"sync/atomic"
	"syscall"
	"time"

	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	t := new(tally)
	http.HandleFunc("GET /", t.show)
	http.HandleFunc("POST /v1/logs", t.ingest)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// tally counts records by severity number.
type tally [32]atomic.Int64

func (t *tally) add(data *logsv1.LogsData) (n int) {
	for _, resource := range data.ResourceLogs {
		for _, scope := range resource.ScopeLogs {
			for _, record := range scope.LogRecords {
				t[uint(record.SeverityNumber)%uint(len(t))].Add(1)
				n++
			}
		}
	}
	return n
}

// decoder skips what newer agents send.
var decoder = protojson.UnmarshalOptions{DiscardUnknown: true}

const maxBody = 1 << 20

func (t *tally) ingest(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	var data logsv1.LogsData
	if err := decoder.Unmarshal(body, &data); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "{\"accepted\": %d}\n", t.add(&data))
}

func (t *tally) show(w http.ResponseWriter, _ *http.Request) {
	for severity := range t {
		if n := t[severity].Load(); n > 0 {
			fmt.Fprintf(w, "%d: %d\n", severity, n)
		}
	}
}
