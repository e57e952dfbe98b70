package binary

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/arch/x86/x86asm"

	"chokepoint/harness/gofunc"
)

// Why a function cannot be probed, for callers to tell apart.
var (
	// ErrAbsent is for a function that the executable does not have: it is
	// misspelt, nothing calls it, or this version of its package has another.
	ErrAbsent = errors.New("the executable has no such function")
	// ErrInlined is for a function that the executable has only as copies in its callers.
	ErrInlined = errors.New("the compiler inlined every call of the function")
	// ErrUnsafe is for a function that no probe can be put on without risk.
	ErrUnsafe = errors.New("the function has no place where a probe is safe")
)

// A ProbePoint is an instruction that a probe can be put on.
type ProbePoint struct {
	Addr   uint64 // as the linker gave it
	Offset uint64 // in the file, which is what the kernel takes
	Bytes  []byte // of the instruction: to be found in the process too before attaching
}

// Probe is where one function of the executable is probed.
type Probe struct {
	Function   string // as the symbol table has it, with type arguments where it does
	Entry, End uint64 // addresses as the linker gave them
	// Start is passed once a call, when the arguments are in their registers and
	// the stack has room. Behind it a stack check is never made again.
	Start ProbePoint
	// Frame is true when the instruction at Start pushes the frame pointer. Then a
	// probe is cheap, the kernel emulates the push; and stacks are whole, it knows
	// the caller. Otherwise the return address is on top of the stack, in no frame.
	Frame bool
	// GoCode is true when the stack check shows that Go's compiler made the
	// function, so that R14 holds the goroutine throughout.
	GoCode bool
	// Returns are the instructions that leave the function, at which the stack
	// pointer is what it was at its entry. No return probe is ever to be used on
	// Go code: the runtime takes its changed return address for damage.
	Returns []ProbePoint
	// TailJumps are addresses where the function jumps into another that returns in
	// its place. With one it cannot be timed exactly.
	TailJumps []uint64
	// Inlined is how many copies callers hold: calls there are not seen. -1 is not
	// known, without DWARF.
	Inlined int
}

// maxFunction bounds how much of a function is decoded, in bytes.
const maxFunction = 4 << 20

// Probes is where the function called name is probed. The name is as the Go runtime
// prints it ("main.(*cache[...]).get", "main.serve.func1"), which stands for every
// instance of a generic function, or as the symbol table has it, which stands
// for one. Wrappers that only call another function of the name are left
// out, so that a call counts once.
//
// Errors are ErrAbsent, ErrInlined and ErrUnsafe, or that the machine code cannot be read.
func (f *File) Probes(name string) ([]Probe, error) {
	fail := func(err error) ([]Probe, error) { return nil, fmt.Errorf("probe %s: %w", name, err) }
	if f.elf.Machine != elf.EM_X86_64 {
		return fail(fmt.Errorf("%w: only amd64 code can be read, and it is %v", ErrUnknown, f.elf.Machine))
	}
	if len(f.funcs) == 0 {
		return fail(fmt.Errorf("%w the names of its functions: %s", ErrUnknown, f.symbols.Reason))
	}
	copies := f.inlinedInto()
	inlined := -1
	if copies != nil {
		inlined = copies[gofunc.Printed(name)]
	}
	bodies, err := f.bodies(name)
	if err != nil {
		return fail(err)
	}
	if len(bodies) == 0 && inlined > 0 {
		return fail(fmt.Errorf("%w (%d places)", ErrInlined, inlined))
	}
	if len(bodies) == 0 {
		return fail(ErrAbsent)
	}
	probes := make([]Probe, 0, len(bodies))
	for _, b := range withoutWrappers(bodies) {
		p, err := f.probe(b)
		if err != nil {
			return fail(err)
		}
		p.Inlined = inlined
		probes = append(probes, p)
	}
	return probes, nil
}

