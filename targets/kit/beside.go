package kit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// beside wraps a service in what most have around their handlers: each request is
// written to an audit log in memory, which takes about so much CPU time. It is
// healthy work, of many small kinds, that a diagnosis must not take for the flaw.
func beside(handler http.Handler, perRequest time.Duration) http.Handler {
	if perRequest == 0 {
		return handler
	}
	a := &audit{entries: make([]entry, 256)}
	a.buffers.New = newBuffer
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.record(r, time.Now().Add(perRequest))
		handler.ServeHTTP(w, r)
	})
}

func newBuffer() any { return new(bytes.Buffer) }

// audit keeps the last entries. Its lock is held for the copy of one of them.
type audit struct {
	buffers sync.Pool

	mu      sync.Mutex
	next    int
	entries []entry
}

type entry struct {
	Path    string            `json:"path"`
	Query   map[string]string `json:"query"`
	Checked string            `json:"checked"`
}

// record signs entries of a request, one at least, until it is time to stop.
func (a *audit) record(r *http.Request, until time.Time) {
	for n := 0; n == 0 || time.Now().Before(until); n++ {
		e := entry{Path: r.URL.Path, Query: map[string]string{"n": strconv.Itoa(n)}}
		for name := range r.URL.Query() {
			e.Query[name] = r.URL.Query().Get(name)
		}
		e.Checked = a.checksum(e)
		a.mu.Lock()
		a.entries[a.next%len(a.entries)] = e
		a.next++
		a.mu.Unlock()
	}
}

func (a *audit) checksum(e entry) string {
	b := a.buffers.Get().(*bytes.Buffer)
	defer a.buffers.Put(b)
	b.Reset()
	if err := json.NewEncoder(b).Encode(e); err != nil {
		return ""
	}
	sum := sha256.Sum256(b.Bytes())
	return hex.EncodeToString(sum[:])
}
