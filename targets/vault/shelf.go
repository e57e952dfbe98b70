package main

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"

	"chokepoint/targets/kit"
)

// shelf reads documents out of a file that the kernel has in memory, in as many
// calls as they have pieces.
type shelf struct {
	f      *os.File
	pieces int
}

func newShelf(ctx context.Context, o kit.Options) (*shelf, error) {
	f, err := scratch(0)
	if err != nil {
		return nil, err
	}
	s := &shelf{f: f, pieces: o.Int("pieces")}
	context.AfterFunc(ctx, func() { s.f.Close() })
	for slot := range slots {
		if _, err := s.f.WriteAt(document(slot, s.pieces), int64(slot*s.pieces*pieceSize)); err != nil {
			return nil, fmt.Errorf("filling the shelf: %w", errors.Join(err, s.f.Close()))
		}
	}
	return s, nil
}

func (s *shelf) serve(_ context.Context, id int) (string, error) {
	at := int64(id % slots * s.pieces * pieceSize)
	var buf [pieceSize]byte
	sum := crc32.NewIEEE()
	for range s.pieces {
		n, err := s.f.ReadAt(buf[:], at)
		if err != nil {
			return "", fmt.Errorf("reading document %d: %w", id, err)
		}
		sum.Write(buf[:n])
		at += int64(n)
	}
	return fmt.Sprintf("checksum %08x", sum.Sum32()), nil
}

// audited serves documents from memory, and keeps a journal of who read what. A
// request does not wait for its entry to be safe.
type audited struct {
	entries chan int
	journal *os.File
}

func newAudited(ctx context.Context) (*audited, error) {
	f, err := scratch(0)
	if err != nil {
		return nil, err
	}
	a := &audited{entries: make(chan int, 1<<16), journal: f}
	go a.keep(ctx)
	return a, nil
}

func (a *audited) serve(_ context.Context, id int) (string, error) {
	select {
	case a.entries <- id:
	default: // entries are a sample when the disk does not keep up
	}
	return "read", nil
}

// keep puts entries on disk, each batch before the next, until ctx ends.
func (a *audited) keep(ctx context.Context) {
	defer a.journal.Close()
	const most = 1 << 20 // bytes; then the journal begins anew
	var at int64
	for {
		var text []byte
		select {
		case <-ctx.Done():
			return
		case id := <-a.entries:
			text = fmt.Appendf(nil, "read %d\n", id)
		}
		for len(a.entries) > 0 && len(text) < 4096 {
			text = fmt.Appendf(text, "read %d\n", <-a.entries)
		}
		if at += int64(len(text)); at > most {
			at = 0
		}
		if _, err := a.journal.WriteAt(text, at); err != nil {
			return
		}
		if err := a.journal.Sync(); err != nil {
			return
		}
	}
}
