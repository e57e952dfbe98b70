package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"chokepoint/targets/kit"
)

// line is one statement.
const line = "2024-05-17  groceries and sundries   EUR        -12.50\n"

// pages are the statements of an account, a page each, of size bytes in all.
func pages(size int) []byte {
	const page = 16 << 10
	text := strings.Repeat(line, page/len(line)+1)[:page-1] + "\n"
	return []byte(strings.Repeat(text, max(1, size/page)))
}

// exportAPI answers GET /statements?account=N with all there are.
type exportAPI struct {
	archive *kit.Dependency
	grace   time.Duration // 0: a write waits as long as it takes
	text    []byte
}

func newExportAPI(ctx context.Context, o kit.Options) http.Handler {
	api := &exportAPI{archive: kit.NewDependency(ctx, o.Duration("delay")), text: pages(o.Bytes("size"))}
	if !o.Flawed() {
		api.grace = o.Duration("grace")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /statements", api.serveStatements)
	return mux
}

func (a *exportAPI) serveStatements(w http.ResponseWriter, r *http.Request) {
	n, ok := account(w, r)
	if !ok {
		return
	}
	if err := a.archive.Call(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	head := fmt.Sprintf("account %d\n", n)
	w.Header().Set("Content-Length", strconv.Itoa(len(head)+len(a.text)))
	if _, err := w.Write([]byte(head)); err != nil {
		return
	}
	if err := a.send(w); errors.Is(err, os.ErrDeadlineExceeded) {
		panic(http.ErrAbortHandler) // the client does not read: let go of it
	}
}

// send writes the statements, a piece at a time. With a grace each piece has so long.
func (a *exportAPI) send(w http.ResponseWriter) error {
	const piece = 16 << 10
	out := http.NewResponseController(w)
	for rest := a.text; len(rest) > 0; {
		if a.grace > 0 {
			if err := out.SetWriteDeadline(time.Now().Add(a.grace)); err != nil {
				return err
			}
		}
		n, err := w.Write(rest[:min(piece, len(rest))]) // chokepoint:flaw blocked-write
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}
