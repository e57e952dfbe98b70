// Quotes gives the price of what an exchange trades; those who ask at once share one
// question to the exchange. In a version of 2019 of the library that lets them
// share, they all wait for ever when the one that asks for them panics (issue 33519 of
// Go), as it does here for a book without offers.
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

	"golang.org/x/sync/singleflight"
)

func main() {
	if os.Getenv(besideVar) != "" {
		standIn(serveExchange)
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
	e := reach("http://" + addr)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/quotes/{symbol}", e.quote)
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen, Handler: recovered(mux)}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// recovered answers for a handler that panics.
func recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				http.Error(w, "that went wrong", http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// book is what is bid and asked for, the best first.
type book struct {
	Bids []float64 `json:"bids"`
	Asks []float64 `json:"asks"`
}

type exchange struct {
	url    string
	client *http.Client
	asked  singleflight.Group
}

func reach(url string) *exchange {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	return &exchange{url: url, client: &http.Client{Transport: transport, Timeout: 3 * time.Second}}
}

func (e *exchange) fetch(symbol string) (book, error) {
	resp, err := e.client.Get(e.url + "/books/" + url.PathEscape(symbol))
	if err != nil {
		return book{}, fmt.Errorf("asking the exchange: %w", err)
	}
	defer resp.Body.Close()
	var b book
	if err := json.NewDecoder(resp.Body).Decode(&b); err != nil {
		return book{}, fmt.Errorf("reading the book of %s: %w", symbol, err)
	}
	return b, nil
}

// mid is the price halfway between the best bid and the best offer.
func (e *exchange) mid(symbol string) (float64, error) {
	price, err, _ := e.asked.Do(symbol, func() (any, error) {
		b, err := e.fetch(symbol)
		if err != nil {
			return 0.0, err
		}
		return (b.Bids[0] + b.Asks[0]) / 2, nil
	})
	return price.(float64), err
}

func (e *exchange) quote(w http.ResponseWriter, r *http.Request) {
	price, err := e.mid(r.PathValue("symbol"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	_, _ = fmt.Fprintf(w, "%.2f\n", price)
}
