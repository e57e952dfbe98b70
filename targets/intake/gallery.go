package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"chokepoint/targets/kit"
)

// gallery fetches pictures.
type gallery struct {
	http *http.Client
	base string
	open bool // the answer that there is no picture stays open
}

func newGallery(ctx context.Context, o kit.Options) (*gallery, error) {
	addr, err := kit.StartCompanion(ctx, "gallery")
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, 200
	return &gallery{http: &http.Client{Transport: t}, base: "http://" + addr, open: o.Flawed()}, nil
}

// fetch returns the picture of a report, "none" where there is none.
func (g *gallery) fetch(ctx context.Context, id int) (string, error) {
	// The picture is wanted whether or not the caller waits for it: it is kept.
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, fmt.Sprintf("%s/%d", g.base, id), nil)
	if err != nil {
		return "", fmt.Errorf("fetching picture %d: %w", id, err)
	}
	resp, err := g.http.Do(req) // chokepoint:flaw fd-exhaustion
	if err != nil {
		return "", fmt.Errorf("fetching picture %d: %w", id, err)
	}
	if resp.StatusCode == http.StatusNotFound {
		if !g.open {
			_, _ = io.Copy(io.Discard, resp.Body) // so that the connection can be used again
			resp.Body.Close()
		}
		return "none", nil
	}
	defer resp.Body.Close()
	picture, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("fetching picture %d: %w", id, err)
	}
	return string(picture), nil
}

// serveGallery is the gallery's side: every other picture is not there.
func serveGallery(l net.Listener) error {
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var id int
		if _, err := fmt.Sscanf(r.URL.Path, "/%d", &id); err != nil {
			http.Error(w, "give a number", http.StatusBadRequest)
			return
		}
		if id%8 == 0 {
			http.Error(w, "there is no such picture", http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, "[%d]", id)
	}))
}
