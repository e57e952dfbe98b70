package signal

import (
	"slices"
	"sort"
	"strings"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/stack"
)

// keeper is the line of the program that keeps what another allocates.
type keeper struct {
	at      stack.Frame
	certain bool
	// contexts says that the line derives contexts which nobody cancels: they stay among
	// the children of the one that they come from.
	contexts bool
	// library is the line of a library that at calls and whose map or slice grew, as far as
	// the sizes of what it allocates tell.
	library stack.Frame
}

// keeps is the share of what a map or slice allocates to grow that stays, at
// least: a map splits one table into two, and keeps a half.
const keeps = 0.3

// keeper is the line that keeps what is allocated at from, and whether it is
// certain. A map or slice that grows itself, in the same call, is what keeps it;
// where it grew too little to be drawn, the machine code shows a line that puts
// what it allocates into one. A line further down of the function that allocates
// is likely, and no more.
func (e *evidence) keeper(from stack.Frame, l *lineGrowth, lines map[stack.Frame]*lineGrowth, contexts map[stack.Frame]*derived) keeper {
	if l.container && !l.stores.new() {
		return keeper{at: from, certain: true}
	}
	var best keeper
	var most float64
	for where, c := range lines {
		library, space := c.stores.library(l.objects)
		if c.container && !c.stores.new() && c.space > keeps*c.allocSpace {
			library, space = stack.Frame{}, c.space
		}
		if space <= 0 || !e.together(c.frames, l.frames) {
			continue
		}
		if space > most || space == most && less(where, best.at) {
			best, most = keeper{at: where, certain: library.IsZero(), library: library}, space
		}
	}
	if most > 0 {
		return best
	}
	// A line outside that puts what it calls for: m[key] = newSession().
	for _, f := range l.frames {
		if _, ok := e.putsAt(f); ok && e.program.Mine(f) && !passing(lines, f) {
			return keeper{at: f, certain: true}
		}
	}
	if at := e.keptContexts(l.frames, contexts); !at.IsZero() {
		return keeper{at: at, contexts: true}
	}
	if l.container {
		return keeper{at: from, certain: true} // what is put there may be as large as a new map
	}
	direct, calls := e.puts()
	direct = slices.DeleteFunc(slices.Clone(direct), func(s bundle.CallSite) bool {
		return passing(lines, stack.Frame{Function: s.Function, File: s.File, Line: s.Line})
	})
	if at, ok := callIn(direct, []stack.Frame{from}); ok && at.Line > from.Line {
		return keeper{at: stack.Frame{Function: from.Function, File: at.File, Line: at.Line}}
	}
	// A function that is called there, or further down, and puts it into one:
	// store.put(key, decode(body)).
	for _, f := range l.frames {
		if !e.program.Mine(f) {
			continue
		}
		for _, at := range below(calls, f) {
			for _, s := range direct {
				if gofunc.Plain(s.Function) == at.Callee && s.Line > 0 {
					return keeper{at: stack.Frame{Function: s.Function, File: s.File, Line: s.Line}}
				}
			}
		}
	}
	return keeper{at: from}
}

// passing reports whether the line puts into a map that is made as often as it is put
// into, or into a slice that does not stay: one of a request keeps nothing beyond it, and if it
// is kept itself then by another.
func passing(lines map[stack.Frame]*lineGrowth, at stack.Frame) bool {
	for where, l := range lines {
		if where.File == at.File && where.Line == at.Line && gofunc.Base(where.Function) == gofunc.Base(at.Function) {
			return l.allocDrawn >= fewestDraws && (l.stores.new() || l.stores.passes())
		}
	}
	return false
}

// below are the calls that a frame's function makes on its line and further down,
// the nearest first.
func below(calls []bundle.CallSite, f stack.Frame) []bundle.CallSite {
	var out []bundle.CallSite
	for _, s := range calls {
		if s.Line >= f.Line && s.File == f.File && gofunc.Base(s.Function) == gofunc.Base(f.Function) {
			out = append(out, s)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Line < out[j].Line })
	return out
}

// together reports whether two stacks have a function of the program in common:
// what one allocates the other may keep.
func (e *evidence) together(a, b []stack.Frame) bool {
	for _, f := range a {
		if !e.program.Mine(f) {
			continue
		}
		for _, g := range b {
			if gofunc.Base(f.Function) == gofunc.Base(g.Function) {
				return true
			}
		}
	}
	return false
}

