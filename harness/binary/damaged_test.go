package binary_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	executable "chokepoint/harness/binary"
)

func tiny(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/tiny/" + name)
	require.NoError(t, err)
	return b
}

func read(b []byte) (*executable.File, error) {
	return executable.ReadForTest(bytes.NewReader(b), int64(len(b)))
}

// Addresses and lines are those of `objdump -d -l --inlines`.
func TestFramesOfC(t *testing.T) {
	for _, name := range []string{"tiny.elf", "packed.elf"} {
		t.Run(name, func(t *testing.T) {
			f, err := read(tiny(t, name))
			require.NoError(t, err)
			type at struct {
				function string
				line     int
			}
			for pc, want := range map[uint64][]at{
				0x401000: {{"leaf", 5}},
				0x40100e: {{"leaf", 5}},
				0x401010: {{"_start", 18}},
				0x401019: {{"inner", 8}, {"middle", 13}, {"_start", 18}},
				0x40101d: {{"inner", 8}, {"middle", 13}, {"_start", 18}},
				0x40101e: {{"inner", 9}, {"middle", 13}, {"_start", 18}},
				0x40102d: {{"middle", 14}, {"_start", 18}},
				0x401049: {{"_start", 20}},
				0x400fff: nil,
				0x401051: nil,
			} {
				var got []at
				for _, fr := range f.Frames(pc) {
					got = append(got, at{fr.Function, fr.Line})
				}
				assert.Equal(t, want, got, "%#x", pc)
			}
		})
	}
}

// A file cut anywhere is an error, or is read as far as it goes.
func TestCutShort(t *testing.T) {
	whole := tiny(t, "packed.elf")
	for n := 0; n < len(whole); n += 7 {
		f, err := read(whole[:n])
		if err != nil {
			require.ErrorIs(t, err, executable.ErrNotExecutable, "cut at %d", n)
			continue
		}
		f.Frames(0x401019)
	}
}

// What a file claims is not believed before it is seen.
func TestClaimsAreBounded(t *testing.T) {
	// The compression header of .debug_info claims a gigabyte of 200 bytes.
	packed := tiny(t, "packed.elf")
	header := bytes.Index(packed, []byte{1, 0, 0, 0, 0, 0, 0, 0, 0x2d, 1, 0, 0, 0, 0, 0, 0})
	require.Positive(t, header, "the compression header of .debug_info")
	binary.LittleEndian.PutUint64(packed[header+8:], 1<<29)

	// A line table claims four billion functions.
	table := lineTableELF(t, 1<<32-1)

	for name, b := range map[string][]byte{"compressed section": packed, "line table": table} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			f, err := read(b)
			runtime.ReadMemStats(&after)
			require.NoError(t, err, "its other parts are sound")
			assert.Contains(t, f.Symbols().Reason, "claim")
			const bound = 64 << 20
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(bound))
		})
	}
}

// lineTableELF is tiny.elf with a table of functions in place of its comment.
func lineTableELF(t testing.TB, functions uint64) []byte {
	t.Helper()
	b := slices.Clone(tiny(t, "tiny.elf"))
	// The names of sections stand at the end: .comment becomes .gopclntab by
	// pointing its entry at a name behind the last one.
	names := bytes.Index(b, []byte("\x00.symtab\x00"))
	require.Positive(t, names)
	sections := binary.LittleEndian.Uint64(b[40:])
	nameTable := int(binary.LittleEndian.Uint16(b[62:]))
	const entry = 64
	at := func(i int) []byte { return b[int(sections)+i*entry : int(sections)+(i+1)*entry] }
	count := int(binary.LittleEndian.Uint16(b[60:]))

	header := make([]byte, 8+8*8+64)
	binary.LittleEndian.PutUint32(header, 0xfffffff1)
	header[6], header[7] = 1, 8
	binary.LittleEndian.PutUint64(header[8:], functions)
	newNames := append(slices.Clone(section(b, at(nameTable))), ".gopclntab\x00"...)

	for i := range count {
		if name := section(b, at(nameTable))[binary.LittleEndian.Uint32(at(i)):]; bytes.HasPrefix(name, []byte(".comment\x00")) {
			binary.LittleEndian.PutUint32(at(i), uint32(len(newNames)-len(".gopclntab\x00")))
			binary.LittleEndian.PutUint64(at(i)[24:], uint64(len(b)))
			binary.LittleEndian.PutUint64(at(i)[32:], uint64(len(header)))
		}
		if name := section(b, at(nameTable))[binary.LittleEndian.Uint32(at(i)):]; bytes.HasPrefix(name, []byte(".debug_info\x00")) {
			binary.LittleEndian.PutUint64(at(i)[32:], 0) // or its reason would not be asked for
		}
	}
	binary.LittleEndian.PutUint64(at(nameTable)[24:], uint64(len(b)+len(header)))
	binary.LittleEndian.PutUint64(at(nameTable)[32:], uint64(len(newNames)))
	return append(append(b, header...), newNames...)
}

