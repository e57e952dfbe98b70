// Quota tells gateways whether a tenant may go on, and counts in Redis. Version 1.8.2
// of the Redis client loses a place in its pool of connections when the place becomes
// free at the moment that the one who waits for it gives up (its issue 520).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/gorilla/mux"
)

func main() {
	if os.Getenv(besideVar) != "" {
		standIn(serveRedis)
	}
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	addr, err := beside(ctx)
	if err != nil {
		log.Fatal(err)
	}
	c := open(addr)
	r := mux.NewRouter()
	r.HandleFunc("/health", func(http.ResponseWriter, *http.Request) {})
	api := r.PathPrefix("/v1").Subrouter()
	api.Use(within(100 * time.Millisecond))
	api.HandleFunc("/quota/{tenant}", c.check)
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen, Handler: r}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// within bounds how long a gateway is kept waiting.
func within(d time.Duration) mux.MiddlewareFunc {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), d)
			defer cancel()
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
}

// counter counts what tenants use.
type counter struct{ pool *redis.Pool }

func open(addr string) *counter {
	return &counter{&redis.Pool{
		MaxIdle:     20,
		MaxActive:   20,
		Wait:        true,
		IdleTimeout: time.Minute,
		DialContext: func(ctx context.Context) (redis.Conn, error) {
			return redis.DialContext(ctx, "tcp", addr,
				redis.DialConnectTimeout(time.Second), redis.DialReadTimeout(time.Second))
		},
	}}
}

// use counts one more, and returns how many there were this minute.
func (c *counter) use(ctx context.Context, tenant string) (int, error) {
	conn, err := c.pool.GetContext(ctx)
	if err != nil {
		return 0, fmt.Errorf("waiting for a connection: %w", err)
	}
	defer conn.Close()
	return redis.Int(conn.Do("INCR", "quota:"+tenant+":"+time.Now().Format("1504")))
}

const limit = 1000

type decision struct {
	Tenant  string `json:"tenant"`
	Used    int    `json:"used"`
	Allowed bool   `json:"allowed"`
}

func (c *counter) check(w http.ResponseWriter, r *http.Request) {
	tenant := mux.Vars(r)["tenant"]
	used, err := c.use(r.Context(), tenant)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(decision{tenant, used, used < limit})
}
