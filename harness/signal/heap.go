package signal

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/stack"
)

// heapSignals tell memory that is kept for good from memory that is much, or
// much used.
func heapSignals() []definition {
	const dim = bundle.DimPprof
	return []definition{
		number("pprof.heap_grown_share", dim, Share, func(e *evidence) (float64, error) {
			g, err := e.heapGrowth()
			return min(1, g.grown/max(1, g.inUse)), err
		}, "By how much the memory that one line of the program allocates grew over the window, between collections, as a share of all memory in use at its end; not counting what chance explains, and what is held for clients and requests that came in between."),
		number("pprof.heap_kept_share", dim, Share, func(e *evidence) (float64, error) {
			g, err := e.heapGrowth()
			return min(1, g.grown/max(1, g.allocated)), err
		}, "The same as a share of what that line allocated meanwhile."),
		number("pprof.heap_late_share", dim, Share, func(e *evidence) (float64, error) {
			g, err := e.heapGrowth()
			if err != nil {
				return 0, err
			}
			if g.from.IsZero() {
				return 0, errNone
			}
			if g.lateErr != nil {
				return 0, g.lateErr
			}
			return min(1, max(0, g.late/max(1, g.grown+g.came))), nil
		}, "Share of that growth which came in the second half of the window: about a half of what grows steadily, and nothing of what has stopped."),
		number("pprof.heap_came_share", dim, Share, func(e *evidence) (float64, error) {
			g, err := e.heapGrowth()
			if err == nil && g.from.IsZero() {
				err = errNone
			}
			return g.came / max(1, g.grown+g.came), err
		}, "Share of all by which that line's memory grew that is held for clients and requests that came in meanwhile, and is not counted there: no more for each client than for those before, and no more than grew while they came."),
		number("pprof.heap_kept_per_request", dim, PerRequest, func(e *evidence) (float64, error) {
			g, err := e.heapGrowth()
			if err != nil {
				return 0, err
			}
			return perRequest(e, bundle.HeapDeltaProfile, int64(g.objects))
		}, "Objects by which that line's memory grew for each request that ended."),
		number("pprof.heap_keepers", dim, Count, func(e *evidence) (float64, error) {
			g, err := e.heapGrowth()
			if err != nil || !g.kept {
				return 0, err
			}
			return 1, nil
		}, "Maps, slices and lists that keep that memory for certain, 0 or 1: one grew in the same call, or is put into by the very line that allocates."),
		place("pprof.heap_growth_site", dim, func(e *evidence) (stack.Frame, error) {
			g, err := e.heapGrowth()
			return g.where, err
		}, "The program's line that keeps that memory, where a map, slice or list shows it by its own growth or by the machine code; else the line that allocates it."),
		place("pprof.heap_keeper_site", dim, func(e *evidence) (stack.Frame, error) {
			g, err := e.heapGrowth()
			if err != nil || !g.kept || g.where == g.from {
				return stack.Frame{}, err
			}
			return g.where, nil
		}, "That line where it is another than the one that allocates, and keeps the memory for certain."),
		place("pprof.heap_put_site", dim, func(e *evidence) (stack.Frame, error) {
			g, err := e.heapGrowth()
			if err != nil || g.kept || g.contexts || !g.library.IsZero() || g.where == g.from {
				return stack.Frame{}, err
			}
			return g.where, nil
		}, "That line where it only puts something into a map or slice after the other has allocated, by the machine code: it may be what keeps the memory."),
		place("pprof.heap_context_site", dim, func(e *evidence) (stack.Frame, error) {
			g, err := e.heapGrowth()
			if err != nil || !g.contexts {
				return stack.Frame{}, err
			}
			return g.where, nil
		}, "That line where it derives contexts that are not cancelled, so that the context they come from has them among its children, and with them what they hold."),
		place("pprof.heap_library_site", dim, func(e *evidence) (stack.Frame, error) {
			g, err := e.heapGrowth()
			return g.library, err
		}, "The line of a library that keeps that memory in a map or slice, where the program's line calls it, by what the library has allocated there: large, few, and kept."),
		place("pprof.heap_alloc_site", dim, func(e *evidence) (stack.Frame, error) {
			g, err := e.heapGrowth()
			return g.from, err
		}, "The program's line that allocates it."),
		place("pprof.heap_held_site", dim, func(e *evidence) (stack.Frame, error) {
			p, err := e.profile(dim, bundle.HeapProfile)
			if err != nil {
				return stack.Frame{}, err
			}
			return top(byFunction(p.drawn("inuse_space", "inuse_objects", "inuse_space", e.owner))).where, nil
		}, "The program's line that allocated most of the memory in use."),
	}
}

