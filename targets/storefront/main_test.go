package main

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"chokepoint/targets/kit"
	"chokepoint/targets/kit/kittest"
)

// Both variants of every mode give the same service.
func TestEveryModeServes(t *testing.T) {
	tests := []struct {
		mode, path, want string
	}{
		{"reviews", "/reviews", "item 7 has 3 stars\n"},
		{"catalogue", "/items", "item 7 costs 107 cents\n"},
		{"images", "/images", "image of item 7\n"},
	}
	for _, tt := range tests {
		for _, variant := range []kit.Variant{kit.Flawed, kit.Fixed} {
			t.Run(tt.mode+"/"+string(variant), func(t *testing.T) {
				server := kittest.Server(t, service(), variant, "mode="+tt.mode, "delay=2ms", "hold=1ms", "turns=2")
				var sent sync.WaitGroup
				for range 20 {
					sent.Go(func() {
						status, body := kittest.Get(t, server.URL+tt.path+"?item=10007")
						assert.Equal(t, http.StatusOK, status, body)
						assert.Equal(t, tt.want, body)
					})
				}
				sent.Wait()

				status, body := kittest.Get(t, server.URL+tt.path+"?item=-1")
				assert.Equal(t, http.StatusBadRequest, status)
				assert.Equal(t, "item: give a whole number, 0 or more\n", body)
			})
		}
	}
}

func TestGate(t *testing.T) {
	g := make(gate, 1)
	require.NoError(t, g.enter(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, g.enter(ctx), context.Canceled)
	g.leave()
	assert.NoError(t, g.enter(t.Context()))
}

// While the price is asked for, for an hour, the flawed pool keeps its one
// connection and nobody else looks at an item.
func TestConnectionIsKeptOrNot(t *testing.T) {
	addr, err := kit.ListenPeer(t.Context(), 0)
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		price func(*conns, context.Context, int, *kit.Dependency) (int, error)
		free  int
	}{"price": {(*conns).price, 0}, "quote": {(*conns).quote, 1}} {
		t.Run(name, func(t *testing.T) {
			pool, err := dialConns(t.Context(), addr, 1)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			started := make(chan struct{})
			done := make(chan error, 1)
			go func() {
				close(started)
				_, err := tt.price(pool, ctx, 1, kit.NewDependency(t.Context(), time.Hour))
				done <- err
			}()
			<-started
			if tt.free == 0 {
				require.Eventually(t, func() bool { return len(pool.free) == 0 }, 30*time.Second, time.Millisecond)
			} else {
				assert.NoError(t, pool.look(2), "another's turn comes")
			}
			cancel()
			assert.ErrorIs(t, <-done, context.Canceled)
			require.Eventually(t, func() bool { return len(pool.free) == 1 }, 30*time.Second, time.Millisecond)
		})
	}
}

// Eight images of which the flawed scaler takes each for the largest are scaled one
// after another, though all of them fit.
func TestScalerKnowsTheSizeOrNot(t *testing.T) {
	for name, tt := range map[string]struct {
		need func(int) int64
		want time.Duration
	}{
		"size":    {size, time.Second},
		"largest": {func(int) int64 { return largestImage }, 8 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scaler{memory: semaphore.NewWeighted(largestImage), takes: time.Second, need: tt.need}
				start := time.Now()
				var all sync.WaitGroup
				for i := range 8 {
					all.Go(func() { assert.NoError(t, s.scale(t.Context(), i)) })
				}
				all.Wait()
				assert.Equal(t, tt.want, time.Since(start))
			})
		})
	}
}
