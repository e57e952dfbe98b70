// Settings hands out the settings of applications, and tells those who wait when one
// is written. In version 1.5.4 of the library that watches files, each watcher waits
// in a system call of its own (its issue 240): a thread for each who waits.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/go-chi/chi/v5"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	s, err := newStore(20)
	if err != nil {
		log.Fatal(err)
	}
	r := chi.NewRouter()
	r.Get("/settings/{app}", s.get)
	r.Get("/settings/{app}/changes", s.wait)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen, Handler: r}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	err = srv.ListenAndServe()
	_ = os.RemoveAll(s.dir)
	if !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// store keeps the settings of each application in a file.
type store struct{ dir string }

func newStore(apps int) (*store, error) {
	dir, err := os.MkdirTemp("", "settings-")
	if err != nil {
		return nil, fmt.Errorf("making room for settings: %w", err)
	}
	s := &store{dir}
	for i := range apps {
		name := s.path(fmt.Sprintf("app-%d", i))
		if err := os.WriteFile(name, []byte("level: info\nworkers: 4\n"), 0o644); err != nil {
			return nil, errors.Join(fmt.Errorf("writing settings: %w", err), os.RemoveAll(dir))
		}
	}
	return s, nil
}

func (s *store) path(app string) string { return filepath.Join(s.dir, filepath.Base(app)+".yaml") }

// changed waits until the settings of app are written, and says whether they were
// before ctx was done.
func (s *store) changed(ctx context.Context, app string) (bool, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return false, fmt.Errorf("watching the settings of %s: %w", app, err)
	}
	defer w.Close()
	if err := w.Add(s.path(app)); err != nil {
		return false, fmt.Errorf("watching the settings of %s: %w", app, err)
	}
	for {
		select {
		case e := <-w.Events:
			if e.Op&(fsnotify.Write|fsnotify.Create) != 0 {
				return true, nil
			}
		case err := <-w.Errors:
			return false, fmt.Errorf("watching the settings of %s: %w", app, err)
		case <-ctx.Done():
			return false, nil
		}
	}
}

func (s *store) get(w http.ResponseWriter, r *http.Request) {
	http.ServeFile(w, r, s.path(chi.URLParam(r, "app")))
}

// wait answers with the settings as soon as they are written, or that they were not.
func (s *store) wait(w http.ResponseWriter, r *http.Request) {
	patience, err := time.ParseDuration(r.FormValue("for"))
	if err != nil {
		http.Error(w, "wait for how long?", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	changed, err := s.changed(ctx, chi.URLParam(r, "app"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		http.NotFound(w, r)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	case changed:
		s.get(w, r)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}
