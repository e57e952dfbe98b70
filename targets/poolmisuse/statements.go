package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"sync"

	"chokepoint/targets/kit"
)

// pageRoom holds a usual statement.
const pageRoom = 4 << 10

// keepAny has a pool of buffers keep every buffer.
const keepAny = math.MaxInt

// statements renders account statements, most of them a page, some of them
// thousands of lines. A statement is spooled to the archive before it is sent.
type statements struct {
	buffers sync.Pool
	keep    int // the capacity up to which a buffer is kept, in bytes
	archive *kit.Dependency
}

func newStatements(archive *kit.Dependency, keep int) *statements {
	return &statements{buffers: sync.Pool{New: newPage}, keep: keep, archive: archive}
}

func newPage() any { return bytes.NewBuffer(make([]byte, 0, pageRoom)) }

func (s *statements) render(ctx context.Context, w http.ResponseWriter, o order) error {
	b := s.buffers.Get().(*bytes.Buffer)
	b.Reset()
	b.Grow((o.rows + 4) * rowSize)
	writeTitle(b, "STATEMENT", o)
	for i := range o.rows {
		writeRow(b, o, i)
	}
	writeTotal(b, o)
	err := s.archive.Call(ctx)
	if err == nil {
		send(w, b.Bytes())
	}
	if b.Cap() <= s.keep {
		s.buffers.Put(b) // chokepoint:flaw pool-misuse
	}
	if err != nil {
		return fmt.Errorf("spooling statement %d: %w", o.seq, err)
	}
	return nil
}
