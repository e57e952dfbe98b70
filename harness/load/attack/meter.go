package attack

import (
	"errors"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"chokepoint/harness/load/account"
	"chokepoint/harness/load/client"
	"chokepoint/harness/load/request"
)

// errOver ends requests that never left because the attack is over.
var errOver = errors.New("the attack is over")

// meter is the RoundTripper between vegeta and the client. It measures and bounds
// requests, and changes nothing of what is sent.
type meter struct {
	client *client.Client
	polite http.RoundTripper
	rec    *account.Recorder
	gate   *gate
	done   <-chan struct{}
	// due is when request k is due, on the recorder's clock. Nil in a closed loop,
	// where that is when its place became free.
	due    func(k uint64) int64
	keeps  func(k uint64) bool // whose result is kept
	checks bool                // whether tokens in responses are looked for
	// pause is how long to hold a place back after so many failures in a row.
	pause func(streak int64) time.Duration
}

// exchange is a request under way; its response's body is a part of it, so that
// both take one piece of memory.
type exchange struct {
	account.Exchange
	meter *meter
	req   *http.Request
	inner io.ReadCloser
	scan  request.TokenScan
	over  bool
	// handsOn says that the place goes to whoever waits for one as soon as it is
	// free. Otherwise whoever calls send sees to it.
	handsOn bool
	freed   int64 // when the place became free again, once over
}

// RoundTrip implements http.RoundTripper, for vegeta.
func (m *meter) RoundTrip(req *http.Request) (*http.Response, error) {
	// Vegeta numbers its requests in the order in which the pacer let them out.
	k := number(req.Header)
	freeSince, ok := m.gate.take()
	if !ok {
		return nil, errOver
	}
	x := &exchange{meter: m, handsOn: true}
	x.Free = freeSince
	return x.send(k, req)
}

// send sends request k in a place that is free since x.Free. When there is no
// error, x is the response's body.
func (x *exchange) send(k uint64, req *http.Request) (*http.Response, error) {
	m := x.meter
	x.req, x.Seq, x.BytesOut = req, k, max(0, req.ContentLength)
	if m.due != nil {
		x.Due = m.due(k)
	} else {
		x.Due = x.Free
	}
	send := m.polite
	if i := m.client.Pick(k); i >= 0 {
		x.Behaviour = i + 1
		send = m.client.Behave(i)
	}
	if m.keeps(k) {
		x.Method, x.URL = req.Method, req.URL.String()
	}
	m.rec.Send(&x.Exchange)
	resp, err := send.RoundTrip(req)
	if err != nil {
		x.fail(err)
		return nil, err
	}
	x.Code = resp.StatusCode
	if token := req.Header[request.TokenHeader]; m.checks && len(token) > 0 && x.OK() {
		x.scan = request.NewTokenScan(token[0])
		x.Checked = true
	}
	if c, ok := resp.Body.(interface{ LocalAddr() string }); ok {
		x.Local = c.LocalAddr()
	}
	x.inner, resp.Body = resp.Body, x
	return resp, nil
}

// number is vegeta's number of a request.
func number(h http.Header) uint64 {
	if v := h["X-Vegeta-Seq"]; len(v) > 0 {
		n, _ := strconv.ParseUint(v[0], 10, 64)
		return n
	}
	return 0
}

// Read implements io.Reader. Vegeta's worker alone reads.
func (x *exchange) Read(p []byte) (int, error) {
	n, err := x.inner.Read(p)
	x.see(p[:n])
	if err != nil {
		x.end(err)
	}
	return n, err
}

// WriteTo implements io.WriterTo, which spares the reader a buffer.
func (x *exchange) WriteTo(w io.Writer) (int64, error) {
	n, err := io.Copy(seer{x, w}, x.inner)
	if err == nil {
		x.end(io.EOF)
	} else {
		x.end(err)
	}
	return n, err
}

// drain is WriteTo to nowhere, and Close, without a piece of memory.
func (x *exchange) drain() {
	_, err := io.Copy((*sink)(x), x.inner)
	if err == nil {
		err = io.EOF
	}
	x.end(err)
	_ = x.inner.Close() // x keeps what became of it
}

// sink sees what is written to it.
type sink exchange

func (s *sink) Write(p []byte) (int, error) {
	(*exchange)(s).see(p)
	return len(p), nil
}

// seer passes on what it has seen.
type seer struct {
	x *exchange
	w io.Writer
}

func (s seer) Write(p []byte) (int, error) {
	s.x.see(p)
	return s.w.Write(p)
}

func (x *exchange) see(p []byte) {
	x.BytesIn += int64(len(p))
	if x.Checked {
		_, _ = x.scan.Write(p) // it takes everything
	}
}

// Close implements io.Closer.
func (x *exchange) Close() error {
	err := x.inner.Close()
	x.end(io.ErrUnexpectedEOF)
	return err
}

// end ends the exchange with what reading the body ended with.
func (x *exchange) end(err error) {
	switch {
	case x.over:
	case err == io.EOF:
		x.over = true
		if stamped, ok := x.inner.(interface{ Lay() time.Duration }); ok {
			x.Lay = int64(stamped.Lay())
		}
		x.check()
		x.leave()
	default:
		x.over = true
		x.fail(err)
	}
}

// check says what the body's tokens say.
func (x *exchange) check() {
	if !x.Checked {
		return
	}
	x.Missing = !x.scan.Own()
	if foreign := x.scan.Foreign(); foreign != "" {
		x.Foreign = foreignExample(x.req, foreign)
	}
}

// unsent ends request k, which could not be made.
func (x *exchange) unsent(k uint64, err error) {
	x.Seq, x.Due = k, x.Free
	x.meter.rec.Send(&x.Exchange)
	x.fail(err)
}

// fail ends an exchange without a complete response.
func (x *exchange) fail(err error) {
	switch {
	case errors.Is(err, client.ErrMisbehaved):
		x.Misbehaved = true
	case errors.Is(err, client.ErrHungUp):
		x.meter.rec.HungUp()
		x.free(x.meter.rec.Now())
		return
	default:
		x.Code, x.Checked, x.Failure = 0, false, account.KindOf(err)
	}
	x.leave()
}

// leave frees the place; after a failure, only when the pause that follows from
// the streak of failures is over.
func (x *exchange) leave() {
	m := x.meter
	streak := m.rec.End(&x.Exchange)
	freeSince := x.Arrived()
	if d := m.pause(streak); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-m.done:
		}
		freeSince = m.rec.Now()
	}
	x.free(freeSince)
}

// free frees the place at time now.
func (x *exchange) free(now int64) {
	x.freed = now
	if x.handsOn && x.meter.gate.giveBack(now) {
		// Whoever waited for the place is now next on this thread. Let it go first:
		// what the caller does next would wake another goroutine and push it back
		// behind all that a burst of responses has made runnable.
		runtime.Gosched()
	}
}

// foreignExample is one line on a response that holds another's token.
func foreignExample(req *http.Request, foreign string) string {
	const longest = 300
	line := req.Method + " " + req.URL.RequestURI() + " with token " + req.Header.Get(request.TokenHeader) + " was answered with " + strconv.Quote(foreign)
	if len(line) > longest {
		line = line[:longest] + "..."
	}
	return line
}
