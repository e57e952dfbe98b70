package binary

import (
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
	"strings"
	"sync"

	"chokepoint/harness/gofunc"
)

// Bounds on what damaged or hostile debug information can make the reader do.
// The largest Go programs in use carry a few hundred MiB of DWARF.
const (
	maxDWARFBytes = 1 << 30 // all sections, uncompressed
	maxInflation  = 200     // uncompressed bytes a compressed one; the linker reaches 3 to 20
	maxUnits      = 1 << 18
	maxRanges     = 1 << 22 // address ranges of all units, and again of all that is inlined in one
	maxOrigins    = 8       // links followed from an instance to the function it is of
)

// dwarfIndex finds the compile unit of an address, and reads units when they
// are first asked for.
type dwarfIndex struct {
	data   *dwarf.Data
	units  []*unit
	ranges []unitRange // by low, not overlapping in sound files

	mu    sync.Mutex
	names map[dwarf.Offset]string // of abstract functions
}

type unitRange struct {
	low, high uint64
	unit      *unit
}

// unit is a compile unit: in Go, a package.
type unit struct {
	name   string
	offset dwarf.Offset

	once  sync.Once
	funcs []subprogram // by low
	rows  []row        // by address
	files []*dwarf.LineFile
}

// subprogram is one stretch of machine code of a function.
type subprogram struct {
	low, high uint64
	name      string
	inlined   []inlined // in the order of the tree: callers before what is inlined into them
}

// inlined is a call that was replaced by the body of what it calls.
type inlined struct {
	depth    int
	ranges   [][2]uint64
	origin   dwarf.Offset
	callFile int
	callLine int
}

// row is a line of the line table: it holds from its address to the next row's.
type row struct {
	addr uint64
	file *dwarf.LineFile
	line int
	end  bool // nothing is known from here on
}

// readDWARF indexes the debug information.
func (f *File) readDWARF() (index *dwarfIndex, err error) {
	// debug/dwarf checks what it reads, but was not written for hostile input.
	defer func() {
		if r := recover(); r != nil {
			index, err = nil, fmt.Errorf("DWARF: damaged: %v", r)
		}
	}()
	// These alone are needed; location lists and frames are left unread, as
	// decompressing them would take half of the time to open.
	sections := map[string][]byte{
		".debug_info": nil, ".debug_abbrev": nil, ".debug_str": nil, ".debug_line": nil, ".debug_ranges": nil,
		".debug_rnglists": nil, ".debug_addr": nil, ".debug_line_str": nil, ".debug_str_offsets": nil,
	}
	left := uint64(maxDWARFBytes)
	for _, s := range f.elf.Sections {
		if _, ok := sections[s.Name]; !ok {
			continue
		}
		b, err := sectionData(s, left)
		if err != nil {
			return nil, fmt.Errorf("DWARF: %w", err)
		}
		left -= uint64(len(b))
		sections[s.Name] = b
	}
	info := sections[".debug_info"]
	if len(info) == 0 {
		return nil, errors.New("no DWARF (it was stripped)")
	}
	data, err := dwarf.New(sections[".debug_abbrev"], nil, nil, info, sections[".debug_line"], nil,
		sections[".debug_ranges"], sections[".debug_str"])
	if err != nil {
		return nil, fmt.Errorf("DWARF: %w", err)
	}
	for _, name := range []string{".debug_rnglists", ".debug_addr", ".debug_line_str", ".debug_str_offsets"} {
		if err := data.AddSection(name, sections[name]); err != nil {
			return nil, fmt.Errorf("DWARF: %w", err)
		}
	}
	offsets, err := unitOffsets(info)
	if err != nil {
		return nil, fmt.Errorf("DWARF: %w", err)
	}
	d := &dwarfIndex{data: data, names: map[dwarf.Offset]string{}}
	total := 0
	r := data.Reader()
	for _, off := range offsets {
		r.Seek(off)
		e, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("DWARF: %w", err)
		}
		if e == nil || e.Tag != dwarf.TagCompileUnit {
			continue
		}
		ranges, err := data.Ranges(e)
		if err != nil {
			return nil, fmt.Errorf("DWARF: %w", err)
		}
		if total += len(ranges); total > maxRanges {
			return nil, fmt.Errorf("DWARF: damaged: more than %d address ranges", maxRanges)
		}
		u := &unit{offset: off}
		u.name, _ = e.Val(dwarf.AttrName).(string)
		d.units = append(d.units, u)
		for _, pcs := range ranges {
			if pcs[0] < pcs[1] {
				d.ranges = append(d.ranges, unitRange{pcs[0], pcs[1], u})
			}
		}
	}
	if len(d.ranges) == 0 {
		return nil, errors.New("DWARF: it covers no code")
	}
	sort.SliceStable(d.ranges, func(i, j int) bool { return d.ranges[i].low < d.ranges[j].low })
	return d, nil
}

