package ebpf

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	target "chokepoint/harness/binary"
)

// symbolizer is what an executable tells of addresses as its linker gave them.
type symbolizer interface {
	Frames(pc uint64) []target.Frame
}

// mapping is one executable range of the target's address space.
type mapping struct {
	start, end uint64
	offset     uint64
	path       string
	own        bool // of the target's executable
}

// image is the target's address space: what is mapped where, and what the
// addresses mean. It is taken while the target lives and answers afterwards.
type image struct {
	pid      int
	tgid     uint32
	path     string // of the executable
	symbols  symbolizer
	file     *target.File // nil: could not be read
	code     io.ReaderAt  // the executable's machine code by link-time address; nil: not readable
	bias     uint64       // address in the process minus address in the file
	textFrom uint64       // the executable's code in the process
	textTo   uint64
	first    [2]uint64 // firstOfThread in the process, from and to; 0: not known
	offsets  target.GOffsets
	noGoID   error  // why offsets are not known
	problem  string // why symbols are missing or poor; empty when they are not
	mappings []mapping
	closers  []io.Closer
}

// subject is what a probe must know before it is loaded.
type subject struct {
	tgid             uint32
	textFrom, textTo uint64
	// firstFrom and firstTo bound the function that threads begin with; 0: not known.
	firstFrom, firstTo uint64
	offsets            *target.GOffsets // nil: not known
	img                *image           // nil: there is no process

	// room is how many entries maps hold, by name, where a test wants fewer
	// than the programs ask for; nil otherwise.
	room map[string]uint32
}

func (i *image) subject() subject {
	s := subject{tgid: i.tgid, textFrom: i.textFrom, textTo: i.textTo, firstFrom: i.first[0], firstTo: i.first[1], img: i}
	if i.noGoID == nil {
		s.offsets = &i.offsets
	}
	return s
}

// openImage reads what is mapped into process pid and opens its executable.
// Only a process that cannot be seen at all is an error; an executable that
// cannot be read leaves addresses without names and is told in problem.
func openImage(pid int, executable string) (*image, error) {
	i := &image{pid: pid, tgid: uint32(pid), noGoID: errors.New("the executable could not be read")}
	// The link leads to the file that runs, even if another stands in its place now.
	running := fmt.Sprintf("/proc/%d/exe", pid)
	_, statErr := os.Stat(running)
	if statErr != nil {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err != nil {
			return nil, fmt.Errorf("process %d: %w; is the target still running?", pid, err)
		}
		i.problem = fmt.Sprintf("functions have no names: %v; mend: run as root or as the target's user", statErr)
		return i, nil
	}
	i.path = executable
	if link, err := os.Readlink(running); err == nil {
		i.path = link
	}
	if err := i.readMappings(); err != nil {
		i.problem = fmt.Sprintf("functions have no names: %v", err)
		return i, nil
	}
	file, err := target.Open(running)
	if err != nil {
		i.problem = fmt.Sprintf("functions have no names: %v", err)
		return i, nil
	}
	i.closers = append(i.closers, file)
	bias, err := file.LoadBias(pid)
	if err != nil {
		i.problem = fmt.Sprintf("functions have no names: %v", err)
		return i, nil
	}
	i.symbols, i.file, i.bias = file, file, bias
	i.problem = file.Symbols().Reason
	i.offsets, i.noGoID = file.Goroutines()
	// A program without it is not Go's, or has no names: then its stacks end by themselves.
	if first, err := file.Probes(firstOfThread); err == nil {
		i.first = [2]uint64{first[0].Entry + bias, first[0].End + bias}
	}
	if code, err := openCode(running); err == nil {
		i.code = code
		i.closers = append(i.closers, code)
	}
	return i, nil
}

func (i *image) readMappings() error {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", i.pid))
	if err != nil {
		return fmt.Errorf("mappings of process %d: %w", i.pid, err)
	}
	var fresh []mapping
	for _, m := range parseMaps(data) {
		if m.path != "" && m.path == i.path {
			m.own = true
		}
		fresh = append(fresh, m)
	}
	if len(fresh) == 0 {
		return fmt.Errorf("mappings of process %d: none is executable; has it ended?", i.pid)
	}
	i.mappings = fresh
	for _, m := range fresh {
		if !m.own {
			continue
		}
		if i.textFrom == 0 || m.start < i.textFrom {
			i.textFrom = m.start
		}
		i.textTo = max(i.textTo, m.end)
	}
	return nil
}

