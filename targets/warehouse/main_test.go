package main

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/targets/kit"
	"chokepoint/targets/kit/kittest"
)

func handler(t *testing.T, variant kit.Variant, settings ...string) http.Handler {
	t.Helper()
	return kittest.Handler(t, service(), variant, append([]string{"delay=1ms", "book=1us"}, settings...)...)
}

func ask(h http.Handler, path string) (int, string) {
	w := kittest.Serve(h, path)
	return w.Code, w.Body.String()
}

// One request at a time, both variants answer alike.
func TestEveryModeServes(t *testing.T) {
	for _, tt := range []struct{ mode, path, want string }{
		{"order", "/order?item=1007", "item 7 is ordered\n"},
		{"order", "/delivery?item=1007", "item 7 is delivered\n"},
		{"import", "/import?item=7", "item 7 is imported, in 6 parts\n"},
		{"poll", "/next", "delivery 1 has come\n"},
	} {
		for _, variant := range []kit.Variant{kit.Flawed, kit.Fixed} {
			t.Run(tt.path+"/"+string(variant), func(t *testing.T) {
				h := handler(t, variant, "mode="+tt.mode, "every=30ms")
				status, body := ask(h, tt.path)
				assert.Equal(t, http.StatusOK, status)
				assert.Equal(t, tt.want, body)
				if tt.mode != "poll" {
					status, _ = ask(h, tt.path[:len(tt.path)-1]+"x")
					assert.Equal(t, http.StatusBadRequest, status)
				}
			})
		}
	}
}

// The fixed variant serves many at a time.
func TestTwinsDoNotStall(t *testing.T) {
	for mode, paths := range map[string][]string{"order": {"/order", "/delivery"}, "import": {"/import"}} {
		h := handler(t, kit.Fixed, "mode="+mode, "workers=2", "queue=1")
		var sent sync.WaitGroup
		for n := range 400 {
			sent.Go(func() {
				status, body := ask(h, fmt.Sprintf("%s?item=%d", paths[n%len(paths)], n))
				assert.Equal(t, http.StatusOK, status, body)
			})
		}
		sent.Wait()
	}
}

// A worker that must put into the full queue that it empties waits for ever.
func TestImportStalls(t *testing.T) {
	for name, tt := range map[string]struct {
		work   func(*importer, *testing.T)
		stalls bool
	}{
		"serve": {func(i *importer, t *testing.T) { i.serve(t.Context()) }, true},
		"work":  {func(i *importer, t *testing.T) { i.work(t.Context()) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newImporter(0, 1, 3)
				go tt.work(i, t)
				done := make(chan struct{}, 3)
				go func() { i.queue <- goodsList{7, 3, done} }()
				synctest.Wait()
				time.Sleep(time.Hour)
				if !tt.stalls {
					assert.Len(t, done, 3)
					return
				}
				assert.Empty(t, done)
				assert.Len(t, i.queue, 1, "full, by who would have to empty it")
				<-i.queue // let it go on
				<-i.queue
				<-i.queue
			})
		})
	}
}

// Orders and deliveries of the flawed variant wait for each other's lock.
func TestLockOrder(t *testing.T) {
	s := newStores(0)
	s.shelf.Lock() // as a delivery does
	waits := make(chan struct{})
	go func() {
		s.order(7) // has the book, and waits for the shelf
		close(waits)
	}()
	require.Eventually(t, func() bool {
		if s.book.TryLock() {
			s.book.Unlock()
			return false
		}
		return true
	}, 10*time.Second, time.Millisecond)
	s.shelf.Unlock()
	<-waits
}
