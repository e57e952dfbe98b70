package main

import (
	"log"
	"net"
	"sync"
	"sync/atomic"
)

// gate accepts connections ahead of the server, and counts them.
type gate struct {
	net.Listener
	conns   chan net.Conn
	done    chan struct{} // closed by Close
	close   func()
	refused atomic.Int64
}

func newGate(l net.Listener) *gate {
	g := &gate{Listener: l, conns: make(chan net.Conn), done: make(chan struct{})}
	g.close = sync.OnceFunc(func() { close(g.done) })
	go g.run()
	return g
}

// run accepts until the gate is closed.
func (g *gate) run() {
	for {
		c, err := g.Listener.Accept() // chokepoint:flaw fd-exhaustion
		if err != nil {
			select {
			case <-g.done:
				return
			default:
			}
			// The caller may come again.
			if g.refused.Add(1) == 1 {
				log.Printf("gate: %v", err)
			}
			continue
		}
		select {
		case g.conns <- c:
		case <-g.done:
			c.Close()
			return
		}
	}
}

// Accept is what has come through the gate.
func (g *gate) Accept() (net.Conn, error) {
	select {
	case c := <-g.conns:
		return c, nil
	case <-g.done:
		return nil, net.ErrClosed
	}
}

func (g *gate) Close() error {
	g.close()
	return g.Listener.Close()
}
