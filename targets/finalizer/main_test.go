package main

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/targets/kit"
	"chokepoint/targets/kit/kittest"
)

// patience is how long a test waits for the collector and for finalizers. It
// is no expectation: a test that reaches it fails.
const patience = 20 * time.Second

// eventually collects garbage until what holds.
func eventually(t *testing.T, what func() bool, says string) {
	t.Helper()
	assert.Eventually(t, func() bool {
		runtime.GC()
		return what()
	}, patience, 5*time.Millisecond, says)
}

// Both variants of every mode make the same thumbnails, and give back all that
// these took.
func TestEveryModeServesAndGivesBack(t *testing.T) {
	for _, mode := range []string{"lock", "io", "cleanup"} {
		for _, variant := range []kit.Variant{kit.Flawed, kit.Fixed} {
			t.Run(mode+"/"+string(variant), func(t *testing.T) {
				server := kittest.Server(t, service(), variant, "mode="+mode, "delay=1ms", "reply=100us")

				const requests = 20
				var sent sync.WaitGroup
				for range requests {
					sent.Go(func() {
						status, body := kittest.Get(t, server.URL+"/thumbnail?image=7")
						assert.Equal(t, http.StatusOK, status)
						assert.Equal(t, strings.Repeat("\x08", thumbBytes), body)
					})
				}
				sent.Wait()

				taken := "20"
				if mode == "lock" {
					taken = "20480" // bytes, of 1,024 each
				}
				want := "taken " + taken + "\nreturned " + taken + "\nleaked 0\n"
				eventually(t, func() bool {
					_, stats := kittest.Get(t, server.URL+"/stats")
					return stats == want
				}, "all that was taken is given back")

				status, body := kittest.Get(t, server.URL+"/thumbnail?image=x")
				assert.Equal(t, http.StatusBadRequest, status)
				assert.Equal(t, "image: give a whole number, 0 or more\n", body)
			})
		}
	}
}

// stuckIn reports whether function is on some goroutine's stack below waiting.
func stuckIn(function, waiting string) bool {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if strings.Contains(stack, function) && strings.Contains(stack, waiting) {
			return true
		}
	}
	return false
}

func TestFinalizerWaitsForTheMeterOrNot(t *testing.T) {
	t.Run("flawed", func(t *testing.T) {
		m := &meter{flawed: true}
		m.mu.RLock()
		m.newFrame()
		eventually(t, func() bool { return stuckIn("(*frame).uncount", "sync.(*RWMutex).Lock") },
			"the finalizer waits while the meter is read")
		m.mu.RUnlock()
		eventually(t, func() bool { return m.stats().returned == thumbBytes }, "and goes on after")
	})
	t.Run("fixed", func(t *testing.T) {
		m := &meter{}
		m.mu.RLock()
		defer m.mu.RUnlock()
		m.newFrame()
		eventually(t, func() bool { return m.leaked.Load() == 1 },
			"the finalizer finds a frame that was not closed, though the meter is read")
	})
}

func TestFinalizerWaitsForTheRenderServerOrNot(t *testing.T) {
	tests := []struct {
		mode, waitsIn string
		forget        func(*leases)
	}{
		{"io", "(*surface).giveUp", func(l *leases) { l.newSurface() }},
		{"cleanup", "returnHold", func(l *leases) { l.newTexture() }},
	}
	for _, tt := range tests {
		t.Run(tt.mode, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			addr, err := kit.ListenPeer(ctx, time.Hour)
			require.NoError(t, err)

			flawed := newLeases(ctx, addr, true)
			tt.forget(flawed)
			eventually(t, func() bool { return stuckIn(tt.waitsIn, "bufio.(*Reader).ReadString") },
				"it waits for the answer")
			assert.Zero(t, flawed.stats().returned)
			cancel() // hangs up: the one goroutine that runs them is free again

			fixed := newLeases(t.Context(), addr, false)
			tt.forget(fixed)
			eventually(t, func() bool { return fixed.stats().leaked == 1 },
				"the twin finds what was forgotten, though the render server is gone")
		})
	}
}

func TestScalePicksEvenly(t *testing.T) {
	original := make([]byte, 4*thumbBytes)
	for i := range original {
		original[i] = byte(i / pixelBytes / 4) // four pixels of each value
	}
	thumb := make([]byte, thumbBytes)
	scale(thumb, original)
	for i := range thumbPixels {
		assert.Equal(t, byte(i), thumb[i*pixelBytes], "pixel %d", i)
	}
}

func TestDecodeFillsTheOriginal(t *testing.T) {
	assert.Equal(t, []byte{4, 4, 4, 4, 4, 4, 4, 4, 4, 4}, decode(3, 10))
	assert.Equal(t, []byte{0xac, 2, 0xac, 2, 0xac}, decode(299, 5))
}
