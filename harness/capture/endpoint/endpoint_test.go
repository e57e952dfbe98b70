package endpoint

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// counting serves handler and counts the connections it accepts.
func counting(t *testing.T, handler http.HandlerFunc) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	n := new(atomic.Int64)
	s := httptest.NewUnstartedServer(handler)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			n.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s, n
}

func get(t *testing.T, c *Conn, url string) string {
	t.Helper()
	resp, err := c.Get(t.Context(), url)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return string(body)
}

func TestOneConnectionIsUsedAgain(t *testing.T) {
	for name, open := range map[string]http.HandlerFunc{
		"answered":  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") },
		"not found": http.NotFound,
	} {
		t.Run(name, func(t *testing.T) {
			s, accepted := counting(t, open)
			c, err := Open(t.Context(), s.URL+"/cmdline")
			require.NoError(t, err)
			defer c.Close()
			for range 3 {
				get(t, c, s.URL+"/heap")
			}
			assert.EqualValues(t, 1, accepted.Load())
		})
	}
}

func TestBrokenConnectionIsDialledAgain(t *testing.T) {
	s, accepted := counting(t, func(http.ResponseWriter, *http.Request) {})
	c, err := Open(t.Context(), s.URL)
	require.NoError(t, err)
	defer c.Close()
	s.CloseClientConnections()
	get(t, c, s.URL)
	assert.EqualValues(t, 2, accepted.Load())
}

func TestErrorsNameTheMend(t *testing.T) {
	t.Run("nobody listens", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, l.Close())
		_, err = Open(t.Context(), "http://"+l.Addr().String())
		assert.ErrorContains(t, err, "check the address")
	})
	t.Run("hangs", func(t *testing.T) {
		s, _ := counting(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := Open(ctx, s.URL)
		assert.ErrorContains(t, err, "did not answer in time")
	})
	t.Run("no url", func(t *testing.T) {
		_, err := Open(t.Context(), "http://bad host/")
		assert.Error(t, err)
	})
}

func TestRefusal(t *testing.T) {
	tests := map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"404":  {http.NotFound, "the target does not serve /x (status 404): register the handlers of net/http/pprof there, or correct the debug URL"},
		"text": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "already\n in use", 500) }, "/x answered 500 Internal Server Error: already in use"},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://debug.example.com/x", http.StatusFound)
		},
			"/x answered 302 Found, to https://debug.example.com/x, which is not followed: if that is the target's too, give its address"},
		"none": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, "/x answered 403 Forbidden"},
		"long": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, strings.Repeat("x", 10_000), 400) },
			"/x answered 400 Bad Request: " + strings.Repeat("x", bodyExcerpt)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, _ := counting(t, tt.handler)
			c, err := Open(t.Context(), s.URL+"/x")
			require.NoError(t, err)
			defer c.Close()
			resp, err := c.Get(t.Context(), s.URL+"/x")
			require.NoError(t, err)
			defer resp.Body.Close()
			assert.Equal(t, tt.want, Refusal(resp))
		})
	}
}
