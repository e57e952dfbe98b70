package client

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// streamsPlanned is the number of requests that an HTTP/2 connection is meant
	// for: see the package comment.
	streamsPlanned = 80
	// keepDials bounds the connections opened at a time that no request waits for.
	keepDials = 64
	// After dials that no request waited for have failed there is a pause, which
	// doubles from the first to the last of these.
	pauseFirst = 100 * time.Millisecond
	pauseLast  = 5 * time.Second
	// lookEvery is how often a request that waits for an HTTP/2 stream has all
	// connections looked at anew. A stream ends a little after its response does,
	// and net/http does not promise to tell of each.
	lookEvery = 5 * time.Millisecond
)

// pool is the net/http engine: connections that are net/http's, each used for
// one request at a time or, over HTTP/2, for many.
type pool struct {
	dial    func(context.Context) (*http.ClientConn, error)
	sockets *dialer // beneath dial
	timeout time.Duration
	streams bool // HTTP/2
	most    int  // connections

	ctx     context.Context // ends with the pool
	cancel  context.CancelFunc
	dials   sync.WaitGroup
	buffers sync.Pool
	waiting atomic.Int64

	requests *inFlight // calls of RoundTrip

	mu      sync.Mutex
	closed  bool
	keep    int // connections at least
	open    map[*session]struct{}
	free    []*session // HTTP/1.1: the last used stands last. HTTP/2: the next in turn stands at turn.
	turn    int
	dialing int
	grow    bool       // HTTP/2: more than keep are needed
	waiters *list.List // of chan error, which gets nil when it is worth to look again
	looking bool       // a look is due
	pause   time.Duration
	paused  bool
}

// session is one connection.
type session struct {
	*http.ClientConn
	listed bool // in free; guarded by the pool's mu
	used   atomic.Bool
}

func newPool(dial func(context.Context) (*http.ClientConn, error), sockets *dialer, p Plan) *pool {
	out := &pool{
		dial: dial, sockets: sockets, requests: newInFlight(), timeout: p.Timeout, streams: p.HTTP2,
		most: max(p.MaxInFlight, p.Connections), keep: p.Connections,
		open: map[*session]struct{}{}, waiters: list.New(),
	}
	if p.HTTP2 {
		if p.Connections > 0 {
			out.most = p.Connections
		} else {
			out.keep = (p.MaxInFlight + streamsPlanned - 1) / streamsPlanned
		}
	}
	out.ctx, out.cancel = context.WithCancel(context.Background())
	return out
}

// Keep keeps at least n connections open from now on. Over HTTP/2 there are then
// at most n.
func (p *pool) Keep(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep = n
	if p.streams && n > 0 {
		p.most = n
	} else {
		p.most = max(p.most, n)
	}
	p.refill()
}

// RoundTrip implements http.RoundTripper. The request is sent once, if at all.
func (p *pool) RoundTrip(req *http.Request) (*http.Response, error) {
	if !p.requests.begin() {
		closeBody(req)
		return nil, ErrHungUp
	}
	defer p.requests.end()
	ctx, cancel := context.WithTimeout(req.Context(), p.timeout)
	s, err := p.take(ctx)
	if err != nil {
		cancel()
		closeBody(req)
		return nil, err
	}
	resp, err := s.RoundTrip(req.WithContext(ctx))
	if err != nil {
		err = p.why(ctx, err)
		p.give(s)
		cancel()
		return nil, err
	}
	resp.Request = req
	resp.Body = &body{ReadCloser: resp.Body, buffers: &p.buffers, end: func(err error) error {
		err = whyEnded(ctx, err, p.why)
		p.give(s)
		cancel()
		return err
	}}
	return resp, nil
}

// why says what was behind the error of a request: the end of the client or of
// the request's time come before what they look like on a connection.
func (p *pool) why(ctx context.Context, err error) error {
	switch {
	case p.ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrHungUp, err)
	case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

// whyEnded is why for what reading a body ended with. A body that ends after its
// request's time does so because of that: a peer may end it when it is told that
// the connection is closed.
func whyEnded(ctx context.Context, err error, why func(context.Context, error) error) error {
	switch {
	case err == nil:
		return nil
	case err == io.EOF && ctx.Err() != nil:
		return why(ctx, ctx.Err())
	case err == io.EOF:
		return err
	}
	return why(ctx, err)
}

// take waits for a connection that can have one more request, and reserves it.
func (p *pool) take(ctx context.Context) (*session, error) {
	for first := true; ; first = false {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil, ErrHungUp
		}
		s := p.next()
		if s == nil {
			if err := p.wait(ctx, first); err != nil {
				return nil, err
			}
			continue
		}
		p.mu.Unlock()
		if s.Reserve() == nil {
			s.used.Store(true)
			return s, nil
		}
		p.full(s)
	}
}

