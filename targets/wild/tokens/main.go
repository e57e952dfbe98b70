// Tokens is an API whose clients present signed tokens. Splitting a token that is
// full of dots allocates many times its length, up to version 5.2.1 of the token
// library (CVE-2025-30204).
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
	"strings"
	"syscall"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	b := open(400_000)
	http.HandleFunc("/account", b.account)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// bank holds its accounts in memory.
type bank struct{ accounts map[int]*account }

type account struct {
	owner string
	last  *time.Time
}

func open(n int) *bank {
	b := &bank{accounts: make(map[int]*account, n)}
	for i := range n {
		now := time.Now()
		b.accounts[i] = &account{fmt.Sprintf("customer %d", i), &now}
	}
	return b
}

func (b *bank) account(w http.ResponseWriter, r *http.Request) {
	raw, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	_, _, err := jwt.NewParser().ParseUnverified(raw, jwt.MapClaims{})
	fmt.Fprintf(w, "one of %d accounts, token: %t\n", len(b.accounts), err == nil)
}
