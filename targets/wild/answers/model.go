package main

import (
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

const (
	refusal = `{"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}`
	answer  = `{"id": "1", "object": "chat.completion", "created": 1, "model": "small", "choices": [
		{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "The one by the window."}}]}`
)

// serveModel is the model's API: it answers after 20 ms, and refuses a third.
func serveModel(l net.Listener) error {
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(20 * time.Millisecond)
		w.Header().Set("Content-Type", "application/json")
		if rand.IntN(3) == 0 {
			w.Header().Set("Retry-After-Ms", "20")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, refusal)
			return
		}
		_, _ = io.WriteString(w, answer)
	}))
}