// refresh reads the mappings again, for what was loaded since.
func (i *image) refresh() {
	if i.path == "" {
		return
	}
	_ = i.readMappings() // a target that is gone leaves what is known
}

// Close closes the executable.
func (i *image) Close() error {
	var errs []error
	for _, c := range i.closers {
		errs = append(errs, c.Close())
	}
	i.closers = nil
	return errors.Join(errs...)
}

// parseMaps is the executable ranges of a /proc/PID/maps, by address.
func parseMaps(data []byte) []mapping {
	var out []mapping
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		// 55d0c0e0a000-55d0c0f8b000 r-xp 00001000 fe:00 1234    /path with spaces
		rest := lines.Text()
		var field [5]string
		ok := true
		for n := range field {
			rest = strings.TrimLeft(rest, " ")
			var found bool
			field[n], rest, found = strings.Cut(rest, " ")
			ok = ok && (found || n == len(field)-1)
		}
		from, to, isRange := strings.Cut(field[0], "-")
		start, startErr := strconv.ParseUint(from, 16, 64)
		end, endErr := strconv.ParseUint(to, 16, 64)
		offset, offsetErr := strconv.ParseUint(field[2], 16, 64)
		if !ok || !isRange || startErr != nil || endErr != nil || offsetErr != nil || end <= start {
			continue
		}
		if len(field[1]) < 3 || field[1][2] != 'x' {
			continue
		}
		out = append(out, mapping{start: start, end: end, offset: offset, path: strings.TrimSpace(rest)})
	}
	sort.Slice(out, func(a, b int) bool { return out[a].start < out[b].start })
	return out
}

// mappingOf is the executable range that holds an address of the process.
func (i *image) mappingOf(pc uint64) (mapping, bool) {
	n := sort.Search(len(i.mappings), func(n int) bool { return i.mappings[n].end > pc })
	if n == len(i.mappings) || pc < i.mappings[n].start {
		return mapping{}, false
	}
	return i.mappings[n], true
}

// frames is what the instruction at an address of the process belongs to,
// innermost first, and never empty: code outside the executable is named by
// its mapping.
func (i *image) frames(pc uint64) []target.Frame {
	m, ok := i.mappingOf(pc)
	if !ok {
		return []target.Frame{{Function: "[unknown]"}}
	}
	if m.own && i.symbols != nil {
		if f := i.symbols.Frames(pc - i.bias); len(f) > 0 {
			return f
		}
	}
	switch {
	case m.path == "":
		return []target.Frame{{Function: "[anonymous]"}}
	case strings.HasPrefix(m.path, "["):
		return []target.Frame{{Function: m.path}}
	}
	return []target.Frame{{Function: "[" + filepath.Base(m.path) + "]"}}
}

// function is the function that holds the machine code at pc.
func (i *image) function(pc uint64) string {
	f := i.frames(pc)
	return f[len(f)-1].Function
}

// inSyscall reports whether a thread whose user code stands at pc is in a
// system call: it will go on after the instruction that made the call. Else it
// was interrupted, or has faulted, at the instruction at pc itself, which may
// be the first of its function: the byte before it is then another function's.
// Of code that cannot be read it is taken to be in one.
func (i *image) inSyscall(pc uint64) bool {
	var before [2]byte
	if !i.codeBefore(pc, before[:]) {
		return true
	}
	return before == [2]byte{0x0f, 0x05}
}

// returnsTo reports whether pc, which was found on a stack, is a return
// address: a call ends right before it. It is none in what signals leave on a
// stack, which is the instruction that was interrupted (above
// runtime.asyncPreempt and runtime.sigpanic) or the entry of the code that
// returns from the signal. Of code that cannot be read it is taken to be one.
func (i *image) returnsTo(pc uint64) bool {
	const longest = 7 // ff, a byte of mode, one of scale and index, a displacement of 32 bits
	var b [longest]byte
	if !i.codeBefore(pc, b[:]) {
		return true
	}
	if b[longest-5] == 0xe8 {
		return true
	}
	for size := 2; size <= longest; size++ {
		at := longest - size
		if b[at] == 0xff && b[at+1]>>3&7 == 2 && indirectSize(b[at+1:]) == size-1 {
			return true
		}
	}
	return false
}

