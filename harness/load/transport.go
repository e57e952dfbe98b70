package load

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// errHungUp is the cause of requests cancelled by Stop.
var errHungUp = errors.New("load: hung up")

// connections opens the client's connections and knows those that are open.
type connections struct {
	dialer net.Dialer
	ctx    context.Context // ends with the attack
	rec    *recorder

	dialling sync.WaitGroup
	mu       sync.Mutex
	open     map[*conn]struct{}
	closed   bool
}

// dial does not bind a local address: the kernel then chooses the port at
// connect, and may reuse one that is in TIME_WAIT towards another peer.
func (c *connections) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, errHungUp
	}
	c.dialling.Add(1)
	c.mu.Unlock()
	defer c.dialling.Done()

	// The pool dials on behalf of no request in particular, so ctx does not end
	// with the request that asked.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()

	raw, err := c.dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	opened := &conn{Conn: raw, from: c}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		_ = raw.Close()
		return nil, errHungUp
	}
	c.open[opened] = struct{}{}
	c.mu.Unlock()
	c.rec.socket(+1)
	return opened, nil
}

// closeAll resets every connection and refuses new ones.
func (c *connections) closeAll() {
	c.mu.Lock()
	c.closed = true
	all := make([]*conn, 0, len(c.open))
	for opened := range c.open {
		all = append(all, opened)
	}
	c.mu.Unlock()
	for _, opened := range all {
		if tcp, ok := opened.Conn.(*net.TCPConn); ok {
			// Failing leaves a socket in TIME_WAIT, no more.
			_ = tcp.SetLinger(0)
		}
		_ = opened.Close()
	}
}

// conn is a connection that is counted until it is closed.
type conn struct {
	net.Conn
	from *connections
	once sync.Once
	err  error
}

func (c *conn) Close() error {
	c.once.Do(func() {
		c.err = c.Conn.Close()
		c.from.mu.Lock()
		delete(c.from.open, c)
		c.from.mu.Unlock()
		c.from.rec.socket(-1)
	})
	return c.err
}

// newPool is net/http's pool of connections, made to hold inFlight of them with
// as little memory as it allows.
func newPool(c *connections, inFlight int) *http.Transport {
	const (
		// One request or response of a lab target fits; a larger body costs more
		// system calls, not correctness.
		buffer = 2 << 10
		// A response whose header does not end is malformed, not a memory leak.
		longestHeader = 64 << 10
	)
	return &http.Transport{
		DialContext:            c.dial,
		MaxConnsPerHost:        inFlight,
		MaxIdleConnsPerHost:    inFlight,
		DisableCompression:     true,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1 alone
		ReadBufferSize:         buffer,
		WriteBufferSize:        buffer,
		MaxResponseHeaderBytes: longestHeader,
	}
}

// meter is the RoundTripper between vegeta and the pool. It measures, bounds
// and cancels requests, and changes nothing of what is sent.
type meter struct {
	pool    http.RoundTripper
	rec     *recorder
	ctx     context.Context // ends with the attack
	timeout time.Duration
	// slots holds one element for each request that may be in flight. Nil in an
	// open loop, where vegeta's workers are the bound.
	slots   chan struct{}
	waiting atomic.Int64 // requests that wait for a slot
	// pause is how long to hold a slot back after so many failures in a row.
	pause func(streak int64) time.Duration
}

