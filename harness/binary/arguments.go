package binary

import (
	"debug/dwarf"
	"fmt"
	"strings"
)

// An Argument is a number that a function is called with. At Probe.Start its
// register holds it.
type Argument struct {
	// Name is the parameter's, or of a part of one: "n", "len(p)", "opts.Limit".
	Name string
	Type string
	// Register is its place in Go's order of integer registers: AX, BX, CX, DI,
	// SI, R8, R9, R10, R11.
	Register int
	Bytes    int  // 1, 2, 4 or 8: what is above them in the register means nothing
	Signed   bool // two's complement
	// Refused says why it cannot be read; empty when it can.
	Refused string
}

// IntegerRegisters is how many registers Go's calling convention has for integers
// and pointers, FloatRegisters for floating-point numbers (ABIInternal, amd64).
const (
	IntegerRegisters = 9
	floatRegisters   = 15
)

// Go's own attribute: the reflect.Kind of a type. Numbers are of internal/abi.Kind.
const attrGoKind = dwarf.Attr(0x2900)

const (
	kindBool          = 1
	kindInt           = 2
	kindInt64         = 6
	kindUint          = 7
	kindUintptr       = 12
	kindFloat32       = 13
	kindFloat64       = 14
	kindComplex64     = 15
	kindComplex128    = 16
	kindArray         = 17
	kindChan          = 18
	kindFunc          = 19
	kindInterface     = 20
	kindMap           = 21
	kindPointer       = 22
	kindSlice         = 23
	kindString        = 24
	kindStruct        = 25
	kindUnsafePointer = 26
)

// Arguments is what a function is called with, in the order of its parameters,
// the receiver first. It follows the rules of Go's ABIInternal: each parameter goes
// into registers whole, or onto the stack. It takes DWARF, and a function that
// Go's compiler made.
func (f *File) Arguments(p Probe) (args []Argument, err error) {
	// debug/dwarf checks what it reads, but was not written for hostile input.
	defer func() {
		if r := recover(); r != nil {
			args, err = nil, fmt.Errorf("arguments of %s: DWARF: damaged: %v", p.Function, r)
		}
	}()
	fail := func(err error) ([]Argument, error) { return nil, fmt.Errorf("arguments of %s: %w", p.Function, err) }
	if f.dwarf == nil {
		return fail(fmt.Errorf("%w the types of arguments: it has no DWARF; build without -ldflags=-s or -w", ErrUnknown))
	}
	params, err := f.dwarf.parameters(p.Entry)
	if err != nil {
		return fail(err)
	}
	a := &assignment{d: f.dwarf}
	dictionary, err := dictionaryBefore(p.Function)
	if err != nil {
		return fail(err)
	}
	for n, param := range params {
		if n == dictionary {
			a.ints++ // DWARF does not have it
		}
		before := *a
		first := len(a.args)
		if !a.assign(param.name, param.typ, 0) {
			*a = before
			a.args = append(a.args[:first:first], Argument{Name: param.name, Type: f.dwarf.typeName(param.typ),
				Refused: "it is passed on the stack, as what does not fit into registers is"})
		}
	}
	return a.args, nil
}

// dictionaryBefore is before which parameter the code that instances of a generic
// function share gets its dictionary, the types that it runs for: before all, or
// behind a method's receiver. -1: it gets none.
func dictionaryBefore(function string) (int, error) {
	const shaped = "[go.shape."
	open, end := strings.Index(function, shaped), strings.LastIndexByte(function, ']')
	if open < 0 || end < open {
		return -1, nil
	}
	switch rest := function[end+1:]; {
	case rest == "":
		return 0, nil // main.max[go.shape.int]
	case strings.HasPrefix(rest, ").") && !strings.Contains(rest[2:], "."),
		strings.HasPrefix(rest, ".") && !strings.Contains(rest[1:], ".") && !strings.HasPrefix(rest, ".func") && !strings.HasPrefix(rest, ".gowrap") && !strings.HasPrefix(rest, ".deferwrap"):
		return 1, nil // main.(*cache[go.shape.int]).get, main.cache[go.shape.int].get
	}
	return 0, fmt.Errorf("%w: it is inside a generic function, and where its dictionary goes is not known", ErrUnknown)
}

// parameter is one that a call passes; results are left out.
type parameter struct {
	name string
	typ  dwarf.Offset
}

