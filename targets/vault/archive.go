package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"chokepoint/targets/kit"
)

const (
	pieceSize = 1 << 10
	// segments is how many files documents are spread over, so that saves do not
	// wait for each other's.
	segments = 1024
	// slots is how many documents a segment holds, the oldest of which is written over.
	slots = 8
	// maxBatch is how many documents are made safe together at most.
	maxBatch = 2000
)

// archive keeps documents on disk.
type archive struct {
	flawed bool
	pieces int

	segments []*os.File // of the flawed variant
	log      *os.File   // of the fixed one

	mu      sync.Mutex
	pending *batch
	wake    chan struct{} // has a value when there is something pending
}

// batch is documents that become safe together.
type batch struct {
	text bytes.Buffer
	docs int
	done chan struct{} // closed when err is set
	err  error
}

func newArchive(ctx context.Context, o kit.Options) (*archive, error) {
	a := &archive{flawed: o.Flawed(), pieces: o.Int("pieces"), wake: make(chan struct{}, 1)}
	n := 1
	if a.flawed {
		n = segments
	}
	files, err := scratch(n)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() {
		for _, f := range files {
			f.Close()
		}
	})
	if a.flawed {
		a.segments = files
	} else {
		a.log = files[0]
		go a.commit(ctx)
	}
	return a, nil
}

// scratch makes n files that are gone when they are closed.
func scratch(n int) ([]*os.File, error) {
	var files []*os.File
	for range n {
		f, err := os.CreateTemp("", "vault-*")
		if err == nil {
			err = os.Remove(f.Name())
		}
		if err != nil {
			for _, f := range files {
				err = errors.Join(err, f.Close())
			}
			return nil, fmt.Errorf("making a file for documents: %w", err)
		}
		files = append(files, f)
	}
	return files, nil
}

// document is what is saved under an id.
func document(id, pieces int) []byte {
	line := fmt.Appendf(nil, "document %12d, witnessed and sealed, page after page.\n", id)
	return bytes.Repeat(line, pieces*pieceSize/len(line)+1)[:pieces*pieceSize]
}

func (a *archive) serve(_ context.Context, id int) (string, error) {
	text := document(id, a.pieces)
	var err error
	if a.flawed {
		err = a.save(id, text)
	} else {
		err = a.enqueue(text)
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d bytes saved", len(text)), nil
}

// save writes a document, each piece of which is safe before the next is written.
func (a *archive) save(id int, text []byte) error {
	f := a.segments[id%segments]
	at := int64(id / segments % slots * a.pieces * pieceSize)
	for len(text) > 0 {
		n, err := f.WriteAt(text[:min(pieceSize, len(text))], at)
		if err != nil {
			return fmt.Errorf("saving document %d: %w", id, err)
		}
		if err := f.Sync(); err != nil { // chokepoint:flaw slow-syscall
			return fmt.Errorf("saving document %d: %w", id, err)
		}
		text, at = text[n:], at+int64(n)
	}
	return nil
}

// enqueue has a document written together with others, and returns when it is safe.
func (a *archive) enqueue(text []byte) error {
	a.mu.Lock()
	if a.pending == nil {
		a.pending = &batch{done: make(chan struct{})}
	}
	b := a.pending
	b.text.Write(text)
	b.docs++
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default: // commit knows already
	}
	<-b.done
	return b.err
}

// commit writes what has come together, until ctx ends.
func (a *archive) commit(ctx context.Context) {
	// The log is written over from its beginning once a full batch may not fit.
	limit := int64(4 * maxBatch * a.pieces * pieceSize)
	var at int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		}
		a.mu.Lock()
		b := a.pending
		a.pending = nil
		a.mu.Unlock()
		if b == nil {
			continue
		}
		_, b.err = a.log.WriteAt(b.text.Bytes(), at)
		if b.err == nil {
			b.err = a.log.Sync()
		}
		if at += int64(b.text.Len()); at > limit {
			at = 0
		}
		close(b.done)
	}
}
