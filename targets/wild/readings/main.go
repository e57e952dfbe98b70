// Readings takes what meters read and writes it to a time series database, in
// batches; a batch that is refused is told to those on duty. Version 2.7.0
// of the database's client writes nothing while an error waits for the one who reads
// errors (its issue 318): a slow chat holds up the meters.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/api"
)

func main() {
	if os.Getenv(besideVar) != "" {
		standIn(serveDatabase)
	}
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	addr, err := beside(ctx)
	if err != nil {
		log.Fatal(err)
	}
	options := influxdb2.DefaultOptions().SetBatchSize(50).SetFlushInterval(500).SetLogLevel(0)
	writes := influxdb2.NewClientWithOptions("http://"+addr, "token", options).WriteAPI("grid", "energy")
	duty := &chat{url: "http://" + addr + "/duty", client: &http.Client{Timeout: 5 * time.Second}}
	go duty.follow(writes.Errors())
	m := &meters{writes}
	http.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/readings", m.take)
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// chat is where those on duty read what failed.
type chat struct {
	url    string
	client *http.Client
}

func (c *chat) follow(failures <-chan error) {
	for failure := range failures {
		if err := c.say(failure.Error()); err != nil {
			log.Print(err)
		}
	}
}

func (c *chat) say(text string) error {
	message, err := json.Marshal(map[string]string{"text": text})
	if err != nil {
		return fmt.Errorf("telling those on duty: %w", err)
	}
	resp, err := c.client.Post(c.url, "application/json", bytes.NewReader(message))
	if err != nil {
		return fmt.Errorf("telling those on duty: %w", err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.Body.Close()
}

// consumption is what a meter sends.
type consumption struct {
	Meter string  `json:"meter"`
	KWh   float64 `json:"kwh"`
}

type meters struct{ writes api.WriteAPI }

// keep puts what a meter has read into the next batch.
func (m *meters) keep(c consumption, at time.Time) {
	m.writes.WritePoint(influxdb2.NewPoint("energy",
		map[string]string{"meter": c.Meter}, map[string]any{"kwh": c.KWh}, at))
}

func (m *meters) take(w http.ResponseWriter, r *http.Request) {
	var sent consumption
	if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	m.keep(sent, time.Now())
	w.WriteHeader(http.StatusAccepted)
}