// FunctionNames is the names of every function, as the Go runtime prints them,
// sorted, each once.
func (f *File) FunctionNames() []string {
	names := make([]string, 0, len(f.funcs))
	for _, fn := range f.funcs {
		names = append(names, gofunc.Printed(fn.name))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// body is the machine code of a function.
type body struct {
	function
	code []instruction
	raw  []byte
}

// instruction is one instruction, with the address it jumps to or calls if that
// is written in it.
type instruction struct {
	x86asm.Inst
	addr   uint64
	target uint64 // 0: none
}

func (f *File) bodies(name string) ([]body, error) {
	var out []body
	for _, fn := range f.funcs {
		if fn.name != name && gofunc.Printed(fn.name) != name {
			continue
		}
		if slices.ContainsFunc(out, func(b body) bool { return b.entry == fn.entry }) {
			continue // a symbol with two names
		}
		raw, err := f.machineCode(fn)
		if err != nil {
			return nil, err
		}
		code, err := decode(raw, fn.entry)
		if err != nil {
			return nil, err
		}
		out = append(out, body{fn, code, raw})
	}
	return out, nil
}

// machineCode is the bytes of a function, as far as the file holds them.
func (f *File) machineCode(fn function) ([]byte, error) {
	if fn.end-fn.entry > maxFunction {
		return nil, fmt.Errorf("%s: %d bytes of code are more than this reads (%d)", fn.name, fn.end-fn.entry, maxFunction)
	}
	raw := make([]byte, fn.end-fn.entry)
	n, err := f.readAt(raw, fn.entry)
	if err != nil && !errors.Is(err, io.EOF) || n == 0 {
		return nil, fmt.Errorf("%s: read its code at %#x: %w", fn.name, fn.entry, err)
	}
	return raw[:n], nil
}

// readAt reads what the file has loaded at an address.
func (f *File) readAt(b []byte, addr uint64) (int, error) {
	for _, p := range f.elf.Progs {
		if p.Type == elf.PT_LOAD && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			return p.ReadAt(b, int64(addr-p.Vaddr))
		}
	}
	return 0, fmt.Errorf("%w what stands at %#x", ErrUnknown, addr)
}

// fileOffset is where in the file the code at an address stands.
func (f *File) fileOffset(addr uint64) (uint64, bool) {
	for _, p := range f.elf.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			return addr - p.Vaddr + p.Off, true
		}
	}
	return 0, false
}

// decode reads the instructions of a function. It stops at the padding behind it.
func decode(raw []byte, entry uint64) ([]instruction, error) {
	var out []instruction
	for at := 0; at < len(raw); {
		if padding(raw[at:]) {
			break
		}
		addr := entry + uint64(at)
		// An instruction that cannot be read makes every later boundary a guess.
		inst, err := x86asm.Decode(raw[at:], 64)
		if err == nil && isVZero(raw[at:]) {
			inst.Len = vzeroLen // x86asm v0.33.0 reads on
		}
		if err != nil || inst.Len == 0 {
			return nil, fmt.Errorf("%w: its code cannot be decoded at %#x: % x", ErrUnsafe, addr, raw[at:min(at+15, len(raw))])
		}
		in := instruction{Inst: inst, addr: addr}
		if rel, ok := inst.Args[0].(x86asm.Rel); ok {
			in.target = addr + uint64(inst.Len) + uint64(int64(rel))
		}
		out = append(out, in)
		at += inst.Len
	}
	return out, nil
}

// padding reports whether nothing but int3 follows, which the linker puts behind functions.
func padding(raw []byte) bool {
	return !slices.ContainsFunc(raw, func(b byte) bool { return b != 0xcc })
}

const vzeroLen = 3

// isVZero: VZEROUPPER or VZEROALL, in the form that assemblers write.
func isVZero(raw []byte) bool {
	return bytes.HasPrefix(raw, []byte{0xc5, 0xf8, 0x77}) || bytes.HasPrefix(raw, []byte{0xc5, 0xfc, 0x77})
}

// withoutWrappers leaves out what only passes calls on to another function of
// the same name: between the two calling conventions of Go, and from an instance
// of a generic function to the code that instances share.
func withoutWrappers(bodies []body) []body {
	if len(bodies) < 2 {
		return bodies
	}
	return slices.DeleteFunc(slices.Clone(bodies), func(b body) bool {
		return slices.ContainsFunc(b.code, func(in instruction) bool {
			return (in.Op == x86asm.CALL || in.Op == x86asm.JMP) && slices.ContainsFunc(bodies, func(other body) bool {
				return other.entry != b.entry && in.target == other.entry
			})
		})
	})
}

