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

	mu       sync.RWMutex
	returned int64 // bytes of frames that have gone
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

// post tells the collector how much has been returned since the last post,
// over and over until ctx ends.
func (m *meter) post(ctx context.Context) {
	var posted int64
	for ctx.Err() == nil {
		var err error
		if m.flawed {
			posted, err = m.postReading(posted)
		} else {
			posted, err = m.postCopy(posted)
		}
		if err != nil {
			if ctx.Err() == nil {
				log.Printf("posting to the collector: %v", err)
			}
			return
		}
	}
}

// postReading posts what has been returned beyond posted, and returns what is
// posted now. It holds the read lock until the collector has answered: it does
// but read, and other readers do not mind. Frames that go, however, write.
func (m *meter) postReading(posted int64) (int64, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	err := m.collector.ask(fmt.Sprintf("returned %d", m.returned-posted))
	return m.returned, err
}

// postCopy is postReading with the lock held to take a copy.
func (m *meter) postCopy(posted int64) (int64, error) {
	m.mu.RLock()
	returned := m.returned
	m.mu.RUnlock()
	err := m.collector.ask(fmt.Sprintf("returned %d", returned-posted))
	return returned, err
}

func (m *meter) stats() stats {
	m.mu.RLock()
	defer m.mu.RUnlock()
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
