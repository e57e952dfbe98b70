// Command vault is a document store. Its mode knob says which part of it serves:
//
//	save    documents, each on disk before it is confirmed
//	sign    documents signed by a device that takes its time
//	read    documents in small pieces, from files that the kernel has in memory
//	audit   documents from memory, while a journal of what was read is put on disk
//
// Documents are saved by synchronous writes: the flawed variant makes one of each
// piece of each document, the fixed one writes what came together at once. The flawed variant of sign
// leaves the device's connections as the system call made them, so that each read
// keeps a thread; the fixed one hands them to the runtime's poller.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"

	"chokepoint/targets/kit"
)

// maxThreads is above what 10,000 requests in the kernel take. The runtime ends a
// process with more than 10,000 by default.
const maxThreads = 20_000

func main() {
	kit.Companions(companions())
	debug.SetMaxThreads(maxThreads)
	kit.Run(service())
}

// companions are the signing devices, in a process of their own.
func companions() map[string]func(net.Listener) error {
	return map[string]func(net.Listener) error{"devices": serveDevices}
}

func service() kit.Service {
	return kit.Service{
		About: "A document store: /documents?id=N",
		Knobs: map[string]string{
			"mode":     "save|sign|read|audit",
			"delay":    "2500ms", // what a request waits for other services first
			"pieces":   "32",     // of 256 B, that a document is saved or read in
			"device":   "700ms",  // what the device takes for a signature
			"watchers": "0",      // threads that wait for word from devices in the background
		},
		Build: build,
	}
}

func build(ctx context.Context, o kit.Options) (http.Handler, error) {
	var (
		store interface {
			serve(ctx context.Context, id int) (string, error)
		}
		err error
	)
	switch mode := o.String("mode"); mode {
	case "save":
		store, err = newArchive(ctx, o)
	case "sign":
		store, err = newSigner(ctx, o)
	case "read":
		store, err = newShelf(ctx, o)
	case "audit":
		store, err = newAudited(ctx)
	default:
		err = fmt.Errorf("mode %q is not built", mode)
	}
	if err != nil {
		return nil, err
	}
	if n := o.Int("watchers"); n > 0 {
		if err := watchDevices(ctx, n); err != nil {
			return nil, err
		}
	}
	others := kit.NewDependency(ctx, o.Duration("delay"))
	mux := http.NewServeMux()
	mux.HandleFunc("/documents", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(r.URL.Query().Get("id"))
		if err != nil || id < 0 {
			http.Error(w, "id: give a whole number, 0 or more", http.StatusBadRequest)
			return
		}
		if err := others.Call(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		done, err := store.serve(r.Context(), id)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "document %d: %s\n", id, done)
	})
	return mux, nil
}
