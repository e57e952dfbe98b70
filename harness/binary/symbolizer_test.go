package binary_test

import (
	"cmp"
	"debug/elf"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/binary"
	"chokepoint/harness/internal/llvm"
	"chokepoint/harness/internal/testbuild"
)

// Another reader of the same debug information finds the same functions, files
// and lines, at addresses spread over all of the code.
func TestFramesAreThoseOfLLVM(t *testing.T) {
	for _, toolchain := range testbuild.Toolchains() {
		for _, shape := range []testbuild.Shape{testbuild.Static, testbuild.PIE, testbuild.CGO} {
			p := testbuild.Program{Dir: "testdata/known", Toolchain: toolchain, Shape: shape}
			t.Run(p.Name(), func(t *testing.T) {
				path := testbuild.Build(t, p).Path
				f := open(t, path)
				addrs := spread(t, path, 5000)
				want := llvm.Symbolize(t, path, addrs)
				got := make([][]llvm.Frame, len(addrs))
				for i, pc := range addrs {
					got[i] = asLLVM(f.Frames(pc))
				}
				c := llvm.Compare(addrs, got, want)
				t.Log(c)
				for i, d := range c.Unequal {
					if i == 20 {
						t.Logf("and %d more", len(c.Unequal)-i)
						break
					}
					t.Log(d)
				}
				assert.Greater(t, c.Share(), 0.999)
			})
		}
	}
}

func asLLVM(frames []binary.Frame) []llvm.Frame {
	var out []llvm.Frame
	for _, fr := range frames {
		out = append(out, llvm.Frame(fr))
	}
	return out
}

// spread is about n addresses at even distances over .text, those between
// functions left out: padding is in no function, and never runs.
func spread(t *testing.T, path string, n uint64) []uint64 {
	t.Helper()
	f, err := elf.Open(path)
	require.NoError(t, err)
	defer f.Close()
	text := f.Section(".text")
	require.NotNil(t, text)
	require.Greater(t, text.Size, n)
	symbols, err := f.Symbols()
	require.NoError(t, err)
	symbols = slices.DeleteFunc(symbols, func(s elf.Symbol) bool { return elf.ST_TYPE(s.Info) != elf.STT_FUNC })
	slices.SortFunc(symbols, func(a, b elf.Symbol) int { return cmp.Compare(a.Value, b.Value) })
	var addrs []uint64
	for i := range n {
		pc := text.Addr + i*(text.Size/n)
		after, _ := slices.BinarySearchFunc(symbols, pc+1, func(s elf.Symbol, pc uint64) int { return cmp.Compare(s.Value, pc) })
		if after > 0 && pc < symbols[after-1].Value+symbols[after-1].Size {
			addrs = append(addrs, pc)
		}
	}
	require.Greater(t, uint64(len(addrs)), n/2)
	return addrs
}
