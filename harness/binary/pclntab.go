package binary

import (
	"debug/elf"
	"debug/gosym"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"

	"chokepoint/harness/gofunc"
)

// lineTable is the Go runtime's own table of functions and lines, which
// stripping leaves in place.
type lineTable struct {
	mu    sync.Mutex // gosym caches inside a lookup
	table *gosym.Table
	funcs []function

	depths *stackDepths // nil: the table does not tell
}

// The headers of pclntab since Go 1.18 and since Go 1.20.
const (
	pclntab118 = 0xfffffff0
	pclntab120 = 0xfffffff1
)

// moduledata of Go 1.26 stands alone in .go.module; text follows pcHeader, six
// slices and three pointers.
const (
	moduledataText = 8 + 6*24 + 3*8
	maxModuledata  = 1 << 16 // bytes; it has about 600
)

// readLineTable reads pclntab and places it: its entries are offsets from the
// start of the Go code, which need not be the start of .text.
func (f *File) readLineTable() (*lineTable, error) {
	section := f.elf.Section(".gopclntab")
	if section == nil {
		section = f.elf.Section(".data.rel.ro.gopclntab") // position independent, before 1.26
	}
	if section == nil {
		return nil, fmt.Errorf("line table: %w (no .gopclntab)", ErrNotGo)
	}
	data, err := sectionData(section, math.MaxInt64)
	if err != nil {
		return nil, fmt.Errorf("line table: %w", err)
	}
	const header = 8 + 8*8
	if len(data) < header {
		return nil, errors.New("line table: cut short")
	}
	switch magic := binary.LittleEndian.Uint32(data); magic {
	case pclntab118, pclntab120:
	default:
		return nil, fmt.Errorf("line table: unknown format %#x (Go before 1.18, or not yet known)", magic)
	}
	// gosym allocates by this count before it reads an entry (8 bytes each).
	if n := binary.LittleEndian.Uint64(data[8:]); n > uint64(len(data))/8 {
		return nil, fmt.Errorf("line table: claims %d functions in %d bytes", n, len(data))
	}
	start, err := f.textStart(data)
	if err != nil {
		return nil, fmt.Errorf("line table: %w", err)
	}
	table, err := newTable(data, start)
	if err != nil {
		return nil, fmt.Errorf("line table: %w", err)
	}
	t := &lineTable{table: table, funcs: make([]function, 0, len(table.Funcs))}
	for i := range table.Funcs {
		fn := &table.Funcs[i]
		t.funcs = append(t.funcs, function{fn.Entry, fn.End, fn.Name})
	}
	t.depths, _ = newStackDepths(data, start)
	return t, nil
}

// textStart is the address of runtime.text. It differs from that of .text when
// C code was linked in front of the Go code.
func (f *File) textStart(pclntab []byte) (uint64, error) {
	if f.symtab.text != 0 {
		return f.symtab.text, nil
	}
	if addr, ok := f.moduledata(moduledataText); ok {
		return addr, nil
	}
	// Up to Go 1.25 the header has it, unless the loader would fill it in.
	if addr := binary.LittleEndian.Uint64(pclntab[24:]); addr != 0 {
		return addr, nil
	}
	text := f.elf.Section(".text")
	if text == nil {
		return 0, errors.New("no .text")
	}
	// Where the Go linker made the whole file, the Go code is all of .text. A
	// C linker puts a C entry point in front, and then nothing tells.
	if f.internallyLinked(pclntab, text.Addr) {
		return text.Addr, nil
	}
	return 0, errors.New("cannot be placed: C code stands before the Go code and the symbol runtime.text was stripped; build without -ldflags=-s")
}

// moduledata is a pointer of the runtime's moduledata, at off bytes from its
// start, in the executables that say where that is (Go 1.26 and later).
func (f *File) moduledata(off uint64) (uint64, bool) {
	s := f.elf.Section(".go.module")
	if s == nil {
		return 0, false
	}
	data, err := sectionData(s, maxModuledata)
	if err != nil || uint64(len(data)) < off+8 {
		return 0, false
	}
	if addr := binary.LittleEndian.Uint64(data[off:]); addr != 0 {
		return addr, true
	}
	// In a position independent executable the loader fills it in.
	rela := f.elf.Section(".rela.dyn")
	if rela == nil {
		return 0, false
	}
	if data, err = sectionData(rela, math.MaxInt64); err != nil {
		return 0, false
	}
	for ; len(data) >= 24; data = data[24:] {
		kind := elf.R_X86_64(binary.LittleEndian.Uint32(data[8:]))
		if binary.LittleEndian.Uint64(data) == s.Addr+off && kind == elf.R_X86_64_RELATIVE {
			return binary.LittleEndian.Uint64(data[16:]), true
		}
	}
	return 0, false
}

// internallyLinked reports whether the program starts in the Go runtime when
// its code is taken to start at start.
func (f *File) internallyLinked(pclntab []byte, start uint64) bool {
	table, err := newTable(pclntab, start)
	if err != nil {
		return false
	}
	fn := table.PCToFunc(f.elf.Entry)
	return fn != nil && fn.Entry == f.elf.Entry && len(fn.Name) > 4 && fn.Name[:4] == "_rt0"
}

func newTable(data []byte, start uint64) (table *gosym.Table, err error) {
	// gosym was written for tables it can trust.
	defer func() {
		if r := recover(); r != nil {
			table, err = nil, fmt.Errorf("damaged: %v", r)
		}
	}()
	table, err = gosym.NewTable(nil, gosym.NewLineTable(data, start))
	if err == nil && len(table.Funcs) == 0 {
		err = errors.New("damaged: it holds no functions")
	}
	return table, err
}

// frame is the function that holds the machine code at pc. The table does not
// tell whether the code was inlined from another function; where it came from
// another file, the line would be one of that file, and is left out.
func (t *lineTable) frame(pc uint64) (frame Frame, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer func() {
		if recover() != nil { // see newTable
			frame, ok = Frame{}, false
		}
	}()
	file, line, fn := t.table.PCToLine(pc)
	if fn == nil {
		return Frame{}, false
	}
	own, _, _ := t.table.PCToLine(fn.Entry)
	if file != own {
		file, line = own, 0
	}
	return Frame{Function: gofunc.Printed(fn.Name), File: file, Line: line}, true
}
