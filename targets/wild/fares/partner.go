package main

import (
	"encoding/json"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

// servePartner answers after 5 ms, and a fifth after 120 ms.
func servePartner(l net.Listener) error {
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		takes := 5 * time.Millisecond
		if rand.IntN(5) == 0 {
			takes = 120 * time.Millisecond
		}
		time.Sleep(takes)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(fare{Trip: r.FormValue("trip"), Cents: 2350, From: "partner"})
	}))
}
