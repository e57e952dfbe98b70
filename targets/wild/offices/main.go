// Offices tells which branch offices can be reached. Up to version 5.5.4 of the health
// library a check that outlasts its timeout leaves its goroutine behind, which hands
// over a result that nobody takes (issue 224).
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
	"syscall"
	"time"

	"github.com/hellofresh/health-go/v5"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	h, err := open(8)
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/", h.welcome)
	http.HandleFunc("/status", h.status)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// office is a branch that answers after a while.
type office struct{ away time.Duration }

// call asks the office for a sign of life.
func (o office) call(ctx context.Context) error {
	answer := time.NewTimer(o.away)
	defer answer.Stop()
	select {
	case <-answer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// headquarters knows its offices.
type headquarters struct {
	offices []office
	checks  *health.Health
}

// open makes a headquarters of n offices, of which each is too far away to answer in time.
func open(n int) (*headquarters, error) {
	h := &headquarters{}
	checks, err := health.New(
		health.WithComponent(health.Component{Name: "offices", Version: "1.0"}),
		health.WithMaxConcurrent(n),
	)
	if err != nil {
		return nil, fmt.Errorf("making health checks: %w", err)
	}
	h.checks = checks
	for i := range n {
		o := office{away: 20 * time.Millisecond}
		h.offices = append(h.offices, o)
		err := checks.Register(health.Config{
			Name:      fmt.Sprintf("office %d", i),
			Timeout:   3 * time.Millisecond,
			SkipOnErr: true,
			Check:     o.call,
		})
		if err != nil {
			return nil, fmt.Errorf("registering a health check: %w", err)
		}
	}
	return h, nil
}

// status answers in any case with 200: an office that cannot be reached is no failure here.
func (h *headquarters) status(w http.ResponseWriter, r *http.Request) {
	check := h.checks.Measure(r.Context())
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(check)
}

func (h *headquarters) welcome(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%d offices\n", len(h.offices))
}
