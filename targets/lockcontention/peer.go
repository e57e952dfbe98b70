package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
)

// peer is a connection to another service, which answers each line with one.
// It carries one exchange at a time.
type peer struct {
	name string
	conn net.Conn
	in   *bufio.Reader
}

// dialPeer connects to the service called name. The connection ends with ctx.
func dialPeer(ctx context.Context, name, addr string) (*peer, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connecting to the %s: %w", name, err)
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	return &peer{name: name, conn: conn, in: bufio.NewReader(conn)}, nil
}

// ask sends line and returns once it has been answered.
func (p *peer) ask(line string) error {
	if _, err := p.conn.Write([]byte(line + "\n")); err != nil {
		return fmt.Errorf("asking the %s: %w", p.name, err)
	}
	if _, err := p.in.ReadString('\n'); err != nil {
		return fmt.Errorf("waiting for the %s: %w", p.name, err)
	}
	return nil
}
