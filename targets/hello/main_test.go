package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGreeting(t *testing.T) {
	for _, wait := range []time.Duration{0, time.Millisecond} {
		w := httptest.NewRecorder()
		began := time.Now()
		greeting(wait).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		assert.Equal(t, "hello\n", w.Body.String())
		assert.GreaterOrEqual(t, time.Since(began), wait*9/10)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	greeting(time.Hour).ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
	assert.Empty(t, w.Body.String(), "a client that has gone gets no answer")
}

func TestServesUntilItIsTold(t *testing.T) {
	free := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		return l.Addr().String()
	}
	address, debug := free(), free()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serveUntil(ctx, address, greeting(0), debug, profiles()) }()
	get := func(url string) string {
		var text []byte
		require.Eventually(t, func() bool {
			response, err := http.Get(url)
			if err != nil {
				return false
			}
			defer response.Body.Close()
			text, err = io.ReadAll(response.Body)
			return err == nil && response.StatusCode == http.StatusOK
		}, 10*time.Second, 10*time.Millisecond)
		return string(text)
	}
	assert.Equal(t, "hello\n", get("http://"+address+"/"))
	assert.NotEmpty(t, get("http://"+debug+"/debug/pprof/cmdline"))
	cancel()
	assert.NoError(t, <-ended)

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	assert.ErrorContains(t, serveUntil(t.Context(), taken.Addr().String(), greeting(0), free(), profiles()), "in use")
}
