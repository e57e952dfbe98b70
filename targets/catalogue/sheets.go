package main

import (
	"bytes"
	"strconv"
	"sync"

	"chokepoint/targets/kit"
)

// cell is one part of a page.
type cell struct {
	item *item
	text []byte
}

// sheets puts pages together of cells. They are new for each page, or taken
// from the pages before.
type sheets struct {
	items []*item
	parts int
	anew  bool
	used  sync.Pool // of *[]cell
}

func newSheets(o kit.Options, anew bool) *sheets {
	s := &sheets{items: newItems(o.Int("items")), parts: o.Int("parts"), anew: anew}
	s.used.New = func() any {
		cells := make([]cell, s.parts)
		return &cells
	}
	return s
}

func (s *sheets) page(b *bytes.Buffer, seq uint64) {
	if s.anew {
		s.layOut(b, seq)
		return
	}
	cells := s.used.Get().(*[]cell)
	defer s.used.Put(cells)
	it := s.items[seq%uint64(len(s.items))]
	for i := range *cells {
		c := &(*cells)[i]
		c.item, c.text = it, it.describe(c.text[:0])
		it = it.related[i%len(it.related)]
	}
	write(b, func(i int) *cell { return &(*cells)[i] }, s.parts)
}

// layOut is page with new cells.
func (s *sheets) layOut(b *bytes.Buffer, seq uint64) {
	cells := make([]*cell, 0, s.parts)
	it := s.items[seq%uint64(len(s.items))]
	for i := range s.parts {
		text := make([]byte, 0, cellRoom) // chokepoint:flaw gc-pressure
		cells = append(cells, &cell{it, it.describe(text)})
		it = it.related[i%len(it.related)]
	}
	write(b, func(i int) *cell { return cells[i] }, s.parts)
}

// cellRoom holds the text of a cell.
const cellRoom = 128

// describe adds the text of a cell.
func (it *item) describe(text []byte) []byte {
	text = append(text, it.name...)
	text = append(text, " costs "...)
	return strconv.AppendInt(text, it.cents, 10)
}

// write writes every tenth cell, which is what the caller is shown.
func write(b *bytes.Buffer, cell func(i int) *cell, n int) {
	for i := 0; i < n; i += 10 {
		b.Write(cell(i).text)
		b.WriteByte('\n')
	}
}
