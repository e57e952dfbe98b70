package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"time"

	"chokepoint/targets/kit"
)

// changesAPI answers GET /changes?since=N, when there is something newer than that
// revision or when it has been asked for long enough.
type changesAPI struct {
	stopped <-chan struct{}
	changed chan struct{} // closed when something changes; here nothing does
	hold    time.Duration
}

func newChangesAPI(ctx context.Context, o kit.Options) http.Handler {
	api := &changesAPI{stopped: ctx.Done(), changed: make(chan struct{}), hold: o.Duration("poll")}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /changes", api.serveChanges)
	return mux
}

func (a *changesAPI) serveChanges(w http.ResponseWriter, r *http.Request) {
	since, ok := number(w, r, "since")
	if !ok {
		return
	}
	enough := time.NewTimer(a.hold)
	defer enough.Stop()
	select {
	case <-a.changed:
		fmt.Fprintf(w, "changed since %d\n", since)
	case <-enough.C:
		fmt.Fprintf(w, "nothing since %d\n", since)
	case <-r.Context().Done():
	case <-a.stopped:
		http.Error(w, "the service is stopping", http.StatusServiceUnavailable)
	}
}

// channelAPI answers GET /channel?since=N on a connection of its own, so that a
// client may say at any time what it wants to hear of.
type channelAPI struct{ hold time.Duration }

func newChannelAPI(_ context.Context, o kit.Options) http.Handler {
	api := &channelAPI{hold: o.Duration("poll")}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /channel", api.serveChannel)
	return mux
}

func (a *channelAPI) serveChannel(w http.ResponseWriter, r *http.Request) {
	since, ok := number(w, r, "since")
	if !ok {
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	bye := time.AfterFunc(a.hold, func() {
		text := fmt.Sprintf("nothing since %d\n", since)
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text)
		conn.Close()
	})
	defer bye.Stop()
	in := bufio.NewReader(conn)
	for {
		if _, err := in.ReadByte(); err != nil {
			return // the client has gone, or has been told
		}
	}
}
