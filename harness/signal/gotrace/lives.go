package gotrace

import (
	"cmp"
	"sort"

	"golang.org/x/exp/trace"

	"chokepoint/harness/signal/stack"
)

// A Kind is goroutines that start in one function. What of a kind there was
// before the trace is known by the stacks that it shows, and what is started in
// it also by who started it.
type Kind struct {
	Entry stack.Frame // the function they start in, without line
	// Created and Ended are those that began and those that ended in the trace,
	// whenever they had begun. LateCreated and LateEnded are those of the trace's
	// second half.
	Created, Ended         int64
	LateCreated, LateEnded int64
	// Connections: they serve connections or requests of net/http's server.
	Connections bool
	// Origin is the program's line that starts most of them, else the line that
	// started what started them, else the one that handed work to what did; where none
	// of these is known, a library's line that starts them, and zero if Go's own does.
	// Where a helper starts what it is given, it is the line of the function that gives it.
	Origin stack.Frame
	// Library is the line of a library's that starts them on behalf of that one, and is
	// zero where the program starts them, where they run its code, and where it is Origin.
	Library stack.Frame
	// Left counts those that were started in the trace and had not ended when it
	// did. Held is how many of these were started for a request that had not ended
	// either. Stuck is the line where most of them stand, and of those that stand
	// there Asleep counts the ones in a time.Sleep that is their first wait: it ends
	// by itself. InCall is how many are in a system call there, or in C, which keeps a thread.
	Left   int64
	Held   int64
	Stuck  stack.Frame
	Asleep int64
	InCall int64
}

// Growth is by how many there were more at the end of the trace than at its
// beginning, and the part of its second half.
func (k Kind) Growth() (all, late int64) {
	return k.Created - k.Ended, k.LateCreated - k.LateEnded
}

// lifeSlice is how finely births and deaths are kept apart, in nanoseconds.
const lifeSlice = 50_000_000

// lifeSlices counts by slice of the trace. It is sparse: a damaged trace may jump far.
type lifeSlices map[int64]int64

func (c lifeSlices) add(begin, now int64) { c[max(0, now-begin)/lifeSlice]++ }

// sum is all of it, and the part from a slice on.
func (c lifeSlices) sum(half int64) (all, late int64) {
	for i, n := range c {
		all += n
		if i >= half {
			late += n
		}
	}
	return all, late
}

// lives counts goroutines by the function they start in.
type lives struct {
	kinds map[string]*kind // by entry
	// unknown are goroutines of before the trace that ended before they had shown
	// a stack, by slice.
	unknown lifeSlices
}

type kind struct {
	entry          stack.Frame
	created, ended lifeSlices
	connections    bool
	origins        map[origin]int64
	handed         map[stack.Frame]int64 // by whose work a library's own goroutine started them; zero for unknown
	left, held     int64
	stuck          map[stack.Frame]int64
	asleep         map[stack.Frame]int64
	inCall         map[stack.Frame]int64
}

// life is what is known of one goroutine.
type life struct {
	kind   *kind
	born   bool   // in the trace
	waits  int8   // how often it has waited, 0, 1 or more
	origin origin // zero if it was not started in the trace, or by Go's own code alone
}

func newLives() *lives { return &lives{kinds: map[string]*kind{}, unknown: lifeSlices{}} }

// kindOf is the kind of goroutines with such a stack; nil without stack.
func (l *lives) kindOf(pl *place) *kind {
	if pl == nil || len(pl.frames) == 0 {
		return nil
	}
	if pl.kind == nil {
		pl.kind = l.kind(Entry(pl.frames))
	}
	return pl.kind
}

func (l *lives) kind(entry stack.Frame) *kind {
	k := l.kinds[entry.Function]
	if k == nil {
		k = &kind{
			entry: entry, connections: stack.ServesRequests(entry.Function), created: lifeSlices{}, ended: lifeSlices{},
			origins: map[origin]int64{}, handed: map[stack.Frame]int64{},
			stuck: map[stack.Frame]int64{}, asleep: map[stack.Frame]int64{}, inCall: map[stack.Frame]int64{},
		}
		l.kinds[entry.Function] = k
	}
	return k
}

// Entry is the function that a goroutine with such a stack started in, without
// line; zero for no stack.
func Entry(frames []stack.Frame) stack.Frame {
	for i := len(frames) - 1; i >= 0; i-- {
		if f := frames[i]; f.Function != "runtime.goexit" && f.Function != "" {
			f.Line = 0
			return f
		}
	}
	return stack.Frame{}
}

// born notes a goroutine that begins in the trace: start is its own stack, by
// where it was started, and creator the goroutine that did.
func (l *lives) born(g *goroutine, start, by *place, creator *goroutine, begin, now int64) {
	g.life.born = true
	k := l.kindOf(start)
	if k == nil {
		return
	}
	g.life.kind = k
	if creator != nil {
		// A library's helper that a goroutine of the program's set going.
		g.life.origin, g.handed = creator.life.origin, creator.handed
	}
	switch {
	case by == nil || !by.ours:
	case by.mine || !g.life.origin.mine():
		g.life.origin = origin{by: by}
	default:
		g.life.origin.at = by
	}
	k.created.add(begin, now)
	if g.life.origin.by == nil {
		return
	}
	k.origins[g.life.origin]++
	if !g.life.origin.mine() {
		var f stack.Frame
		if g.handed != nil {
			f = g.handed.own
		}
		k.handed[f]++
	}
}

