package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/targets/kit"
)

func start(t *testing.T, v kit.Variant) *httptest.Server {
	t.Helper()
	o, err := kit.NewOptions(service(), v, "delay=1ms", "confirm=1ms")
	require.NoError(t, err)
	h, err := build(t.Context(), o)
	require.NoError(t, err)
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func ask(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	require.NoError(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return r.StatusCode, string(body)
}

// Both variants give the same service.
func TestBook(t *testing.T) {
	for _, v := range []kit.Variant{kit.Flawed, kit.Fixed} {
		t.Run(string(v), func(t *testing.T) {
			s := start(t, v)
			status, body := ask(t, s.URL+"/book?show=3&seat=1007")
			assert.Equal(t, http.StatusOK, status)
			assert.Equal(t, "seat 7 of show 3, wanted 1 times\n", body)
			_, body = ask(t, s.URL+"/book?show=3&seat=7")
			assert.Equal(t, "seat 7 of show 3, wanted 2 times\n", body)
			status, _ = ask(t, s.URL+"/book?show=x")
			assert.Equal(t, http.StatusBadRequest, status)
		})
	}
}

// Only the flawed one leaves goroutines behind.
func TestGoroutinesEnd(t *testing.T) {
	left := func(v kit.Variant) int {
		s := start(t, v)
		ask(t, s.URL+"/book?show=1&seat=1")
		before := runtime.NumGoroutine()
		for range 50 {
			ask(t, s.URL+"/book?show=1&seat=1")
		}
		for range 100 {
			if runtime.NumGoroutine() <= before {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		return runtime.NumGoroutine() - before
	}
	assert.GreaterOrEqual(t, left(kit.Flawed), 45)
	assert.Less(t, left(kit.Fixed), 10)
}
