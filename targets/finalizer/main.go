// Command finalizer is a thumbnailer. Each request fetches an original,
// decodes it and scales it down, by way of an object that something else keeps
// account of and must hear about when it goes. Its mode knob says what that
// is, and how the object goes:
//
//	lock     a meter counts the memory of frames; a finalizer tells it
//	io       the render server leases out surfaces; a finalizer returns them
//	cleanup  the same with textures, by runtime.AddCleanup
//
// In the flawed variant the finalizer or cleanup does that itself and has to
// wait, one at a time for the whole process. In the fixed variant the handler
// does it when it is done with the object, and the finalizer only counts what
// was forgotten.
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
		About: "A thumbnailer whose images hold something that must be given back.",
		Knobs: map[string]string{
			"mode":  "lock|io|cleanup",
			"delay": "2500ms", // what a request waits for the original
			"reply": "20ms",   // what the meter's collector or the render server takes to answer
			// Memory for one decoded original. It is garbage right after, and
			// thereby sets how often the collector runs, and finalizers with it.
			"decoded": "32KiB",
		},
		Build: build,
	}
}

func build(ctx context.Context, o kit.Options) (http.Handler, error) {
	peer, err := kit.ListenPeer(ctx, o.Duration("reply"))
	if err != nil {
		return nil, err
	}
	t := &thumbnailer{
		originals: kit.NewDependency(ctx, o.Duration("delay")),
		decoded:   max(o.Bytes("decoded"), thumbBytes),
	}
	switch mode := o.String("mode"); mode {
	case "lock":
		m, err := newMeter(ctx, peer, o.Flawed())
		if err != nil {
			return nil, err
		}
		t.render, t.stats = m.render, m.stats
	case "io":
		l := newLeases(ctx, peer, o.Flawed())
		t.render, t.stats = l.renderSurface, l.stats
	case "cleanup":
		l := newLeases(ctx, peer, o.Flawed())
		t.render, t.stats = l.renderTexture, l.stats
	default:
		return nil, fmt.Errorf("mode %q is not built", mode)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /thumbnail", t.serveThumbnail)
	mux.HandleFunc("GET /stats", t.serveStats)
	return mux, nil
}

// stats is the account of what objects hold.
type stats struct {
	taken    int64 // given out to objects so far
	returned int64 // given back
	leaked   int64 // found forgotten by a finalizer or cleanup
}

// thumbnailer answers GET /thumbnail?image=N.
type thumbnailer struct {
	originals *kit.Dependency
	decoded   int // bytes of a decoded original

	// render scales a decoded original down, by way of an object of the mode,
	// and hands the thumbnail to use.
	render func(original []byte, use func(thumb []byte))
	stats  func() stats
}

func (t *thumbnailer) serveThumbnail(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseUint(r.URL.Query().Get("image"), 10, 64)
	if err != nil {
		http.Error(w, "image: give a whole number, 0 or more", http.StatusBadRequest)
		return
	}
	if err := t.originals.Call(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	t.render(decode(n, t.decoded), func(thumb []byte) {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(thumb) // an error means that the client has gone
	})
}

func (t *thumbnailer) serveStats(w http.ResponseWriter, _ *http.Request) {
	s := t.stats()
	fmt.Fprintf(w, "taken %d\nreturned %d\nleaked %d\n", s.taken, s.returned, s.leaked)
}
