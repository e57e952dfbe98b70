package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// One request or response of a lab target fits; a larger body costs more
	// system calls, not correctness.
	ioBuffer = 2 << 10
	// A response whose header does not end is malformed, not a memory leak.
	longestHeader = 64 << 10
	// A body whose request expects 100 Continue is sent after so long without it;
	// http.DefaultTransport and the lean engine wait as long.
	continueWait = time.Second
)

// connector makes net/http's connections to one peer.
type connector struct {
	to        peer
	tls       *tls.Config // nil: none
	http2     bool
	settled   bool // over HTTP/2, wait for the peer's settings
	transport *http.Transport
}

// newConnector makes connections over what dial opens, with TLS on top where the
// peer speaks it. Once a connection is ready for HTTP, ready is told, if not nil.
func newConnector(p Plan, to peer, dial func(context.Context) (net.Conn, error), ready func(net.Conn)) (*connector, error) {
	c := &connector{to: to, http2: p.HTTP2}
	if to.secure {
		config, err := p.TLS.config(to)
		if err != nil {
			return nil, err
		}
		config.NextProtos = []string{"http/1.1"}
		if p.HTTP2 {
			config.NextProtos = []string{"h2"}
		}
		c.tls = config
	}
	raw := func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := dial(ctx)
		if w, ok := ctx.Value(greetingKey{}).(*greeting); ok && err == nil {
			w.Conn = conn
			return w, nil
		}
		return conn, err
	}
	begin := func(conn net.Conn) {
		if w, ok := conn.(*greeting); ok {
			w.begun.Store(true)
			conn = w.Conn
		}
		if ready != nil {
			ready(conn)
		}
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!p.HTTP2)
	protocols.SetHTTP2(p.HTTP2)
	protocols.SetUnencryptedHTTP2(p.HTTP2)
	c.transport = &http.Transport{
		Protocols: protocols,
		// Without it a server's limit on streams is an error of the request that
		// meets it, which http.Transport would answer with another connection.
		HTTP2:                  &http.HTTP2Config{StrictMaxConcurrentRequests: true},
		DisableCompression:     true,
		ReadBufferSize:         ioBuffer,
		WriteBufferSize:        ioBuffer,
		MaxResponseHeaderBytes: longestHeader,
		ExpectContinueTimeout:  continueWait,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := raw(ctx, network, addr)
			if err == nil {
				begin(conn)
			}
			return conn, err
		},
		DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := raw(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			secured, err := c.handshake(ctx, conn)
			if err != nil {
				_ = conn.Close()
				return nil, err
			}
			begin(conn)
			return secured, nil
		},
	}
	return c, nil
}

// handshake speaks TLS over conn.
func (c *connector) handshake(ctx context.Context, conn net.Conn) (net.Conn, error) {
	secured := tls.Client(conn, c.tls)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	if c.http2 && secured.ConnectionState().NegotiatedProtocol != "h2" {
		return nil, errors.New("the target does not offer HTTP/2 over TLS (ALPN h2)")
	}
	return secured, nil
}

// connect opens one connection.
func (c *connector) connect(ctx context.Context) (*http.ClientConn, error) {
	scheme := "http"
	if c.to.secure {
		scheme = "https"
	}
	if !c.http2 || !c.settled {
		conn, err := c.transport.NewClientConn(ctx, scheme, c.to.addr)
		if err != nil {
			return nil, fmt.Errorf("connect: %w", err)
		}
		return conn, nil
	}
	w := &greeting{over: make(chan struct{})}
	conn, err := c.transport.NewClientConn(context.WithValue(ctx, greetingKey{}, w), scheme, c.to.addr)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	select {
	case <-w.over:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err == nil {
		err = conn.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connect: wait for HTTP/2 settings: %w", err)
	}
	return conn, nil
}

type greetingKey struct{}

// greeting is a connection on which HTTP/2 begins. Until the peer's settings have
// come, net/http assumes 100 streams; whatever is sent above a lower limit would
// fail or wait there while other connections have room. net/http does not tell when
// they have come. But what a client writes is first its own preface, in one piece,
// and then, as long as there is no request, the acknowledgement of those settings.
type greeting struct {
	net.Conn
	begun  atomic.Bool // TLS, if any, is over
	writes atomic.Int64
	once   sync.Once
	over   chan struct{} // closed with the second write, or the connection
}

// Write implements net.Conn.
func (g *greeting) Write(p []byte) (int, error) {
	n, err := g.Conn.Write(p)
	if g.begun.Load() && g.writes.Add(1) == 2 {
		g.once.Do(func() { close(g.over) })
	}
	return n, err
}

// Close implements net.Conn.
func (g *greeting) Close() error {
	g.once.Do(func() { close(g.over) })
	return g.Conn.Close()
}
