// Accounts lists the bookings of accounts, page by page. Its ORM keeps prepared
// statements, by their text, and in version 1.23.8 holds the lock of all of them
// while the database prepares one (its issue 4419, pull request 5568). Each page has
// a text of its own, as that version writes limits into the statement.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
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

	"gorm.io/driver/mysql"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	debug := flag.String("debug", "127.0.0.1:0", "where to serve profiles")
	flag.Parse()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(int(time.Millisecond))

	e, err := open()
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/entries", e.list)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	srv := &http.Server{Addr: *listen}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// entry is one booking.
type entry struct {
	ID        int64  `json:"id" gorm:"primaryKey"`
	AccountID int64  `json:"account"`
	Cents     int64  `json:"cents"`
	Note      string `json:"note"`
}

type entries struct{ db *gorm.DB }

func open() (*entries, error) {
	pool := sql.OpenDB(books{})
	pool.SetMaxOpenConns(200)
	pool.SetMaxIdleConns(200)
	db, err := gorm.Open(mysql.New(mysql.Config{Conn: pool, SkipInitializeWithVersion: true}), &gorm.Config{
		PrepareStmt:          true,
		DisableAutomaticPing: true,
		Logger:               logger.Default.LogMode(logger.Silent),
	})
	if err != nil {
		return nil, fmt.Errorf("opening the books: %w", err)
	}
	return &entries{db}, nil
}

const pageSize = 10

func (e *entries) page(ctx context.Context, account, page int) ([]entry, error) {
	var found []entry
	err := e.db.WithContext(ctx).
		Where("account_id = ?", account).
		Order("id").
		Limit(pageSize).Offset(page * pageSize).
		Find(&found).Error
	return found, err
}

func (e *entries) list(w http.ResponseWriter, r *http.Request) {
	account, err := strconv.Atoi(r.FormValue("account"))
	if err != nil {
		http.Error(w, "which account?", http.StatusBadRequest)
		return
	}
	page, _ := strconv.Atoi(r.FormValue("page"))
	found, err := e.page(r.Context(), account, page)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(found)
}