// unitOffsets is the offset of the first entry of each compile unit. The
// reader of debug/dwarf could walk there only entry by entry.
func unitOffsets(info []byte) ([]dwarf.Offset, error) {
	var out []dwarf.Offset
	for off := uint64(0); off < uint64(len(info)); {
		b := info[off:]
		if len(b) < 12 {
			break // padding
		}
		width, head := uint64(4), uint64(4)
		length := uint64(binary.LittleEndian.Uint32(b))
		if length == math.MaxUint32 {
			width, head = 8, 12
			length = binary.LittleEndian.Uint64(b[4:])
		}
		if length < 7 || length > uint64(len(b))-head || length < 2+width+1 {
			return nil, fmt.Errorf("damaged: unit at %#x claims %d bytes of %d", off, length, uint64(len(b))-head)
		}
		compile := true
		entry := head + 2 + width + 1 // length, version, abbrev offset, address size
		if version := binary.LittleEndian.Uint16(b[head:]); version >= 5 {
			const compileUnit = 1
			compile = b[head+2] == compileUnit
			entry++
		}
		if compile {
			out = append(out, dwarf.Offset(off+entry))
		}
		if len(out) > maxUnits {
			return nil, fmt.Errorf("damaged: more than %d units", maxUnits)
		}
		off += head + length
	}
	return out, nil
}

// unitAt is the unit that holds the code at pc.
func (d *dwarfIndex) unitAt(pc uint64) *unit {
	i := sort.Search(len(d.ranges), func(i int) bool { return d.ranges[i].low > pc }) - 1
	if i < 0 || pc >= d.ranges[i].high {
		return nil
	}
	return d.ranges[i].unit
}

func (d *dwarfIndex) frames(pc uint64) []Frame {
	u := d.unitAt(pc)
	if u == nil {
		return nil
	}
	u.once.Do(func() { d.load(u) })
	i := sort.Search(len(u.funcs), func(i int) bool { return u.funcs[i].low > pc }) - 1
	if i < 0 || pc >= u.funcs[i].high {
		return nil
	}
	fn := &u.funcs[i]
	var chain []*inlined // outermost first
	for i := range fn.inlined {
		in := &fn.inlined[i]
		if n := len(chain); n > 0 && in.depth <= chain[n-1].depth {
			continue
		}
		if contains(in.ranges, pc) {
			chain = append(chain, in)
		}
	}
	frames := make([]Frame, 0, len(chain)+1)
	at := Frame{}
	if r, ok := u.row(pc); ok {
		at.File, at.Line = r.file.Name, r.line
	}
	for i := len(chain) - 1; i >= 0; i-- {
		at.Function = gofunc.Printed(d.originName(chain[i].origin))
		frames = append(frames, at)
		at = Frame{Line: chain[i].callLine}
		if n := chain[i].callFile; n >= 0 && n < len(u.files) && u.files[n] != nil {
			at.File = u.files[n].Name
		}
	}
	at.Function = gofunc.Printed(fn.name)
	return append(frames, at)
}

