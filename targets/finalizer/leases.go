package main

import (
	"context"
	"fmt"
	"log"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// leases are what the render server lets this process use until they are
// returned. Surfaces and textures hold one each.
type leases struct {
	flawed bool
	dial   func() (*conn, error)
	idle   chan *conn // connections to the render server that nobody uses

	taken    atomic.Int64 // also the number of the last lease
	returned atomic.Int64
	leaked   atomic.Int64

	mu      sync.Mutex
	pending []int64       // leases to return
	wake    chan struct{} // has a value when there are some
}

func newLeases(ctx context.Context, addr string, flawed bool) *leases {
	l := &leases{
		flawed: flawed,
		dial:   func() (*conn, error) { return dial(ctx, "render server", addr) },
		idle:   make(chan *conn, 4),
		wake:   make(chan struct{}, 1),
	}
	if !flawed {
		go l.returnBatches(ctx)
	}
	return l
}

// conn returns a connection to the render server: an idle one if there is any.
func (l *leases) conn() (*conn, error) {
	select {
	case c := <-l.idle:
		return c, nil
	default:
		return l.dial()
	}
}

// reuse puts c back after an exchange that ended well.
func (l *leases) reuse(c *conn) {
	select {
	case l.idle <- c:
	default:
		c.Close()
	}
}

// giveBack has lease returned with others, soon, and does not wait for it.
func (l *leases) giveBack(lease int64) {
	l.mu.Lock()
	l.pending = append(l.pending, lease)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default: // returnBatches knows already
	}
}

// maxBatch is how many leases go into one message at most.
const maxBatch = 1000

// returnBatches returns what giveBack left, until ctx ends.
func (l *leases) returnBatches(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		for batch := l.take(); len(batch) > 0; batch = l.take() {
			if err := l.returnBatch(batch); err != nil && ctx.Err() == nil {
				log.Printf("returning %d leases: %v", len(batch), err)
			}
		}
	}
}

func (l *leases) take() []int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	batch := l.pending[:min(len(l.pending), maxBatch)]
	l.pending = l.pending[len(batch):]
	return batch
}

func (l *leases) returnBatch(batch []int64) error {
	c, err := l.conn()
	if err != nil {
		return err
	}
	var line strings.Builder
	line.WriteString("return")
	for _, lease := range batch {
		line.WriteByte(' ')
		line.WriteString(strconv.FormatInt(lease, 10))
	}
	if err := c.ask(line.String()); err != nil {
		c.Close()
		return err
	}
	l.reuse(c)
	l.returned.Add(int64(len(batch)))
	return nil
}

func (l *leases) stats() stats {
	return stats{taken: l.taken.Load(), returned: l.returned.Load(), leaked: l.leaked.Load()}
}

// surface is a thumbnail on a lease. It has a finalizer.
type surface struct {
	leases *leases
	lease  int64
	closed bool
	pix    [thumbBytes]byte
}

func (l *leases) newSurface() *surface {
	s := &surface{leases: l, lease: l.taken.Add(1)}
	if l.flawed {
		runtime.SetFinalizer(s, (*surface).giveUp)
	} else {
		runtime.SetFinalizer(s, (*surface).checkClosed)
	}
	return s
}

// giveUp is the finalizer of a surface that nobody closes: it returns the
// lease.
func (s *surface) giveUp() {
	c, err := s.leases.conn()
	if err != nil {
		return // the render server is gone, and its leases with it
	}
	if err := c.send(fmt.Sprintf("return %d", s.lease)); err != nil {
		c.Close()
		return
	}
	if _, err := c.in.ReadString('\n'); err != nil { // chokepoint:flaw finalizer-backlog
		c.Close()
		return
	}
	s.leases.reuse(c)
	s.leases.returned.Add(1)
}

func (s *surface) close() {
	s.closed = true
	s.leases.giveBack(s.lease)
}

// checkClosed is the finalizer of a surface that is to be closed: it finds
// what was forgotten, and waits for nothing.
func (s *surface) checkClosed() {
	if !s.closed {
		s.leases.leaked.Add(1)
	}
}

func (l *leases) renderSurface(original []byte, use func(thumb []byte)) {
	s := l.newSurface()
	if !l.flawed {
		defer s.close()
	}
	scale(s.pix[:], original)
	use(s.pix[:])
}
