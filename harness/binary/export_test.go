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

// ReadForTest is Open of what r holds.
func ReadForTest(r io.ReaderAt, size int64) (*File, error) { return newFile("in memory", r, size) }

// KnownOffsets is the table for executables without DWARF.
func KnownOffsets(version string) (GOffsets, bool) { return goroutineOffsets(version) }

// MappingForTest is what a line of /proc/pid/maps says.
func MappingForTest(line string) (start, offset uint64, perms, path string, ok bool) {
	m, ok := parseMapping(line)
	return m.start, m.offset, m.perms, m.path, ok
}
