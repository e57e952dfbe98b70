// Hello is a healthy server and nothing but: GET / answers a few bytes, at once or
// after a wait. It has no flaw and no twin. What recording costs a target is
// measured on it, so that it does nothing that a plain net/http server does not:
// no profile of contention or blocking is switched on.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "`host:port` to answer on")
	debug := flag.String("debug", "127.0.0.1:0", "`host:port` of net/http/pprof")
	wait := flag.Duration("wait", 0, "how long a request waits, without using CPU, before it is answered; spread by a tenth either way")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serveUntil(ctx, *listen, greeting(*wait), *debug, profiles()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// greeting answers every request after wait. Waits are spread evenly, by a tenth of
// it either way, so that requests which began together do not stay together.
func greeting(wait time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wait > 0 {
			timer := time.NewTimer(wait + time.Duration(0.1*float64(wait)*(2*rand.Float64()-1)))
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-r.Context().Done():
				return
			}
		}
		// An error here means that the client has gone.
		_, _ = w.Write([]byte("hello\n"))
	})
}

func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// serveUntil serves both until ctx ends, and then cuts off what is in flight: there
// is nothing to lose.
func serveUntil(ctx context.Context, address string, handler http.Handler, debugAddress string, debugHandler http.Handler) error {
	servers := []*http.Server{{Addr: debugAddress, Handler: debugHandler}, {Addr: address, Handler: handler}}
	failed := make(chan error, len(servers))
	for _, s := range servers {
		go func() { failed <- s.ListenAndServe() }()
	}
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	for _, s := range servers {
		err = errors.Join(err, s.Close())
	}
	return err
}