// next is a connection that is likely to be free, or nil. Called with mu held.
func (p *pool) next() *session {
	if p.streams {
		if len(p.free) == 0 {
			return nil
		}
		p.turn = (p.turn + 1) % len(p.free)
		return p.free[p.turn]
	}
	for len(p.free) > 0 {
		s := p.free[len(p.free)-1]
		p.free[len(p.free)-1] = nil
		p.free = p.free[:len(p.free)-1]
		s.listed = false
		if _, ok := p.open[s]; ok {
			return s
		}
	}
	return nil
}

// wait waits until it is worth to look again. Called with mu held, which it
// gives up.
func (p *pool) wait(ctx context.Context, first bool) error {
	p.waiting.Add(1)
	defer p.waiting.Add(-1)
	again := make(chan error, 1)
	var at *list.Element
	if first {
		at = p.waiters.PushBack(again)
	} else { // another was faster
		at = p.waiters.PushFront(again)
	}
	p.refill()
	p.lookSoon()
	p.mu.Unlock()

	select {
	case err := <-again:
		return err
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case err := <-again:
		if err == nil { // what this one was woken for is the next one's
			p.wake(1, nil)
		}
	default:
		p.waiters.Remove(at)
	}
	return fmt.Errorf("wait for a connection: %w", ctx.Err())
}

// wake tells the first n that wait. Called with mu held.
func (p *pool) wake(n int, err error) {
	for ; n > 0 && p.waiters.Len() > 0; n-- {
		p.waiters.Remove(p.waiters.Front()).(chan error) <- err
	}
}

// give takes back a connection whose request has ended.
func (p *pool) give(s *session) {
	if s.Err() != nil {
		p.drop(s)
		return
	}
	if n := s.Available(); n > 0 {
		p.list(s, 1)
		return
	}
	if !p.streams {
		// It would be available by now; it is about to be closed.
		_ = s.Close()
		p.drop(s)
	}
}

// full takes note that s could not be reserved.
func (p *pool) full(s *session) {
	if !p.streams || s.Err() != nil {
		_ = s.Close()
		p.drop(s)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unlist(s)
}

// list makes s one to be taken, and tells n that wait.
func (p *pool) list(s *session, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.open[s]; !ok || p.closed {
		return
	}
	if !s.listed {
		s.listed = true
		p.free = append(p.free, s)
	}
	p.wake(n, nil)
}

// unlist is for HTTP/2, whose list is short. Called with mu held.
func (p *pool) unlist(s *session) {
	if !s.listed {
		return
	}
	s.listed = false
	for i, other := range p.free {
		if other == s {
			last := len(p.free) - 1
			p.free[i], p.free[last] = p.free[last], nil
			p.free = p.free[:last]
			return
		}
	}
}

// drop forgets a connection that is closed.
func (p *pool) drop(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.open[s]; !ok {
		return
	}
	delete(p.open, s)
	if p.streams {
		p.unlist(s)
	} else if len(p.free) > 2*len(p.open)+keepDials {
		p.compact()
	}
	if !s.used.Load() { // a peer that hangs up at once is not called again at once
		p.rest()
	}
	p.refill()
}

// compact takes the closed connections out of the list of free ones, where they
// otherwise stay until it is their turn. Called with mu held.
func (p *pool) compact() {
	kept := p.free[:0]
	for _, s := range p.free {
		if _, ok := p.open[s]; ok {
			kept = append(kept, s)
		}
	}
	clear(p.free[len(kept):])
	p.free = kept
}

// refill opens what is missing. Called with mu held.
func (p *pool) refill() {
	each := 1
	if p.streams {
		each = streamsPlanned
	}
	for !p.closed && len(p.open)+p.dialing < p.most {
		have := len(p.open) + p.dialing
		needed := p.waiters.Len() > p.dialing*each && (!p.streams || p.grow || have < p.keep)
		kept := have < p.keep && p.dialing < keepDials && !p.paused
		if !needed && !kept {
			return
		}
		p.dialing++
		p.dials.Add(1)
		go p.connect(each)
	}
}

// connect opens one connection; when it cannot, each of the requests that wait
// for it is told why.
func (p *pool) connect(each int) {
	defer p.dials.Done()
	ctx, cancel := context.WithTimeout(p.ctx, p.timeout)
	defer cancel()
	opened, err := p.dial(ctx)
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.dialing--
		p.wake(each, p.why(ctx, err))
		p.rest()
		return
	}
	s := &session{ClientConn: opened}
	p.mu.Lock()
	p.dialing--
	closed := p.closed
	if !closed {
		p.open[s] = struct{}{}
		p.pause = 0
	}
	p.mu.Unlock()
	if closed {
		_ = s.Close()
		return
	}
	s.SetStateHook(func(*http.ClientConn) { p.changed(s) })
	p.list(s, max(1, s.Available()))
	if s.Err() != nil {
		p.drop(s)
	}
}

