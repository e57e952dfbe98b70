package main

import (
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

// serveWarehouse confirms what it is sent after 5 ms, and is busy once in four times.
func serveWarehouse(l net.Listener) error {
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
		if rand.IntN(4) == 0 {
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}))
}
