package binary

import (
	"slices"
	"strings"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
)

// Literals is the program's function literals that the compiler named after a function
// that they are not written in, with the names that their source gives them. It knows
// all of the program's functions, which a recording does not: those that were compiled
// by their machine code, and those that were inlined everywhere by their debug
// information. Without that a few names stay as the compiler made them.
//
// Literals are sorted by file and function. Two instances of a generic function are
// printed alike; where their literals differ none is given.
func (f *File) Literals() []bundle.Literal {
	names := gofunc.NewNames(f.build.MainModule)
	type place struct {
		name, file string
	}
	var literals []place
	for _, fn := range f.funcs {
		if gofunc.Standard(fn.name) {
			continue
		}
		in, ok := f.begin(fn.entry)
		if !ok {
			continue
		}
		names.Learn(fn.name, in.File, in.Line)
		if gofunc.Base(fn.name) != fn.name || strings.ContainsAny(fn.name, "0123456789") {
			literals = append(literals, place{fn.name, in.File})
		}
	}
	if f.dwarf != nil {
		for name := range f.copies() {
			names.Learn(name, "", 0)
		}
	}
	written := map[place]string{}
	for _, l := range literals {
		key := place{gofunc.Printed(l.name), l.file}
		w := names.Written(l.name, l.file)
		if other, ok := written[key]; ok && gofunc.Base(other) != gofunc.Base(w) {
			w = key.name
		}
		written[key] = w
	}
	var out []bundle.Literal
	for key, w := range written {
		if w != key.name {
			out = append(out, bundle.Literal{Function: key.name, File: key.file, Written: w})
		}
	}
	slices.SortFunc(out, func(a, b bundle.Literal) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return strings.Compare(a.Function, b.Function)
	})
	return out
}

// begin is the function that begins at entry, and where it is written. The runtime's
// own table tells it soonest.
func (f *File) begin(entry uint64) (Frame, bool) {
	if f.lines != nil {
		if fr, ok := f.lines.frame(entry); ok {
			return fr, true
		}
	}
	frames := f.Frames(entry)
	if len(frames) == 0 {
		return Frame{}, false
	}
	return frames[len(frames)-1], true
}
