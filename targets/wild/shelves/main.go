// Shelves is a shop's catalogue as compressed JSON. In version 4.1.17 the web
// framework's gzip middleware makes a compressor for each response, 800 kB of
// memory, and lets it go (its issue 1643).
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
	"strconv"
	"syscall"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	s := stock(40, 20)
	e := echo.New()
	e.Use(middleware.Recover(), middleware.Gzip())
	e.GET("/", func(c echo.Context) error { return c.NoContent(http.StatusNoContent) })
	e.GET("/shelves/:shelf", s.list)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen, Handler: e}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

type product struct {
	SKU   string   `json:"sku"`
	Name  string   `json:"name"`
	Cents int      `json:"cents"`
	Tags  []string `json:"tags"`
}

// shelves are the products of a shop.
type shelves [][]product

func stock(n, each int) shelves {
	s := make(shelves, n)
	for i := range s {
		for j := range each {
			s[i] = append(s[i], product{
				SKU:   fmt.Sprintf("%03d-%04d", i, j),
				Name:  fmt.Sprintf("Lamp, model %d of series %d", j, i),
				Cents: 995 + 100*j,
				Tags:  []string{"lamp", "indoor", strconv.Itoa(2000 + j)},
			})
		}
	}
	return s
}

func (s shelves) list(c echo.Context) error {
	n, err := strconv.Atoi(c.Param("shelf"))
	if err != nil || n < 0 {
		return echo.NewHTTPError(http.StatusNotFound, "no such shelf")
	}
	return c.JSON(http.StatusOK, s[n%len(s)])
}
