package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"

	"chokepoint/targets/kit"
)

const (
	largestImage = 64 << 20 // bytes
	typicalImage = 1 << 20
)

// scaler has images scaled by a service whose memory it must not exceed.
type scaler struct {
	memory *semaphore.Weighted
	takes  time.Duration
	need   func(item int) int64 // bytes that an image takes
}

// size is what the image of an item takes, as its header has it.
func size(item int) int64 { return typicalImage + int64(item%7)<<10 }

// scale has an image scaled once there is room for it.
func (s *scaler) scale(ctx context.Context, item int) error {
	need := s.need(item)
	if err := s.memory.Acquire(ctx, need); err != nil { // chokepoint:flaw pool-exhaustion
		return fmt.Errorf("room for the image of item %d: %w", item, err)
	}
	defer s.memory.Release(need)
	time.Sleep(s.takes)
	return nil
}

// imageAPI answers GET /images?item=N.
type imageAPI struct {
	scaler  *scaler
	storage *kit.Dependency
}

func newImageAPI(ctx context.Context, o kit.Options) http.Handler {
	api := &imageAPI{
		scaler: &scaler{
			memory: semaphore.NewWeighted(int64(o.Int("turns")) * largestImage),
			takes:  o.Duration("hold"),
			need:   size,
		},
		storage: kit.NewDependency(ctx, o.Duration("delay")),
	}
	if o.Flawed() {
		api.scaler.need = func(int) int64 { return largestImage }
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /images", api.serveImages)
	return mux
}

func (a *imageAPI) serveImages(w http.ResponseWriter, r *http.Request) {
	n, ok := item(w, r)
	if !ok {
		return
	}
	if err := a.storage.Call(r.Context()); err != nil {
		unavailable(w, err)
		return
	}
	if err := a.scaler.scale(r.Context(), n); err != nil {
		unavailable(w, err)
		return
	}
	fmt.Fprintf(w, "image of item %d\n", n)
}
