// Fares asks a partner what a trip costs, and looks it up in a table of its own when
// the partner is late. Version 1.2.0 of the library that sets the deadline leaves a
// goroutine behind for each answer that comes too late (its issue 23).
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
	"net/url"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/eapache/go-resiliency/deadline"
)

func main() {
	if os.Getenv(besideVar) != "" {
		standIn(servePartner)
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
	p := reach("http://" + addr)
	http.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/fares", p.quote)
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

type fare struct {
	Trip  string `json:"trip"`
	Cents int    `json:"cents"`
	From  string `json:"from"`
}

type partner struct {
	url    string
	client *http.Client
	limit  *deadline.Deadline
}

func reach(url string) *partner {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 256
	return &partner{
		url:    url,
		client: &http.Client{Transport: transport, Timeout: 2 * time.Second},
		limit:  deadline.New(50 * time.Millisecond),
	}
}

func (p *partner) fetch(trip string) (fare, error) {
	resp, err := p.client.Get(p.url + "/?trip=" + url.QueryEscape(trip))
	if err != nil {
		return fare{}, fmt.Errorf("asking the partner: %w", err)
	}
	defer resp.Body.Close()
	var f fare
	if err := json.NewDecoder(resp.Body).Decode(&f); err != nil {
		return fare{}, fmt.Errorf("reading the partner's answer: %w", err)
	}
	return f, nil
}

// fare is the partner's, if it comes in time.
func (p *partner) fare(trip string) (fare, error) {
	answer := make(chan fare, 1)
	err := p.limit.Run(func(<-chan struct{}) error {
		f, err := p.fetch(trip)
		answer <- f
		return err
	})
	if err != nil {
		return fare{}, err
	}
	return <-answer, nil
}

func (p *partner) quote(w http.ResponseWriter, r *http.Request) {
	trip := r.FormValue("trip")
	f, err := p.fare(trip)
	if err != nil {
		f = fare{Trip: trip, Cents: 2500, From: "table"}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(f)
}
