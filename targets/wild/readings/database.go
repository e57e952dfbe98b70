package main

import (
	"io"
	"net"
	"net/http"
	"time"
)

const conflict = `{"code": "unprocessable entity", "message": "field type conflict: input field \"kwh\" is type float, already exists as type integer"}`

// serveDatabase refuses each batch after 2 ms, as the field had another type in the
// past. The chat of those on duty is here, too, and takes 350 ms for a message.
func serveDatabase(l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v2/write", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(2 * time.Millisecond)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, conflict)
	})
	mux.HandleFunc("/duty", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(350 * time.Millisecond)
	})
	return http.Serve(l, mux)
}
