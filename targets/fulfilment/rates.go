package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"chokepoint/targets/kit"
)

// exchange asks a carrier for many rates at a time over one connection: each question
// bears a number, and so does its answer.
type exchange struct {
	conn net.Conn

	mu      sync.Mutex
	last    int
	waiting map[int]chan string
	err     error // why there are no more answers
}

func dialExchange(ctx context.Context, addr string) (*exchange, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connecting to the carrier: %w", err)
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	x := &exchange{conn: conn, waiting: map[int]chan string{}}
	go x.receive()
	return x, nil
}

var errNoAnswer = errors.New("the carrier: no answer")

// rate is what the carrier takes for a parcel.
func (x *exchange) rate(ctx context.Context, parcel int) (string, error) {
	answer := make(chan string, 1)
	n, err := x.ask(parcel, answer)
	if err != nil {
		return "", err
	}
	select {
	case rate, ok := <-answer:
		if !ok {
			return "", errNoAnswer
		}
		return rate, nil
	case <-ctx.Done():
		x.mu.Lock()
		delete(x.waiting, n)
		x.mu.Unlock()
		return "", ctx.Err()
	}
}

func (x *exchange) ask(parcel int, answer chan string) (n int, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		return 0, x.err
	}
	x.last++
	x.waiting[x.last] = answer
	if _, err := fmt.Fprintf(x.conn, "%d %d\n", x.last, parcel); err != nil {
		delete(x.waiting, x.last)
		return 0, fmt.Errorf("asking the carrier: %w", err)
	}
	return x.last, nil
}

// receive hands answers to those who asked.
func (x *exchange) receive() {
	lines := bufio.NewScanner(x.conn)
	for lines.Scan() {
		number, rate, _ := strings.Cut(lines.Text(), " ")
		n, _ := strconv.Atoi(number)
		x.mu.Lock()
		answer := x.waiting[n]
		delete(x.waiting, n)
		x.mu.Unlock()
		if answer != nil {
			answer <- rate
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.err = errNoAnswer
	for _, answer := range x.waiting {
		close(answer)
	}
	clear(x.waiting)
}

// listenCarrier starts a carrier on a loopback port: it answers each question after
// delay, many at a time, until ctx ends.
func listenCarrier(ctx context.Context, delay time.Duration) (addr string, err error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("starting the carrier: %w", err)
	}
	context.AfterFunc(ctx, func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		defer conn.Close()
		var mu sync.Mutex
		lines := bufio.NewScanner(conn)
		for lines.Scan() {
			number, parcel, _ := strings.Cut(lines.Text(), " ")
			time.AfterFunc(delay, func() {
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintf(conn, "%s %s cents\n", number, parcel)
			})
		}
	}()
	return l.Addr().String(), nil
}

// rateAPI answers GET /rates?parcel=N.
type rateAPI struct {
	carrier *exchange
}

func newRateAPI(ctx context.Context, o kit.Options) (http.Handler, error) {
	addr, err := listenCarrier(ctx, o.Duration("delay"))
	if err != nil {
		return nil, err
	}
	carrier, err := dialExchange(ctx, addr)
	if err != nil {
		return nil, err
	}
	api := &rateAPI{carrier}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /rates", api.serveRates)
	return mux, nil
}

func (a *rateAPI) serveRates(w http.ResponseWriter, r *http.Request) {
	n, ok := parcel(w, r)
	if !ok {
		return
	}
	rate, err := a.carrier.rate(r.Context(), n)
	if err != nil {
		unavailable(w, err)
		return
	}
	fmt.Fprintf(w, "parcel %d costs %s\n", n, rate)
}