// stores are the maps, slices and lists that one line of the program puts into, by the
// objects that it allocates for them. The memory profiler hides the runtime's frames, in
// which a map's first slots, the tables of one that has grown and the value that is
// put there look alike, but it tells the objects' sizes.
type stores struct {
	sizes     map[int64]*sized                 // of those of the line itself
	libraries map[stack.Frame]map[int64]*sized // of what libraries allocate, by their line
	other     bool                             // some is that of a list or sync.Map, which have an object for each element
}

// sized are the objects of one size.
type sized struct{ made, kept, drawn float64 }

// add counts a sample of the line own, of whose objects that are kept so many were drawn.
func (s *stores) add(p stack.Program, x sample, own stack.Frame, holds bool, made, madeBytes, kept, keptBytes int64, drawn float64) {
	size := int64(0)
	switch {
	case made != 0:
		size = sizeOf(madeBytes, made)
	case kept != 0:
		size = sizeOf(keptBytes, kept)
	}
	if size <= 0 || len(x.frames) == 0 {
		return
	}
	var in map[int64]*sized
	switch leaf := x.frames[0]; {
	case holds && leaf == own:
		if s.sizes == nil {
			s.sizes = map[int64]*sized{}
		}
		in = s.sizes
	case holds:
		s.other = true
		return
	case leaf != own && !p.Mine(leaf) && !p.Foreign(leaf):
		if s.libraries == nil {
			s.libraries = map[stack.Frame]map[int64]*sized{}
		}
		if s.libraries[leaf] == nil {
			s.libraries[leaf] = map[int64]*sized{}
		}
		in = s.libraries[leaf]
	default:
		return
	}
	if in[size] == nil {
		in[size] = &sized{}
	}
	in[size].made += float64(made)
	in[size].kept += float64(kept)
	in[size].drawn += drawn
}

// The parts of a map beside its slots, of Go 1.24 and later: the header and what says
// where a table is (internal/runtime/maps.Map and table). One comes with each table.
const (
	mapHeader = 48
	mapTable  = 32
)

// mostFirstSlots is the most that the first eight slots of a map take: keys and values of
// 128 bytes each, larger ones lie elsewhere, and a word for their state, in the allocator's
// size class.
const mostFirstSlots = 2304

// slotClasses are the size classes that first slots come in, by keys and values of whole words.
var slotClasses = [...]int64{80, 144, 208, 288, 352, 416, 480, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792, 2048, mostFirstSlots}

// sizeOf is the size of objects that take so many bytes. The profiler's scaling has rounded
// both, by a hundredth at most for sizes that are drawn seldom.
func sizeOf(bytes, objects int64) int64 {
	size := bytes / objects
	for _, class := range slotClasses {
		if 100*max(size-class, class-size) <= class {
			return class
		}
	}
	return size
}

// fewer is by how many times a map's tables, or a slice's arrays, are fewer than what is
// in them: one that is larger than the first slots holds 50 of two words and more, as it is
// never less than 7/16 full.
const fewer = 50

// new reports whether the line puts into a map that is as often made as it is put into, and
// kept: there are as many first slots as of whatever is kept there. A map that is there and
// grows makes tables, and has made its first slots once. The tables may be too few to be drawn,
// and then a value of the same size that is allocated at the line is taken for such.
func (s *stores) new() bool {
	if s.other {
		return false
	}
	var kept, most, large float64
	for size, n := range s.sizes {
		if size == mapHeader || size == mapTable {
			continue
		}
		kept += n.kept
		most = max(most, n.kept)
		if size > mostFirstSlots {
			large += n.kept
		}
	}
	for size, first := range s.sizes {
		// What is put there is boxed at the line too, and kept with the map.
		if firstSlots(size) && first.made >= most/2 && kept > keeps*first.made && (large <= 0 || large*fewer > first.made) {
			return true
		}
	}
	return false
}

// appendKeeps is the share of the arrays that append makes which stays, at least, where the slice is
// kept: it replaces a large one by one that is a quarter larger, so that it drops four fifths.
const appendKeeps = 0.15

// passes reports whether the line puts into maps and slices that are made and dropped:
// out = append(out, render(x)) keeps nothing of what is called there.
func (s *stores) passes() bool {
	var made, kept float64
	first := false
	for size, n := range s.sizes {
		made += n.made * float64(size)
		kept += n.kept * float64(size)
		first = first || firstSlots(size) && n.made > 0
	}
	return !s.other && (first && kept <= keeps*made || made > 0 && kept <= appendKeeps*made)
}

// firstSlots reports whether the first eight slots of a map take that much: a word for their
// state and eight times the words of key and value, in the allocator's size class.
func firstSlots(size int64) bool { return slices.Contains(slotClasses[:], size) }

