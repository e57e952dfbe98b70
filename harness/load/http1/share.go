package http1

import (
	"net/http"
	"sync/atomic"
)

// A server answers most requests with the same head, but for the date, which
// changes once a second. heads remembers one, so that it is neither parsed nor
// stored again.
type heads struct {
	known  atomic.Pointer[knownHead]
	misses atomic.Uint32
}

// missesPerStore keeps a server whose heads all differ from making each of them
// known for nothing.
const missesPerStore = 16

type knownHead struct {
	text     string
	response http.Response // without body and request
	framing  framing
	toHead   bool // of a response to HEAD, whose Content-Length is of no body
}

// find returns an answer for the head that data begins with, if that is known,
// and its size in bytes.
func (h *heads) find(data []byte, method string) (*answer, framing, int) {
	k := h.known.Load()
	if k == nil || len(data) < len(k.text) || string(data[:len(k.text)]) != k.text || k.toHead != (method == http.MethodHead) {
		return nil, 0, 0
	}
	return &answer{Response: k.response}, k.framing, len(k.text)
}

// learn makes the head of a, which is text, the known one.
func (h *heads) learn(text []byte, a *answer, f framing, method string) {
	if h.misses.Add(1)%missesPerStore != 1 || a.Trailer != nil {
		return
	}
	h.known.Store(&knownHead{text: string(text), response: a.Response, framing: f, toHead: method == http.MethodHead})
}
