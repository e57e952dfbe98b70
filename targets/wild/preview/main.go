// Preview shows the text of a comment that is written in HTML. Some HTML takes the
// parser a time that grows with the square of its length, up to version 0.32.0 of
// golang.org/x/net (CVE-2024-45338).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	_ "net/http/pprof"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/html"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	c := &comments{most: 64 << 10}
	http.HandleFunc("POST /preview", c.preview)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// comments are accepted up to a length.
type comments struct{ most int64 }

func (c *comments) preview(w http.ResponseWriter, r *http.Request) {
	doc, err := html.Parse(io.LimitReader(r.Body, c.most))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var b strings.Builder
	write(&b, doc)
	fmt.Fprintf(w, "%d characters: %s\n", b.Len(), b.String())
}

// write writes the text in a node and in those below it.
func write(b *strings.Builder, n *html.Node) {
	if n.Type == html.TextNode {
		b.WriteString(n.Data)
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		write(b, c)
	}
}
