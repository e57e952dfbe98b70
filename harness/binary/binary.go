// Package binary reads what an executable tells of itself: which function and
// line, inlined ones included, an address belongs to; how it was built; where
// the Go runtime keeps the goroutine in a thread; and which lines call the
// functions whose callers matter to a diagnosis.
//
// It reads ELF files of 64 bits, little endian. The file is not trusted: what
// it claims is bounded by what it holds, and a damaged part is an error or a
// loss that Symbols tells of, never a wrong answer given as a right one.
package binary

import (
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"sync"

	"chokepoint/harness/gofunc"
)

// Errors that callers tell apart.
var (
	// ErrNotExecutable is for a file that is no ELF executable this package reads.
	ErrNotExecutable = errors.New("not a 64-bit little-endian ELF executable")
	// ErrNotGo is for a question that only a Go program answers.
	ErrNotGo = errors.New("not a Go program")
	// ErrUnknown is for what the executable does not tell.
	ErrUnknown = errors.New("the executable does not tell")
)

// Frame is one function that an address is in.
type Frame struct {
	Function string // as the Go runtime prints it: "main.(*store).get"
	File     string // empty when not known
	Line     int    // 0 when not known
}

// Build is how the executable was built.
type Build struct {
	GoVersion  string // "go1.26.8"; empty when it is no Go program
	MainModule string // module path of package main; empty when the build does not say
	Stripped   bool   // has no usable DWARF: see Symbols for what is left
	CGO        bool   // holds runtime/cgo, so that C code runs in it
	PIE        bool   // position independent: see LoadBias
	SHA256     string // of the file, in hex
}

// Source is what Frames reads names and lines from.
type Source string

// The sources, best first.
const (
	SourceDWARF   Source = "dwarf"   // inlined functions, files, lines
	SourcePCLNTab Source = "pclntab" // files and lines; inlined functions are hidden in their callers
	SourceSymbols Source = "symbols" // names alone
	SourceNone    Source = "none"
)

// Symbols says how good the answers of Frames are.
type Symbols struct {
	Source Source
	// Reason says what is missing and why; empty when nothing is.
	Reason string
}

// File is an open executable. Its methods may be called from several goroutines.
type File struct {
	path  string
	close func() error
	stat  os.FileInfo // nil when not opened from a path
	elf   *elf.File
	build Build

	symbols Symbols
	symtab  symtab
	dwarf   *dwarfIndex // nil: none, or damaged
	lines   *lineTable  // nil: no pclntab, or none that can be placed
	funcs   []function  // by address: from .symtab, or from pclntab

	mu    sync.RWMutex
	cache map[uint64][]Frame

	offsets func() (GOffsets, error)
	copies  func() map[string]int // inlined calls of each function, by printed name
}

// function is a function of the executable as its symbol table has it.
type function struct {
	entry, end uint64
	name       string
}

// Open reads the executable at path. It reads the file once, for its checksum,
// and builds the index that Frames needs; the rest is read when asked for.
func Open(path string) (*File, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open executable: %w", err)
	}
	stat, err := r.Stat()
	if err == nil && !stat.Mode().IsRegular() {
		err = fmt.Errorf("%w: it is no regular file", ErrNotExecutable)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open executable %s: %w", path, err), r.Close())
	}
	f, err := newFile(path, r, stat.Size())
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	f.close, f.stat = r.Close, stat
	return f, nil
}

// newFile reads an executable of size bytes out of r.
func newFile(path string, r io.ReaderAt, size int64) (*File, error) {
	ef, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("read executable %s: %w: %w", path, ErrNotExecutable, err)
	}
	if ef.Class != elf.ELFCLASS64 || ef.Data != elf.ELFDATA2LSB {
		return nil, fmt.Errorf("read executable %s: %w: it is %v, %v", path, ErrNotExecutable, ef.Class, ef.Data)
	}
	if ef.Type != elf.ET_EXEC && ef.Type != elf.ET_DYN {
		return nil, fmt.Errorf("read executable %s: %w: its type is %v", path, ErrNotExecutable, ef.Type)
	}
	f := &File{path: path, close: func() error { return nil }, elf: ef, cache: map[uint64][]Frame{}}
	f.offsets = sync.OnceValues(f.readOffsets)
	f.copies = sync.OnceValue(func() map[string]int { return f.dwarf.inlinedCopies(gofunc.Printed) })

	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(r, 0, size)); err != nil {
		return nil, fmt.Errorf("read executable %s: %w", path, err)
	}
	f.build.SHA256 = hex.EncodeToString(sum.Sum(nil))
	f.build.PIE = ef.Type == elf.ET_DYN
	if info, err := buildinfo.Read(r); err == nil {
		f.build.GoVersion = info.GoVersion
		f.build.MainModule = info.Main.Path
	}

	var symErr, lineErr, dwarfErr error
	f.symtab, symErr = f.readSymtab()
	f.lines, lineErr = f.readLineTable()
	f.dwarf, dwarfErr = f.readDWARF()
	f.build.Stripped = f.dwarf == nil
	f.funcs = f.symtab.funcs
	if len(f.funcs) == 0 && f.lines != nil {
		f.funcs = f.lines.funcs
	}
	f.build.CGO = f.holdsCGO()
	f.symbols = f.describe(symErr, lineErr, dwarfErr)
	return f, nil
}

