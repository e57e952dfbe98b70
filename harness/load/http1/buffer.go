package http1

import "sync"

const (
	// bufferSize holds one request, or one response of common size.
	bufferSize = 4 << 10
	// streamSize is for bodies that do not fit.
	streamSize = 64 << 10
)

// buffer holds bytes in hand: of a request that is about to leave, or of a
// response that has come. Unread are b[r:w].
type buffer struct {
	b    []byte
	r, w int
	head head // of a response
}

func (b *buffer) unread() []byte { return b.b[b.r:b.w] }

// room returns free space after the unread bytes; it makes some if there is none.
func (b *buffer) room() []byte {
	switch {
	case b.r == b.w:
		b.r, b.w = 0, 0
	case b.w < len(b.b):
	case b.r > 0:
		b.w = copy(b.b, b.b[b.r:b.w])
		b.r = 0
	default:
		grown := make([]byte, 2*len(b.b))
		copy(grown, b.b)
		b.b = grown
	}
	return b.b[b.w:]
}

// buffers lends buffers of one size.
type buffers struct{ pool sync.Pool }

func newBuffers(size int) *buffers {
	s := &buffers{}
	s.pool.New = func() any { return &buffer{b: make([]byte, size)} }
	return s
}

func (s *buffers) get() *buffer { return s.pool.Get().(*buffer) }

func (s *buffers) put(b *buffer) {
	if len(b.b) > streamSize || len(b.b) < bufferSize {
		return // one large request or header must not stay for ever; a shrunk one is of no use
	}
	b.r, b.w = 0, 0
	b.head.reset()
	s.pool.Put(b)
}