func section(file, header []byte) []byte {
	off, size := binary.LittleEndian.Uint64(header[24:]), binary.LittleEndian.Uint64(header[32:])
	return file[off : off+size]
}

func TestOffsetsWithoutDWARF(t *testing.T) {
	old := executable.GOffsets{GoID: 160, MCurG: 192, GM: 48}
	now := executable.GOffsets{GoID: 152, MCurG: 184, GM: 48}
	for version, want := range map[string]*executable.GOffsets{
		"go1.24": &old, "go1.24.0": &old, "go1.24.11": &old,
		"go1.25.3": &now, "go1.26.8": &now, "go1.26.8 X:simd": &now, "go1.26rc1": &now, "go1.26-custom": &now,
		"go1.23.9": nil, "go1.27": nil, "go1.27.1": nil, "go1.260": nil, "go1.2": nil, "go2.26": nil, "": nil,
		"devel go1.26-abcdef": nil,
	} {
		got, ok := executable.KnownOffsets(version)
		assert.Equal(t, want != nil, ok, version)
		if want != nil {
			assert.Equal(t, *want, got, version)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(tiny(f, "tiny.elf"))
	f.Add(tiny(f, "packed.elf"))
	f.Add(lineTableELF(f, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := read(b)
		if err != nil {
			return
		}
		for _, pc := range []uint64{0, 0x401000, 0x401019, 0x40102d, 0x401049, ^uint64(0)} {
			if frames := file.Frames(pc); len(frames) > len(b) {
				t.Errorf("%d frames at %#x in a file of %d bytes", len(frames), pc, len(b))
			}
			_, _ = file.ReturnsToTop(pc)
		}
		// Whether they answer or refuse, they must come back.
		_, _ = file.Goroutines()
		_, _ = file.CallSites(executable.DiagnosticCallees())
		if file.Symbols().Source != executable.SourceDWARF && file.Symbols().Reason == "" {
			t.Error("what is missing is not said")
		}
	})
}

func TestMapping(t *testing.T) {
	start, offset, perms, path, ok := executable.MappingForTest("55d0c0a00000-55d0c0c00000 r-xp 00001000 fe:00 1234    /path with spaces (deleted)")
	require.True(t, ok)
	assert.Equal(t, uint64(0x55d0c0a00000), start)
	assert.Equal(t, uint64(0x1000), offset)
	assert.Equal(t, "r-xp", perms)
	assert.Equal(t, "/path with spaces (deleted)", path)
	for _, bad := range []string{"", "55d0c0a00000 r-xp 00001000 fe:00 1234 /x", "x-y r-xp 0 fe:00 1 /x", "0-1 r-xp z fe:00 1 /x", "0-1 r-xp 0 fe:00"} {
		_, _, _, _, ok := executable.MappingForTest(bad)
		assert.False(t, ok, "%q", bad)
	}
}

func FuzzMapping(f *testing.F) {
	f.Add("55d0c0a00000-55d0c0c00000 r-xp 00001000 fe:00 1234    /path with spaces")
	f.Add("- r-xp  fe:00 ")
	f.Fuzz(func(t *testing.T, line string) {
		_, _, perms, path, ok := executable.MappingForTest(line)
		if !ok {
			return
		}
		if !strings.Contains(line, path) || !strings.Contains(line, perms) {
			t.Fatalf("%q of %q", path, line)
		}
	})
}
