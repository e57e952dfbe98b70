package binary_test

import (
	"debug/elf"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/arch/x86/x86asm"

	"chokepoint/harness/binary"
	"chokepoint/harness/internal/testbuild"
)

// What the table says agrees with what the instructions do, in every function of an
// executable, wherever its entry leads to.
func TestReturnsToTop(t *testing.T) {
	for _, toolchain := range testbuild.Toolchains() {
		for _, shape := range []testbuild.Shape{testbuild.Static, testbuild.PIE, testbuild.CGO, testbuild.Stripped} {
			p := testbuild.Program{Dir: "testdata/known", Toolchain: toolchain, Shape: shape}
			t.Run(p.Name(), func(t *testing.T) {
				path := testbuild.Build(t, p).Path
				f := open(t, path)
				raw, err := elf.Open(path)
				require.NoError(t, err)
				defer raw.Close()
				text := raw.Section(".text")
				require.NotNil(t, text)
				code, err := text.Data()
				require.NoError(t, err)

				top, below, unknown := 0, 0, 0
				for _, fn := range binary.FunctionsForTest(f) {
					if fn.Entry < text.Addr || fn.End > text.Addr+text.Size {
						continue
					}
					depth, reached := int64(0), true
					jumped := map[uint64]int64{} // what was on the stack at jumps, by where they lead
					for pc := fn.Entry; pc < fn.End; {
						inst, err := x86asm.Decode(code[pc-text.Addr:fn.End-text.Addr], 64)
						if err != nil {
							break // instructions that the decoder does not know
						}
						if at, ok := jumped[pc]; ok {
							depth, reached = at, true
						}
						yes, known := f.ReturnsToTop(pc)
						switch {
						case !reached:
						case !known:
							unknown++
						case yes != (depth == 0):
							assert.Failf(t, "they differ", "%s+%#x: %d bytes are on the stack, on top: %t", fn.Name, pc-fn.Entry, depth, yes)
						case yes:
							top++
						default:
							below++
						}
						pc += uint64(inst.Len)
						if to, ok := inst.Args[0].(x86asm.Rel); ok && inst.Op != x86asm.CALL && reached {
							jumped[pc+uint64(int64(to))] = depth
						}
						next, ok := moves(inst)
						depth += next
						reached = reached && ok
					}
				}
				t.Logf("%d instructions with the return address on top, %d below, %d unknown", top, below, unknown)
				assert.Greater(t, top, 1000)
				assert.Greater(t, below, 1000)
				assert.Less(t, unknown, (top+below)/4)

				memeq := binary.EntryForTest(f, "memeqbody")
				require.NotZero(t, memeq)
				for pc := memeq; pc < memeq+64; pc++ {
					yes, known := f.ReturnsToTop(pc)
					assert.True(t, yes && known, "memeqbody+%#x", pc-memeq)
				}
				switched := binary.EntryForTest(f, "runtime.systemstack")
				require.NotZero(t, switched)
				_, known := f.ReturnsToTop(switched)
				assert.False(t, known, "runtime.systemstack gives the stack pointer a value of its own")
			})
		}
	}
}

// moves is how many bytes an instruction puts on the stack; false where what comes
// next, or what the stack pointer is then, is not in the instruction.
func moves(inst x86asm.Inst) (int64, bool) {
	switch inst.Op {
	case x86asm.PUSH, x86asm.PUSHFQ:
		return 8, true
	case x86asm.POP, x86asm.POPFQ:
		return -8, inst.Args[0] != x86asm.RSP
	case x86asm.JMP, x86asm.RET, x86asm.LEAVE, x86asm.ENTER, x86asm.UD2, x86asm.INT, x86asm.HLT:
		return 0, false
	case x86asm.CMP, x86asm.TEST:
		return 0, true
	}
	if inst.Args[0] != x86asm.RSP {
		return 0, true
	}
	imm, ok := inst.Args[1].(x86asm.Imm)
	switch inst.Op {
	case x86asm.SUB:
		return int64(imm), ok
	case x86asm.ADD:
		return -int64(imm), ok
	}
	return 0, false
}

func TestReturnsToTopOfNoGoCode(t *testing.T) {
	f, err := read(tiny(t, "tiny.elf"))
	require.NoError(t, err)
	for _, pc := range []uint64{0, 0x401000, 0x401019, ^uint64(0)} {
		_, known := f.ReturnsToTop(pc)
		assert.False(t, known, "%#x", pc)
	}
}
