package gotrace

import "chokepoint/harness/signal/stack"

// asked is the last time that a goroutine asked for an RWMutex to write and had to
// wait for readers that had it already.
//
// From then on all new readers, and all writers, wait behind it, and it is its
// Unlock that wakes them. Yet until it got the lock itself, what they waited for was
// the readers: its wait passed on, which belongs to who ended that. No writer and no
// reader gets in between, so that a wait which began before it got the lock, and
// which it ends, is of the same lock; or of one that it kept while it asked, and then
// it was these readers as well that were waited for.
//
// A plain mutex needs none of this: who is woken has it next, for a time of its own,
// and those behind were woken by turns at the same lines.
type asked struct {
	at  *place // where it waited; nil for never
	got int64
}

// readersLeft notes that the last of the readers, on its stack by, has let g have
// the lock that g waited for to write. No other release of an RWMutex for reading
// wakes anybody.
func (g *goroutine) readersLeft(w lockWait, by *place, now int64) {
	if w.at != nil && by.reads && !w.at.reads {
		g.asked = asked{w.at, now}
	}
}

// passedOn makes the lock that h waited for as a writer, and the one that it
// releases on its stack at to one who has waited since then, the same. It returns
// from when on it was h that was waited for.
func (l *locks) passedOn(h *goroutine, at *place, w lockWait) (since int64) {
	if h == nil || h.asked.at == nil || w.at == nil || w.since >= h.asked.got || !stack.Writes(at.frames) {
		return w.since
	}
	l.join(waitSite(h.asked.at), holdSite(at))
	return h.asked.got
}

// readFor is since when a reader that ends the wait w of a writer is known to have
// had the lock: it had it when the writer asked, or the writer would not have
// waited for it. What it was woken to take later than that is another lock, so that
// nothing is known of this one. How long it had it before the writer asked counts for
// nobody. ok is false for all other releases.
func readFor(a *hold, at *place, w lockWait) (known *hold, since int64, ok bool) {
	if w.at == nil || w.at.reads || !at.reads {
		return a, 0, false
	}
	if a != nil && (!a.at.reads || a.since > w.since) {
		a = nil
	}
	return a, w.since, true
}
