package http1

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// A chunk's size line, and a trailer, may have as many bytes; so in net/http.
	maxChunkLine = 4096
	maxTrailer   = 4096
	// What chunks cost beside their data: net/http's measure against a sender
	// that hides much behind little. 16 B a chunk and twice its data are free,
	// 16 KiB more are allowed in all.
	freePerChunk = 16
	maxExcess    = 16 << 10
)

// body is a response's body. It holds the connection until its end has been
// read, unless all of it came with the head.
type body struct {
	mu     sync.Mutex
	t      *Transport
	c      *conn   // nil when the connection is not needed any more
	in     *buffer // with all of the body; nil when c is not
	owner  *conn   // c, for Close; stays
	answer *answer
	due    int64
	stop   func() bool // of the request's context; may be nil

	lay    time.Duration // of the last bytes that were read
	local  string        // of the connection
	left   int64         // of the body by its length, or of the chunk
	excess int64
	err    error // how it ended

	framing framing
	inChunk bool // a chunk has begun whose closing CRLF has not been read
	closed  atomic.Bool
}

// begin gives the response its body. What has come with the head already frees
// the connection at once.
func (a *answer) begin(c *conn, f framing, due int64, stop func() bool, req *http.Request) {
	reuse := !a.Close && !req.Close && a.StatusCode >= 200
	a.body.local = c.local
	if f == noBody {
		a.Body = http.NoBody
		if c.t.opt.Arrivals {
			a.body.lay, a.body.err = c.lay, io.EOF
			a.Body = &a.body
		}
		c.finish(due, reuse)
		if stop != nil {
			stop()
		}
		return
	}
	b := &a.body
	b.t, b.framing, b.answer = c.t, f, a
	b.left = max(a.ContentLength, 0)
	a.Body = b
	if f == byLength && int64(len(c.in.unread())) >= b.left {
		b.in, c.in, b.lay = c.in, nil, c.lay
		extra := int64(len(b.in.unread())) > b.left
		c.finish(due, reuse && !extra)
		if stop != nil {
			stop()
		}
		return
	}
	b.c, b.owner, b.due, b.stop = c, c, due, stop
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	data, err := b.next()
	if err != nil {
		return 0, err
	}
	n := copy(p, data)
	if b.consume(n) {
		return n, io.EOF
	}
	return n, nil
}

// WriteTo implements io.WriterTo, which spares io.Copy's own buffer.
func (b *body) WriteTo(w io.Writer) (written int64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		data, err := b.next()
		if err == io.EOF {
			return written, nil
		}
		if err != nil {
			return written, err
		}
		n, err := w.Write(data)
		written += int64(n)
		if err == nil && n < len(data) {
			err = io.ErrShortWrite
		}
		b.consume(n)
		if err != nil {
			return written, err
		}
	}
}

// Lay is how long the last bytes of the response had lain ready in the socket when
// they were read, once the end of the body has been; see Options.Arrivals.
func (b *body) Lay() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lay
}

// LocalAddr is this end of the connection that the response came on.
func (b *body) LocalAddr() string { return b.local }

// Close implements io.Closer. A body that was not read to its end takes its
// connection with it.
func (b *body) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	if b.mu.TryLock() {
		defer b.mu.Unlock()
		b.end(errBodyClosed)
		return nil
	}
	// Another goroutine reads, and may wait for the peer: end that. It ends the
	// body when it finds the connection gone.
	if b.owner != nil {
		b.owner.hangUpOne(b.due, endDropped)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end(errBodyClosed)
	return nil
}

// next returns bytes of the body that are in hand; it waits when none are.
func (b *body) next() (data []byte, err error) {
	if b.closed.Load() {
		return nil, &Error{Phase: PhaseRead, Err: errBodyClosed}
	}
	if b.err != nil {
		return nil, b.err
	}
	switch b.framing {
	case byLength:
		data, err = b.upTo(b.left)
	case byChunks:
		data, err = b.chunk()
	default:
		data, err = b.hand()
	}
	if err != nil {
		b.end(err)
		return nil, b.err
	}
	return data, nil
}

// consume takes n bytes of those that next has returned; true at the end of the
// body, as far as that is known without reading on.
func (b *body) consume(n int) bool {
	b.buffer().r += n
	b.left -= int64(n)
	if b.framing == byLength && b.left == 0 {
		b.end(io.EOF)
		return true
	}
	return false
}

func (b *body) buffer() *buffer {
	if b.c != nil {
		return b.c.in
	}
	return b.in
}

// hand returns the bytes in hand, at least one.
func (b *body) hand() ([]byte, error) {
	in := b.buffer()
	if in == nil || in.r == in.w {
		if err := b.c.more(); err != nil {
			return nil, err
		}
		in = b.c.in
	}
	return in.unread(), nil
}

// upTo returns bytes in hand, at most n; the end of the connection is too early.
func (b *body) upTo(n int64) ([]byte, error) {
	data, err := b.hand()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return data[:min(int64(len(data)), n)], err
}