func contains(ranges [][2]uint64, pc uint64) bool {
	for _, r := range ranges {
		if r[0] <= pc && pc < r[1] {
			return true
		}
	}
	return false
}

func (u *unit) row(pc uint64) (row, bool) {
	i := sort.Search(len(u.rows), func(i int) bool { return u.rows[i].addr > pc }) - 1
	if i < 0 || u.rows[i].end || u.rows[i].file == nil {
		return row{}, false
	}
	return u.rows[i], true
}

// load reads the functions and lines of a unit. What is damaged ends the
// reading; what was read before it stays.
func (d *dwarfIndex) load(u *unit) {
	defer func() { _ = recover() }() // see readDWARF
	// The functions come first: without lines they are still worth having.
	defer d.loadRows(u)
	defer func() {
		sort.SliceStable(u.funcs, func(i, j int) bool { return u.funcs[i].low < u.funcs[j].low })
	}()
	d.loadFunctions(u)
}

func (d *dwarfIndex) loadFunctions(u *unit) {
	r := d.data.Reader()
	r.Seek(u.offset)
	depth := 0
	// A function of several ranges (C compilers split off cold paths) stands
	// in funcs once for each; current are those that belong to the open entry.
	var current []subprogram
	var within []inlined
	currentDepth, total := 0, 0
	flush := func() {
		for i := range current {
			current[i].inlined = within
		}
		u.funcs = append(u.funcs, current...)
		current, within = nil, nil
	}
	for {
		e, err := r.Next()
		if err != nil || e == nil {
			flush()
			return
		}
		if e.Tag == 0 {
			depth--
			if depth <= currentDepth {
				flush()
			}
			if depth <= 0 {
				flush()
				return
			}
			continue
		}
		switch e.Tag {
		case dwarf.TagSubprogram:
			flush()
			ranges, err := d.data.Ranges(e)
			if total += len(ranges); total > maxRanges {
				return
			}
			if err == nil && len(ranges) > 0 {
				name := d.entryName(e)
				for _, pcs := range ranges {
					if pcs[0] < pcs[1] {
						current = append(current, subprogram{low: pcs[0], high: pcs[1], name: name})
					}
				}
				currentDepth = depth
			}
		case dwarf.TagInlinedSubroutine:
			if len(current) == 0 {
				break
			}
			ranges, err := d.data.Ranges(e)
			origin, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
			if total += len(ranges); total > maxRanges {
				flush()
				return
			}
			if err != nil || !ok || len(ranges) == 0 {
				break
			}
			in := inlined{depth: depth, ranges: ranges, origin: origin, callFile: -1}
			if n, ok := e.Val(dwarf.AttrCallFile).(int64); ok && n >= 0 && n < math.MaxInt32 {
				in.callFile = int(n)
			}
			if n, ok := e.Val(dwarf.AttrCallLine).(int64); ok && n >= 0 && n < math.MaxInt32 {
				in.callLine = int(n)
			}
			within = append(within, in)
		}
		if e.Children {
			depth++
		}
	}
}

func (d *dwarfIndex) loadRows(u *unit) {
	defer func() { _ = recover() }() // see readDWARF
	r := d.data.Reader()
	r.Seek(u.offset)
	e, err := r.Next()
	if err != nil || e == nil {
		return
	}
	lr, err := d.data.LineReader(e)
	if err != nil || lr == nil {
		return
	}
	var le dwarf.LineEntry
	for lr.Next(&le) == nil {
		u.rows = append(u.rows, row{addr: le.Address, file: le.File, line: le.Line, end: le.EndSequence})
	}
	u.files = lr.Files()
	// Where one sequence ends and the next begins, the beginning counts.
	sort.SliceStable(u.rows, func(i, j int) bool {
		a, b := u.rows[i], u.rows[j]
		return a.addr < b.addr || a.addr == b.addr && a.end && !b.end
	})
}

