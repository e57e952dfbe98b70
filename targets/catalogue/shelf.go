package main

import (
	"bytes"
	"container/list"
	"sync"

	"chokepoint/targets/kit"
)

// shelf keeps the pages that were asked for last, as many as it has room for.
type shelf struct {
	size int
	room int

	mu    sync.Mutex
	pages map[uint64]*list.Element
	used  *list.List // of *shelved, the last one used first
}

type shelved struct {
	seq  uint64
	text []byte
}

// newShelf begins with a full shelf, as one that was read back after a restart.
func newShelf(o kit.Options) *shelf {
	s := &shelf{size: o.Bytes("page"), room: max(1, o.Int("keep")), pages: map[uint64]*list.Element{}, used: list.New()}
	for i := range uint64(s.room) {
		text := make([]byte, s.size)
		fill(text, i)
		s.put(^i, text)
	}
	return s
}

func (s *shelf) page(b *bytes.Buffer, seq uint64) {
	text, ok := s.find(seq)
	if !ok {
		text = make([]byte, s.size)
		fill(text, seq)
		s.put(seq, text)
	}
	head(b, seq, len(text))
	b.Write(text[:min(len(text), excerpt)])
}

func (s *shelf) find(seq uint64) (text []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.pages[seq]
	if !ok {
		return nil, false
	}
	s.used.MoveToFront(e)
	return e.Value.(*shelved).text, true
}

func (s *shelf) put(seq uint64, text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.pages[seq]; ok { // another request was faster
		s.used.Remove(e)
	} else if s.used.Len() == s.room {
		oldest := s.used.Remove(s.used.Back()).(*shelved)
		delete(s.pages, oldest.seq)
	}
	s.pages[seq] = s.used.PushFront(&shelved{seq, text})
}
