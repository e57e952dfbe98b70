package ebpf

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/internal/testbuild"
)

// Assembly without a frame is shown under the function that called it, also where that
// called another which jumped there.
func TestCallerOfAssemblyIsSampled(t *testing.T) {
	needBPF(t)
	for _, shape := range []testbuild.Shape{testbuild.Static, testbuild.StrippedPIE} {
		t.Run(string(shape), func(t *testing.T) {
			rec := recordOnce(t, testbuild.Program{Dir: "testdata/leaf", Shape: shape}, Config{Probes: []string{OnCPU}}, "done")
			require.True(t, rec.dim.Captured, "%+v", rec.dim)
			for _, p := range rec.dim.Probes {
				assert.NotContains(t, p.Lost, "callers_unread", p.Name)
			}

			seen, whole := map[string]int64{}, map[string]int64{}
			for _, s := range rec.profile(t, bundle.EBPFOnCPUProfile).Sample {
				stack := slices.DeleteFunc(frames(s), func(f string) bool { return strings.HasSuffix(f, "[kernel]") })
				for leaf, caller := range map[string]string{"memeqbody": "main.compare", "indexbytebody": "main.find", "runtime.memmove": "main.move"} {
					if !strings.HasSuffix(stack[0], leaf) {
						continue
					}
					seen[leaf] += s.Value[0]
					// Not the next frame always: stand-ins for a call that was jumped over are there without debug information.
					n := slices.Index(stack, caller)
					if n > 0 && n <= 2 && slices.Index(stack, "main.through") == n+1 {
						whole[leaf] += s.Value[0]
					} else {
						t.Log(s.Value[0], stack)
					}
				}
			}
			for _, leaf := range []string{"memeqbody", "indexbytebody", "runtime.memmove"} {
				assert.Greater(t, seen[leaf], int64(10), leaf)
				assert.GreaterOrEqual(t, whole[leaf]*100, seen[leaf]*99, leaf)
			}
			t.Log(seen, whole)
		})
	}
}

// tops is a table that also tells where the return address is on top.
type tops struct {
	table
	top map[uint64]bool
}

func (t tops) ReturnsToTop(pc uint64) (yes, known bool) {
	yes, known = t.top[pc]
	return yes, known
}

func TestCallerByTheTableOfTheExecutable(t *testing.T) {
	code := make(memory, 0x400)
	// caller calls main, which jumps to leaf.
	code[0x110] = 0xe8
	binary.LittleEndian.PutUint32(code[0x111:], uint32(0x1200-0x1115))
	copy(code[0x120:], []byte{0xff, 0xd1}) // a call of a register
	const toMain, toRegister, inLeaf, inMain = 0x11115, 0x11122, 0x11010, 0x11220
	for _, test := range []struct {
		name string
		top  map[uint64]bool
		leaf uint64
		word uint64
		want bool
	}{
		{"a leaf that was jumped to", map[uint64]bool{0x1010: true}, inLeaf, toMain, true},
		{"a leaf that was called by a register", map[uint64]bool{0x1010: true}, inLeaf, toRegister, true},
		{"a function that makes its frame", map[uint64]bool{0x1300: true, 0x1301: false}, 0x11300, toMain, true},
		{"a function that has made it", map[uint64]bool{0x1300: true, 0x1301: false}, 0x11301, toMain, false},
		{"the word follows no call", map[uint64]bool{0x1010: true}, inLeaf, 0x11116, false},
		{"the word is elsewhere", map[uint64]bool{0x1010: true}, inLeaf, 0x20100, false},
		{"the word is the next frame", map[uint64]bool{0x1010: true}, inLeaf, inMain, false},
		{"a leaf that no table tells of", nil, inLeaf, toMain, false},
		{"a leaf in a library", map[uint64]bool{0x1010: true}, 0x20010, toMain, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			img := testImage(code)
			img.symbols = tops{table: img.symbols.(table), top: test.top}
			stack, want := []uint64{test.leaf, inMain}, []uint64{test.leaf, inMain}
			if test.want {
				want = []uint64{test.leaf, test.word, inMain}
			}
			assert.Equal(t, want, img.withCaller(stack, test.word))
			assert.Equal(t, []uint64{test.leaf, inMain}, stack, "the stack itself is not changed")
		})
	}
}