// owner is the program's line of a sample, if there is one.
func (e *evidence) owner(s sample) (stack.Frame, bool) {
	own := e.program.Own(s.frames)
	return own, !own.IsZero()
}

// halfDraws is how many draws of the memory profiler it takes to tell a half, which
// has a standard deviation of half the root of their number, from the three tenths
// below which growth counts as ended, by three deviations.
const halfDraws = 56

// heapDoubt is how many standard deviations the memory profiler's draws must be
// above chance. Draws are few, and a line that keeps everything needs as many as
// its square: 9.
const heapDoubt = 3

// growth is one line's memory over the window, in bytes.
type growth struct {
	grown, allocated, objects float64
	came                      float64 // not in grown: of clients and requests that came in
	late                      float64
	lateErr                   error // why late is not known
	inUse                     float64
	where, from               stack.Frame
	kept                      bool        // by a container, for certain
	contexts                  bool        // where derives contexts that live on with their parent
	library                   stack.Frame // whose map or slice keeps it, called from where
}

// drawnBytes are what the profiles say of some memory.
type drawnBytes struct {
	space, objects, drawn  float64 // of what is in use: what was added
	allocSpace, allocDrawn float64
}

func (t *drawnBytes) add(o drawnBytes) {
	t.space += o.space
	t.objects += o.objects
	t.drawn += o.drawn
	t.allocSpace += o.allocSpace
	t.allocDrawn += o.allocDrawn
}

// variance is that of what was added, in draws: what came and what went are drawn each for itself.
func (t drawnBytes) variance() float64 { return t.allocDrawn + max(0, t.allocDrawn-t.drawn) }

// grew reports whether there are more by that many standard deviations.
func (t drawnBytes) grew(doubt float64) bool { return t.drawn > doubt*math.Sqrt(t.variance()) }

// lineGrowth is what the profiles say of one line.
type lineGrowth struct {
	drawnBytes
	sites     map[string]*drawnBytes // by the function that allocates, which may be a library's
	container bool                   // it is the growth of a map, slice or list
	stores    stores
	frames    []stack.Frame
	deepest   float64
}

// heapGrowth is the line whose memory grew most, beyond what chance explains.
func (e *evidence) heapGrowth() (growth, error) {
	return once(e, "heap growth", func() (growth, error) {
		delta, err := e.profile(bundle.DimPprof, bundle.HeapDeltaProfile)
		if err != nil {
			return growth{}, err
		}
		whole, err := e.profile(bundle.DimPprof, bundle.HeapProfile)
		if err != nil {
			return growth{}, err
		}
		g := growth{inUse: float64(whole.of("inuse_space", nil))}
		if e.requestsPileUp() {
			return g, nil
		}
		lines := e.heapLines(delta)
		doubt := sitesDoubt(lines)
		var best stack.Frame
		var most *lineGrowth
		var sites []string
		for where, l := range lines {
			keeping := l.keeping(doubt)
			if part := l.of(keeping); len(keeping) > 0 && !(l.grew(heapDoubt) && l.space > keeps*l.allocSpace) {
				only := *l
				only.drawnBytes = part
				l = &only
			} else if !l.grew(heapDoubt) {
				continue
			}
			if most == nil || l.space > most.space || l.space == most.space && less(where, best) {
				best, most, sites = where, l, keeping
			}
		}
		if at, l := e.grownArray(delta, whole); l != nil && (most == nil || l.space > most.space) {
			g.grown, g.allocated, g.objects = l.space, l.space, l.objects
			g.late = l.space / 2 // it grows in steps, and one of them may be all that the window holds
			g.where, g.from, g.kept = at, at, true
			return g, nil
		}
		if most == nil {
			return g, nil
		}
		g.grown, g.allocated, g.objects, g.from = most.space, most.allocSpace, most.objects, best
		var late *lineGrowth
		if p, err := e.profile(bundle.DimPprof, bundle.HeapLateProfile); err != nil {
			g.lateErr = err
		} else {
			if late = e.heapLines(p)[best]; late == nil {
				late = &lineGrowth{}
			}
			second := late.drawnBytes
			if most.drawnBytes != lines[best].drawnBytes {
				second = late.of(sites)
			}
			g.late = second.space
			if most.drawn < halfDraws && second.drawn >= most.drawn/2-heapDoubt*math.Sqrt(most.drawn)/2 {
				g.lateErr = fmt.Errorf("pprof: the profiler drew what grew %.0f times, and it takes %d to tell its halves apart", most.drawn, halfDraws)
			}
		}
		g.came = min(g.grown, most.space*e.clientsHold(whole, best, lines[best], late, sites)+1.5*e.comeIn(most.frames)*most.allocSpace)
		g.grown -= g.came
		k := e.keeper(best, most, lines, e.contextLines(delta, whole))
		g.where, g.kept, g.contexts, g.library = k.at, k.certain, k.contexts, k.library
		return g, nil
	})
}

