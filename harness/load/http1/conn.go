package http1

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Why a connection was hung up while a request was on it; values of conn.due.
const (
	endDropped   int64 = -1 - iota // by the request's own goroutine
	endTimeout                     // by the sweeper
	endCancelled                   // by the request's context
	endClosed                      // by Transport.Close
)

// conn is one connection. One request at a time owns it; the sweeper, a context
// and Close may only hang it up.
type conn struct {
	t    *Transport
	net  net.Conn
	raw  syscall.RawConn
	step func(fd uintptr) bool // conn.ready, made once

	local string // its own address

	// due is when the request on this connection must have ended, in ns after
	// Transport.base; 0 when there is none. Negative: it is hung up, and why.
	// Whoever wants to hang up one certain request exchanges its due time, which
	// no other request of the connection has.
	due   atomic.Int64
	over  atomic.Bool // its socket is closed, or about to be
	index int         // in Transport.conns

	idleSince int64 // ns after Transport.base

	// Of the request that owns the connection.
	out    *buffer // what is yet to be written by ready
	busy   bool    // an upload must be started when out is written
	in     *buffer // what has been read, nil when nothing is
	failed error   // of the last write or read
	upload *upload
	used   bool          // has been idle: the peer may have closed it
	big    bool          // the next read is of a long body
	lay    time.Duration // how long the last bytes read had lain in the socket
}

// ready is what a parked request does when its socket may be ready. The first
// time it writes the request, and parks without trying to read: the poller has
// been armed before, so that it cannot miss the response. Then it reads.
func (c *conn) ready(fd uintptr) bool {
	if c.out != nil {
		b := c.out
		n, errno := send(fd, b.unread())
		b.r += n
		switch {
		case errno != 0 && errno != syscall.EAGAIN:
			c.failed = os.NewSyscallError("send", errno)
			return true
		case b.r < b.w:
			return true // the rest takes the slow way
		}
		c.out = nil
		c.t.small.put(b)
		return c.busy
	}
	b := c.in
	if b == nil {
		b = c.lend()
	}
	n, errno := c.receive(fd, b.room())
	if errno == syscall.EAGAIN {
		if c.in == nil {
			c.t.release(b)
		}
		return false
	}
	c.in = b
	b.w += n
	switch {
	case errno != 0:
		c.failed = os.NewSyscallError("recv", errno)
	case n == 0:
		c.failed = io.EOF
	}
	return true
}

func (c *conn) receive(fd uintptr, p []byte) (n int, errno syscall.Errno) {
	if !c.t.opt.Arrivals {
		return recv(fd, p)
	}
	n, lay, errno := recvStamped(fd, p)
	if errno == 0 && n > 0 {
		c.lay = max(0, lay) // below 0: the wall clock was set back
	}
	return n, errno
}

// lend borrows a buffer for what has come.
func (c *conn) lend() *buffer {
	if c.big {
		return c.t.large.get()
	}
	return c.t.small.get()
}

// fill reads more into c.in, and waits until there is more.
func (c *conn) fill() error {
	if c.failed != nil {
		return c.failed
	}
	if err := c.raw.Read(c.step); err != nil {
		c.failed = err
	}
	return c.failed
}

// more is fill in the midst of a body. What waits holds no buffer, and what is
// longer than the first read is read in large pieces.
func (c *conn) more() error {
	c.big = true
	if c.in != nil && c.in.r == c.in.w {
		c.t.release(c.in)
		c.in = nil
	}
	return c.fill()
}

// own gives the connection to a request that must end at due; false when the
// connection is being closed.
func (c *conn) own(due int64) bool { return c.due.CompareAndSwap(0, due) }

// hangUp closes the connection, and wakes the request on it, which finds why.
func (c *conn) hangUp(why int64) {
	for {
		due := c.due.Load()
		if due < 0 || c.due.CompareAndSwap(due, why) {
			break
		}
	}
	c.t.remove(c, why == endClosed)
}

// hangUpOne is hangUp if the request that must end at due is still the one.
func (c *conn) hangUpOne(due, why int64) {
	if c.due.CompareAndSwap(due, why) {
		c.t.remove(c, false)
	}
}

// exchange sends a request and reads the head of its response. On an error the
// connection is gone. errUnsent comes with out as it was.
func (c *conn) exchange(req *http.Request, out outgoing, due int64) (*http.Response, error) {
	ctx := req.Context()
	var stop func() bool
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() { c.hangUpOne(due, endCancelled) })
	}
	a, framing, phase, err := c.converse(req, out)
	if err != nil {
		why := c.due.Load()
		c.hangUp(endDropped)
		if stop != nil {
			stop()
		}
		c.giveUp()
		switch {
		case why < endDropped:
			err = hungUp(why, ctx)
		case errors.Is(err, errUnsent):
			return nil, err
		}
		return nil, &Error{Phase: phase, Err: err}
	}
	a.Request = req
	a.begin(c, framing, due, stop, req)
	return &a.Response, nil
}

// hungUp tells why a request's connection was hung up by another goroutine.
func hungUp(why int64, ctx context.Context) error {
	switch why {
	case endTimeout:
		return ErrTimeout
	case endCancelled:
		return context.Cause(ctx)
	}
	return ErrClosed
}

