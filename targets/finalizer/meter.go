package main

import (
	"context"
	"fmt"
	"log"
	"runtime"
	"sync"
	"sync/atomic"
)

// meter keeps account of the memory of frames and posts it to a collector, a
// post as soon as the last is answered.
type meter struct {
	flawed    bool
	collector *conn

	taken  atomic.Int64 // bytes in frames, ever
	leaked atomic.Int64 // frames that were not closed

	mu       sync.Mutex
	returned int64 // bytes of frames that have gone
	posted   int64 // what the collector knows of returned
}

func newMeter(ctx context.Context, addr string, flawed bool) (*meter, error) {
	collector, err := dial(ctx, "collector", addr)
	if err != nil {
		return nil, err
	}
	m := &meter{flawed: flawed, collector: collector}
	go m.post(ctx)
	return m, nil
}

// post tells the collector what has changed, over and over until ctx ends.
func (m *meter) post(ctx context.Context) {
	for ctx.Err() == nil {
		var err error
		if m.flawed {
			err = m.postLocked()
		} else {
			err = m.postSnapshot()
		}
		if err != nil && ctx.Err() == nil {
			log.Printf("posting to the collector: %v", err)
			return
		}
	}
}

// postLocked keeps the meter locked until the collector has answered, so that
// nothing changes between what was posted and what is noted as posted.
func (m *meter) postLocked() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.collector.ask(fmt.Sprintf("returned %d", m.returned-m.posted)); err != nil {
		return err
	}
	m.posted = m.returned
	return nil
}

// postSnapshot posts what stood at one moment. What changes meanwhile goes
// into the next post.
func (m *meter) postSnapshot() error {
	m.mu.Lock()
	returned, posted := m.returned, m.posted
	m.mu.Unlock()

	if err := m.collector.ask(fmt.Sprintf("returned %d", returned-posted)); err != nil {
		return err
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	m.posted = returned
	return nil
}

func (m *meter) stats() stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return stats{taken: m.taken.Load(), returned: m.returned, leaked: m.leaked.Load()}
}

// frame is a thumbnail whose memory the meter counts.
type frame struct {
	meter  *meter
	closed bool
	pix    [thumbBytes]byte
}

func (m *meter) newFrame() *frame {
	f := &frame{meter: m}
	m.taken.Add(thumbBytes)
	if m.flawed {
		runtime.SetFinalizer(f, (*frame).uncount)
	} else {
		runtime.SetFinalizer(f, (*frame).checkClosed)
	}
	return f
}

// uncount is the finalizer of a frame that nobody closes.
func (f *frame) uncount() {
	f.meter.mu.Lock() // chokepoint:flaw finalizer-backlog
	f.meter.returned += thumbBytes
	f.meter.mu.Unlock()
}

// close tells the meter that the frame goes.
func (f *frame) close() {
	f.closed = true
	f.meter.mu.Lock()
	defer f.meter.mu.Unlock()
	f.meter.returned += thumbBytes
}

// checkClosed is the finalizer of a frame that is to be closed: it finds what
// was forgotten, and waits for nothing.
func (f *frame) checkClosed() {
	if !f.closed {
		f.meter.leaked.Add(1)
	}
}

func (m *meter) render(original []byte, use func(thumb []byte)) {
	f := m.newFrame()
	if !m.flawed {
		defer f.close()
	}
	scale(f.pix[:], original)
	use(f.pix[:])
}