// pile is the share of the requests in flight that must have come to stand at one
// line more than before: where a request needs most memory, and waits, more wait.
// Chance makes it a twentieth of 500.
const pile = 0.15

// requestsPileUp reports whether memory grows because requests do not get on.
func (e *evidence) requestsPileUp() bool {
	delta, err := e.profile(bundle.DimPprof, bundle.GoroutineDeltaProfile)
	if err != nil {
		return false
	}
	l, err := e.load()
	// Of few in flight, chance makes a large share: one more of two.
	return err == nil && e.pilingUp(delta) > max(pile*l.Reached.InFlightMean, heapDoubt*math.Sqrt(max(1, l.Reached.InFlightMean)))
}

// comeIn is the share of the requests of the window that have come to where they hold
// what a stack allocates, more than have left: by the function on that stack with most
// such requests. Where requests do not get on, what they hold grows by that, and is
// given up when they end. Of many that end it is next to nothing.
func (e *evidence) comeIn(frames []stack.Frame) float64 {
	delta, err := e.profile(bundle.DimPprof, bundle.GoroutineDeltaProfile)
	if err != nil {
		return 0
	}
	n := delta.types["goroutine"]
	come := map[string]int64{}
	for _, f := range frames {
		if e.program.Mine(f) {
			come[f.Function] = 0
		}
	}
	for _, x := range delta.list {
		seen := map[string]bool{}
		for _, f := range x.frames {
			if _, wanted := come[f.Function]; wanted && !seen[f.Function] {
				seen[f.Function] = true
				come[f.Function] += x.values[n]
			}
		}
	}
	var most int64
	for _, k := range come {
		most = max(most, k)
	}
	if most == 0 {
		return 0
	}
	ended, err := e.requests(e.span(bundle.HeapDeltaProfile))
	if err != nil && !e.loadRecorded() {
		return 0 // it is not known how many ended
	}
	return float64(most) / (float64(most) + ended)
}

// sitesError is the chance that any of what is allocated at all lines of a server in which
// nothing grows is taken for growing.
const sitesError = 0.01

// sitesDoubt is how many standard deviations what one function allocates for a line must have
// grown by to be believed by itself. A server has hundreds of these, and chance may be
// wrong about each: those that are drawn too seldom ever to be believed do not count.
func sitesDoubt(lines map[stack.Frame]*lineGrowth) float64 {
	n := 0.0
	for _, l := range lines {
		for _, t := range l.sites {
			if t.variance() > heapDoubt*heapDoubt {
				n++
			}
		}
	}
	return max(heapDoubt, math.Sqrt2*math.Erfinv(1-2*sitesError/max(1, n)))
}

// keeping are the functions whose memory grew beyond chance. A line that calls a library has all
// that the library allocates, and what it keeps is lost in what it drops.
func (l *lineGrowth) keeping(doubt float64) []string {
	var out []string
	for f, t := range l.sites {
		if t.grew(doubt) {
			out = append(out, f)
		}
	}
	sort.Strings(out) // so that sums do not depend on their order
	return out
}

// of sums what these functions allocate for the line.
func (l *lineGrowth) of(sites []string) drawnBytes {
	var sum drawnBytes
	for _, f := range sites {
		if t := l.sites[f]; t != nil {
			sum.add(*t)
		}
	}
	return sum
}

