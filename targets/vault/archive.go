package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"chokepoint/targets/kit"
)

const (
	pieceSize = 256
	// slots is how many documents the shelf holds.
	slots = 8
)

// archive keeps documents in a log on disk, one after the other. The log is open
// for synchronous writes: what Write has returned from is safe.
type archive struct {
	flawed bool
	pieces int
	log    *os.File

	mu      sync.Mutex
	pending *batch
	wake    chan struct{} // has a value when there is something pending
}

// batch is documents that become safe together.
type batch struct {
	docs [][]byte
	done chan struct{} // closed when err is set
	err  error
}

func newArchive(ctx context.Context, o kit.Options) (*archive, error) {
	a := &archive{flawed: o.Flawed(), pieces: o.Int("pieces"), wake: make(chan struct{}, 1)}
	var err error
	if a.log, err = scratch(os.O_APPEND | os.O_SYNC); err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { a.log.Close() })
	if !a.flawed {
		go a.commit(ctx)
	}
	return a, nil
}

// scratch makes a file that is gone when it is closed.
func scratch(flags int) (*os.File, error) {
	dir, err := os.MkdirTemp("", "vault-*")
	if err != nil {
		return nil, fmt.Errorf("making a file for documents: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "log"), os.O_RDWR|os.O_CREATE|flags, 0o600)
	if gone := os.RemoveAll(dir); gone != nil && err == nil {
		err = errors.Join(gone, f.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("making a file for documents: %w", err)
	}
	return f, nil
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
	for len(text) > 0 {
		n, err := a.log.Write(text[:min(pieceSize, len(text))]) // chokepoint:flaw slow-syscall
		if err != nil {
			return fmt.Errorf("saving document %d: %w", id, err)
		}
		text = text[n:]
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
	b.docs = append(b.docs, text)
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
		_, b.err = a.log.Write(bytes.Join(b.docs, nil))
		close(b.done)
	}
}