// changed is called by net/http when s is closed or has room again.
func (p *pool) changed(s *session) {
	if s.Err() != nil {
		p.drop(s)
		return
	}
	if n := s.Available(); p.streams && n > 0 {
		p.list(s, n)
	}
}

// rest holds back dials that no request waits for. Called with mu held.
func (p *pool) rest() {
	if p.paused || p.closed {
		return
	}
	p.pause = min(max(2*p.pause, pauseFirst), pauseLast)
	p.paused = true
	time.AfterFunc(p.pause, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.paused = false
		p.refill()
	})
	p.refill() // for those that wait
}

// lookSoon has all HTTP/2 connections looked at while requests wait. Called with
// mu held.
func (p *pool) lookSoon() {
	if !p.streams || p.looking || p.closed {
		return
	}
	p.looking = true
	time.AfterFunc(lookEvery, p.look)
}

func (p *pool) look() {
	var retired []*session
	defer func() {
		for _, s := range retired {
			_ = s.Close()
			p.drop(s)
		}
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looking = false
	if p.waiters.Len() == 0 {
		return
	}
	room := 0
	for s := range p.open {
		// After GOAWAY without a stream net/http leaves it to the peer to close
		// the connection, which takes the place of another until then.
		if s.InFlight() == 0 && s.Available() == 0 && s.InFlight() == 0 {
			retired = append(retired, s)
			continue
		}
		n := s.Available()
		if n > 0 && !s.listed {
			s.listed = true
			p.free = append(p.free, s)
		}
		room += n
	}
	if room > 0 {
		p.wake(room, nil)
	} else if p.dialing == 0 && len(retired) == 0 {
		p.grow = true
		p.refill()
		p.grow = false
	}
	if p.waiters.Len() > 0 {
		p.lookSoon()
	}
}

// Close ends all waits and requests, refuses new ones and waits until no
// connection is left.
func (p *pool) Close() error {
	p.mu.Lock()
	p.closed = true
	p.cancel()
	p.wake(p.waiters.Len(), ErrHungUp)
	all := make([]*session, 0, len(p.open))
	for s := range p.open {
		all = append(all, s)
	}
	p.mu.Unlock()
	p.sockets.close() // first, so that they are reset
	for _, s := range all {
		_ = s.Close()
	}
	p.dials.Wait()
	p.requests.wait()
	return nil
}

// body is a response's body; end is called once, when it has been read, failed
// or been closed, and may change the error.
type body struct {
	io.ReadCloser
	buffers *sync.Pool // of *[]byte
	end     func(error) error
	once    sync.Once
	err     error
}

// bodyBuffer is what of a body is read at a time by WriteTo.
const bodyBuffer = 8 << 10

// WriteTo implements io.WriterTo, which spares io.Copy a buffer of 32 KiB for
// each request.
func (b *body) WriteTo(w io.Writer) (int64, error) {
	buf, ok := b.buffers.Get().(*[]byte)
	if !ok {
		fresh := make([]byte, bodyBuffer)
		buf = &fresh
	}
	defer b.buffers.Put(buf)
	// Without its own methods b is but a reader.
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{b}, *buf)
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil {
		return n, nil
	}
	b.once.Do(func() { b.err = b.end(err) })
	if b.err == nil { // closed before
		return n, err
	}
	return n, b.err
}

// Close implements io.Closer.
func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(func() { _ = b.end(nil) })
	return err
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
