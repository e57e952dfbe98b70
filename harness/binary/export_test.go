package binary

import "io"

// ResolveForTest is Frames without its cache.
func ResolveForTest(f *File, pc uint64) []Frame { return f.resolve(pc) }

// EntryForTest is the address of a function; 0 when there is none.
func EntryForTest(f *File, name string) uint64 {
	for _, fn := range f.funcs {
		if fn.name == name {
			return fn.entry
		}
	}
	return 0
}

// FunctionForTest is a function of an executable.
type FunctionForTest struct {
	Entry, End uint64
	Name       string
}

// FunctionsForTest is the functions of the line table.
func FunctionsForTest(f *File) []FunctionForTest {
	var out []FunctionForTest
	for _, fn := range f.lines.funcs {
		out = append(out, FunctionForTest{fn.entry, fn.end, fn.name})
	}
	return out
}

// ReadForTest is Open of what r holds.
func ReadForTest(r io.ReaderAt, size int64) (*File, error) { return newFile("in memory", r, size) }

// KnownOffsets is the table for executables without DWARF.
func KnownOffsets(version string) (GOffsets, bool) { return goroutineOffsets(version) }

// MappingForTest is what a line of /proc/pid/maps says.
func MappingForTest(line string) (start, offset uint64, perms, path string, ok bool) {
	m, ok := parseMapping(line)
	return m.start, m.offset, m.perms, m.path, ok
}
