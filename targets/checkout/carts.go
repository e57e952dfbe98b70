package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // SQLite without cgo

	"chokepoint/mark"
	"chokepoint/targets/kit"
)

const (
	// carts is how many there are: requests are numbered without end, and the
	// database must not grow with them.
	carts        = 1000
	linesPerCart = 3
)

// cartStore reads carts from a database, through a pool of connections.
type cartStore struct {
	db *sql.DB
}

// openCarts makes a database in a temporary file, which goes when ctx ends. Some of
// the carts may hold a gift.
func openCarts(ctx context.Context, conns int, withGifts bool) (*cartStore, error) {
	dir, err := os.MkdirTemp("", "checkout-")
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "carts.db")+"?_pragma=journal_mode(wal)&_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	context.AfterFunc(ctx, func() {
		db.Close()
		os.RemoveAll(dir)
	})
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns) // opening one costs more than reading a cart
	s := &cartStore{db: db}
	if err := s.fill(ctx, withGifts); err != nil {
		return nil, fmt.Errorf("fill the database: %w", err)
	}
	return s, nil
}

func (s *cartStore) fill(ctx context.Context, withGifts bool) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing, once it is committed
	if _, err := tx.ExecContext(ctx, "CREATE TABLE lines (cart INTEGER, sku TEXT, quantity INTEGER, cents INTEGER)"); err != nil {
		return err
	}
	for cart := range carts {
		for n := range linesPerCart {
			if _, err := tx.ExecContext(ctx, "INSERT INTO lines VALUES (?, ?, ?, ?)", cart, fmt.Sprintf("sku-%d", n), 1+n, 100+cart); err != nil {
				return err
			}
		}
		if withGifts && cart%oneGiftIn == 0 {
			if _, err := tx.ExecContext(ctx, "INSERT INTO lines VALUES (?, ?, 1, 0)", cart, gift); err != nil {
				return err
			}
		}
	}
	if _, err := tx.ExecContext(ctx, "CREATE INDEX lines_by_cart ON lines (cart)"); err != nil {
		return err
	}
	return tx.Commit()
}

// cartLine is one position of a cart.
type cartLine struct {
	sku      string
	quantity int
	cents    int64 // for one
}

const selectLines = "SELECT sku, quantity, cents FROM lines WHERE cart = ? ORDER BY sku"

// price is what a cart costs with taxes. The tax on each line is asked for as the
// line is read, so that a cart need not be held in memory.
func (s *cartStore) price(ctx context.Context, cart int, taxes *kit.Dependency) (cents int64, err error) {
	conn, err := mark.Call(ctx, "wait for connection", func() (*sql.Conn, error) {
		return s.db.Conn(ctx) // chokepoint:flaw pool-exhaustion
	})
	if err != nil {
		return 0, fmt.Errorf("a connection to the carts: %w", err)
	}
	defer conn.Close()
	err = readLines(ctx, conn, cart, func(l cartLine) error {
		taxed, err := l.withTax(ctx, taxes)
		cents += taxed
		return err
	})
	return cents, err
}

// quote is price with the lines read first and the connection given back before
// any tax is asked for.
func (s *cartStore) quote(ctx context.Context, cart int, taxes *kit.Dependency) (cents int64, err error) {
	lines, err := s.lines(ctx, cart)
	if err != nil {
		return 0, err
	}
	return total(ctx, lines, taxes)
}

func (s *cartStore) lines(ctx context.Context, cart int) ([]cartLine, error) {
	conn, err := mark.Call(ctx, "wait for connection", func() (*sql.Conn, error) { return s.db.Conn(ctx) })
	if err != nil {
		return nil, fmt.Errorf("a connection to the carts: %w", err)
	}
	defer conn.Close()
	lines := make([]cartLine, 0, linesPerCart)
	err = readLines(ctx, conn, cart, func(l cartLine) error {
		lines = append(lines, l)
		return nil
	})
	return lines, err
}

// readLines calls f for each line of a cart while it reads them.
func readLines(ctx context.Context, conn *sql.Conn, cart int, f func(cartLine) error) error {
	rows, err := conn.QueryContext(ctx, selectLines, cart)
	if err != nil {
		return fmt.Errorf("read cart %d: %w", cart, err)
	}
	defer rows.Close()
	for rows.Next() {
		var l cartLine
		if err := rows.Scan(&l.sku, &l.quantity, &l.cents); err != nil {
			return fmt.Errorf("read cart %d: %w", cart, err)
		}
		if err := f(l); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read cart %d: %w", cart, err)
	}
	return nil
}

// total asks what lines cost with tax.
func total(ctx context.Context, lines []cartLine, taxes *kit.Dependency) (cents int64, err error) {
	for _, l := range lines {
		taxed, err := l.withTax(ctx, taxes)
		if err != nil {
			return 0, err
		}
		cents += taxed
	}
	return cents, nil
}

// withTax asks what the line costs with tax.
func (l cartLine) withTax(ctx context.Context, taxes *kit.Dependency) (cents int64, err error) {
	mark.Do(ctx, "ask for tax", func() { err = taxes.Call(ctx) })
	if err != nil {
		return 0, fmt.Errorf("the tax on %s: %w", l.sku, err)
	}
	net := l.cents * int64(l.quantity)
	return net + net/5, nil
}