// twice is how often a library's must be drawn, a little less for the rounding of the profiler's
// scaling: a large object is drawn whenever it is made, and one that is made once and kept, as what
// is set up at the first request, says nothing.
const twice = 1.9

// library is the line of a library that puts into a map or slice which grew, among what is
// called by the line of the program, and the bytes it grew by. No machine code tells: what it
// allocated is too large for a map's first slots and stays, and there is little of it for as many
// objects as are kept.
func (s *stores) library(objects float64) (at stack.Frame, space float64) {
	for line, sizes := range s.libraries {
		var made, kept, count, drawn float64
		for size, n := range sizes {
			if size > mostFirstSlots {
				made += n.made * float64(size)
				kept += n.kept * float64(size)
				count += n.kept
				drawn += n.drawn
			}
		}
		if kept <= keeps*made || drawn < twice || count*fewer > objects {
			continue
		}
		if kept > space || kept == space && less(line, at) {
			at, space = line, kept
		}
	}
	return at, space
}

// derived is what a line of the program that derives contexts has allocated for them.
type derived struct {
	made, kept float64 // draws of the contexts themselves
	many       bool    // the context that they come from has had more children than a new map takes
	frames     []stack.Frame
}

// childSlots is the most that the first eight slots of a context's map of its children
// take: interfaces, and a word to each in Go 1.24 to 1.26.
const childSlots = 208

// cancelFunc is what the function takes at most that cancels a context, which is dropped where
// nobody calls it.
const cancelFunc = 32

// contextLines are the program's lines that derive contexts.
func (e *evidence) contextLines(delta, whole *samples) map[stack.Frame]*derived {
	lines := map[stack.Frame]*derived{}
	visit := func(p *samples, add func(d *derived, x sample)) {
		for _, x := range p.list {
			own, ok := e.owner(x)
			if !ok || !derives(x.frames, own) {
				continue
			}
			if lines[own] == nil {
				lines[own] = &derived{frames: x.frames}
			}
			add(lines[own], x)
		}
	}
	large := func(p *samples, objects, space string, x sample) bool {
		n, size := x.values[p.types[objects]], x.values[p.types[space]]
		return n != 0 && sizeOf(size, n) > childSlots
	}
	children := func(x sample) bool { return x.frames[0].Function == "context.(*cancelCtx).propagateCancel" }
	visit(delta, func(d *derived, x sample) {
		if children(x) {
			d.many = d.many || large(delta, "alloc_objects", "alloc_space", x) || large(delta, "inuse_objects", "inuse_space", x)
			return
		}
		if n := x.values[delta.types["alloc_objects"]]; !makesContext(x.frames[0].Function) || n != 0 && x.values[delta.types["alloc_space"]]/n <= cancelFunc {
			return
		}
		d.made += delta.draws(x.values[delta.types["alloc_objects"]], x.values[delta.types["alloc_space"]])
		d.kept += delta.draws(x.values[delta.types["inuse_objects"]], x.values[delta.types["inuse_space"]])
	})
	visit(whole, func(d *derived, x sample) {
		if !children(x) {
			return
		}
		d.many = d.many || large(whole, "inuse_objects", "inuse_space", x)
		if _, ok := whole.types["alloc_objects"]; ok {
			d.many = d.many || large(whole, "alloc_objects", "alloc_space", x)
		}
	})
	return lines
}

// derives reports whether the stack allocates in a call that the line own makes to derive
// a context.
func derives(frames []stack.Frame, own stack.Frame) bool {
	for i, f := range frames {
		if f == own {
			return i > 0
		}
		if gofunc.Package(f.Function) != "context" {
			return false
		}
	}
	return false
}

// makesContext reports whether a function of package context allocates the context that
// it derives, or what goes with it. Others that are below it allocate for the
// context that it comes from.
func makesContext(function string) bool {
	return strings.HasPrefix(function, "context.With") && function != "context.WithValue" || function == "context.withCancel"
}

// keptContexts is the line that derives contexts which stay with the one they come from,
// on the way to the line that allocates what is kept; zero for none. That one must have had many
// children at a time, as only what outlives a request has, and they must stay.
func (e *evidence) keptContexts(frames []stack.Frame, lines map[stack.Frame]*derived) stack.Frame {
	var best stack.Frame
	var most float64
	for where, d := range lines {
		if !d.many || d.kept <= 0 || d.kept <= d.made/2 || !e.together(d.frames, frames) {
			continue
		}
		if d.kept > most || d.kept == most && less(where, best) {
			best, most = where, d.kept
		}
	}
	return best
}