// chunk returns bytes of the present or the next chunk; io.EOF after the last.
func (b *body) chunk() ([]byte, error) {
	for b.left == 0 {
		if b.inChunk {
			if err := b.chunkEnd(); err != nil {
				return nil, err
			}
		}
		size, err := b.chunkSize()
		if err != nil {
			return nil, err
		}
		if size == 0 {
			if err := b.trailer(); err != nil {
				return nil, err
			}
			return nil, io.EOF
		}
		b.left, b.inChunk = size, true
	}
	return b.upTo(b.left)
}

// chunkEnd reads the CRLF behind a chunk's data.
func (b *body) chunkEnd() error {
	in, err := b.atLeast(2)
	if err != nil {
		return err
	}
	if in.b[in.r] != '\r' || in.b[in.r+1] != '\n' {
		return malformed("a chunk is longer than its size")
	}
	in.r += 2
	b.inChunk = false
	return nil
}

// atLeast waits until n bytes are in hand.
func (b *body) atLeast(n int) (*buffer, error) {
	for {
		if in := b.c.in; in != nil && in.w-in.r >= n {
			return in, nil
		}
		if err := b.more(); err != nil {
			return nil, err
		}
	}
}

// more reads more behind the unread bytes; the end of the connection is too early.
func (b *body) more() error {
	err := b.c.more()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// chunkSize reads the line before a chunk: its size, and extensions, which are
// ignored (RFC 9112 section 7.1).
func (b *body) chunkSize() (int64, error) {
	looked := 0
	for {
		in, err := b.atLeast(looked + 1)
		if err != nil {
			return 0, err
		}
		data := in.unread()
		i := bytes.IndexByte(data[looked:], '\n')
		if i < 0 {
			if len(data) >= maxChunkLine {
				return 0, malformed("the line of a chunk's size is longer than %d B", maxChunkLine)
			}
			looked = len(data)
			continue
		}
		line := data[:looked+i]
		if len(line)+1 > maxChunkLine {
			return 0, malformed("the line of a chunk's size is longer than %d B", maxChunkLine)
		}
		in.r += len(line) + 1
		if cr := bytes.IndexByte(line, '\r'); cr < 0 || cr != len(line)-1 {
			return 0, malformed("the line of a chunk's size does not end in CRLF")
		}
		line = line[:len(line)-1]
		return b.sizeOf(line)
	}
}

func (b *body) sizeOf(line []byte) (int64, error) {
	overhead := int64(len(line)) + 2
	for len(line) > 0 && isBlank(line[len(line)-1]) {
		line = line[:len(line)-1]
	}
	digits, _, _ := bytes.Cut(line, []byte{';'})
	if len(digits) == 0 || len(digits) > 16 {
		return 0, malformed("size of a chunk is %.40q; want 1 to 16 hexadecimal digits", digits)
	}
	var size uint64
	for _, c := range digits {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, malformed("size of a chunk is %.40q; want hexadecimal digits", digits)
		}
		size = size<<4 | uint64(c)
	}
	// No sender has so much; what matters is that nothing overflows.
	n := int64(min(size, 1<<61))
	b.excess = max(0, b.excess+overhead-freePerChunk-2*n)
	if b.excess > maxExcess {
		return 0, malformed("the chunks carry more than %d B beside their data", maxExcess)
	}
	return n, nil
}

// trailer reads what follows the last chunk.
func (b *body) trailer() error {
	in, err := b.atLeast(2)
	if err != nil {
		return err
	}
	if in.b[in.r] == '\r' && in.b[in.r+1] == '\n' {
		in.r += 2
		return nil
	}
	for !bytes.Contains(in.unread()[:min(in.w-in.r, maxTrailer)], []byte("\r\n\r\n")) {
		if in.w-in.r >= maxTrailer {
			return malformed("the trailer is longer than %d B", maxTrailer)
		}
		if err := b.more(); err != nil {
			return err
		}
	}
	h := &in.head
	h.reset()
	h.begun = true // there is no status line
	data := in.unread()
	if _, err := h.parse(data); err != nil {
		return err
	}
	fields, _ := h.header(string(data[:h.pos]), nil)
	in.r += h.pos
	if b.answer.Trailer == nil {
		b.answer.Trailer = fields
		return nil
	}
	for name, values := range fields {
		b.answer.Trailer[name] = values
	}
	return nil
}

// end ends the body with err, once, and gives back what it holds.
func (b *body) end(err error) {
	if b.err != nil {
		return
	}
	complete := err == io.EOF
	if c := b.c; c != nil {
		b.c, b.lay = nil, c.lay
		if why := c.due.Load(); !complete && why < endDropped {
			err = hungUp(why, b.answer.Request.Context())
		} else if b.closed.Load() {
			err = errBodyClosed
		}
		c.finish(b.due, complete && !b.answer.Close && !b.answer.Request.Close && b.answer.StatusCode >= 200)
		if b.stop != nil {
			b.stop()
		}
	}
	if b.in != nil {
		b.t.release(b.in)
		b.in = nil
	}
	if !complete {
		err = &Error{Phase: PhaseRead, Err: err}
	}
	b.err = err
}
