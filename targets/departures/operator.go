package main

import (
	"bufio"
	"fmt"
	"net"
	"time"
)

const (
	// each is from one batch of delays to the next.
	each = 50 * time.Millisecond
	// shift is how many batches the operator sends on one connection, and then hangs up.
	shift = 10
)

// serveDelays is the operator's side: it sends whoever connects how late all lines are, again
// and again for half a second, and hangs up.
func serveDelays(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			out := bufio.NewWriter(conn)
			for batch := range shift {
				for line := range lines {
					fmt.Fprintf(out, "%d %d\n", line, (line+batch)%10)
				}
				if out.Flush() != nil {
					return // who followed has gone
				}
				time.Sleep(each)
			}
		}()
	}
}
