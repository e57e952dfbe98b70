package main

import (
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"chokepoint/targets/kit"
	"chokepoint/targets/kit/kittest"
)

// Both variants give the same service.
func TestBook(t *testing.T) {
	for _, v := range []kit.Variant{kit.Flawed, kit.Fixed} {
		t.Run(string(v), func(t *testing.T) {
			s := kittest.Server(t, service(), v, "delay=1ms", "confirm=1ms")
			status, body := kittest.Get(t, s.URL+"/book?show=3&seat=1007")
			assert.Equal(t, http.StatusOK, status)
			assert.Equal(t, "seat 7 of show 3, wanted 1 times\n", body)
			_, body = kittest.Get(t, s.URL+"/book?show=3&seat=7")
			assert.Equal(t, "seat 7 of show 3, wanted 2 times\n", body)
			status, _ = kittest.Get(t, s.URL+"/book?show=x")
			assert.Equal(t, http.StatusBadRequest, status)
		})
	}
}

// Only the flawed one leaves goroutines behind.
func TestGoroutinesEnd(t *testing.T) {
	left := func(v kit.Variant) int {
		s := kittest.Server(t, service(), v, "delay=1ms", "confirm=1ms")
		kittest.Get(t, s.URL+"/book?show=1&seat=1")
		before := runtime.NumGoroutine()
		for range 50 {
			kittest.Get(t, s.URL+"/book?show=1&seat=1")
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