// converse is exchange without its ends.
func (c *conn) converse(req *http.Request, out outgoing) (*answer, framing, Phase, error) {
	c.out, c.busy, c.failed = out.first, out.rest != nil, nil
	err := c.raw.Read(c.step)
	if c.failed == nil {
		c.failed = err
	}
	tail := c.out
	c.out = nil
	if tail != nil && c.failed != nil {
		if tail.r == 0 && c.used {
			return nil, 0, PhaseSend, errUnsent
		}
		return nil, 0, PhaseSend, c.failed
	}
	if c.failed == nil && (tail != nil || c.busy) {
		if err := c.startUpload(tail, out); err != nil {
			return nil, 0, PhaseSend, err
		}
	}
	if c.failed == nil && c.in == nil {
		c.failed = c.fill()
	}
	if c.failed != nil {
		return nil, 0, c.phase(), c.explain(c.failed)
	}
	a, framing, err := c.readHead(req)
	if err != nil {
		return nil, 0, c.phase(), err
	}
	if c.upload != nil {
		c.upload.answered(!a.Close && !req.Close)
	}
	return a, framing, PhaseRead, nil
}

// phase is where a request is that is about to fail.
func (c *conn) phase() Phase {
	if u := c.upload; u != nil {
		select {
		case <-u.done:
			if u.err != nil && u.err != errNotWanted {
				return PhaseSend
			}
		default:
		}
	}
	if c.in == nil || c.in.r == c.in.w {
		return PhaseResponse
	}
	return PhaseRead
}

// explain is the error of a request that has no response at all.
func (c *conn) explain(err error) error {
	if u := c.upload; u != nil {
		select {
		case <-u.done:
			if u.err != nil && u.err != errNotWanted {
				return u.err
			}
		default:
		}
	}
	if err == io.EOF {
		return ErrNoResponse
	}
	return err
}

// readHead reads up to the end of the header of the final response.
func (c *conn) readHead(req *http.Request) (*answer, framing, error) {
	most := c.t.opt.MaxHeaderBytes
	used := 0 // by informational responses
	share := c.t.opt.ShareHeaders
	if share {
		if a, framing, size := c.t.heads.find(c.in.unread(), req.Method); a != nil {
			c.in.r += size
			return a, framing, nil
		}
	}
	for {
		b := c.in
		whole, err := b.head.parse(b.unread())
		if err != nil {
			return nil, 0, err
		}
		size := b.w - b.r
		if whole {
			size = b.head.pos
		}
		if used+size > most || !whole && used+size == most {
			return nil, 0, malformed("the header is longer than %d B", most)
		}
		if !whole {
			if err := c.fill(); err == io.EOF {
				if used > 0 && size == 0 {
					return nil, 0, ErrNoResponse
				}
				return nil, 0, io.ErrUnexpectedEOF
			} else if err != nil {
				return nil, 0, err
			}
			continue
		}
		a, framing, err := newAnswer(b.unread(), &b.head, req.Method)
		if err != nil {
			return nil, 0, err
		}
		if a.StatusCode == http.StatusSwitchingProtocols {
			return nil, 0, ErrSwitched
		}
		head := b.unread()[:size]
		b.r += size
		b.head.reset()
		used += size
		switch {
		case a.StatusCode == http.StatusContinue && c.upload != nil:
			c.upload.answered(true)
			continue
		case a.StatusCode >= 100 && a.StatusCode <= 199:
			continue
		}
		if share {
			c.t.heads.learn(head, a, framing, req.Method)
		}
		return a, framing, nil
	}
}

// finish ends the request on c: the connection is kept if reuse allows.
func (c *conn) finish(due int64, reuse bool) {
	reuse = reuse && c.failed == nil && (c.in == nil || c.in.r == c.in.w) && c.uploaded()
	c.giveUp()
	if !reuse || !c.due.CompareAndSwap(due, 0) {
		c.hangUp(endDropped)
		return
	}
	c.t.putIdle(c)
}

// lingerUpload is how long a request whose response is over may take to be
// sent whole before its connection is given up; as in net/http.
const lingerUpload = 50 * time.Millisecond

// uploaded says whether the request was sent whole.
func (c *conn) uploaded() bool {
	u := c.upload
	if u == nil {
		return true
	}
	timer := time.NewTimer(lingerUpload)
	defer timer.Stop()
	select {
	case <-u.done:
		return u.err == nil
	case <-timer.C:
		return false
	}
}

// giveUp lets go of what the request on c holds.
func (c *conn) giveUp() {
	if c.upload != nil {
		close(c.upload.drop)
		c.upload.closeBody()
		c.upload = nil
	}
	if c.in != nil {
		c.t.release(c.in)
		c.in = nil
	}
	c.big = false
}

// stale says whether an idle connection is of no use: the peer has closed it, or
// has sent what nobody asked for. Whoever calls it owns c.
func (c *conn) stale() bool {
	var one [1]byte
	gone := true
	err := c.raw.Control(func(fd uintptr) {
		_, errno := peek(fd, one[:])
		gone = errno != syscall.EAGAIN
	})
	return err != nil || gone
}
