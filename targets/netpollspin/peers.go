package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// peers tells other gateways, on a listener of its own, how this one is doing.
type peers struct {
	listener *net.TCPListener
	idle     time.Duration // how long Accept may wait before the loop looks whether to stop
	renew    bool
	since    time.Time
}

// serve answers peers until ctx ends, which it notices within idle, and closes
// the listener.
func (p *peers) serve(ctx context.Context) error {
	defer p.listener.Close()
	if err := p.extend(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if p.renew {
			if err := p.extend(); err != nil {
				return err
			}
		}
		conn, err := p.listener.Accept() // chokepoint:flaw netpoll-spin
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue // no peer for a while
		}
		if err != nil {
			return fmt.Errorf("accepting a peer: %w", err)
		}
		go p.report(conn)
	}
	return ctx.Err()
}

// extend gives Accept another idle period.
func (p *peers) extend() error {
	if err := p.listener.SetDeadline(time.Now().Add(p.idle)); err != nil {
		return fmt.Errorf("setting the deadline of the peer listener: %w", err)
	}
	return nil
}

// report sends a peer one line and hangs up.
func (p *peers) report(conn net.Conn) {
	defer conn.Close()
	now := time.Now()
	if conn.SetDeadline(now.Add(p.idle)) != nil {
		return
	}
	fmt.Fprintf(conn, "up %s\n", now.Sub(p.since).Round(time.Second))
}
