package main

import (
	"context"
	"fmt"
	"net/http"

	"chokepoint/targets/kit"
)

// gate lets so many through at a time.
type gate chan struct{}

// enter waits for a turn; leave must follow.
func (g gate) enter(ctx context.Context) error {
	select { // chokepoint:flaw pool-exhaustion
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g gate) leave() { <-g }

// partner has the reviews.
type partner struct {
	calls   gate // that it takes at a time
	service *kit.Dependency
}

func (p *partner) reviews(ctx context.Context, item int) (stars int, err error) {
	err = p.within(ctx, func() error { return p.service.Call(ctx) })
	return 1 + item%5, err
}

// within calls f within what the partner takes at a time.
func (p *partner) within(ctx context.Context, f func() error) error {
	if err := p.calls.enter(ctx); err != nil {
		return err
	}
	defer p.calls.leave()
	return f()
}

// reviewAPI answers GET /reviews?item=N.
type reviewAPI struct {
	partner  *partner
	profiles *kit.Dependency
}

func newReviewAPI(ctx context.Context, o kit.Options) http.Handler {
	turns := o.Int("ample")
	if o.Flawed() {
		turns = o.Int("turns")
	}
	api := &reviewAPI{
		partner:  &partner{make(gate, turns), kit.NewDependency(ctx, o.Duration("hold"))},
		profiles: kit.NewDependency(ctx, o.Duration("delay")),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /reviews", api.serveReviews)
	return mux
}

func (a *reviewAPI) serveReviews(w http.ResponseWriter, r *http.Request) {
	n, ok := item(w, r)
	if !ok {
		return
	}
	if err := a.profiles.Call(r.Context()); err != nil {
		unavailable(w, err)
		return
	}
	stars, err := a.partner.reviews(r.Context(), n)
	if err != nil {
		unavailable(w, err)
		return
	}
	fmt.Fprintf(w, "item %d has %d stars\n", n, stars)
}
