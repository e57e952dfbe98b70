package main

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/targets/kit"
	"chokepoint/targets/kit/kittest"
)

var modes = []string{"supplier", "follow", "legs", "holds", "board", "bounded"}

func options(t *testing.T, v kit.Variant, settings ...string) kit.Options {
	t.Helper()
	o, err := kit.NewOptions(service(), v, settings...)
	require.NoError(t, err)
	return o
}

func start(t *testing.T, v kit.Variant, mode string) http.Handler {
	t.Helper()
	h, err := build(t.Context(), options(t, v, "mode="+mode, "delay=0s", "answer=1ms", "patience=2ms", "routes=20"))
	require.NoError(t, err)
	return h
}

func TestVariantsAnswerAlike(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			flawed, fixed := start(t, kit.Flawed, mode), start(t, kit.Fixed, mode)
			for seq := range 4 {
				path := fmt.Sprintf("/fare?seq=%d", seq)
				a, b := kittest.Serve(flawed, path), kittest.Serve(fixed, path)
				require.Equal(t, http.StatusOK, a.Code, a.Body)
				require.Equal(t, http.StatusOK, b.Code, b.Body)
				assert.Equal(t, b.Body.String(), a.Body.String())
			}
		})
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	h := start(t, kit.Fixed, "bounded")
	for _, query := range []string{"", "seq=", "seq=-1", "seq=x"} {
		w := kittest.Serve(h, "/fare?"+query)
		assert.Equal(t, http.StatusBadRequest, w.Code, query)
		assert.Contains(t, w.Body.String(), "seq: ")
	}
}

// left is how many goroutines are in a function once all that can end has ended.
func left(function string) int {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	return strings.Count(string(buf), function+"(")
}

func TestGoroutinesLeftBehind(t *testing.T) {
	for _, c := range []struct{ mode, function string }{
		{"supplier", ".(*supplierDesk).quote.func1"},
		{"follow", ".(*follower).follow"},
	} {
		t.Run(c.mode, func(t *testing.T) {
			settled := func(h http.Handler) func() bool {
				before := left(c.function)
				for seq := range 8 {
					require.Equal(t, http.StatusOK, kittest.Serve(h, fmt.Sprintf("/fare?seq=%d", seq)).Code)
				}
				return func() bool { return left(c.function) == before }
			}
			assert.Eventually(t, settled(start(t, kit.Fixed, c.mode)), 10*time.Second, time.Millisecond, "all end")
			settled(start(t, kit.Flawed, c.mode))
			time.Sleep(50 * time.Millisecond) // more than any that ends takes
			assert.Positive(t, left(c.function), "some never end")
		})
	}
}

// TestHoldsExpire runs in synctest's time, which moves only when everything waits.
func TestHoldsExpire(t *testing.T) {
	for _, v := range []kit.Variant{kit.Flawed, kit.Fixed} {
		synctest.Test(t, func(t *testing.T) {
			h := newSeatHolds(options(t, v, "mode=holds", "expiry=1m"))
			giveUp := h.take()
			h.take() // forgotten
			assert.Equal(t, 2, h.held())
			giveUp()
			assert.Equal(t, 1, h.held())
			time.Sleep(time.Minute + time.Second)
			assert.Zero(t, h.held(), "what is forgotten expires")
		})
	}
}
