package main

import (
	"encoding/json"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// serveExchange answers after 10 ms. Once there is no offer for a lamp.
func serveExchange(l net.Listener) error {
	var lamps atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/books/{symbol}", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(10 * time.Millisecond)
		b := book{Bids: []float64{10, 9.5}, Asks: []float64{11, 11.5}}
		if r.PathValue("symbol") == "LAMP" && lamps.Add(1) == 20 {
			b.Asks = nil
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(b)
	})
	return http.Serve(l, mux)
}
