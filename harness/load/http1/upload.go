package http1

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// continueWait is how long a body is held back for 100 Continue; as in
// net/http's DefaultTransport.
const continueWait = time.Second

// upload is what remains of a request after the first write, sent by a goroutine
// of its own, since the response may come before its end.
type upload struct {
	done    chan struct{} // closed when it has ended
	err     error         // why it was not sent whole; valid after done
	proceed chan bool     // the server's answer to Expect: send the body, or do not
	drop    chan struct{} // closed when the request has ended
	// closeBody closes the request's body, once; it ends a read that waits.
	closeBody func()
}

// startUpload sends tail, which are bytes of the first write that did not fit,
// and then the body.
func (c *conn) startUpload(tail *buffer, out outgoing) error {
	if !c.t.begin() {
		return ErrClosed
	}
	u := &upload{done: make(chan struct{}), proceed: make(chan bool, 1), drop: make(chan struct{}), closeBody: out.closeBody}
	c.upload = u
	due := c.due.Load()
	go func() {
		defer c.t.work.Done()
		u.err = u.run(c, tail, out)
		u.closeBody()
		close(u.done)
		if u.err != nil && errors.As(u.err, new(bodyError)) {
			// The server waits for what will not come.
			c.hangUpOne(due, endDropped)
		}
	}()
	return nil
}

// bodyError is a request's body that could not be had.
type bodyError struct{ error }

func (e bodyError) Unwrap() error { return e.error }

func (u *upload) run(c *conn, tail *buffer, out outgoing) error {
	if tail != nil {
		_, err := c.net.Write(tail.unread())
		c.t.small.put(tail)
		if err != nil {
			return err
		}
	}
	if out.rest == nil {
		return nil
	}
	if out.expects && !u.mayProceed() {
		return errNotWanted
	}
	if out.length < 0 {
		return u.chunks(c, out.rest)
	}
	return u.bytes(c, out.rest, out.length)
}

// errNotWanted is a body that the server did not want.
var errNotWanted = errors.New("the server did not want the body")

func (u *upload) mayProceed() bool {
	timer := time.NewTimer(continueWait)
	defer timer.Stop()
	select {
	case wanted := <-u.proceed:
		return wanted
	case <-timer.C:
		return true
	case <-u.drop:
		return false
	}
}

// answered tells a body that waits whether the server wants it.
func (u *upload) answered(wanted bool) {
	select {
	case u.proceed <- wanted:
	default: // it was told before
	}
}

func (u *upload) bytes(c *conn, body io.Reader, length int64) error {
	b := c.t.large.get()
	defer c.t.large.put(b)
	for left := length; left > 0; {
		n, err := body.Read(b.b[:min(left, int64(len(b.b)))])
		if n > 0 {
			if _, err := c.net.Write(b.b[:n]); err != nil {
				return err
			}
			left -= int64(n)
		}
		if err != nil && left > 0 {
			if err == io.EOF {
				err = fmt.Errorf("content length of the request is %d B, its body has %d B", length, length-left)
			}
			return bodyError{err}
		}
	}
	if err := checkEnd(body, length); err != nil {
		return bodyError{err}
	}
	return nil
}

// chunks sends each read of the body as a chunk, at once.
func (u *upload) chunks(c *conn, body io.Reader) error {
	// A chunk's size in hexadecimal digits and CRLF stand before it, CRLF behind.
	const before, behind = 8, 2
	b := c.t.large.get()
	defer c.t.large.put(b)
	for {
		n, err := body.Read(b.b[before : len(b.b)-behind])
		if n > 0 {
			size := append(strconv.AppendInt(make([]byte, 0, before), int64(n), 16), "\r\n"...)
			from := before - len(size)
			copy(b.b[from:], size)
			copy(b.b[before+n:], "\r\n")
			if _, err := c.net.Write(b.b[from : before+n+behind]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			_, err := c.net.Write([]byte("0\r\n\r\n"))
			return err
		}
		if err != nil {
			return bodyError{err}
		}
	}
}
