// Parcels tells where parcels go and what they weigh. Where a row cannot be read, the
// database library keeps its connection for ever, up to version 1.1.5 (pull request
// 582): the weight of parcels taken over from an older system may be a word.
package main

import (
	"context"
	"database/sql"
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

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	d := open(standIn{})
	http.HandleFunc("/parcel", d.parcel)
	http.HandleFunc("/", d.welcome)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// parcel is a row of the table of parcels.
type parcel struct {
	ID    int64
	City  string
	Grams int64
}

// depot reads its parcels from a database.
type depot struct{ db *bun.DB }

func open(c standIn) *depot {
	sqldb := sql.OpenDB(c)
	sqldb.SetMaxOpenConns(10)
	sqldb.SetMaxIdleConns(10)
	return &depot{db: bun.NewDB(sqldb, sqlitedialect.New())}
}

func (d *depot) parcel(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.FormValue("id"))
	if err != nil {
		http.Error(w, "which parcel?", http.StatusBadRequest)
		return
	}
	rows, err := d.db.Query("SELECT id, city, grams FROM parcels WHERE id = ?", id)
	if err != nil {
		http.Error(w, "no database", http.StatusServiceUnavailable)
		return
	}
	var p parcel
	if err := d.db.ScanRows(r.Context(), rows, &p); err != nil {
		fmt.Fprintf(w, "parcel %d, of unknown weight\n", id)
		return
	}
	fmt.Fprintf(w, "parcel %d to %s, %d g\n", p.ID, p.City, p.Grams)
}

func (d *depot) welcome(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(w, "ask for a /parcel by its id")
}
