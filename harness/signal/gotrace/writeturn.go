package gotrace

import (
	"golang.org/x/exp/trace"

	"chokepoint/harness/signal/stack"
)

// writeTurn is what a goroutine has of its turn at a descriptor.
type writeTurn struct {
	line *writers // nil where it has none that is known
	full int64    // since when it waits for room; 0 where it does not
}

// writers are goroutines that had their turn at one descriptor one after another: a trace
// does not name descriptors, but a wait for a turn is ended by the one that had it. It
// ends where nobody stands in it, or where one that comes just then is quicker than the one that was
// woken: what follows is another line.
type writers struct {
	begin, end int64
	room       int64 // in that time whoever had the turn waited for its peer to take what it wrote
	waits      []turnWait
}

// turnWait is waits for a turn at one of the program's lines.
type turnWait struct {
	site *SiteCount
	ns   int64
}

// waited counts a wait that has ended.
func (l *writers) waited(site *SiteCount, ns int64) {
	for i := range l.waits {
		if l.waits[i].site == site {
			l.waits[i].ns += ns
			return
		}
	}
	l.waits = append(l.waits, turnWait{site, ns})
}

// waitsForRoom reports whether a wait at this place is one of a writer that has its turn,
// for its peer to take what was written.
func waitsForRoom(at *place) bool {
	return at != nil && at.wait == stack.NetWrite && !at.turn
}

// writeBlocked follows a goroutine into a wait.
func (g *goroutine) writeBlocked(at *place, now int64) {
	switch {
	case at == nil, g.blamed == stack.Runtime:
		// The collector stops whom it finds, whatever these do.
	case waitsForRoom(at):
		if g.write.line == nil {
			// It had its turn at once, and only what it wrote first found room.
			g.write.line = &writers{begin: now, end: now}
		}
		g.write.full = now
	default:
		// A writer waits for nothing else before it passes its turn on.
		g.write = writeTurn{}
	}
}

// finds counts room that was waited for up to now.
func (w *writeTurn) finds(now int64) {
	if w.full != 0 {
		w.line.room += now - w.full
		w.line.end = max(w.line.end, now)
		w.full = 0
	}
}

// writeWoken ends a wait of g, which another goroutine ended where there is one.
func (s *scan) writeWoken(ev *trace.Event, g *goroutine, now int64) {
	g.write.finds(now)
	if g.at == nil || !g.at.turn {
		return
	}
	l := &writers{begin: now}
	if h := s.goroutine(ev.Goroutine()); h != nil && h.write.line != nil {
		l, h.write = h.write.line, writeTurn{}
	}
	l.end = now
	g.write = writeTurn{line: l}
	if !g.at.ours || g.diag || g.at.wait != stack.NetWrite {
		return
	}
	if len(l.waits) == 0 {
		s.lines = append(s.lines, l)
	}
	l.waited(s.syscallsAt(g.at), now-g.queue.parked)
}

// finishLines says, of the waits for turns, what part of the time those at their turn waited
// for the peer. Waits are long where many stand before one, and what each of
// these did is not known of every wait: it is of the line.
func (s *scan) finishLines() {
	for _, g := range s.gs {
		g.write.finds(s.last)
	}
	for _, l := range s.lines {
		for _, w := range l.waits {
			w.site.TurnsNS += w.ns
			if l.end > l.begin {
				w.site.TurnsFullNS += int64(float64(w.ns) * float64(l.room) / float64(l.end-l.begin))
			}
		}
	}
}