// clientsHold is the share of a line's growth that goes with the clients that came in the
// window. Late is the growth in the window's second half, nil if that is not known. Where
// it is known which functions' memory grew, that of the others says nothing.
func (e *evidence) clientsHold(whole *samples, at stack.Frame, l, late *lineGrowth, sites []string) float64 {
	sum := func(l *lineGrowth) step {
		d := l.drawnBytes
		if len(sites) > 0 {
			d = l.of(sites)
		}
		return step{d.drawn, d.variance()}
	}
	var second *step
	if late != nil {
		s := sum(late)
		second = &s
	}
	return e.newClients(e.span(bundle.HeapDeltaProfile)).holds(sum(l), second, e.drawnAt(whole, at, sites))
}

// drawnAt is how often the profiler drew the memory in use that a line allocated, by some
// functions or, if there are none, by all.
func (e *evidence) drawnAt(whole *samples, at stack.Frame, sites []string) float64 {
	n, size := whole.types["inuse_objects"], whole.types["inuse_space"]
	var drawn float64
	for _, x := range whole.list {
		own, ok := e.owner(x)
		if ok && own == at && (len(sites) == 0 || slices.Contains(sites, gofunc.Base(x.frames[0].Function))) {
			drawn += whole.draws(x.values[n], x.values[size])
		}
	}
	return drawn
}

// inUseAt is the memory in use that a line allocated.
func (e *evidence) inUseAt(whole *samples, at stack.Frame) float64 {
	return float64(whole.of("inuse_space", func(s sample) bool {
		own, ok := e.owner(s)
		return ok && own == at
	}))
}

// heapLines sums what a difference of heap profiles says, by the program's line.
// What pools make is another signal's, and so are timers that are known to be kept.
func (e *evidence) heapLines(p *samples) map[stack.Frame]*lineGrowth {
	timers, _ := e.timersKept()
	inObjects, inSpace := p.types["inuse_objects"], p.types["inuse_space"]
	allObjects, allSpace := p.types["alloc_objects"], p.types["alloc_space"]
	lines := map[stack.Frame]*lineGrowth{}
	for _, x := range p.list {
		own, ok := e.owner(x)
		if !ok || timers.kept > 0 && own == timers.where && makesTimer(x.frames) {
			continue
		}
		if _, pooled := e.program.PoolNew(x.frames); pooled {
			continue
		}
		l := lines[own]
		if l == nil {
			l = &lineGrowth{container: true, sites: map[string]*drawnBytes{}}
			lines[own] = l
		}
		space := float64(x.values[inSpace])
		t := drawnBytes{
			space: space, objects: float64(x.values[inObjects]), drawn: p.draws(x.values[inObjects], x.values[inSpace]),
			allocSpace: float64(x.values[allSpace]), allocDrawn: p.draws(x.values[allObjects], x.values[allSpace]),
		}
		l.add(t)
		site := gofunc.Base(x.frames[0].Function)
		if l.sites[site] == nil {
			l.sites[site] = &drawnBytes{}
		}
		l.sites[site].add(t)
		holds := e.container(x.frames, own)
		l.container = l.container && holds
		l.stores.add(e.program, x, own, holds, x.values[allObjects], x.values[allSpace], x.values[inObjects], x.values[inSpace], t.drawn)
		if space > l.deepest {
			l.deepest, l.frames = space, x.frames
		}
	}
	return lines
}

// container reports whether the stack allocates the inner part of a map, slice
// or list, by the line own. Memory profiles leave out the runtime's frames; that
// the line puts into a map or slice shows in the machine code.
func (e *evidence) container(frames []stack.Frame, own stack.Frame) bool {
	if len(frames) > 0 && frames[0] == own {
		_, puts := e.putsAt(own)
		return puts
	}
	for _, f := range frames {
		if f == own {
			break
		}
		switch name := f.Function; {
		case strings.HasPrefix(name, "internal/sync.(*HashTrieMap"), strings.HasPrefix(name, "sync.(*Map)."),
			strings.HasPrefix(name, "container/list.(*List)."):
			return true
		}
	}
	return false
}

// puts are the program's lines that put into a map or append to a slice, and those
// that call a function of the program which does.
func (e *evidence) puts() (direct, calls []bundle.CallSite) {
	c, err := e.calls()
	if err != nil {
		return nil, nil // of another kind of machine, or of before they were recorded
	}
	for _, s := range c.Sites {
		if bundle.Puts(s.Callee) {
			if !e.putsAway(s) {
				direct = append(direct, s)
			}
		} else if e.program.Mine(stack.Frame{Function: s.Callee}) {
			calls = append(calls, s)
		}
	}
	return direct, calls
}