func (f *File) describe(symErr, lineErr, dwarfErr error) Symbols {
	text := func(err error) string {
		// One line each: parsers of debug information are talkative.
		s, _, _ := strings.Cut(err.Error(), "\n")
		return s
	}
	switch {
	case f.dwarf != nil:
		return Symbols{Source: SourceDWARF}
	case f.lines != nil:
		return Symbols{SourcePCLNTab, "no inlined functions: " + text(dwarfErr) + "; build without -ldflags=-s or -w"}
	case len(f.funcs) > 0:
		reason := "no lines and no inlined functions: " + text(dwarfErr)
		if lineErr != nil {
			reason += "; " + text(lineErr)
		}
		return Symbols{SourceSymbols, reason}
	}
	return Symbols{SourceNone, fmt.Sprintf("no names at all: %s; %s; %s", text(dwarfErr), text(lineErr), text(symErr))}
}

// Path is the path that the file was opened by.
func (f *File) Path() string { return f.path }

// Close closes the file. Frames still answers afterwards.
func (f *File) Close() error { return f.close() }

// Build is how the executable was built.
func (f *File) Build() Build { return f.build }

// Symbols says how good the answers of Frames are.
func (f *File) Symbols() Symbols { return f.symbols }

// Frames is the functions that the instruction at pc is in: first the
// innermost, which may be inlined into the ones behind it, last the function
// that holds the machine code. Each frame but the first has the line of the
// call to the one before it.
//
// pc is an address as the linker gave it (see LoadBias), and lies in the
// instruction itself: for a return address pass pc-1. Addresses that the
// executable knows nothing of have no frames. The answer is shared: it must
// not be changed.
func (f *File) Frames(pc uint64) []Frame {
	f.mu.RLock()
	frames, ok := f.cache[pc]
	f.mu.RUnlock()
	if ok {
		return frames
	}
	frames = f.resolve(pc)
	f.mu.Lock()
	f.cache[pc] = frames
	f.mu.Unlock()
	return frames
}

func (f *File) resolve(pc uint64) []Frame {
	if f.dwarf != nil {
		if frames := f.dwarf.frames(pc); len(frames) > 0 {
			return frames
		}
	}
	if f.lines != nil {
		if frame, ok := f.lines.frame(pc); ok {
			return []Frame{frame}
		}
	}
	if fn, ok := f.functionAt(pc); ok {
		return []Frame{{Function: gofunc.Printed(fn.name)}}
	}
	return nil
}

func (f *File) functionAt(pc uint64) (function, bool) {
	i := sort.Search(len(f.funcs), func(i int) bool { return f.funcs[i].entry > pc }) - 1
	if i < 0 || pc >= f.funcs[i].end {
		return function{}, false
	}
	return f.funcs[i], true
}

// symtab is what .symtab tells.
type symtab struct {
	funcs []function // by address
	text  uint64     // of runtime.text: where Go code starts; 0 when not known
	tlsg  *uint64    // of runtime.tlsg: where g is in the thread-local segment; nil when not known
}

func (f *File) readSymtab() (symtab, error) {
	syms, err := f.elf.Symbols()
	if err != nil {
		return symtab{}, fmt.Errorf("symbol table: %w", err)
	}
	t := symtab{funcs: make([]function, 0, len(syms)/2)}
	for _, s := range syms {
		switch kind := elf.ST_TYPE(s.Info); {
		case s.Section == elf.SHN_UNDEF || s.Name == "":
		case s.Name == "runtime.text":
			t.text = s.Value
		case s.Name == "runtime.tlsg" && kind == elf.STT_TLS:
			t.tlsg = &s.Value
		case kind == elf.STT_FUNC && s.Value != 0 && s.Value+max(s.Size, 1) > s.Value:
			t.funcs = append(t.funcs, function{s.Value, s.Value + max(s.Size, 1), strings.TrimSuffix(s.Name, ".abi0")})
		}
	}
	if len(t.funcs) == 0 {
		return t, errors.New("symbol table: it names no functions")
	}
	sort.SliceStable(t.funcs, func(i, j int) bool { return t.funcs[i].entry < t.funcs[j].entry })
	return t, nil
}

// holdsCGO reports whether C code is linked in. The build's CGO_ENABLED says
// only that it was allowed.
func (f *File) holdsCGO() bool {
	for _, fn := range f.funcs {
		if fn.name == "x_cgo_init" || gofunc.Package(fn.name) == "runtime/cgo" {
			return true
		}
	}
	if f.lines != nil {
		for _, fn := range f.lines.funcs {
			if gofunc.Package(fn.name) == "runtime/cgo" {
				return true
			}
		}
	}
	return false
}

// text is the executable sections.
func (f *File) text() []*elf.Section {
	var out []*elf.Section
	for _, s := range f.elf.Sections {
		if s.Type == elf.SHT_PROGBITS && s.Flags&elf.SHF_EXECINSTR != 0 && s.Flags&elf.SHF_COMPRESSED == 0 {
			out = append(out, s)
		}
	}
	return out
}
