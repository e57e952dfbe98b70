package main

import (
	"context"
	"net/http"
	"strconv"
	"sync"
)

const (
	fieldsPerRow = 6
	recordRoom   = 8 << 10 // holds a usual record
	scratchRoom  = 64      // holds any field
)

// records renders orders for machines: each field as its length, a colon, its
// value and a comma. A length stands before its value, so that each value is
// put together in scratch space first.
type records struct {
	out     sync.Pool // of *[]byte
	scratch scratch
}

// scratch appends one field to a record by way of scratch space.
type scratch interface {
	appendField(dst []byte, seq uint64, row, column int) []byte
}

func newRecords(s scratch) *records {
	return &records{scratch: s, out: sync.Pool{New: func() any {
		b := make([]byte, 0, recordRoom)
		return &b
	}}}
}

func (r *records) render(_ context.Context, w http.ResponseWriter, o order) error {
	out := r.out.Get().(*[]byte)
	b := appendNetstring((*out)[:0], o.token)
	for row := range o.rows {
		for column := range fieldsPerRow {
			b = r.scratch.appendField(b, o.seq, row, column)
		}
	}
	send(w, b)
	*out = b
	r.out.Put(out)
	return nil
}

// sliceScratch pools its scratch space as slices.
type sliceScratch struct{ pool sync.Pool }

func newSliceScratch() *sliceScratch {
	return &sliceScratch{pool: sync.Pool{New: func() any { return make([]byte, 0, scratchRoom) }}}
}

func (s *sliceScratch) appendField(dst []byte, seq uint64, row, column int) []byte {
	value := appendValue(s.pool.Get().([]byte)[:0], seq, row, column)
	dst = appendNetstring(dst, value)
	//lint:ignore SA6002 this is the flaw that the target shows
	s.pool.Put(value) // chokepoint:flaw pool-misuse
	return dst
}

// pointerScratch pools its scratch space as pointers to slices.
type pointerScratch struct{ pool sync.Pool }

func newPointerScratch() *pointerScratch {
	return &pointerScratch{pool: sync.Pool{New: func() any {
		b := make([]byte, 0, scratchRoom)
		return &b
	}}}
}

func (s *pointerScratch) appendField(dst []byte, seq uint64, row, column int) []byte {
	space := s.pool.Get().(*[]byte)
	*space = appendValue((*space)[:0], seq, row, column)
	dst = appendNetstring(dst, *space)
	s.pool.Put(space)
	return dst
}

// appendValue appends the value of one field: the order, its row, an article
// or a price.
func appendValue(dst []byte, seq uint64, row, column int) []byte {
	switch column {
	case 0:
		return strconv.AppendUint(dst, seq, 10)
	case 1:
		return strconv.AppendInt(dst, int64(row), 10)
	case 2:
		return append(dst, "article"...)
	default:
		return strconv.AppendInt(dst, priceOf(seq, row+column), 10)
	}
}

func appendNetstring[T string | []byte](dst []byte, value T) []byte {
	dst = strconv.AppendInt(dst, int64(len(value)), 10)
	dst = append(dst, ':')
	dst = append(dst, value...)
	return append(dst, ',')
}