func (f *File) probe(b body) (Probe, error) {
	p := Probe{Function: b.name, Entry: b.entry, End: b.end}
	start, checked, err := afterStackCheck(b)
	if err != nil {
		return p, err
	}
	for _, in := range b.code {
		if in.target == start.addr && in.Op != x86asm.CALL {
			return p, fmt.Errorf("%w: a loop jumps back to its first instruction at %#x", ErrUnsafe, start.addr)
		}
	}
	p.GoCode = checked
	p.Frame = isPushRBP(start)
	if p.Start, err = f.point(b, start); err != nil {
		return p, err
	}
	for _, in := range b.code {
		switch {
		case in.Op == x86asm.RET:
			at, err := f.point(b, in)
			if err != nil {
				return p, err
			}
			p.Returns = append(p.Returns, at)
		case in.Op == x86asm.JMP && leaves(b, in):
			p.TailJumps = append(p.TailJumps, in.addr)
		}
	}
	return p, nil
}

func (f *File) point(b body, in instruction) (ProbePoint, error) {
	off, ok := f.fileOffset(in.addr)
	if !ok {
		return ProbePoint{}, fmt.Errorf("%w where in the file the code at %#x stands", ErrUnknown, in.addr)
	}
	from := in.addr - b.entry
	return ProbePoint{Addr: in.addr, Offset: off, Bytes: slices.Clone(b.raw[from : from+uint64(in.Len)])}, nil
}

// leaves reports whether a jump goes out of the function. Of indirect jumps the one
// through a table of eight-byte addresses is a switch; any other may go anywhere.
func leaves(b body, in instruction) bool {
	if in.target != 0 {
		return in.target < b.entry || in.target >= b.end
	}
	mem, ok := in.Args[0].(x86asm.Mem)
	return !ok || mem.Index == 0 || mem.Scale != 8
}

// afterStackCheck is the instruction at which a function has begun for good. Go's
// compiler compares the stack pointer with the limit in g (R14) first, and where
// the stack is too small calls the runtime and begins again; it then pushes the
// frame pointer. Functions without a check begin with their first instruction.
func afterStackCheck(b body) (start instruction, checked bool, err error) {
	if len(b.code) == 0 {
		return start, false, fmt.Errorf("%w: it has no code", ErrUnsafe)
	}
	// Large frames compute in R12 what they compare; the longest check takes five
	// instructions.
	const most = 6
	for n, in := range b.code[:min(most, len(b.code))] {
		switch {
		case comparesStackLimit(in):
			checked = true
		case in.Op == x86asm.JBE && checked:
			if n+1 == len(b.code) || !growsStack(b, in.target) {
				return start, false, fmt.Errorf("%w: its stack check at %#x is not as Go's compiler writes it", ErrUnsafe, in.addr)
			}
			return b.code[n+1], true, nil
		case in.Op == x86asm.JB && n > 0 || computesR12(in):
			// part of the check of a large frame
		default:
			if n > 0 {
				return start, false, fmt.Errorf("%w: its stack check at %#x is not as Go's compiler writes it", ErrUnsafe, b.entry)
			}
			return b.code[0], false, nil
		}
	}
	if checked {
		return start, false, fmt.Errorf("%w: its stack check at %#x is not as Go's compiler writes it", ErrUnsafe, b.entry)
	}
	return b.code[0], false, nil
}

// comparesStackLimit: CMPQ SP, 16(R14), or R12 in place of SP. At 16 of g is its
// stackguard0; functions that run on the system stack take stackguard1.
func comparesStackLimit(in instruction) bool {
	const stackguard0, stackguard1 = 16, 24
	reg, isReg := in.Args[0].(x86asm.Reg)
	mem, isMem := in.Args[1].(x86asm.Mem)
	return in.Op == x86asm.CMP && isReg && isMem && (reg == x86asm.RSP || reg == x86asm.R12) &&
		mem.Base == x86asm.R14 && mem.Index == 0 && (mem.Disp == stackguard0 || mem.Disp == stackguard1)
}

