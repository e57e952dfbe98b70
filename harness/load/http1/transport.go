package http1

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

const (
	// DefaultTimeout bounds a request when Options do not.
	DefaultTimeout = 120 * time.Second
	// DefaultMaxHeaderBytes bounds a response's header when Options do not.
	DefaultMaxHeaderBytes = 64 << 10

	// freshFor is how long an idle connection is taken for open without a look.
	// A busy client takes each one up again within a few milliseconds, and saves
	// the system call: at 10,000 connections, looking after 1 ms cost 3% of its CPU
	// time. If the peer has closed it meanwhile, the request fails, as it may with
	// any client when the two cross.
	freshFor = 10 * time.Millisecond

	// maxDials is how many requests open connections at a time. Opening takes
	// some 10 KiB; all at once would be the most memory that is ever used. With few
	// each has to wait for others that are behind a busy client's requests: with
	// 512 it took 10,000 connections twice as long to stand on a busy machine.
	maxDials = 2048
)

// Options describe a Transport.
type Options struct {
	// Addr is the one peer, "host:port". What a request's URL says only becomes
	// its Host header.
	Addr string
	// Dial opens a connection; it must have a SyscallConn, as *net.TCPConn has,
	// and must end when ctx does. When nil it is a net.Dialer without keep-alive
	// probes.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// MaxConns is how many connections may be open or being opened at a time;
	// further requests wait for one, in the order in which they came.
	MaxConns int
	// Timeout bounds one request, from RoundTrip to the end of the response's
	// body. It is enforced by looking at all requests now and then, so that one
	// may take up to 5% and 50 ms more. At 0 it is DefaultTimeout.
	Timeout time.Duration
	// MaxHeaderBytes bounds the header of a response, together with those of the
	// informational responses before it. At 0 it is DefaultMaxHeaderBytes.
	MaxHeaderBytes int
	// ShareHeaders lets responses whose heads are the same, byte for byte, share
	// one Header, which then nobody may change. It spares most of what a response
	// costs in memory.
	ShareHeaders bool
	// Arrivals has the kernel stamp what comes in. The body of each response then has
	// a method Lay() time.Duration: how long the end of the response had lain ready
	// in the socket when it was read, 0 where the kernel does not say. A client that
	// is busy, or short of CPU, reads late. Stamps are of the wall clock: a response
	// that is under way when it is set has a Lay that is wrong by as much.
	Arrivals bool
	// Sockets, if not nil, is told +1 when a connection is established and -1
	// when it is closed. No lock is held meanwhile.
	Sockets func(change int)
}

func (o Options) validate() (Options, error) {
	var errs []error
	if _, _, err := net.SplitHostPort(o.Addr); err != nil {
		errs = append(errs, fmt.Errorf("the address (Addr) is %q: %w; want host:port", o.Addr, err))
	}
	if o.MaxConns < 1 {
		errs = append(errs, fmt.Errorf("MaxConns is %d; want 1 or more connections", o.MaxConns))
	}
	if o.Timeout < 0 {
		errs = append(errs, fmt.Errorf("Timeout is %s; want more than 0s, or 0s for %s", o.Timeout, DefaultTimeout))
	}
	if o.MaxHeaderBytes < 0 {
		errs = append(errs, fmt.Errorf("MaxHeaderBytes is %d B; want more than 0 B, or 0 B for %d B", o.MaxHeaderBytes, DefaultMaxHeaderBytes))
	}
	if err := errors.Join(errs...); err != nil {
		return o, fmt.Errorf("http1: %w", err)
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MaxHeaderBytes == 0 {
		o.MaxHeaderBytes = DefaultMaxHeaderBytes
	}
	if o.Dial == nil {
		// Without the probes: thousands of timers that a short run never needs.
		o.Dial = (&net.Dialer{KeepAlive: -1}).DialContext
	}
	if o.Sockets == nil {
		o.Sockets = func(int) {}
	}
	return o, nil
}

// Transport sends requests to one peer. It is used by many goroutines at a time,
// and must be closed.
type Transport struct {
	opt    Options
	base   time.Time
	heads  heads
	small  *buffers
	large  *buffers
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // dials, uploads, the sweeper and the keeper
	wake   chan struct{}  // of the keeper
	dials  chan struct{}  // holds one for each dial on behalf of a request

	mu      sync.Mutex
	emptier *sync.Cond // a connection is gone, after Close has begun
	closed  bool
	conns   []*conn   // all that are established
	open    int       // conns, and those that are being opened
	idle    []*conn   // the last one used is the next one used
	waiting []*waiter // in the order in which they came; some have gone
	keep    int       // connections to have open
	keeping bool      // the keeper runs
}

// New returns a Transport without connections.
func New(o Options) (*Transport, error) {
	o, err := o.validate()
	if err != nil {
		return nil, err
	}
	t := &Transport{
		opt: o, base: time.Now(), wake: make(chan struct{}, 1), dials: make(chan struct{}, maxDials),
		small: newBuffers(bufferSize), large: newBuffers(streamSize),
	}
	t.emptier = sync.NewCond(&t.mu)
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.work.Add(1)
	go t.sweep()
	return t, nil
}

// now is the time in ns after base.
func (t *Transport) now() int64 { return int64(time.Since(t.base)) }

// begin registers work that Close waits for; false when Close has begun.
func (t *Transport) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.work.Add(1)
	}
	return !t.closed
}