func (d *dwarfIndex) parameters(entry uint64) ([]parameter, error) {
	u := d.unitAt(entry)
	if u == nil {
		return nil, fmt.Errorf("%w its parameters", ErrUnknown)
	}
	r := d.data.Reader()
	r.Seek(u.offset)
	unit, err := r.Next()
	if err != nil || unit == nil {
		return nil, fmt.Errorf("%w its parameters: %w", ErrUnknown, err)
	}
	const langGo = 0x16
	if lang, _ := unit.Val(dwarf.AttrLanguage).(int64); lang != langGo {
		return nil, fmt.Errorf("%w its parameters: it is not written in Go", ErrUnknown)
	}
	for {
		e, err := r.Next()
		if err != nil || e == nil || e.Tag == dwarf.TagCompileUnit {
			return nil, fmt.Errorf("%w its parameters", ErrUnknown)
		}
		if low, ok := e.Val(dwarf.AttrLowpc).(uint64); e.Tag != dwarf.TagSubprogram || !ok || low != entry {
			if e.Tag == dwarf.TagSubprogram {
				r.SkipChildren()
			}
			continue
		}
		var out []parameter
		for e.Children {
			child, err := r.Next()
			if err != nil || child == nil || child.Tag == 0 {
				return out, err
			}
			r.SkipChildren()
			if child.Tag != dwarf.TagFormalParameter {
				continue
			}
			name, _ := d.attr(child, dwarf.AttrName).(string)
			typ, ok := d.attr(child, dwarf.AttrType).(dwarf.Offset)
			// Go marks results so.
			if result, _ := d.attr(child, dwarf.AttrVarParam).(bool); result {
				continue
			}
			if !ok {
				return nil, fmt.Errorf("%w the type of its parameter %s", ErrUnknown, name)
			}
			out = append(out, parameter{name, typ})
		}
		return out, nil
	}
}

// attr is an attribute of an entry, or of the one it is an instance of.
func (d *dwarfIndex) attr(e *dwarf.Entry, a dwarf.Attr) any {
	if v := e.Val(a); v != nil {
		return v
	}
	origin, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
	if !ok {
		return nil
	}
	return d.entryAt(origin).Val(a)
}

// entryAt is the entry at an offset; an empty one when there is none.
func (d *dwarfIndex) entryAt(off dwarf.Offset) *dwarf.Entry {
	r := d.data.Reader()
	r.Seek(off)
	e, err := r.Next()
	if err != nil || e == nil {
		return &dwarf.Entry{}
	}
	return e
}

func (d *dwarfIndex) typeName(off dwarf.Offset) string {
	name, _ := d.entryAt(off).Val(dwarf.AttrName).(string)
	return name
}

// assignment is the registers given out to parameters so far.
type assignment struct {
	d           *dwarfIndex
	ints, reals int
	args        []Argument
}

// assign gives registers to a value of a type; false when there are not enough,
// or it is of a type that never goes into them.
func (a *assignment) assign(name string, typ dwarf.Offset, depth int) bool {
	const deepest = 32 // types of value nest no deeper in sound programs
	e, kind := a.kind(typ)
	size, _ := e.Val(dwarf.AttrByteSize).(int64)
	shown := a.d.typeName(typ)
	refuse := func(why string) {
		a.args = append(a.args, Argument{Name: name, Type: shown, Refused: why})
	}
	number := func(name, shown string, size int64, signed bool) {
		a.args = append(a.args, Argument{Name: name, Type: shown, Register: a.ints, Bytes: int(size), Signed: signed})
		a.ints++
	}
	switch {
	case depth > deepest:
		return false
	case kind == kindBool:
		number(name, shown, 1, false)
	case kind >= kindInt && kind <= kindInt64:
		number(name, shown, size, true)
	case kind >= kindUint && kind <= kindUintptr:
		number(name, shown, size, false)
	case kind == kindFloat32 || kind == kindFloat64:
		refuse("it is a floating-point number, which eBPF cannot read")
		a.reals++
	case kind == kindComplex64 || kind == kindComplex128:
		refuse("it is a complex number, which eBPF cannot read")
		a.reals += 2
	case kind == kindPointer || kind == kindUnsafePointer || kind == kindMap || kind == kindChan || kind == kindFunc:
		number(name, shown, 8, false)
	case kind == kindString:
		refuse("it is a string; len(" + name + ") is a number")
		a.ints++
		number("len("+name+")", "int", 8, true)
	case kind == kindSlice:
		refuse("it is a slice; len(" + name + ") and cap(" + name + ") are numbers")
		a.ints++
		number("len("+name+")", "int", 8, true)
		number("cap("+name+")", "int", 8, true)
	case kind == kindInterface:
		refuse("it is an interface, which holds no number of its own")
		a.ints += 2
	case kind == kindStruct:
		for _, m := range a.d.structMembers(e) {
			if !a.assign(name+"."+m.name, m.typ, depth+1) {
				return false
			}
		}
	case kind == kindArray:
		length, elem, ok := a.d.array(e)
		if !ok || length > 1 {
			return false
		}
		if length == 1 && !a.assign(name+"[0]", elem, depth+1) {
			return false
		}
	default:
		return false
	}
	return a.ints <= IntegerRegisters && a.reals <= floatRegisters
}

