package main

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// standIn stands for a database with a table of parcels that answers after 2 ms.
type standIn struct{}

func (s standIn) Connect(context.Context) (driver.Conn, error) { return conn{}, nil }
func (s standIn) Driver() driver.Driver                        { return s }
func (s standIn) Open(string) (driver.Conn, error)             { return conn{}, nil }

var errUnsupported = errors.New("the stand-in knows queries alone")

type conn struct{}

func (conn) Prepare(string) (driver.Stmt, error) { return nil, errUnsupported }
func (conn) Begin() (driver.Tx, error)           { return nil, errUnsupported }
func (conn) Close() error                        { return nil }

// QueryContext answers queries that end in the id of a parcel.
func (conn) QueryContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	_, text, _ := strings.Cut(query, "= ")
	id, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("reading the id in %q: %w", query, err)
	}
	time.Sleep(2 * time.Millisecond)
	return &row{id: id}, nil
}

// row is a result of one row.
type row struct {
	id   int64
	done bool
}

func (r *row) Columns() []string { return []string{"id", "city", "grams"} }
func (r *row) Close() error      { return nil }

func (r *row) Next(dest []driver.Value) error {
	if r.done {
		return io.EOF
	}
	r.done = true
	dest[0] = r.id
	dest[1] = fmt.Sprintf("city %d", r.id%97)
	dest[2] = 100 + r.id%5000
	if r.id%50 == 7 {
		dest[2] = "light" // as the older system had it
	}
	return nil
}
