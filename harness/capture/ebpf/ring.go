package ebpf

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

const (
	// ringLook is how often single events are taken out of a ring buffer. The
	// programs wake nobody up for them, which would cost the target more than the
	// event does.
	ringLook = 50 * time.Millisecond
	// ringMost is how many single events of one kind are kept. What comes after
	// is counted: a bundle stays small, and the maps hold the sums of all.
	ringMost = 200_000
)

// ring takes the single events of a probe out of the kernel while they come.
type ring[T any] struct {
	reader *ringbuf.Reader
	decode func([]byte) (T, error)
	stop   chan struct{}
	ended  sync.WaitGroup

	// Of the goroutine that reads, until it has ended.
	events []T
	read   atomic.Int64 // all that came, those beyond ringMost too
	err    error
}

func newRing[T any](m *ebpf.Map, decode func([]byte) (T, error)) (*ring[T], error) {
	reader, err := ringbuf.NewReader(m)
	if err != nil {
		return nil, fmt.Errorf("read the ring buffer: %w", err)
	}
	r := &ring[T]{reader: reader, decode: decode, stop: make(chan struct{})}
	r.ended.Add(1)
	go r.run()
	return r, nil
}

func (r *ring[T]) run() {
	defer r.ended.Done()
	tick := time.NewTicker(ringLook)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.drain()
		case <-r.stop:
			r.drain()
			return
		}
	}
}

// drain reads what is there now. A deadline that has passed makes the reader give
// all of it without waiting.
func (r *ring[T]) drain() {
	r.reader.SetDeadline(time.Now().Add(-time.Second))
	var rec ringbuf.Record
	for {
		err := r.reader.ReadInto(&rec)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err == nil {
			var event T
			if event, err = r.decode(rec.RawSample); err == nil {
				r.read.Add(1)
				if len(r.events) < ringMost {
					r.events = append(r.events, event)
				}
				continue
			}
		}
		r.err = errors.Join(r.err, fmt.Errorf("read the ring buffer: %w", err))
		return
	}
}

// end takes the last events. The programs must be detached: what comes later is
// not read.
func (r *ring[T]) end() {
	select {
	case <-r.stop:
	default:
		close(r.stop)
	}
	r.ended.Wait()
}

// close ends the ring and lets go of its memory; safe to call twice and on nil.
func (r *ring[T]) close() error {
	if r == nil || r.reader == nil {
		return nil
	}
	r.end()
	err := r.reader.Close()
	r.reader = nil
	return err
}

// beyond is how many events came that were too many to keep.
func (r *ring[T]) beyond() int64 { return r.read.Load() - int64(len(r.events)) }

// tell says in res what did not come through.
func (r *ring[T]) tell(res *result) error {
	if n := r.beyond(); n > 0 {
		res.lose("events_beyond_most", n)
		res.notes = append(res.notes, fmt.Sprintf("of %d single events the first %d are kept", r.read.Load(), ringMost))
	}
	return r.err
}
