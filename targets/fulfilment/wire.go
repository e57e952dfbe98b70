package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
)

// wire is a connection to another service, which answers each line of text with
// one. It carries one exchange at a time.
type wire struct {
	name string
	conn net.Conn
	in   *bufio.Reader
}

// dialWire connects to the service called name. The connection ends with ctx.
func dialWire(ctx context.Context, name, addr string) (*wire, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connecting to the %s: %w", name, err)
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	return &wire{name: name, conn: conn, in: bufio.NewReader(conn)}, nil
}

// tell sends text and returns once it has been answered.
func (l *wire) tell(text string) error {
	if _, err := l.conn.Write([]byte(text + "\n")); err != nil {
		return fmt.Errorf("telling the %s: %w", l.name, err)
	}
	if _, err := l.in.ReadString('\n'); err != nil {
		return fmt.Errorf("waiting for the %s: %w", l.name, err)
	}
	return nil
}
