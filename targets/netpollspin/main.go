// Netpollspin is a gateway for price quotes. It answers GET /quote?item=N with
// the price of an item, which it asks of a pricing engine.
//
// Its flaw is a poll loop that never blocks, in two modes:
//
//   - epoll: the gateway multiplexes its requests over a few connections to the
//     engine with an event loop of its own, and the loop asks epoll not to wait.
//   - accept: the gateway's second listener, where other gateways fetch its
//     state, looks up from Accept now and then by a deadline; the deadline is
//     set once, so that when it has passed Accept returns at once, for ever.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"chokepoint/targets/kit"
)

// links is how many connections the gateway keeps to the engine.
const links = 4

func main() { kit.Run(service()) }

func service() kit.Service {
	return kit.Service{
		About: "a gateway for price quotes: GET /quote?item=N",
		Knobs: map[string]string{
			"mode":  "epoll|accept",
			"delay": "2500ms", // the pricing engine's time to answer
			"idle":  "1s",     // how long the peer listener waits before it looks up (mode accept)
		},
		Build: build,
	}
}

func build(ctx context.Context, o kit.Options) (http.Handler, error) {
	var (
		p   pricer
		err error
	)
	switch mode := o.String("mode"); mode {
	case "epoll":
		p, err = dialEngine(ctx, o)
	case "accept":
		p, err = withPeers(ctx, o)
	default:
		err = fmt.Errorf("knob mode: %q is unknown; use epoll or accept", mode)
	}
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /quote", &gateway{prices: p})
	return mux, nil
}

// dialEngine starts the simulated pricing engine and a reactor that speaks to it.
func dialEngine(ctx context.Context, o kit.Options) (pricer, error) {
	addr, err := startEngine(ctx, o.Duration("delay"))
	if err != nil {
		return nil, err
	}
	timeout := untilEvent
	if o.Flawed() {
		timeout = 0 // meant as "no timeout"
	}
	r, err := newReactor(addr, links, timeout)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, r.stop)
	go func() {
		if err := r.run(); err != nil {
			log.Printf("event loop: %v", err)
		}
	}()
	return r, nil
}

// withPeers starts the peer listener; prices come from the kit's dependency.
func withPeers(ctx context.Context, o kit.Options) (pricer, error) {
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("listening for peers: %w", err)
	}
	p := &peers{listener: ln, idle: o.Duration("idle"), renew: !o.Flawed(), since: time.Now()}
	go func() {
		if err := p.serve(ctx); err != nil && !errors.Is(err, context.Canceled) {
			log.Printf("peer listener %s: %v", ln.Addr(), err)
		}
	}()
	return &directPricer{engine: kit.NewDependency(ctx, o.Duration("delay"))}, nil
}
