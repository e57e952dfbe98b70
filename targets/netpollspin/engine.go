package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// A frame is what the gateway and the engine exchange, both ways: a
// correlation id and a value (the item asked for, the price answered), each
// eight bytes, big endian.
type frame struct{ id, value uint64 }

const frameSize = 16

func (f frame) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, f.id)
	return binary.BigEndian.AppendUint64(dst, f.value)
}

// parseFrame reads the frame at the start of b, which holds frameSize bytes or more.
func parseFrame(b []byte) frame {
	return frame{id: binary.BigEndian.Uint64(b), value: binary.BigEndian.Uint64(b[8:])}
}

// grain is how exactly the simulated engine keeps its delay. Answers that fall
// due together leave in one write, as a batching engine's do.
const grain = 5 * time.Millisecond

// startEngine starts the simulated pricing engine on a loopback port and
// returns its address. It answers each frame after delay, give or take a tenth,
// and ends with ctx.
func startEngine(ctx context.Context, delay time.Duration) (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("starting the pricing engine: %w", err)
	}
	context.AfterFunc(ctx, func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				if ctx.Err() == nil {
					log.Printf("pricing engine: accepting: %v", err)
				}
				return
			}
			go newEngineConn(conn, delay).serve(ctx)
		}
	}()
	return ln.Addr().String(), nil
}

// engineConn is the engine's end of one connection: a wheel of answers, each
// slot holding those that fall due in the same grain.
type engineConn struct {
	conn  net.Conn
	delay int // in slots

	mu   sync.Mutex
	now  int // the slot that is sent next
	due  [][]frame
	gone bool
}

func newEngineConn(conn net.Conn, delay time.Duration) *engineConn {
	slots := int(delay / grain)
	return &engineConn{conn: conn, delay: slots, due: make([][]frame, slots+slots/10+2)}
}

func (c *engineConn) serve(ctx context.Context) {
	defer c.conn.Close()
	stop := context.AfterFunc(ctx, func() { c.conn.Close() })
	defer stop()
	go c.answer()
	c.read()
}

// read puts each question on the wheel until the connection ends.
func (c *engineConn) read() {
	in := bufio.NewReader(c.conn)
	buf := make([]byte, frameSize)
	for {
		_, err := io.ReadFull(in, buf)
		c.mu.Lock()
		if err != nil {
			c.gone = true
			c.mu.Unlock()
			return
		}
		ask := parseFrame(buf)
		spread := c.delay / 10
		slot := (c.now + c.delay - spread + rand.IntN(2*spread+1)) % len(c.due)
		c.due[slot] = append(c.due[slot], frame{id: ask.id, value: priceOf(ask.value)})
		c.mu.Unlock()
	}
}

// answer sends what falls due, grain by grain.
func (c *engineConn) answer() {
	tick := time.NewTicker(grain)
	defer tick.Stop()
	var (
		out  []byte
		last = time.Now()
	)
	for now := range tick.C {
		// A late tick stands for several.
		slots := int(now.Sub(last) / grain)
		last = last.Add(time.Duration(slots) * grain)
		out = out[:0]
		c.mu.Lock()
		for range slots {
			for _, f := range c.due[c.now] {
				out = f.append(out)
			}
			c.due[c.now] = c.due[c.now][:0]
			c.now = (c.now + 1) % len(c.due)
		}
		gone := c.gone
		c.mu.Unlock()
		if gone {
			return
		}
		if len(out) == 0 {
			continue
		}
		if _, err := c.conn.Write(out); err != nil {
			c.conn.Close() // ends read as well
			return
		}
	}
}