// release gives a buffer back to where it came from.
func (t *Transport) release(b *buffer) {
	if len(b.b) >= streamSize {
		t.large.put(b)
		return
	}
	t.small.put(b)
}

// shrink leaves b with the room that its bytes take up.
func (t *Transport) shrink(b *buffer) {
	if len(b.b) != bufferSize || b.w-b.r > bufferSize/2 {
		return
	}
	room := b.b
	b.b = append([]byte(nil), b.unread()...)
	b.r, b.w = 0, len(b.b)
	t.small.put(&buffer{b: room})
}

// RoundTrip implements http.RoundTripper. The request is sent at most once.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	due := t.now() + int64(t.opt.Timeout)
	first := t.small.get()
	out, err := build(req, first)
	if err != nil {
		out.closeBody()
		t.release(first)
		return nil, &Error{Phase: PhaseBuild, Err: err}
	}
	if out.rest == nil {
		out.closeBody()
	}
	for {
		c, err := t.acquire(req.Context(), due, out.first)
		if err != nil {
			out.closeBody()
			t.release(out.first)
			return nil, err
		}
		resp, err := c.exchange(req, out, due)
		if err == nil {
			return resp, nil
		}
		if err != errUnsent {
			out.closeBody()
			return nil, err
		}
	}
}

// acquire returns a connection that belongs to the caller until due. If it has to
// wait for one, request gives up the room that it does not need: thousands may wait.
func (t *Transport) acquire(ctx context.Context, due int64, request *buffer) (*conn, error) {
	for {
		if ctx.Done() != nil && ctx.Err() != nil {
			return nil, &Error{Phase: PhaseWait, Err: context.Cause(ctx)}
		}
		t.mu.Lock()
		switch {
		case t.closed:
			t.mu.Unlock()
			return nil, &Error{Phase: PhaseWait, Err: ErrClosed}
		case len(t.idle) > 0:
			last := len(t.idle) - 1
			c := t.idle[last]
			t.idle[last] = nil
			t.idle = t.idle[:last]
			t.mu.Unlock()
			if c.take(due, due-int64(t.opt.Timeout)) {
				return c, nil
			}
		case t.open < t.opt.MaxConns:
			t.open++
			t.work.Add(1)
			t.mu.Unlock()
			t.shrink(request)
			return t.dial(ctx, due)
		default:
			w := &waiter{ready: make(chan grant, 1), due: due}
			t.waiting = append(t.waiting, w)
			t.mu.Unlock()
			t.shrink(request)
			return t.wait(ctx, w)
		}
	}
}

// take makes an idle connection the caller's, unless the peer has left it. A
// request that has waited for it may take it for fresher than it is.
func (c *conn) take(due, now int64) bool {
	if now-c.idleSince > int64(freshFor) && c.stale() {
		c.hangUp(endDropped)
		return false
	}
	return c.own(due)
}

// dial opens a connection, whose place and work are counted already, for a
// request. It does so on a goroutine of its own: dialing goes deep, and the stack
// of whoever sends requests would stay twice as large for ever.
func (t *Transport) dial(ctx context.Context, due int64) (*conn, error) {
	// Whoever is in front is not there for longer than its own time limit, so
	// that this wait is bounded, too. When it is cut short, so is the dial.
	select {
	case t.dials <- struct{}{}:
		defer func() { <-t.dials }()
	case <-ctx.Done():
	case <-t.ctx.Done():
	}
	result := make(chan grant, 1)
	go func() {
		defer t.work.Done()
		c, err := t.dialFor(ctx, due)
		result <- grant{c, err}
	}()
	g := <-result
	return g.c, g.err
}

