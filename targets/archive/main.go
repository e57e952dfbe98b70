// Command archive serves pages out of a snapshot that it has in memory, and works
// on the snapshot beside the requests. Its mode knob says at what:
//
//	check  a checksum of the whole snapshot, again and again. The flawed variant takes it in
//	       one call, the fixed one piece by piece
//	rank   a rank for each page, out of the links between them; both variants alike
//	views  which page is read most. The flawed variant looks for another view, or whether it is
//	       time to tell, without ever sleeping; the fixed one waits for them
//
// Reading the whole snapshot takes a large part of a second either way.
package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"chokepoint/targets/kit"
)

func main() { kit.Run(service()) }

func service() kit.Service {
	return kit.Service{
		About: "An archive of pages that watches over its snapshot.",
		Knobs: map[string]string{
			"mode":     "check|rank|views",
			"delay":    "2.5s",   // what a request waits for the store
			"page":     "64KiB",  // that a request renders
			"snapshot": "1GiB",   // in memory
			"pages":    "100000", // that are ranked
			"pause":    "100ms",  // between two passes
		},
		Build: build,
	}
}

func build(ctx context.Context, o kit.Options) (http.Handler, error) {
	a := &archive{page: max(1, o.Bytes("page")), store: kit.NewDependency(ctx, o.Duration("delay"))}
	switch o.String("mode") {
	case "rank":
		g := newGraph(o.Int("pages"))
		go every(ctx, o.Duration("pause"), func() { a.state.Store(fmt.Sprintf("ranked to %.3f", g.rank(passes))) })
	case "views":
		a.views = newViews()
		tally := a.views.tallyByTicks
		if o.Flawed() {
			tally = a.views.tally
		}
		go tally(ctx, o.Duration("pause"), func(state string) { a.state.Store(state) })
	default:
		s, err := newSnapshot(o.Bytes("snapshot"))
		if err != nil {
			return nil, err
		}
		checksum := s.checksumByPieces
		if o.Flawed() {
			checksum = s.checksum
		}
		go every(ctx, o.Duration("pause"), func() { a.state.Store(fmt.Sprintf("checksum %08x", checksum())) })
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /page", a.servePage)
	mux.HandleFunc("GET /state", a.serveState)
	return mux, nil
}

// servePage answers GET /page?n=N.
func (a *archive) servePage(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	if err != nil || n < 0 {
		http.Error(w, "n: give a whole number, 0 or more", http.StatusBadRequest)
		return
	}
	if err := a.store.Call(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	if a.views != nil {
		a.views.seen(n)
	}
	fmt.Fprintf(w, "page %d, %d letters\n", n, a.render(n))
}

// serveState answers GET /state with what the last pass found.
func (a *archive) serveState(w http.ResponseWriter, _ *http.Request) {
	state, _ := a.state.Load().(string)
	fmt.Fprintln(w, state)
}
