// Events takes what happened in shops and delivers it to the warehouse, again when
// that is busy. Version 2.10.0 of its HTTP client puts the buffer of a body that is
// sent again into its pool once more (CVE-2023-45286): two requests write into
// one buffer, and the warehouse gets the events of others.
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
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-resty/resty/v2"
)

func main() {
	if os.Getenv(besideVar) != "" {
		standIn(serveWarehouse)
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
	h := reach("http://" + addr)
	r := chi.NewRouter()
	r.Get("/", func(http.ResponseWriter, *http.Request) {})
	r.Post("/events", h.take)
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen, Handler: r}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// parcel is what shops send and the warehouse confirms.
type parcel struct {
	ID    string            `json:"id"`
	Kind  string            `json:"kind"`
	Attrs map[string]string `json:"attrs,omitempty"`
}

type warehouse struct{ client *resty.Client }

func reach(url string) *warehouse {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 256
	return &warehouse{resty.New().
		SetTransport(transport).
		SetBaseURL(url).
		SetTimeout(5 * time.Second).
		SetRetryCount(4).
		SetRetryWaitTime(5 * time.Millisecond).
		SetRetryMaxWaitTime(20 * time.Millisecond).
		AddRetryCondition(func(r *resty.Response, err error) bool {
			return err != nil || r.StatusCode() == http.StatusServiceUnavailable
		})}
}

func (h *warehouse) deliver(ctx context.Context, e parcel) ([]byte, error) {
	resp, err := h.client.R().SetContext(ctx).SetBody(e).Post("/")
	if err != nil {
		return nil, fmt.Errorf("delivering %s: %w", e.ID, err)
	}
	if resp.IsError() {
		return nil, fmt.Errorf("delivering %s: %s", e.ID, resp.Status())
	}
	return resp.Body(), nil
}

func (h *warehouse) take(w http.ResponseWriter, r *http.Request) {
	var e parcel
	if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	stored, err := h.deliver(r.Context(), e)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(stored)
}
