package binary

import (
	"debug/elf"
	"fmt"
)

// GOffsets is where the Go runtime keeps the goroutine of a thread, in bytes.
// The address of g is in the word at the thread pointer plus TLS; at g plus
// GoID is its id, at g plus GM its m; at m plus MCurG the g that m runs, which
// is the one to ask when g itself is a scheduler's (its id is 0).
type GOffsets struct {
	GoID, MCurG, GM int64
	TLS             int64 // negative
}

// goroutineOffsets is for binaries without DWARF: measured on the first release of
// each Go version. A layout may not change within one, and does between them,
// so that no other version is guessed.
func goroutineOffsets(version string) (GOffsets, bool) {
	switch minorVersion(version) {
	case "go1.24":
		return GOffsets{GoID: 160, MCurG: 192, GM: 48}, true
	case "go1.25", "go1.26":
		return GOffsets{GoID: 152, MCurG: 184, GM: 48}, true
	}
	return GOffsets{}, false
}

// minorVersion is "go1.26" of "go1.26.8", "go1.26rc1" and "go1.26.8 X:simd".
func minorVersion(version string) string {
	n := 0
	for i, c := range version {
		if c == '.' {
			n++
		}
		if (n == 2 && c == '.') || (n >= 1 && c != '.' && (c < '0' || c > '9')) {
			return version[:i]
		}
	}
	return version
}

// Goroutines is where the runtime keeps the goroutine of a thread: from DWARF,
// or by Go version when there is none. A version that is not known is an
// error: a wrong offset would read another field and give wrong ids.
func (f *File) Goroutines() (GOffsets, error) { return f.offsets() }

func (f *File) readOffsets() (GOffsets, error) {
	fail := func(err error) (GOffsets, error) {
		return GOffsets{}, fmt.Errorf("goroutine offsets of %s: %w", f.path, err)
	}
	if f.build.GoVersion == "" {
		return fail(ErrNotGo)
	}
	if f.elf.Machine != elf.EM_X86_64 {
		return fail(fmt.Errorf("%w: known for amd64 alone, and it is %v", ErrUnknown, f.elf.Machine))
	}
	var off GOffsets
	var err error
	if f.dwarf != nil {
		off, err = f.dwarf.goroutineOffsets()
	} else {
		err = fmt.Errorf("%w: it has no DWARF", ErrUnknown)
	}
	if err != nil {
		known, ok := goroutineOffsets(f.build.GoVersion)
		if !ok {
			return fail(fmt.Errorf("%w, and they are not known for %s; build with DWARF (without -ldflags=-s or -w)", err, f.build.GoVersion))
		}
		off = known
	}
	off.TLS, err = f.tlsOffset()
	if err != nil {
		return fail(err)
	}
	return off, nil
}

// tlsOffset is where g is, from the thread pointer. A Go linker's program has
// g alone in its TLS segment, right below the thread pointer. A C linker puts
// it among the C variables, at the symbol runtime.tlsg.
func (f *File) tlsOffset() (int64, error) {
	const word = 8
	var tls *elf.Prog
	for _, p := range f.elf.Progs {
		if p.Type == elf.PT_TLS {
			tls = p
		}
	}
	if tls == nil || tls.Memsz <= word {
		return -word, nil
	}
	align := max(tls.Align, 1)
	if align&(align-1) != 0 || align > 1<<20 || tls.Memsz > 1<<30 {
		return 0, fmt.Errorf("thread-local segment of %d bytes aligned to %d: damaged", tls.Memsz, tls.Align)
	}
	size := int64((tls.Memsz + align - 1) &^ (align - 1))
	switch at := f.symtab.tlsg; {
	case at == nil:
		return 0, fmt.Errorf("%w where g is among %d bytes of thread-local variables: the symbol runtime.tlsg was stripped; build without -ldflags=-s", ErrUnknown, tls.Memsz)
	case *at > tls.Memsz-word:
		return 0, fmt.Errorf("runtime.tlsg at %d is outside the thread-local segment of %d bytes: damaged", *at, tls.Memsz)
	default:
		return int64(*at) - size, nil
	}
}
