// Server is a small target that misbehaves as it is told to.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/signal"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	listen := flag.String("listen", "", "host:port")
	debug := flag.String("debug", "", "host:port of pprof")
	mode := flag.String("mode", "", "dies | hangs | deaf | mortal | refuses")
	life := flag.Duration("life", 0, "mortal: how long it lives after its first request")
	flag.Parse()

	switch *mode {
	case "dies":
		fmt.Fprintln(os.Stderr, "cannot read config.toml")
		os.Exit(3)
	case "hangs":
		select {
		case <-time.After(time.Hour):
		}
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
	}
	if *debug != "" {
		http.HandleFunc("/debug/metrics", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"/sched/gomaxprocs:threads": %d}`, runtime.GOMAXPROCS(0))
		})
		go func() { fail(http.ListenAndServe(*debug, nil)) }()
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		fail(err)
	}
	if *mode == "refuses" {
		l = &few{Listener: l, left: 2} // by which it seems ready
	}
	var first atomic.Bool
	fail(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if *mode == "mortal" && r.URL.Path == "/work" && first.CompareAndSwap(false, true) {
			time.AfterFunc(*life, func() {
				fmt.Fprintln(os.Stderr, "out of luck")
				os.Exit(7)
			})
		}
		if r.URL.Path == "/work" {
			time.Sleep(100 * time.Millisecond)
		}
		fmt.Fprintln(w, "done")
	})))
}

// few serves no more than so many connections and closes all others.
type few struct {
	net.Listener
	left int
}

func (f *few) Accept() (net.Conn, error) {
	for {
		c, err := f.Listener.Accept()
		if f.left--; err != nil || f.left >= 0 {
			return c, err
		}
		c.Close()
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
