package gotrace

import "chokepoint/harness/signal/stack"

// origin is who started a goroutine.
type origin struct {
	// by is the stack that has the program's line, of the goroutine's own creator or of
	// one further up that line; where that is not known it is the creator's, if code of
	// a library is on it, and nil else.
	by *place
	// at is where the library started it that by set going; nil if by did it itself.
	at *place
}

// mine reports whether it is known which line of the program it was.
func (o origin) mine() bool { return o.by != nil && o.by.mine }

// before orders them by their stacks.
func (o origin) before(p origin) bool {
	if o.by != p.by {
		return lessFrames(o.by.frames, p.by.frames)
	}
	return o.at == nil || p.at != nil && lessFrames(o.at.frames, p.at.frames)
}

// Libraries keep goroutines of their own that were started long before the trace, and
// hand them what is to be done. What such a one starts, it starts for whoever gave it
// work: who sent it something last, or from whom it took it. That is whose line is at
// the root of it.

// sender is the stack with the program's line by which a goroutine does what it does on
// a stack of its own; nil if that is not known.
func (g *goroutine) sender(at *place) *place {
	switch {
	case at == nil || at.diag || g.diag:
		return nil
	case at.mine:
		return at
	case g.life.origin.mine():
		return g.life.origin.by
	}
	return g.handed
}

// hand notes what h, on the stack by, hands g by ending its wait, and takes from it: who
// takes what the other had to give lets it go on as well. Both are nil for a time that has come.
// Waits that are none for work leave all as it was: for a lock, or for the network.
func (g *goroutine) hand(h *goroutine, by *place) {
	if g.at != nil && !g.blamed.Queues() {
		return
	}
	if h == nil {
		g.handed = nil
		return
	}
	var from *place
	takes := g.at != nil && (by.act == stack.Takes || by.act == stack.Chooses && g.blamed == stack.ChanSend)
	if takes {
		from = g.sender(g.at)
	}
	g.handed = h.sender(by)
	if takes {
		h.handed = from
	}
}

// handedBy is the program's line that gave those work who started most of a kind, if that is
// known of most of them.
func (k *kind) handedBy() stack.Frame {
	var known, all int64
	var best stack.Frame
	for f, n := range k.handed {
		all += n
		if f.IsZero() {
			continue
		}
		known += n
		if best.IsZero() || n > k.handed[best] || n == k.handed[best] && less(f, best) {
			best = f
		}
	}
	if 2*known <= all {
		return stack.Frame{}
	}
	return best
}
