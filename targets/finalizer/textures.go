package main

import (
	"fmt"
	"runtime"
	"sync/atomic"
)

// texture is a thumbnail on a lease. It has a cleanup, which may not refer to
// the texture itself: that is gone by then.
type texture struct {
	hold *hold
	pix  [thumbBytes]byte
}

// hold is a texture's lease.
type hold struct {
	leases *leases
	lease  int64
	closed atomic.Bool
}

func (l *leases) newTexture() *texture {
	t := &texture{hold: &hold{leases: l, lease: l.taken.Add(1)}}
	if l.flawed {
		runtime.AddCleanup(t, returnHold, t.hold)
	} else {
		runtime.AddCleanup(t, checkHold, t.hold)
	}
	return t
}

// returnHold is the cleanup of a texture that nobody closes: it returns the
// lease.
func returnHold(h *hold) {
	c, err := h.leases.conn()
	if err != nil {
		return // the render server is gone, and its leases with it
	}
	if err := c.send(fmt.Sprintf("return %d", h.lease)); err != nil {
		c.Close()
		return
	}
	if _, err := c.in.ReadString('\n'); err != nil { // chokepoint:flaw finalizer-backlog
		c.Close()
		return
	}
	h.leases.reuse(c)
	h.leases.returned.Add(1)
}

// checkHold is the cleanup of a texture that is to be closed: it finds what
// was forgotten, and waits for nothing.
func checkHold(h *hold) {
	if !h.closed.Load() {
		h.leases.leaked.Add(1)
	}
}

func (t *texture) close() {
	t.hold.closed.Store(true)
	t.hold.leases.giveBack(t.hold.lease)
}

func (l *leases) renderTexture(original []byte, use func(thumb []byte)) {
	t := l.newTexture()
	if !l.flawed {
		defer t.close()
	}
	scale(t.pix[:], original)
	use(t.pix[:])
}
