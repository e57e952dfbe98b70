// Orders takes orders and sends what it logs to an archive, too, as auditors want it.
// Version 1.7.0 of the logger holds its lock while its hooks run (its issue 1213):
// each order waits for the archive's answer to every other.
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
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
)

func main() {
	if os.Getenv(besideVar) != "" {
		standIn(serveArchive)
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
	trail := logrus.New()
	trail.SetOutput(io.Discard)
	trail.SetFormatter(&logrus.JSONFormatter{})
	trail.AddHook(reach("http://" + addr))
	o := &orders{log: trail}
	http.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/orders", o.place)
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// archive is sent each entry of the log.
type archive struct {
	url    string
	client *http.Client
}

func reach(url string) *archive {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	return &archive{url, &http.Client{Transport: transport, Timeout: 5 * time.Second}}
}

func (a *archive) Levels() []logrus.Level {
	return []logrus.Level{logrus.InfoLevel, logrus.ErrorLevel}
}

func (a *archive) Fire(e *logrus.Entry) error {
	entry, err := json.Marshal(map[string]any{"said": e.Message, "order": e.Data["order"]})
	if err != nil {
		return fmt.Errorf("writing an entry: %w", err)
	}
	resp, err := a.client.Post(a.url, "application/json", bytes.NewReader(entry))
	if err != nil {
		return fmt.Errorf("sending an entry: %w", err)
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

type orders struct {
	log  *logrus.Logger
	last atomic.Int64
}

func (o *orders) place(w http.ResponseWriter, r *http.Request) {
	sku := r.FormValue("sku")
	if sku == "" {
		http.Error(w, "an order of what?", http.StatusBadRequest)
		return
	}
	id := o.last.Add(1)
	o.log.WithFields(logrus.Fields{"order": id, "sku": sku}).Info("placed")
	_, _ = fmt.Fprintf(w, "order %d\n", id)
}
