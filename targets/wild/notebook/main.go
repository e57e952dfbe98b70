// Notebook shows everybody the newest notes, with a cookie session for each
// visitor. Up to version 1.1.3 the session library keeps each request that asked for a
// session in a map of the whole process, until somebody clears it, which no router
// but one did (its issues 55 and 121).
package main

import (
	"context"
	"errors"
	"flag"
	"html/template"
	"log"
	"net/http"
	_ "net/http/pprof"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/gorilla/sessions"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	s := &site{
		board:    &board{notes: []string{"Welcome."}},
		sessions: sessions.NewCookieStore([]byte("0123456789abcdef0123456789abcdef")),
	}
	r := chi.NewRouter()
	r.Use(middleware.RequestID, middleware.Recoverer)
	r.Get("/", s.index)
	r.Post("/", s.pin)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen, Handler: r}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// board holds the newest notes.
type board struct {
	mu    sync.RWMutex
	notes []string // the newest last
}

const boardSize = 10

func (b *board) pin(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notes = append(b.notes, text)
	if over := len(b.notes) - boardSize; over > 0 {
		b.notes = append([]string(nil), b.notes[over:]...)
	}
}

func (b *board) latest() []string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return append([]string(nil), b.notes...)
}

var page = template.Must(template.New("page").Parse(`<!doctype html><title>Notebook</title>
<p>Visit {{.Visits}}</p><ul>{{range .Notes}}<li>{{.}}</li>{{end}}</ul>
<form method=post><input name=text></form>
`))

type site struct {
	board    *board
	sessions sessions.Store
}

func (s *site) index(w http.ResponseWriter, r *http.Request) {
	session, err := s.sessions.Get(r, "notebook")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	visits, _ := session.Values["visits"].(int)
	visits++
	session.Values["visits"] = visits
	if err := session.Save(r, w); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Execute(w, map[string]any{"Visits": visits, "Notes": s.board.latest()})
}

func (s *site) pin(w http.ResponseWriter, r *http.Request) {
	s.board.pin(r.FormValue("text"))
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