// RoundTrip implements http.RoundTripper.
func (m *meter) RoundTrip(req *http.Request) (*http.Response, error) {
	x := exchange{method: req.Method, url: req.URL.String(), bytesOut: max(0, req.ContentLength)}
	// Vegeta numbers its requests in the order in which the pacer let them out.
	x.seq, _ = strconv.ParseUint(req.Header.Get("X-Vegeta-Seq"), 10, 64)

	if err := m.acquire(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(m.ctx, m.timeout)
	x.sent = m.rec.send()
	resp, err := m.pool.RoundTrip(onceOnly(req.WithContext(ctx)))
	if err != nil {
		m.fail(x, err)
		cancel()
		return nil, err
	}
	x.code = resp.StatusCode
	b := &body{ReadCloser: resp.Body, meter: m, exchange: x, cancel: cancel}
	if token := req.Header.Get(TokenHeader); token != "" && x.ok() {
		b.scan = &tokenScan{want: []byte(token)}
	}
	resp.Body = b
	return resp, nil
}

// onceOnly keeps net/http from sending req again by itself when a connection
// ends before the response begins, which it does for methods without side
// effects: the target would get more requests than are counted, and its failures
// would not show. What net/http may repeat is a request without a body, or whose
// body can be had again; so req gets an empty body that cannot. The encoding
// "identity" says that the body needs none, so that what is sent stays the same.
// (A bodiless POST with an Idempotency-Key may still be repeated: with a body it
// would lose its Content-Length: 0.)
func onceOnly(req *http.Request) *http.Request {
	req.GetBody = nil
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		if req.Body == nil || req.Body == http.NoBody {
			req.Body = emptyBody{}
			req.TransferEncoding = []string{"identity"}
		}
	}
	return req
}

type emptyBody struct{}

func (emptyBody) Read([]byte) (int, error) { return 0, io.EOF }
func (emptyBody) Close() error             { return nil }

// WriteTo spares a copy buffer of 32 KiB a request, which would double the CPU
// time of the generator.
func (emptyBody) WriteTo(io.Writer) (int64, error) { return 0, nil }

// acquire waits for the slot of a request that has ended. Whoever waits here
// has its request ready to leave, so that a slot stands empty for no longer than
// it takes to wake one goroutine. Vegeta's own way from the end of a request to
// the next leads over its results, its pacer and two channels, and was seen to
// leave hundreds of 10,000 slots empty when responses came in bursts.
func (m *meter) acquire() error {
	if m.slots == nil {
		return nil
	}
	m.waiting.Add(1)
	defer m.waiting.Add(-1)
	select {
	case m.slots <- struct{}{}:
		return nil
	case <-m.ctx.Done():
		return errHungUp
	}
}

// release gives the slot of an ended request back; after a failure, only when
// the pause that follows from streak is over.
func (m *meter) release(streak int64) {
	if m.slots == nil {
		return
	}
	if d := m.pause(streak); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-m.ctx.Done():
		}
	}
	handOver := m.waiting.Load() > 0
	<-m.slots
	if handOver {
		// Whoever waited for the slot is now next on this thread. Let it go first:
		// what the caller does next would wake another goroutine and push it back
		// behind all that a burst of responses has made runnable.
		runtime.Gosched()
	}
}

// fail ends an exchange without a complete response.
func (m *meter) fail(x exchange, err error) {
	if m.ctx.Err() != nil {
		m.rec.hungUp()
		m.release(0)
		return
	}
	x.code, x.failure = 0, kindOf(err)
	m.release(m.rec.end(x))
}

// body is a response's body; the exchange ends with it. Vegeta's worker alone
// uses it.
type body struct {
	io.ReadCloser
	meter    *meter
	exchange exchange
	cancel   context.CancelFunc
	scan     *tokenScan
	over     bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.exchange.bytesIn += int64(n)
	if b.scan != nil {
		b.scan.scan(p[:n])
	}
	switch {
	case err == nil || b.over:
	case err == io.EOF:
		b.complete()
	default:
		b.over = true
		b.meter.fail(b.exchange, err)
		b.cancel()
	}
	return n, err
}

// complete ends an exchange whose response was read to the end.
func (b *body) complete() {
	b.over = true
	x := &b.exchange
	if b.scan != nil {
		x.checked = true
		x.missing = !b.scan.own
		if b.scan.foreign != "" {
			x.foreign = foreignExample(x, b.scan)
		}
	}
	b.meter.release(b.meter.rec.end(*x))
	b.cancel()
}

func (b *body) Close() error {
	err := b.ReadCloser.Close()
	if !b.over {
		b.over = true
		b.meter.fail(b.exchange, io.ErrUnexpectedEOF)
		b.cancel()
	}
	return err
}

// foreignExample is one line on a response that holds another's token.
func foreignExample(x *exchange, s *tokenScan) string {
	const longest = 300
	line := x.method + " " + x.url + " with token " + string(s.want) + " was answered with " + strconv.Quote(s.foreign)
	if len(line) > longest {
		line = line[:longest] + "..."
	}
	return line
}
