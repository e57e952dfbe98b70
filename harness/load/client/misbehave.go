package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// smallReceive is the receive buffer of a client that reads slowly or not at
	// all, in bytes; the kernel doubles it for what it needs itself. With the
	// usual buffer of hundreds of KiB a server would hardly ever notice.
	smallReceive = 4 << 10
	// What is paced moves on ten times a second, or twice where that would be less
	// than half of what the kernel makes of the small buffer: a client that wakes up
	// for every few hundred bytes costs the generator a CPU for some thousands of
	// them, and the server sees no difference, since a window opens by half a buffer.
	mostPieces, leastPieces = 10, 2
	// mostBehind is how much time a reader or sender that was held up makes up for.
	// Timers of a busy machine are late each time, and a client that never made up
	// for it would be slower than it says. What the peer was late with is not made up
	// beyond that: the line would not have been faster either.
	mostBehind = time.Second
	// smallWrites has net/http hand on a slowly sent body piece by piece instead
	// of collecting it, in bytes.
	smallWrites = 16
)

// misbehaver is the RoundTripper of one badly behaved client. Each request has a
// connection of its own.
type misbehaver struct {
	b       Behaviour
	timeout time.Duration
	connect *connector
	buffers sync.Pool
	ctx     context.Context // ends with the client

	inFlight *inFlight // calls of RoundTrip
}

func newMisbehaver(ctx context.Context, p Plan, to peer, d *dialer, calls *inFlight, b Behaviour) (*misbehaver, error) {
	m := &misbehaver{b: b, timeout: p.Timeout, ctx: ctx, inFlight: calls}
	receive := 0
	if b.ReadsPerSecond > 0 || b.StopsReadingAfter > 0 {
		receive = smallReceive
	}
	dial := func(ctx context.Context) (net.Conn, error) {
		c, err := d.dial(ctx, "tcp", to.addr, receive)
		if err != nil {
			return nil, err
		}
		a, ok := ctx.Value(actKey{}).(*act)
		if !ok {
			return c, nil
		}
		a.Conn = c
		a.closed = make(chan struct{})
		return a, nil
	}
	ready := func(c net.Conn) {
		if a, ok := c.(*act); ok {
			a.begin()
		}
	}
	var err error
	if m.connect, err = newConnector(p, to, dial, ready); err != nil {
		return nil, err
	}
	if b.SendsPerSecond > 0 {
		m.connect.transport.WriteBufferSize = smallWrites
	}
	return m, nil
}

// RoundTrip implements http.RoundTripper.
func (m *misbehaver) RoundTrip(req *http.Request) (*http.Response, error) {
	if !m.inFlight.begin() {
		closeBody(req)
		return nil, ErrHungUp
	}
	defer m.inFlight.end()
	a := &act{b: m.b}
	ctx, cancel := context.WithTimeout(context.WithValue(req.Context(), actKey{}, a), m.timeout)
	unhook := context.AfterFunc(m.ctx, cancel)
	why := func(ctx context.Context, err error) error {
		switch {
		case m.ctx.Err() != nil:
			return fmt.Errorf("%w: %w", ErrHungUp, err)
		case a.done.Load(), ctx.Err() == context.DeadlineExceeded && a.acting():
			return fmt.Errorf("%w: it %s: %w", ErrMisbehaved, m.b, err)
		case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return err
	}
	conn, err := m.connect.connect(ctx)
	if err != nil {
		err = why(ctx, err)
		unhook()
		cancel()
		closeBody(req)
		return nil, err
	}
	var once sync.Once
	end := func() {
		once.Do(func() {
			unhook()
			cancel()
			a.stop()
			_ = conn.Close()
			_ = a.Close()
		})
	}
	resp, err := conn.RoundTrip(m.prepare(ctx, req, a))
	if err != nil {
		err = why(ctx, err)
		end()
		return nil, err
	}
	resp.Request = req
	resp.Body = &body{ReadCloser: resp.Body, buffers: &m.buffers, end: func(err error) error {
		err = whyEnded(ctx, err, why)
		end()
		return err
	}}
	return resp, nil
}

// prepare makes req one that a plays.
func (m *misbehaver) prepare(ctx context.Context, req *http.Request, a *act) *http.Request {
	if m.b.HangsUpAfter > 0 {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			WroteRequest: func(info httptrace.WroteRequestInfo) {
				if info.Err == nil {
					a.hangUpIn(m.b.HangsUpAfter)
				}
			},
		})
	}
	req = req.WithContext(ctx)
	if m.b.SendsPerSecond > 0 && req.Body != nil && req.Body != http.NoBody {
		if !m.connect.http2 {
			a.hold()
		}
		req.Body = &slowBody{ReadCloser: req.Body, act: a, done: ctx.Done(), pace: pace{perSecond: m.b.SendsPerSecond}}
	}
	return req
}

type actKey struct{}

