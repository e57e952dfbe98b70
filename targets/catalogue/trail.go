package main

import (
	"bytes"
	"sync"

	"chokepoint/targets/kit"
)

// note is what the trail says of one answer.
type note struct {
	seq  uint64
	text string
}

// trail notes what was answered, for those who ask what went wrong.
type trail struct {
	size int
	keep int

	mu    sync.Mutex
	notes []note
}

func newTrail(o kit.Options) *trail {
	t := &trail{size: o.Bytes("page"), keep: max(1, o.Int("keep"))}
	if o.Flawed() {
		t.keep = keepAll
	}
	return t
}

func (t *trail) page(b *bytes.Buffer, seq uint64) {
	page := make([]byte, t.size)
	fill(page, seq)
	head(b, seq, len(page))
	b.Write(page[:min(len(page), excerpt)])
	t.note(seq, page)
}

// note adds an answer, and drops the older half of the notes when there are
// enough.
func (t *trail) note(seq uint64, page []byte) {
	text := string(page)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.notes) >= t.keep {
		half := copy(t.notes, t.notes[len(t.notes)/2:])
		clear(t.notes[half:])
		t.notes = t.notes[:half]
	}
	t.notes = append(t.notes, note{seq, text}) // chokepoint:flaw heap-growth
}