func (t *Transport) dialFor(ctx context.Context, due int64) (*conn, error) {
	limited, cancel := context.WithDeadlineCause(t.ctx, t.base.Add(time.Duration(due)), ErrTimeout)
	defer cancel()
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, cancel)()
	}
	c, err := t.connect(limited, due)
	if err == nil {
		return c, nil
	}
	switch {
	case t.ctx.Err() != nil:
		err = ErrClosed
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case limited.Err() != nil:
		err = ErrTimeout
	}
	return nil, &Error{Phase: PhaseConnect, Err: err}
}

// connect opens a connection whose place is counted already, for a request that
// must end at due or, when that is 0, for none.
func (t *Transport) connect(ctx context.Context, due int64) (*conn, error) {
	c, err := t.establish(ctx)
	if err != nil {
		t.mu.Lock()
		t.open--
		t.mu.Unlock()
		t.free()
		return nil, err
	}
	c.due.Store(due)
	t.opt.Sockets(+1)
	t.mu.Lock()
	closed := t.closed
	c.index = len(t.conns)
	t.conns = append(t.conns, c)
	t.mu.Unlock()
	if closed {
		c.hangUp(endClosed)
		return nil, ErrClosed
	}
	return c, nil
}

func (t *Transport) establish(ctx context.Context) (*conn, error) {
	opened, err := t.opt.Dial(ctx, "tcp", t.opt.Addr)
	if err != nil {
		return nil, err
	}
	sc, ok := opened.(syscall.Conn)
	if !ok {
		_ = opened.Close()
		return nil, fmt.Errorf("the dialed connection is a %T, which has no SyscallConn", opened)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		_ = opened.Close()
		return nil, fmt.Errorf("reach the socket of the dialed connection: %w", err)
	}
	if t.opt.Arrivals {
		// Without stamps what is read has come just now.
		_ = raw.Control(func(fd uintptr) { _ = stampArrivals(fd) })
	}
	c := &conn{t: t, net: opened, raw: raw, local: opened.LocalAddr().String()}
	c.step = c.ready
	return c, nil
}

// remove closes c's socket and lets another connection take its place. With
// reset nothing of the connection is left in the kernel (no TIME_WAIT).
func (t *Transport) remove(c *conn, reset bool) {
	if c.over.Swap(true) {
		return
	}
	if lingerer, ok := c.net.(interface{ SetLinger(sec int) error }); ok && reset {
		// Failing leaves a socket in TIME_WAIT, no more.
		_ = lingerer.SetLinger(0)
	}
	_ = c.net.Close()
	t.opt.Sockets(-1)
	t.mu.Lock()
	last := len(t.conns) - 1
	moved := t.conns[last]
	t.conns[c.index], moved.index = moved, c.index
	t.conns[last] = nil
	t.conns = t.conns[:last]
	t.open--
	if t.closed {
		t.emptier.Broadcast()
	}
	t.mu.Unlock()
	t.free()
}

// putIdle gives c to the request that has waited longest, or keeps it. Nobody
// owns c.
func (t *Transport) putIdle(c *conn) {
	c.used = true
	t.mu.Lock()
	if w := t.nextWaiter(); w != nil {
		switch {
		case c.own(w.due):
			w.ready <- grant{c: c}
		case t.closed:
			w.ready <- grant{err: ErrClosed}
		default:
			// It has been hung up. Whoever did that frees its place.
			w.answered = false
			t.waiting = append([]*waiter{w}, t.waiting...)
		}
		t.mu.Unlock()
		return
	}
	c.idleSince = t.now()
	t.idle = append(t.idle, c)
	t.mu.Unlock()
}

// Close hangs up. Every request in flight ends with ErrClosed; no connection,
// and no goroutine of the Transport, is left when it returns.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	all := append([]*conn(nil), t.conns...)
	t.idle = nil
	waiting := t.waiting
	t.waiting = nil
	for _, w := range waiting {
		w.answer(grant{err: ErrClosed})
	}
	t.mu.Unlock()
	t.cancel()
	for _, c := range all {
		c.hangUp(endClosed)
	}
	t.work.Wait()
	// Some may be in the middle of being closed by others.
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.conns) > 0 {
		t.emptier.Wait()
	}
	return nil
}
