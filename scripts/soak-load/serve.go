package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	_ "net/http/pprof" // on the default mux, which the debug address serves
	"time"
)

// wait makes 10,000 in flight out of 4,000 requests a second, which two CPUs can
// serve beside their load.
const wait = 2500 * time.Millisecond

// serve is the target until ctx ends; args are the address to listen at and that of pprof.
func serve(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("serve takes two addresses")
	}
	failed := make(chan error, 2)
	go func() { failed <- http.ListenAndServe(args[1], nil) }()
	go func() {
		failed <- http.ListenAndServe(args[0], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/" && r.Header.Get("X-Vegeta-Seq") != "" {
				select {
				case <-time.After(wait):
				case <-r.Context().Done():
				}
			}
			fmt.Fprintln(w, "done")
		}))
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}
