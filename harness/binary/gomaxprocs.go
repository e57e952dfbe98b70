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
func (f *File) setsProcs(pc uint64) (n int64, sets bool) {
	fn, ok := f.functionAt(pc)
	if !ok {
		return 0, true
	}
	raw, err := f.machineCode(fn)
	if err != nil {
		return 0, true
	}
	code, err := decode(raw, fn.entry)
	if err != nil {
		return 0, true
	}
	n, known := constantBefore(code, pc)
	return max(n, 0), !known || n > 0
}

// constantBefore is what the instructions before the call at pc put into the
// register of a first argument, if that is a constant on every way there.
func constantBefore(code []instruction, pc uint64) (n int64, known bool) {
	at := 0
	for at < len(code) && code[at].addr != pc {
		at++
	}
	if at == len(code) {
		return 0, false
	}
	for i := at - 1; i >= 0; i-- {
		in := code[i]
		switch {
		case in.Op == x86asm.MOV && isAX(in.Args[0]):
			imm, ok := in.Args[1].(x86asm.Imm)
			return int64(int32(imm)), ok && !entered(code, in.addr, pc)
		case in.Op == x86asm.XOR && isAX(in.Args[0]) && isAX(in.Args[1]):
			return 0, !entered(code, in.addr, pc)
		case in.Op == x86asm.NOP, in.Args[0] != nil && !isAX(in.Args[0]) && in.target == 0 && straight(in.Op):
			continue
		}
		return 0, false
	}
	return 0, false
}

// entered reports whether the function jumps to an instruction after from, up to to.
func entered(code []instruction, from, to uint64) bool {
	for _, in := range code {
		if in.target > from && in.target <= to && in.Op != x86asm.CALL {
			return true
		}
	}
	return false
}

// straight are the instructions that compilers mix with the passing of a
// constant, and that change no register but the one they name.
func straight(op x86asm.Op) bool {
	switch op {
	case x86asm.MOV, x86asm.LEA, x86asm.MOVUPS, x86asm.MOVZX, x86asm.ADD, x86asm.SUB, x86asm.PUSH:
		return true
	}
	return false
}

func isAX(a x86asm.Arg) bool {
	return a == x86asm.RAX || a == x86asm.EAX || a == x86asm.AX || a == x86asm.AL
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
