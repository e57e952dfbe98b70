package main

import (
	"bufio"
	"context"
	"log"
	"net"
	"time"
)

// follower keeps a board up to date from the operator's feed.
type follower struct {
	board   *board
	pause   time.Duration // before the feed is connected to anew
	readsOn bool          // an error is no reason to stop
}

// run follows the feed at addr until ctx ends.
func (f *follower) run(ctx context.Context, addr string) {
	var d net.Dialer
	for ctx.Err() == nil {
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			f.follow(ctx, conn)
		}
		select {
		case <-ctx.Done():
		case <-time.After(f.pause):
		}
	}
}

// follow reads what the feed sends on one connection, and closes it.
func (f *follower) follow(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	in := bufio.NewReader(conn)
	for ctx.Err() == nil {
		line, err := in.ReadString('\n') // chokepoint:flaw netpoll-spin
		if err != nil {
			if f.readsOn {
				continue // the next one may be whole
			}
			return
		}
		if err := f.board.apply(line); err != nil {
			log.Printf("the operator's feed: %v", err)
		}
	}
}
