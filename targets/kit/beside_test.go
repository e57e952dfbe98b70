package kit

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestBesideWorksBeforeTheHandler(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) })
	w := httptest.NewRecorder()
	beside(handler, time.Microsecond).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/a?b=c", nil))
	assert.Equal(t, http.StatusTeapot, w.Code)
}

func TestAuditSignsEntries(t *testing.T) {
	a := &audit{entries: make([]entry, 2)}
	a.buffers.New = newBuffer
	r := httptest.NewRequest(http.MethodGet, "/a?b=c", nil)
	for range 3 {
		a.record(r, time.Time{}) // one entry, since it is time to stop
	}
	assert.Equal(t, 3, a.next)
	e := a.entries[0]
	assert.Equal(t, "/a", e.Path)
	assert.Equal(t, map[string]string{"b": "c", "n": "0"}, e.Query)
	assert.Len(t, e.Checked, 64)
}
