// Catalog shows the products of a shop with what is in stock, which it asks for on
// another machine and keeps for a while. Version 2.26.0 of the web framework's cache
// holds its lock while it lets a page be made that it lacks (its pull request 1764):
// the pages it has wait as well.
package main

import (
	"context"
	"flag"
	"log"
	"net/http"
	_ "net/http/pprof"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/cache"
	"github.com/gofiber/fiber/v2/middleware/recover"
	"github.com/gofiber/fiber/v2/middleware/requestid"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	shop{stock: warehouse{12 * time.Millisecond}}.route(app)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	go func() { log.Fatal(app.Listen(*listen)) }()
	<-ctx.Done()
}

type product struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Cents int    `json:"cents"`
	Stock int    `json:"stock"`
}

// warehouse knows what is in stock, and takes its time to answer.
type warehouse struct{ takes time.Duration }

func (w warehouse) look(id string) product {
	time.Sleep(w.takes)
	return product{ID: id, Name: "Lamp " + id, Cents: 1250, Stock: len(id)}
}

type shop struct{ stock warehouse }

func (s shop) route(app *fiber.App) {
	app.Use(recover.New(), requestid.New())
	app.Get("/", func(c *fiber.Ctx) error { return c.SendStatus(http.StatusNoContent) })
	pages := app.Group("/products", cache.New(cache.Config{Expiration: 10 * time.Second}))
	pages.Get("/:id", s.show)
}

func (s shop) show(c *fiber.Ctx) error { return c.JSON(s.stock.look(c.Params("id"))) }
