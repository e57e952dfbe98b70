package main

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"time"
)

// roundTrip is how long the database takes for anything.
const roundTrip = 4 * time.Millisecond

var errUnsupported = errors.New("books: not supported")

// books stands for a database on another machine: a statement is prepared with one
// round trip and run with another, and gives the page of an account.
type books struct{}

func (books) Connect(context.Context) (driver.Conn, error) { return conn{}, nil }
func (b books) Driver() driver.Driver                      { return b }
func (books) Open(string) (driver.Conn, error)             { return conn{}, nil }

type conn struct{}

func (conn) Prepare(string) (driver.Stmt, error) {
	time.Sleep(roundTrip)
	return stmt{}, nil
}
func (conn) Close() error              { return nil }
func (conn) Begin() (driver.Tx, error) { return nil, errUnsupported }

type stmt struct{}

func (stmt) Close() error                               { return nil }
func (stmt) NumInput() int                              { return -1 }
func (stmt) Exec([]driver.Value) (driver.Result, error) { return nil, errUnsupported }
func (stmt) Query(args []driver.Value) (driver.Rows, error) {
	time.Sleep(roundTrip)
	account, _ := args[0].(int64)
	return &ledgerPage{account: account}, nil
}

type ledgerPage struct{ account, given int64 }

func (*ledgerPage) Columns() []string { return []string{"id", "account_id", "cents", "note"} }
func (*ledgerPage) Close() error      { return nil }
func (r *ledgerPage) Next(dest []driver.Value) error {
	if r.given == pageSize {
		return io.EOF
	}
	r.given++
	dest[0], dest[1], dest[2], dest[3] = r.given, r.account, 100*r.given, "booked"
	return nil
}