// kind is the kind of a type, and the entry that describes its layout.
func (a *assignment) kind(typ dwarf.Offset) (*dwarf.Entry, int64) {
	e := a.d.entryAt(typ)
	kind, known := e.Val(attrGoKind).(int64)
	for range maxOrigins {
		next, ok := e.Val(dwarf.AttrType).(dwarf.Offset)
		if e.Tag != dwarf.TagTypedef || !ok {
			break
		}
		e = a.d.entryAt(next)
		if !known {
			kind, known = e.Val(attrGoKind).(int64)
		}
	}
	return e, kind
}

// structMembers is the fields of a structure, in order.
func (d *dwarfIndex) structMembers(structure *dwarf.Entry) (out []parameter) {
	r := d.data.Reader()
	r.Seek(structure.Offset)
	if e, err := r.Next(); err != nil || e == nil || !e.Children {
		return nil
	}
	for {
		e, err := r.Next()
		if err != nil || e == nil || e.Tag == 0 {
			return out
		}
		r.SkipChildren()
		name, _ := e.Val(dwarf.AttrName).(string)
		typ, ok := e.Val(dwarf.AttrType).(dwarf.Offset)
		if e.Tag == dwarf.TagMember && ok {
			out = append(out, parameter{name[strings.LastIndexByte(name, '.')+1:], typ})
		}
	}
}

// array is the length and the element type of an array.
func (d *dwarfIndex) array(e *dwarf.Entry) (length int64, elem dwarf.Offset, ok bool) {
	elem, ok = e.Val(dwarf.AttrType).(dwarf.Offset)
	r := d.data.Reader()
	r.Seek(e.Offset)
	if _, err := r.Next(); err != nil || !ok || !e.Children {
		return 0, 0, false
	}
	sub, err := r.Next()
	if err != nil || sub == nil {
		return 0, 0, false
	}
	length, ok = sub.Val(dwarf.AttrCount).(int64)
	return length, elem, ok
}

// inlinedCopies counts the inlined calls in the whole of the debug information,
// by the function's printed name.
func (d *dwarfIndex) inlinedCopies(printed func(string) string) (counts map[string]int) {
	counts = map[string]int{}
	defer func() { _ = recover() }() // see readDWARF; what was counted stays
	byOrigin := map[dwarf.Offset]int{}
	r := d.data.Reader()
	for {
		e, err := r.Next()
		if err != nil || e == nil {
			break
		}
		if e.Tag != dwarf.TagInlinedSubroutine {
			continue
		}
		if origin, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset); ok {
			byOrigin[origin]++
		}
	}
	for origin, n := range byOrigin {
		counts[printed(d.originName(origin))] += n
	}
	return counts
}

// netpollOffsets is where the runtime keeps the goroutines that wait for a
// descriptor: rg and wg of runtime.pollDesc.
func (d *dwarfIndex) netpollOffsets() (rg, wg int64, ok bool) {
	defer func() { _ = recover() }() // see readDWARF
	for _, u := range d.units {
		if u.name != "runtime" {
			continue
		}
		m, err := d.members(u, "runtime.pollDesc")
		if err != nil {
			return 0, 0, false
		}
		rg, okR := m["runtime.pollDesc.rg"]
		wg, okW := m["runtime.pollDesc.wg"]
		return rg, wg, okR && okW
	}
	return 0, 0, false
}

// NetpollWaiters is where, in bytes from the start of a runtime.pollDesc, the
// goroutines stand that wait to read and to write. Without DWARF it is known
// for the versions that goroutineOffsets knows.
func (f *File) NetpollWaiters() (rg, wg int64, err error) {
	if f.dwarf != nil {
		if rg, wg, ok := f.dwarf.netpollOffsets(); ok {
			return rg, wg, nil
		}
	}
	if _, ok := goroutineOffsets(f.build.GoVersion); ok {
		return 32, 40, nil // the same from 1.24 to 1.26
	}
	return 0, 0, fmt.Errorf("where %s keeps goroutines that wait for the network: %w for %s", f.path, ErrUnknown, f.build.GoVersion)
}
