package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
)

// conn is a connection to another service, which answers each line with one.
type conn struct {
	net.Conn
	in *bufio.Reader
}

// dial connects to the service called name. The connection ends with ctx.
func dial(ctx context.Context, name, addr string) (*conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connecting to the %s: %w", name, err)
	}
	context.AfterFunc(ctx, func() { c.Close() })
	return &conn{Conn: c, in: bufio.NewReader(c)}, nil
}

// send writes line. The answer is the next line of in.
func (c *conn) send(line string) error {
	_, err := c.Write([]byte(line + "\n"))
	return err
}

// ask sends line and returns once it has been answered.
func (c *conn) ask(line string) error {
	if err := c.send(line); err != nil {
		return err
	}
	_, err := c.in.ReadString('\n')
	return err
}
