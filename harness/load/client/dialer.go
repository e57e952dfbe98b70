package client

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// dialer opens the connections of a client, and knows those that are open.
type dialer struct {
	from    []netip.Addr
	sockets func(change int)
	turn    atomic.Uint64

	mu     sync.Mutex
	open   map[*conn]struct{}
	closed bool
}

func newDialer(from []netip.Addr, sockets func(int)) *dialer {
	if sockets == nil {
		sockets = func(int) {}
	}
	return &dialer{from: from, sockets: sockets, open: map[*conn]struct{}{}}
}

// bare opens a connection that whoever asked counts and closes. A receive buffer
// of 0 B is left to the kernel.
func (d *dialer) bare(ctx context.Context, network, addr string, receive int) (net.Conn, error) {
	dial := net.Dialer{KeepAlive: -1}
	if n := uint64(len(d.from)); n > 0 {
		from := d.from[(d.turn.Add(1)-1)%n]
		dial.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	bind := dial.LocalAddr != nil
	if bind || receive > 0 {
		dial.Control = func(_, _ string, raw syscall.RawConn) error { return prepare(raw, bind, receive) }
	}
	return dial.DialContext(ctx, network, addr)
}

// prepare sets what must be set before bind and connect.
func prepare(raw syscall.RawConn, bind bool, receive int) error {
	var err error
	if failed := raw.Control(func(fd uintptr) {
		if bind {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		}
		if receive > 0 && err == nil {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receive)
		}
	}); failed != nil {
		return failed
	}
	return err
}

// dial opens a connection that is counted until it is closed.
func (d *dialer) dial(ctx context.Context, network, addr string, receive int) (*conn, error) {
	if d.isClosed() {
		return nil, ErrHungUp
	}
	raw, err := d.bare(ctx, network, addr, receive)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, from: d}
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		reset(raw)
		return nil, ErrHungUp
	}
	d.open[c] = struct{}{}
	d.mu.Unlock()
	d.sockets(+1)
	return c, nil
}

func (d *dialer) isClosed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

// close resets every connection and refuses new ones.
func (d *dialer) close() {
	d.mu.Lock()
	d.closed = true
	all := make([]*conn, 0, len(d.open))
	for c := range d.open {
		all = append(all, c)
	}
	d.mu.Unlock()
	for _, c := range all {
		c.reset()
	}
}

// conn is a connection that is counted until it is closed.
type conn struct {
	net.Conn
	from *dialer
	once sync.Once
	err  error
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.err = c.Conn.Close()
		c.forget()
	})
	return c.err
}

// reset closes without leaving TIME_WAIT behind.
func (c *conn) reset() {
	c.once.Do(func() {
		reset(c.Conn)
		c.forget()
	})
}

func (c *conn) forget() {
	c.from.mu.Lock()
	delete(c.from.open, c)
	c.from.mu.Unlock()
	c.from.sockets(-1)
}

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // failing leaves a socket in TIME_WAIT, no more
	}
	_ = c.Close()
}