// putsAway reports whether a line puts into what is none of the program's: a function of
// the standard library does that was inlined there, as Header.Set and Builder.Write are.
// What it puts into goes with the response, the request or the buffer. Those that work on
// maps and slices of their caller are left. Call sites of before that was recorded do not
// say so; there the heap profile does, if it has drawn any of it.
func (e *evidence) putsAway(s bundle.CallSite) bool {
	if s.Through != "" {
		switch pkg := gofunc.Package(s.Through); pkg {
		case "slices", "maps", "sort":
			return false
		}
		return true
	}
	type line struct {
		file string
		n    int
	}
	away, _ := once(e, "lines that set headers", func() (map[line]bool, error) {
		m, own := map[line]bool{}, map[line]bool{}
		for _, artifact := range []string{bundle.HeapDeltaProfile, bundle.HeapProfile, bundle.AllocsProfile} {
			p, err := e.profile(bundle.DimPprof, artifact)
			if err != nil {
				continue
			}
			for _, x := range p.list {
				at, ok := e.owner(x)
				if !ok {
					continue
				}
				if l := (line{at.File, at.Line}); setsField(x.frames[0].Function) {
					m[l] = true
				} else if x.frames[0] == at {
					own[l] = true
				}
			}
		}
		for l := range own {
			delete(m, l)
		}
		return m, nil
	})
	return away[line{s.File, s.Line}]
}

// setsField reports whether the function is one that sets a field of a header, or of a
// form or query.
func setsField(function string) bool {
	switch function {
	case "net/http.Header.Set", "net/http.Header.Add", "net/textproto.MIMEHeader.Set", "net/textproto.MIMEHeader.Add",
		"net/url.Values.Set", "net/url.Values.Add":
		return true
	}
	return false
}

// putsAt is the call by which a line puts into a map or slice.
func (e *evidence) putsAt(at stack.Frame) (callee string, ok bool) {
	type line struct {
		file string
		n    int
	}
	all, _ := once(e, "lines that put", func() (map[line]string, error) {
		m := map[line]string{}
		direct, _ := e.puts()
		for _, s := range direct {
			if s.Line > 0 {
				m[line{s.File, s.Line}] = s.Callee
			}
		}
		return m, nil
	})
	callee, ok = all[line{at.File, at.Line}]
	return callee, ok
}

// arrayBytes is how large an array must be that the profiler draws it more often
// than not, whatever else happens: its mean distance between draws.
const arrayBytes = 512 << 10

// grownArray is the line whose append has replaced a large array by a larger one:
// as many arrays in use as before, and each a fifth larger at least, which is less
// than the step that append takes.
func (e *evidence) grownArray(delta, whole *samples) (stack.Frame, *lineGrowth) {
	type arrays struct{ objects, space, newer, added float64 }
	at := map[stack.Frame]*arrays{}
	visit := func(p *samples, add func(a *arrays, x sample)) {
		for _, x := range p.list {
			own, ok := e.owner(x)
			if !ok || x.frames[0] != own {
				continue
			}
			if callee, _ := e.putsAt(own); callee != "runtime.growslice" {
				continue
			}
			if at[own] == nil {
				at[own] = &arrays{}
			}
			add(at[own], x)
		}
	}
	in, space := whole.types["inuse_objects"], whole.types["inuse_space"]
	visit(whole, func(a *arrays, x sample) {
		if x.values[in] > 0 && x.values[space]/x.values[in] >= arrayBytes {
			a.objects += float64(x.values[in])
			a.space += float64(x.values[space])
		}
	})
	in, space = delta.types["inuse_objects"], delta.types["inuse_space"]
	visit(delta, func(a *arrays, x sample) {
		if x.values[in] != 0 && x.values[space]/x.values[in] >= arrayBytes {
			a.newer += float64(x.values[in])
			a.added += float64(x.values[space])
		}
	})
	var best stack.Frame
	var most *lineGrowth
	for where, a := range at {
		before, was := a.objects-a.newer, a.space-a.added
		if a.objects < 1 || before < 1 || a.added <= 0 || math.Abs(a.newer) > 0.5*before {
			continue
		}
		if a.space/a.objects < 1.2*was/before {
			continue
		}
		if most == nil || a.added > most.space {
			best, most = where, &lineGrowth{drawnBytes: drawnBytes{space: a.added, objects: max(1, a.newer)}}
		}
	}
	return best, most
}
