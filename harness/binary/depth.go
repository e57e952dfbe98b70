package binary

import (
	"debug/elf"
	"encoding/binary"
	"sort"
)

// stackDepths is the part of pclntab that debug/gosym keeps to itself: how far a
// function has moved the stack pointer, by address. The layout is that of runtime/symtab.go
// and internal/abi/symtab.go since Go 1.18, for pointers of 8 bytes.
type stackDepths struct {
	text      uint64 // what entries are offsets from
	functions []byte // from the table of functions on
	count     int    // of functions
	values    []byte // tables of values by address
	quantum   uint64 // that addresses in these are counted in
	flags     int    // where a function's flags are, in bytes from its start
}

// Parts of a function in pclntab, in bytes from its start.
const (
	funcSPTable  = 16
	funcFlags118 = 37
	funcFlags120 = 41 // behind the line that the function starts at
)

// funcWritesSP is the flag of a function that gives the stack pointer values of its own.
const funcWritesSP = 1 << 1

func newStackDepths(pclntab []byte, text uint64) (*stackDepths, bool) {
	const header = 8 + 8*8
	if len(pclntab) < header || pclntab[7] != 8 {
		return nil, false
	}
	word := func(at int) uint64 { return binary.LittleEndian.Uint64(pclntab[at:]) }
	count, values, functions := word(8), word(56), word(64)
	size := uint64(len(pclntab))
	if values > size || functions > size || count > (size-functions)/8 {
		return nil, false
	}
	flags := funcFlags120
	if binary.LittleEndian.Uint32(pclntab) == pclntab118 {
		flags = funcFlags118
	}
	return &stackDepths{
		text: text, functions: pclntab[functions:], count: int(count),
		values: pclntab[values:], quantum: uint64(pclntab[6]), flags: flags,
	}, true
}

// at is how many bytes are on the stack above the return address of the function at
// pc. It is not known where no Go function is, or one that switches stacks.
func (d *stackDepths) at(pc uint64) (depth int64, ok bool) {
	if pc < d.text {
		return 0, false
	}
	word := func(at int) uint64 { return uint64(binary.LittleEndian.Uint32(d.functions[at:])) }
	n := sort.Search(d.count, func(n int) bool { return d.text+word(n*8) > pc }) - 1
	if n < 0 {
		return 0, false
	}
	entry, fn := d.text+word(n*8), int(word(n*8+4))
	if fn+d.flags >= len(d.functions) || d.functions[fn+d.flags]&funcWritesSP != 0 {
		return 0, false
	}
	table := word(fn + funcSPTable)
	if table == 0 || table >= uint64(len(d.values)) { // 0: the function has none
		return 0, false
	}
	return valueAt(d.values[table:], entry, pc, d.quantum)
}

// valueAt is the value at pc in a table of pairs, each a change of the value and for
// how many bytes of code it holds. The value before the first is -1; a change of 0 ends the table.
func valueAt(table []byte, at, pc, quantum uint64) (int64, bool) {
	value := int64(-1)
	for first := true; ; first = false {
		change, n := binary.Uvarint(table)
		if n <= 0 || change == 0 && !first {
			return 0, false
		}
		table = table[n:]
		span, n := binary.Uvarint(table)
		if n <= 0 {
			return 0, false
		}
		table = table[n:]
		value += int64(change>>1) ^ -int64(change&1)
		at += span * quantum
		if pc < at {
			return value, true
		}
	}
}

// ReturnsToTop reports whether the word at the top of the stack is the return address
// when a thread is about to run the instruction at pc: so it is in a function without
// a frame, and in any other before it makes its frame and after it has undone it. A walk by
// frame pointers lacks the caller there. It is known of Go code for amd64 alone, and
// not of what gives the stack pointer values of its own.
//
// pc is an address as the linker gave it.
func (f *File) ReturnsToTop(pc uint64) (yes, known bool) {
	if f.lines == nil || f.lines.depths == nil || f.elf.Machine != elf.EM_X86_64 {
		return false, false
	}
	// C code behind the Go code is in no function of the table, but seems to be in its last.
	if n := len(f.lines.funcs); n == 0 || pc >= f.lines.funcs[n-1].end {
		return false, false
	}
	depth, ok := f.lines.depths.at(pc)
	return depth == 0, ok
}
