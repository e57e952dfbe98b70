// Command intake takes in reports. Its mode knob says which part of it serves:
//
//	gate     reports, over connections that a gate of its own accepts
//	pictures reports with a picture each, fetched from a gallery
//
// The knob files is the process's limit of descriptors. The flawed gate has to do
// with it, and tries again at once when there is none left; the fixed one asks for
// what the kernel permits. The flawed fetch leaves the gallery's answer open when
// there is no picture.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"syscall"

	"chokepoint/targets/kit"
)

func main() {
	kit.Companions(companions())
	kit.Run(service())
}

// companions are the gallery, in a process of its own.
func companions() map[string]func(net.Listener) error {
	return map[string]func(net.Listener) error{"gallery": serveGallery}
}

func service() kit.Service {
	return kit.Service{
		About: "Reports: GET /reports?id=N",
		Knobs: map[string]string{
			"mode":     "gate|pictures",
			"delay":    "2500ms", // what a request waits for other services first
			"files":    "0",      // the limit of descriptors; 0 leaves it at what the kernel permits
			"pictured": "4",      // one report in so many has a picture (mode pictures)
		},
		Build:  build,
		Listen: listen,
	}
}

func build(ctx context.Context, o kit.Options) (http.Handler, error) {
	others := kit.NewDependency(ctx, o.Duration("delay"))
	switch mode := o.String("mode"); mode {
	case "gate":
		return reports(others, nil, 0), nil
	case "pictures":
		g, err := newGallery(ctx, o)
		if err != nil {
			return nil, err
		}
		return reports(others, g, o.Int("pictured")), nil
	default:
		return nil, fmt.Errorf("mode %q is not built", mode)
	}
}

// listen sets the limit, and puts the gate before the listener in its mode.
func listen(_ context.Context, o kit.Options, l net.Listener) (net.Listener, error) {
	if err := limitFiles(uint64(o.Int("files"))); err != nil {
		return nil, err
	}
	if o.String("mode") != "gate" {
		return l, nil
	}
	if !o.Flawed() {
		if err := raiseFiles(); err != nil {
			return nil, err
		}
	}
	return newGate(l), nil
}

// limitFiles lowers the soft limit of descriptors to n; 0 leaves it.
func limitFiles(n uint64) error {
	if n == 0 {
		return nil
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("reading the limit of descriptors: %w", err)
	}
	if n > limit.Max {
		return fmt.Errorf("knob files: %d is above the hard limit of %d", n, limit.Max)
	}
	limit.Cur = n
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("setting the limit of descriptors: %w", err)
	}
	return nil
}

// raiseFiles raises it to what the kernel permits.
func raiseFiles() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("reading the limit of descriptors: %w", err)
	}
	return limitFiles(limit.Max)
}

// reports answers GET /reports?id=N; where g is set, one in pictured with a picture.
func reports(others *kit.Dependency, g *gallery, pictured int) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /reports", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(r.URL.Query().Get("id"))
		if err != nil || id < 0 {
			http.Error(w, "id: give a whole number, 0 or more", http.StatusBadRequest)
			return
		}
		if err := others.Call(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		picture := "none"
		if g != nil && id%pictured == 0 {
			if picture, err = g.fetch(r.Context(), id); err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
		}
		fmt.Fprintf(w, "report %d: picture %s\n", id, picture)
	})
	return mux
}