// indirectSize is how many bytes say which memory or register an instruction is
// about: those of mode, of scale and index, and of the displacement.
func indirectSize(b []byte) int {
	mode, rm := b[0]>>6, b[0]&7
	size := 1
	if mode == 3 {
		return size
	}
	base := rm
	if rm == 4 {
		size++
		if len(b) > 1 {
			base = b[1] & 7
		}
	}
	switch {
	case mode == 1:
		size++
	case mode == 2, base == 5:
		size += 4
	}
	return size
}

// codeBefore reads the machine code that ends at pc; false where it cannot be read.
func (i *image) codeBefore(pc uint64, into []byte) bool {
	m, ok := i.mappingOf(pc)
	if !ok || !m.own || i.code == nil {
		return false
	}
	_, err := i.code.ReadAt(into, int64(pc-i.bias-uint64(len(into))))
	return err == nil
}

// withCaller puts the caller of a leaf without a frame into a stack that was
// walked by frame pointers and so lacks it. word is the word at the top of the
// stack. It is the leaf's return address if a call stands before it and the
// executable's table says that the leaf has nothing else on the stack at this instruction,
// which goes for any function where it enters and leaves. Which function is called there does not
// matter: it may have jumped to the leaf.
func (i *image) withCaller(stack []uint64, word uint64) []uint64 {
	if word == 0 || len(stack) == 0 || i.code == nil || (len(stack) > 1 && stack[1] == word) {
		return stack
	}
	if m, ok := i.mappingOf(word); !ok || !m.own {
		return stack
	}
	leaf := stack[0]
	onTop, known := i.returnsToTop(leaf)
	if known {
		onTop = onTop && i.returnsTo(word)
	} else {
		onTop = i.calledWithoutFrame(leaf, word)
	}
	if !onTop {
		return stack
	}
	return append([]uint64{leaf, word}, stack[1:]...)
}

// returnsToTop is what the executable's own table says of the top of the stack at pc.
func (i *image) returnsToTop(pc uint64) (yes, known bool) {
	m, ok := i.mappingOf(pc)
	table, tells := i.symbols.(interface{ ReturnsToTop(uint64) (bool, bool) })
	if !ok || !m.own || !tells {
		return false, false
	}
	return table.ReturnsToTop(pc - i.bias)
}

// calledWithoutFrame is for leaves that no table tells of: whether what stands before
// word calls the leaf's function, which has pushed no frame until there.
func (i *image) calledWithoutFrame(leaf, word uint64) bool {
	const callSize = 5  // e8 and a displacement of 32 bits
	const prologue = 64 // as far as a frame may be pushed from a function's entry
	call := make([]byte, callSize)
	if _, err := i.code.ReadAt(call, int64(word-i.bias-callSize)); err != nil || call[0] != 0xe8 {
		return false
	}
	callee := word + uint64(int64(int32(binary.LittleEndian.Uint32(call[1:]))))
	if leaf < callee || i.function(callee) != i.function(leaf) {
		return false
	}
	entry := make([]byte, min(leaf-callee, prologue))
	if _, err := i.code.ReadAt(entry, int64(callee-i.bias)); err != nil {
		return false
	}
	return !bytes.Contains(entry, []byte{0x55, 0x48, 0x89, 0xe5}) // push rbp; mov rbp, rsp
}

// firstOfThread is the function of the Go runtime that a thread begins with.
const firstOfThread = "runtime.mstart"

// toItsEnd is a stack without what is behind a thread's first function. Before Go 1.26
// a new thread has the frame pointer of the one that started it, so that a walk goes
// on into that one's stack, or what has become of it.
func (i *image) toItsEnd(stack []uint64) []uint64 {
	for n, pc := range stack {
		if n > 0 && i.function(pc-1) == firstOfThread {
			return stack[:n+1]
		}
	}
	return stack
}

// code reads an executable by link-time address.
type code struct {
	file  *os.File
	progs []*elf.Prog
}

func openCode(path string) (*code, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	parsed, err := elf.NewFile(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	c := &code{file: f}
	for _, p := range parsed.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 {
			c.progs = append(c.progs, p)
		}
	}
	return c, nil
}

func (c *code) ReadAt(p []byte, addr int64) (int, error) {
	for _, prog := range c.progs {
		if off := uint64(addr) - prog.Vaddr; uint64(addr) >= prog.Vaddr && off < prog.Filesz {
			return prog.ReadAt(p, int64(off))
		}
	}
	return 0, io.EOF
}

func (c *code) Close() error { return c.file.Close() }
