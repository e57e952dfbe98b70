package binary

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"slices"

	"golang.org/x/arch/x86/x86asm"
)

// gomaxprocs is the function that sets how many CPUs Go code uses at once, or
// only asks for it when its argument is below 1.
const gomaxprocs = "runtime.GOMAXPROCS"

// setsProcs reports whether the call of runtime.GOMAXPROCS at pc sets anything,
// and the number if that is a constant in the code; 0 if it is not. What cannot
// be read is taken for a call that sets.
func (c *constants) setsProcs(pc uint64) (n int64, sets bool) {
	n, known := c.passed(pc, x86asm.RAX)
	return max(n, 0), !known || n > 0
}

// GOMAXPROCS is what process pid, which runs this executable, has in force, read
// from its memory. It takes the right to do so, and an executable that has its
// symbols.
func (f *File) GOMAXPROCS(pid int) (int, error) {
	fail := func(err error) (int, error) { return 0, fmt.Errorf("GOMAXPROCS of process %d: %w", pid, err) }
	symbols, err := f.elf.Symbols()
	if err != nil {
		return fail(err)
	}
	at := slices.IndexFunc(symbols, func(s elf.Symbol) bool { return s.Name == "runtime.gomaxprocs" && s.Size == 4 })
	if at < 0 {
		return fail(fmt.Errorf("%w where the runtime keeps it", ErrUnknown))
	}
	bias, err := f.LoadBias(pid)
	if err != nil {
		return fail(err)
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return fail(err)
	}
	defer memory.Close()
	var word [4]byte
	if _, err := memory.ReadAt(word[:], int64(symbols[at].Value+bias)); err != nil {
		return fail(err)
	}
	n := int(int32(binary.LittleEndian.Uint32(word[:])))
	// The runtime's own bound is far lower; what is beyond is no such number.
	if n < 1 || n > 1<<16 {
		return fail(fmt.Errorf("%w: %d stands there", ErrUnknown, n))
	}
	return n, nil
}