// shown learns what kind a goroutine is from a stack of its own.
func (l *lives) shown(g *goroutine, at *place) {
	if g.life.kind == nil && at != nil {
		g.life.kind = l.kindOf(at)
	}
}

// wokenBy learns what kind a goroutine is from what wakes it: net/http's server
// ends its background reads so, which often show no stack of their own.
func (l *lives) wokenBy(g *goroutine, by *place) {
	if by != nil && by.holds(abortsRead) {
		g.life.kind = l.kind(stack.Frame{Function: backgroundRead})
	}
}

const (
	abortsRead     = "net/http.(*connReader).abortPendingRead"
	backgroundRead = "net/http.(*connReader).backgroundRead"
)

// died notes the end of a goroutine.
func (l *lives) died(g *goroutine, begin, now int64) {
	if k := g.life.kind; k != nil {
		k.ended.add(begin, now)
	} else {
		l.unknown.add(begin, now)
	}
}

// last notes where a goroutine stands when the trace ends.
func (l *lives) last(g *goroutine) {
	k := g.life.kind
	if k == nil || !g.life.born || g.diag {
		return
	}
	k.left++
	if g.service.child() != nil {
		k.held++
	}
	if g.at == nil || g.at.own.IsZero() {
		return
	}
	k.stuck[g.at.own]++
	if g.state == waiting && g.blamed == stack.Sleep && g.life.waits < 2 {
		k.asleep[g.at.own]++
	}
	if g.state == inSyscall {
		k.inCall[g.at.own]++
	}
}

// finish lists the kinds, by growth, largest first.
//
// Of goroutines that ended before they had shown a stack the kind is not known.
// They are taken for some of those kinds of which more were started than ended,
// first of those whose goroutines do end, then of those that only sleep: where
// in doubt, nothing has grown.
func (l *lives) finish(p stack.Program, durationNS int64) []Kind {
	half := durationNS / 2 / lifeSlice
	var out []Kind
	for _, k := range l.kinds {
		x := Kind{Entry: k.entry, Connections: k.connections, Left: k.left, Held: k.held, Stuck: most(k.stuck)}
		x.Origin, x.Library = k.origin(p, x.Stuck)
		x.Asleep, x.InCall = k.asleep[x.Stuck], k.inCall[x.Stuck]
		x.Created, x.LateCreated = k.created.sum(half)
		x.Ended, x.LateEnded = k.ended.sum(half)
		if x.Created > 0 || x.Ended > 0 {
			out = append(out, x)
		}
	}
	endedShare := func(k Kind) float64 {
		if k.Connections {
			return 1 // connections aside, they are a request's
		}
		return float64(k.Ended) / float64(max(1, k.Created))
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		return cmp.Or(-cmp.Compare(endedShare(a), endedShare(b)), -cmp.Compare(a.Asleep, b.Asleep), cmp.Compare(a.Entry.Function, b.Entry.Function)) < 0
	})
	all, late := l.unknown.sum(half)
	early := all - late
	for i := range out {
		k := &out[i]
		grown, grownLate := k.Growth()
		n := min(late, max(0, grownLate))
		m := min(early, max(0, grown-n))
		k.LateEnded, late = k.LateEnded+n, late-n
		k.Ended, early = k.Ended+n+m, early-m
	}
	sort.Slice(out, func(i, j int) bool {
		x, _ := out[i].Growth()
		y, _ := out[j].Growth()
		return cmp.Or(-cmp.Compare(x, y), cmp.Compare(out[i].Entry.Function, out[j].Entry.Function)) < 0
	})
	return out[:min(len(out), keptKinds)]
}

// keptKinds is how many kinds a summary keeps.
const keptKinds = 64

// origin is the line that starts most goroutines of the kind, or has a library do so, and
// the library's.
func (k *kind) origin(p stack.Program, stuck stack.Frame) (by, library stack.Frame) {
	var best origin
	for o, n := range k.origins {
		if most := k.origins[best]; n > most || n == most && o.before(best) {
			best = o
		}
	}
	if best.by == nil {
		return stack.Frame{}, stack.Frame{}
	}
	at := best.by
	if best.at != nil {
		at = best.at
	}
	if !p.Mine(stuck) && !p.Mine(k.entry) {
		library = p.InLibrary(at.frames)
	}
	by = p.StartedBy(best.by.frames, stuck, k.entry)
	if f := k.handedBy(); !best.mine() && !f.IsZero() {
		by = f
	}
	if library == by {
		library = stack.Frame{}
	}
	return by, library
}

func most(counts map[stack.Frame]int64) stack.Frame {
	var best stack.Frame
	for f, n := range counts {
		if n > counts[best] || n == counts[best] && (best.IsZero() || less(f, best)) {
			best = f
		}
	}
	return best
}

// birth is called for a transition from nothing.
func (s *scan) birth(ev *trace.Event, g *goroutine, start *place, now int64) {
	s.lives.born(g, start, s.place(ev.Stack()), s.gs[ev.Goroutine()], s.sum.StartNS, now)
}