// act is a badly behaved client's connection. What it does begins with the first
// byte of HTTP: a TLS handshake is polite.
type act struct {
	net.Conn
	b      Behaviour
	closed chan struct{}
	once   sync.Once

	begun   atomic.Bool
	read    atomic.Int64 // bytes, since it has begun
	sending atomic.Bool  // a body is being sent slowly
	done    atomic.Bool  // it hung up
	pace    pace         // of reading, by whoever reads

	mu     sync.Mutex
	timer  *time.Timer // of the hang-up
	over   bool
	held   []byte // written, but not yet sent
	holds  bool
	failed error // of sending what was held
}

// begin is called before the first byte of HTTP is read.
func (a *act) begin() {
	a.pace.perSecond = a.b.ReadsPerSecond
	a.begun.Store(true)
}

// acting says whether what the client does is what keeps its request from ending.
func (a *act) acting() bool {
	switch {
	case a.b.ReadsPerSecond > 0:
		return a.read.Load() > 0
	case a.b.StopsReadingAfter > 0:
		return a.read.Load() >= a.b.StopsReadingAfter
	case a.b.SendsPerSecond > 0:
		return a.sending.Load()
	}
	return false
}

// Read implements net.Conn.
func (a *act) Read(p []byte) (int, error) {
	if !a.begun.Load() {
		return a.Conn.Read(p)
	}
	switch {
	case a.b.StopsReadingAfter > 0:
		left := a.b.StopsReadingAfter - a.read.Load()
		if left <= 0 {
			<-a.closed
			return 0, net.ErrClosed
		}
		p = p[:min(int64(len(p)), left)]
	case a.b.ReadsPerSecond > 0:
		if !a.pace.wait(a.closed) {
			return 0, net.ErrClosed
		}
		p = p[:min(len(p), a.pace.piece())]
	}
	n, err := a.Conn.Read(p)
	a.read.Add(int64(n))
	a.pace.moved(n)
	return n, err
}

// Write implements net.Conn.
func (a *act) Write(p []byte) (int, error) {
	a.mu.Lock()
	if a.holds {
		a.held = append(a.held, p...)
		a.mu.Unlock()
		return len(p), nil
	}
	failed := a.failed
	a.mu.Unlock()
	if failed != nil {
		return 0, failed
	}
	return a.Conn.Write(p)
}

// hold collects what is written until sendHeld, so that a head leaves in one
// piece though net/http's buffer is small.
func (a *act) hold() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.holds = true
}

func (a *act) sendHeld() {
	a.mu.Lock()
	held := a.held
	a.holds, a.held = false, nil
	a.mu.Unlock()
	if len(held) == 0 {
		return
	}
	if _, err := a.Conn.Write(held); err != nil {
		a.mu.Lock()
		a.failed = err
		a.mu.Unlock()
	}
}

// hangUpIn closes the connection after d.
func (a *act) hangUpIn(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return
	}
	a.timer = time.AfterFunc(d, func() {
		a.mu.Lock()
		over := a.over
		a.mu.Unlock()
		if !over {
			a.done.Store(true)
			_ = a.Close()
		}
	})
}

// stop is called when the request is over.
func (a *act) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	if a.timer != nil {
		a.timer.Stop()
	}
}

// Close implements net.Conn.
func (a *act) Close() error {
	a.once.Do(func() { close(a.closed) })
	return a.Conn.Close()
}

// slowBody is a request's body that is sent slowly.
type slowBody struct {
	io.ReadCloser
	act  *act
	done <-chan struct{}
	pace pace
}

// Read implements io.Reader.
func (s *slowBody) Read(p []byte) (int, error) {
	s.act.sendHeld()
	s.act.sending.Store(true)
	if !s.pace.wait(s.done) {
		return 0, net.ErrClosed
	}
	n, err := s.ReadCloser.Read(p[:min(len(p), s.pace.piece())])
	s.pace.moved(n)
	if err != nil {
		s.act.sending.Store(false)
	}
	return n, err
}

// pace spreads bytes evenly over time.
type pace struct {
	perSecond int64
	next      time.Time   // when more may move
	timer     *time.Timer // of the waits, made once
}

// piece is how many bytes may move at a time.
func (p *pace) piece() int {
	return int(max(1, p.perSecond/mostPieces, min(p.perSecond/leastPieces, smallReceive)))
}

// wait waits until more may move; it is false when done comes first.
func (p *pace) wait(done <-chan struct{}) bool {
	d := time.Until(p.next)
	if d <= 0 {
		return true
	}
	if p.timer == nil {
		p.timer = time.NewTimer(d)
	} else {
		p.timer.Reset(d) // it has fired, or nobody waits any more
	}
	select {
	case <-p.timer.C:
		return true
	case <-done:
		p.timer.Stop()
		return false
	}
}

// moved notes that n bytes moved now.
func (p *pace) moved(n int) {
	if p.perSecond <= 0 || n == 0 {
		return
	}
	p.movedAt(time.Now(), n)
}

func (p *pace) movedAt(now time.Time, n int) {
	from := p.next
	switch earliest := now.Add(-mostBehind); {
	case from.IsZero(): // the first
		from = now
	case from.Before(earliest):
		from = earliest
	}
	p.next = from.Add(time.Duration(float64(n) / float64(p.perSecond) * float64(time.Second)))
}
