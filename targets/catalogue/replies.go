package main

import (
	"bytes"
	"math"
	"strconv"
	"sync"

	"chokepoint/targets/kit"
)

// replies keeps the pages that were answered, so that a caller who asks again
// under the same number gets the same page.
type replies struct {
	size int
	keep int

	mu    sync.Mutex
	pages map[uint64][]byte
	order []uint64 // numbers, in the order they came; empty while all are kept
}

// keepAll keeps everything.
const keepAll = math.MaxInt

func newReplies(o kit.Options) *replies {
	r := &replies{size: o.Bytes("page"), keep: max(1, o.Int("keep")), pages: map[uint64][]byte{}}
	if o.Flawed() {
		r.keep = keepAll
	}
	return r
}

func (r *replies) page(b *bytes.Buffer, seq uint64) {
	page, ok := r.answered(seq)
	if !ok {
		page = make([]byte, r.size)
		fill(page, seq)
		r.remember(seq, page)
	}
	head(b, seq, len(page))
	b.Write(page[:min(len(page), excerpt)])
}

func (r *replies) answered(seq uint64) (page []byte, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	page, ok = r.pages[seq]
	return page, ok
}

func (r *replies) remember(seq uint64, page []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.makeRoom(seq)
	r.pages[seq] = page // chokepoint:flaw heap-growth
}

// makeRoom forgets the oldest page when there are enough.
func (r *replies) makeRoom(seq uint64) {
	if r.keep == keepAll {
		return
	}
	if len(r.order) == r.keep {
		delete(r.pages, r.order[0])
		r.order = append(r.order[:0], r.order[1:]...)
	}
	r.order = append(r.order, seq)
}

// excerpt is how much of a page is sent, in bytes.
const excerpt = 512

// fill writes the text of a page.
func fill(page []byte, seq uint64) {
	line := strconv.AppendUint([]byte("item "), seq, 10)
	line = append(line, '\n')
	for at := 0; at < len(page); {
		at += copy(page[at:], line)
	}
}

func head(b *bytes.Buffer, seq uint64, size int) {
	b.WriteString("page ")
	b.WriteString(strconv.FormatUint(seq, 10))
	b.WriteString(" of ")
	b.WriteString(strconv.Itoa(size))
	b.WriteString(" bytes\n")
}