// computesR12: R12 becomes the stack pointer less a large frame, in one instruction
// or two.
func computesR12(in instruction) bool {
	if in.Args[0] != x86asm.R12 {
		return false
	}
	mem, _ := in.Args[1].(x86asm.Mem)
	return in.Op == x86asm.SUB || in.Op == x86asm.MOV && in.Args[1] == x86asm.RSP || in.Op == x86asm.LEA && mem.Base == x86asm.RSP
}

// growsStack reports whether the code at addr ends by starting the function anew,
// which is what follows a call of the runtime's morestack.
func growsStack(b body, addr uint64) bool {
	called := false
	for _, in := range b.code {
		if in.addr < addr {
			continue
		}
		switch {
		case in.Op == x86asm.CALL:
			called = true
		case in.Op == x86asm.JMP:
			return called && in.target == b.entry
		}
	}
	return false
}

func isPushRBP(in instruction) bool { return in.Op == x86asm.PUSH && in.Args[0] == x86asm.RBP }

// inlinedInto counts, for each function, the copies of it in its callers; nil
// without DWARF.
func (f *File) inlinedInto() map[string]int {
	if f.dwarf == nil {
		return nil
	}
	return f.copies()
}

// WaitReasons is the texts of the runtime's reasons to park a goroutine ("chan
// receive", "IO wait"), by number. They differ between Go versions and stand in the
// executable, stripped or not. memory is that of a process that runs it, by its
// addresses, and bias its LoadBias.
func (f *File) WaitReasons(memory io.ReaderAt, bias uint64) ([]string, error) {
	const name = "runtime.waitReason.String"
	fail := func(err error) ([]string, error) { return nil, fmt.Errorf("wait reasons of %s: %w", f.path, err) }
	bodies, err := f.bodies(name)
	if err != nil {
		return fail(err)
	}
	if len(bodies) != 1 {
		return fail(fmt.Errorf("%s: %w", name, ErrAbsent))
	}
	table, count, err := stringTable(bodies[0])
	if err != nil {
		return fail(err)
	}
	const header, longest = 16, 128
	heads := make([]byte, header*count)
	if _, err := memory.ReadAt(heads, int64(table+bias)); err != nil {
		return fail(err)
	}
	out := make([]string, count)
	for n := range out {
		addr, length := word(heads[header*n:]), word(heads[header*n+8:])
		if length > longest {
			return fail(fmt.Errorf("%w: reason %d claims %d bytes", ErrUnknown, n, length))
		}
		text := make([]byte, length)
		if length == 0 {
			continue
		}
		// The loader has made it an address of the process.
		if _, err := memory.ReadAt(text, int64(addr)); err != nil {
			return fail(err)
		}
		if strings.ContainsFunc(string(text), func(r rune) bool { return r < ' ' || r > '~' }) {
			return fail(fmt.Errorf("%w: reason %d is no text", ErrUnknown, n))
		}
		out[n] = string(text)
	}
	return out, nil
}

// stringTable is the array that a method indexes which turns a small number into
// a text: it compares the number with the length, takes the array's address, and
// loads by base and index.
func stringTable(b body) (addr uint64, count int, err error) {
	leas := map[x86asm.Arg]uint64{}
	for _, in := range b.code {
		if imm, ok := in.Args[1].(x86asm.Imm); ok && in.Op == x86asm.CMP && count == 0 {
			count = int(imm)
		}
		mem, ok := in.Args[1].(x86asm.Mem)
		switch {
		case !ok:
		case in.Op == x86asm.LEA && mem.Base == x86asm.RIP:
			leas[in.Args[0]] = in.addr + uint64(in.Len) + uint64(mem.Disp)
		case in.Op == x86asm.MOV && mem.Index != 0 && mem.Disp == 0 && leas[mem.Base] != 0:
			addr = leas[mem.Base]
		}
	}
	const most = 255 // the reason is a byte
	if addr == 0 || count < 1 || count > most {
		return 0, 0, fmt.Errorf("%w: %s is not as Go's compiler writes it", ErrUnknown, b.name)
	}
	return addr, count, nil
}

func word(b []byte) uint64 {
	var n uint64
	for i := range 8 {
		n |= uint64(b[i]) << (8 * i)
	}
	return n
}
