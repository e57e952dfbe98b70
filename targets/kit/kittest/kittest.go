// Package kittest builds lab services for their own tests and asks them things.
package kittest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/targets/kit"
)

// Handler builds a variant of s with knobs written "name=value". Its goroutines end
// with the test.
func Handler(t testing.TB, s kit.Service, v kit.Variant, knobs ...string) http.Handler {
	t.Helper()
	h, _ := built(t, s, v, knobs)
	return h
}

// Server is Handler behind a port of its own, with the listener that s makes if it does.
func Server(t testing.TB, s kit.Service, v kit.Variant, knobs ...string) *httptest.Server {
	t.Helper()
	h, o := built(t, s, v, knobs)
	server := httptest.NewUnstartedServer(h)
	if s.Listen != nil {
		var err error
		server.Listener, err = s.Listen(t.Context(), o, server.Listener)
		require.NoError(t, err)
	}
	server.Start()
	t.Cleanup(server.Close)
	return server
}

func built(t testing.TB, s kit.Service, v kit.Variant, knobs []string) (http.Handler, kit.Options) {
	t.Helper()
	o, err := kit.NewOptions(s, v, knobs...)
	require.NoError(t, err)
	h, err := s.Build(t.Context(), o)
	require.NoError(t, err)
	return h, o
}

// Ask sends a request without a body over the network. Any goroutine may call it: what
// fails fails the test, and has status 0.
func Ask(t testing.TB, method, url string, headers ...http.Header) (status int, body string) {
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if !assert.NoError(t, err) {
		return 0, ""
	}
	for _, h := range headers {
		req.Header = h
	}
	resp, err := http.DefaultClient.Do(req)
	if !assert.NoError(t, err) {
		return 0, ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	assert.NoError(t, err)
	return resp.StatusCode, string(b)
}

// Get is Ask with GET.
func Get(t testing.TB, url string, headers ...http.Header) (status int, body string) {
	return Ask(t, http.MethodGet, url, headers...)
}

// Serve is what h answers to GET of path, without a network.
func Serve(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}