// entryName is the name of a function's entry, or of the function that it is
// an instance of.
func (d *dwarfIndex) entryName(e *dwarf.Entry) string {
	for range maxOrigins {
		if name, ok := e.Val(dwarf.AttrName).(string); ok {
			return name
		}
		off, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
		if !ok {
			if off, ok = e.Val(dwarf.AttrSpecification).(dwarf.Offset); !ok {
				return ""
			}
		}
		r := d.data.Reader()
		r.Seek(off)
		next, err := r.Next()
		if err != nil || next == nil {
			return ""
		}
		e = next
	}
	return ""
}

func (d *dwarfIndex) originName(off dwarf.Offset) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	name, ok := d.names[off]
	if !ok {
		r := d.data.Reader()
		r.Seek(off)
		if e, err := r.Next(); err == nil && e != nil {
			name = d.entryName(e)
		}
		d.names[off] = name
	}
	return name
}

// goroutineOffsets reads the layout of the runtime's g and m.
func (d *dwarfIndex) goroutineOffsets() (off GOffsets, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("DWARF: damaged: %v", r)
		}
	}()
	for _, u := range d.units {
		if u.name != "runtime" {
			continue
		}
		members, err := d.members(u, "runtime.g", "runtime.m")
		if err != nil {
			return GOffsets{}, err
		}
		for _, want := range []struct {
			member string
			into   *int64
		}{{"runtime.g.goid", &off.GoID}, {"runtime.g.m", &off.GM}, {"runtime.m.curg", &off.MCurG}} {
			at, ok := members[want.member]
			if !ok {
				return GOffsets{}, fmt.Errorf("%w %s in its DWARF", ErrUnknown, want.member)
			}
			*want.into = at
		}
		return off, nil
	}
	return GOffsets{}, fmt.Errorf("%w: its DWARF has no package runtime", ErrUnknown)
}

// members is the offset of each member of the named structures of a unit, by
// "structure.member", as far as the unit has them.
func (d *dwarfIndex) members(u *unit, structures ...string) (map[string]int64, error) {
	out := map[string]int64{}
	r := d.data.Reader()
	r.Seek(u.offset)
	depth, found, open := 0, 0, ""
	for {
		e, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("DWARF: %w", err)
		}
		if e == nil {
			return out, nil
		}
		if e.Tag == 0 {
			depth--
			if depth <= 1 && open != "" {
				if open, found = "", found+1; found == len(structures) {
					return out, nil
				}
			}
			if depth <= 0 {
				return out, nil
			}
			continue
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		switch {
		case e.Tag == dwarf.TagStructType && depth == 1 && e.Children:
			for _, s := range structures {
				if s == name {
					open = s
				}
			}
		case e.Tag == dwarf.TagMember && open != "" && depth == 2:
			if at, ok := e.Val(dwarf.AttrDataMemberLoc).(int64); ok {
				out[open+"."+name] = at
			}
		}
		if e.Children {
			depth++
		}
	}
}

// sectionData is the content of a section, decompressed, of at most limit bytes.
func sectionData(s *elf.Section, limit uint64) ([]byte, error) {
	switch {
	case s.Type == elf.SHT_NOBITS:
		return nil, fmt.Errorf("section %s: its content is not in the file", s.Name)
	case s.Size > limit:
		return nil, fmt.Errorf("section %s: %d bytes are more than this reads (%d)", s.Name, s.Size, limit)
	case s.Flags&elf.SHF_COMPRESSED != 0 && s.Size/maxInflation > s.FileSize:
		return nil, fmt.Errorf("section %s: %d bytes claimed to be %d uncompressed: damaged", s.Name, s.FileSize, s.Size)
	}
	b, err := s.Data()
	if err != nil && !(errors.Is(err, io.EOF) && uint64(len(b)) == s.Size) {
		return nil, fmt.Errorf("section %s: %w", s.Name, err)
	}
	if strings.HasPrefix(s.Name, ".debug_") && len(b) >= 4 && string(b[:4]) == "ZLIB" {
		return nil, fmt.Errorf("section %s: compressed the way of Go before 1.19, which this does not read", s.Name)
	}
	return b, nil
}
