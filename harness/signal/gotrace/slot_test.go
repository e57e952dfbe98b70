package gotrace

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"chokepoint/harness/internal/testtrace"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"
)

// waitForSlots is a server of which each request takes a slot, with a deadline, while it is traced.
func waitForSlots(t *testing.T, taken int64, deadline time.Duration) *Summary {
	t.Helper()
	const slots, crowd = 2, 12
	sem := semaphore.NewWeighted(slots)
	require.NoError(t, sem.Acquire(t.Context(), taken))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), deadline)
		defer cancel()
		if sem.Acquire(ctx, 1) != nil {
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		defer sem.Release(1)
		time.Sleep(5 * time.Millisecond)
	}))
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: crowd}}
	defer client.CloseIdleConnections()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range crowd {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					get(t, client, srv.URL)
				}
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	s := read(t, testtrace.Record(t, func() { time.Sleep(300 * time.Millisecond) }))
	close(stop)
	wg.Wait()
	return s
}

func TestSlotsThatNobodyGivesBack(t *testing.T) {
	s := waitForSlots(t, 2, 40*time.Millisecond)
	require.Len(t, s.Slots, 1)
	x := s.Slots[0]
	assert.Contains(t, x.Where.Function, "waitForSlots")
	assert.Zero(t, x.Given, "all are taken, and a deadline ends each wait")
	assert.Positive(t, x.Forgone)
	assert.Zero(t, x.Left)
	assert.Greater(t, x.RequestWaitedNS, s.Requests.TotalNS/2)
	assert.GreaterOrEqual(t, x.WaitedNS, x.RequestWaitedNS)
}

func TestSlotsWaitedForThroughout(t *testing.T) {
	s := waitForSlots(t, 2, 2*time.Second)
	require.Len(t, s.Slots, 1)
	assert.Zero(t, s.Slots[0].Given)
	assert.Zero(t, s.Slots[0].Forgone)
	assert.Equal(t, 12, s.Slots[0].Left)
}

func TestSlotsThatArePassedOn(t *testing.T) {
	s := waitForSlots(t, 0, time.Minute)
	require.Len(t, s.Slots, 1)
	assert.Positive(t, s.Slots[0].Given)
	assert.Zero(t, s.Slots[0].Forgone)
	assert.Zero(t, s.Slots[0].Left)
}
