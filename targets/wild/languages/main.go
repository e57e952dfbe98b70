// Languages is a shop that answers in the visitor's language. Parsing what the
// browser asks for takes time that grows with the square of its length, up to
// version 0.3.7 of golang.org/x/text (CVE-2022-32149).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	_ "net/http/pprof"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/text/language"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	http.HandleFunc("/", greet)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

var shelf = language.NewMatcher([]language.Tag{language.English, language.German, language.Japanese})

func greet(w http.ResponseWriter, r *http.Request) {
	time.Sleep(40 * time.Millisecond) // the catalogue
	tags, _, err := language.ParseAcceptLanguage(r.Header.Get("Accept-Language"))
	if err != nil {
		tags = []language.Tag{language.English}
	}
	tag, _, _ := shelf.Match(tags...)
	fmt.Fprintf(w, "hello in %s\n", tag)
}
