package binary

import (
	"slices"

	"golang.org/x/arch/x86/x86asm"
)

// constants reads what calls are passed. It keeps the function that it has decoded last: calls are
// found in the order of their addresses, and large functions have hundreds.
type constants struct {
	file  *File
	entry uint64
	code  []instruction // nil: not decoded, or it cannot be
}

// passed is what the call at pc gets in a register, one of 64 bits, if that is a constant in
// the code.
func (c *constants) passed(pc uint64, in x86asm.Reg) (n int64, known bool) {
	return constantBefore(c.decoded(pc), pc, in)
}

// decoded is the function at pc; nil where it cannot be decoded.
func (c *constants) decoded(pc uint64) []instruction {
	fn, ok := c.file.functionAt(pc)
	if !ok {
		return nil
	}
	if c.code == nil || c.entry != fn.entry {
		c.entry, c.code = fn.entry, nil
		if raw, err := c.file.machineCode(fn); err == nil {
			c.code, _ = decode(raw, fn.entry)
		}
	}
	return c.code
}

// returned reports whether what the call at pc gets in a register is the first result of the
// call before it.
func (c *constants) returned(pc uint64, in x86asm.Reg) bool {
	code := c.decoded(pc)
	for i := slices.IndexFunc(code, func(x instruction) bool { return x.addr == pc }) - 1; i >= 0; i-- {
		at := code[i]
		if at.Op == x86asm.CALL {
			return in == x86asm.RAX
		}
		if to, sets := wide(at.Args[0]); sets && to == in && at.Op != x86asm.CMP && at.Op != x86asm.TEST {
			from, copies := wide(at.Args[1])
			if at.Op != x86asm.MOV || !copies {
				return false
			}
			in = from
		}
	}
	return false
}

// constantBefore is what the instructions before the call at pc put into a register
// of 64 bits, if that is a constant on every way there.
func constantBefore(code []instruction, pc uint64, register x86asm.Reg) (n int64, known bool) {
	at := 0
	for at < len(code) && code[at].addr != pc {
		at++
	}
	if at == len(code) {
		return 0, false
	}
	for i := at - 1; i >= 0; i-- {
		in := code[i]
		to, sets := wide(in.Args[0])
		from, copies := wide(in.Args[1])
		switch {
		case in.Op == x86asm.MOV && sets && to == register && copies:
			register = from // a constant that two arguments have is loaded once
			continue
		case in.Op == x86asm.MOV && sets && to == register:
			imm, ok := in.Args[1].(x86asm.Imm)
			return int64(int32(imm)), ok && !entered(code, in.addr, pc)
		case in.Op == x86asm.XOR && sets && to == register && from == register:
			return 0, !entered(code, in.addr, pc)
		case in.Op == x86asm.NOP, in.Args[0] != nil && (!sets || to != register) && in.target == 0 && straight(in.Op):
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
	case x86asm.MOV, x86asm.LEA, x86asm.MOVUPS, x86asm.MOVZX, x86asm.ADD, x86asm.SUB, x86asm.XOR, x86asm.PUSH:
		return true
	}
	return false
}

// wide is the register of 64 bits that a is a part of; false if a is none.
func wide(a x86asm.Arg) (x86asm.Reg, bool) {
	r, ok := a.(x86asm.Reg)
	switch {
	case !ok:
	case r >= x86asm.RAX && r <= x86asm.R15:
		return r, true
	case r >= x86asm.EAX && r <= x86asm.R15L:
		return r - x86asm.EAX + x86asm.RAX, true
	case r >= x86asm.AX && r <= x86asm.R15W:
		return r - x86asm.AX + x86asm.RAX, true
	case r >= x86asm.AL && r <= x86asm.BL:
		return r - x86asm.AL + x86asm.RAX, true
	case r >= x86asm.AH && r <= x86asm.BH:
		return r - x86asm.AH + x86asm.RAX, true
	case r >= x86asm.SPB && r <= x86asm.R15B:
		return r - x86asm.SPB + x86asm.RSP, true
	}
	return 0, false
}
