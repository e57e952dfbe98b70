package ebpf

import (
	"context"
	"debug/elf"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
	"chokepoint/harness/internal/llvm"
	"chokepoint/harness/internal/testbuild"
)

// The frames in recorded profiles are those that another reader of the same
// debug information finds, at every address of the program that was recorded.
func TestRecordedFramesAreThoseOfLLVM(t *testing.T) {
	needBPF(t)
	shapes := []testbuild.Shape{testbuild.Static, testbuild.PIE, testbuild.CGO}
	for n, toolchain := range testbuild.Toolchains() {
		for m, shape := range shapes {
			if *crashCells != "all" && n != m {
				continue // each Go, and each shape
			}
			p := testbuild.Program{Dir: "testdata/stacks", Toolchain: toolchain, Shape: shape}
			t.Run(p.Name(), func(t *testing.T) {
				path := testbuild.Build(t, p).Path
				frames := recordedFrames(t, path)
				addrs := slices.Sorted(maps.Keys(frames))
				require.Greater(t, len(addrs), 200)
				got := make([][]llvm.Frame, len(addrs))
				inlined := 0
				for i, addr := range addrs {
					got[i] = frames[addr]
					if len(got[i]) > 1 {
						inlined++
					}
				}
				assert.Greater(t, inlined, 20, "addresses in inlined functions")
				c := llvm.Compare(addrs, got, llvm.Symbolize(t, path, addrs))
				t.Logf("%v; %d inlined", c, inlined)
				for _, d := range c.Unequal {
					t.Log(d)
				}
				assert.Greater(t, c.Share(), 0.999)
			})
		}
	}
}

// recordedFrames records testdata/stacks, and gives the frames of each address
// of its own code that any profile has. Addresses are the linker's.
func recordedFrames(t *testing.T, path string) map[uint64][]llvm.Frame {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := startCrash(t, path, "")
	r := New(Config{Probes: []string{Syscalls, Sched, OnCPU}})
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	require.NoError(t, r.Prepare(ctx, capture.Subject{PID: c.pid(), Executable: path}))
	require.NoError(t, r.Start(ctx))
	c.tell(t)
	require.Equal(t, "answer 0", c.line(t))
	require.NoError(t, r.Stop(ctx))
	c.tell(t)
	c.awaitEnd(t, "exit status 0")
	dir := filepath.Join(t.TempDir(), "bundle")
	w, err := bundle.Create(dir, bundle.Manifest{})
	require.NoError(t, err)
	_, err = r.Write(ctx, w)
	require.NoError(t, err)

	f, err := elf.Open(path)
	require.NoError(t, err)
	defer f.Close()
	text := f.Section(".text")
	require.NotNil(t, text)
	out := map[uint64][]llvm.Frame{}
	for _, artifact := range []string{bundle.EBPFOnCPUProfile, bundle.EBPFOffCPUProfile, bundle.EBPFRunQueueProfile, bundle.EBPFSyscallsProfile} {
		file, err := os.Open(filepath.Join(dir, artifact))
		require.NoError(t, err)
		p, err := profile.Parse(file)
		require.NoError(t, err)
		require.NoError(t, file.Close())
		before := len(out)
		for _, l := range p.Location {
			pc := l.Address - r.image.bias
			if l.Mapping == nil || l.Mapping.File != r.image.path || pc < text.Addr || pc >= text.Addr+text.Size {
				continue
			}
			var frames []llvm.Frame
			for _, line := range l.Line {
				frames = append(frames, llvm.Frame{Function: line.Function.Name, File: line.Function.Filename, Line: int(line.Line)})
			}
			out[pc] = frames
		}
		t.Logf("%s: %d samples, %d further addresses", artifact, len(p.Sample), len(out)-before)
	}
	return out
}
