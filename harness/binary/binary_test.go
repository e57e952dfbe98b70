package binary_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/binary"
	"chokepoint/harness/bundle"
	"chokepoint/harness/internal/testbuild"
)

// build compiles testdata/known and says where the executable is.
func build(t testing.TB) string {
	t.Helper()
	return testbuild.Build(t, testbuild.Program{Dir: "testdata/known"}).Path
}

// program is testdata/known as it runs: it has said which calls it made and
// waits to be asked.
type program struct {
	pid    int
	stacks [][]call
	in     io.Writer
	out    *bufio.Reader
}

type call struct {
	PC       uint64
	Function string
	File     string
	Line     int
}

func start(t *testing.T, path string) *program {
	t.Helper()
	cmd := exec.Command(path)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		assert.NoError(t, in.Close())
		assert.NoError(t, cmd.Wait(), "%s", &stderr)
	})
	p := &program{pid: cmd.Process.Pid, in: in, out: bufio.NewReader(out)}
	p.read(t, &p.stacks)
	require.NotEmpty(t, p.stacks)
	return p
}

func (p *program) read(t *testing.T, into any) {
	t.Helper()
	line, err := p.out.ReadBytes('\n')
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(line, into))
}

func open(t testing.TB, path string) *binary.File {
	t.Helper()
	f, err := binary.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, f.Close()) })
	return f
}

// The program says what the right answers are, however it was built, and by
// whichever Go.
func TestExecutables(t *testing.T) {
	builds := []struct {
		shape testbuild.Shape
		flags []string // an extra case for the present toolchain alone
		// what is to be known of it
		source binary.Source
		tls    int64 // 0: cannot be known
	}{
		{shape: testbuild.Static, source: binary.SourceDWARF, tls: -8},
		{shape: testbuild.PIE, source: binary.SourceDWARF, tls: -8},
		{shape: testbuild.Static, flags: []string{"-ldflags=-compressdwarf=false"}, source: binary.SourceDWARF, tls: -8},
		{shape: testbuild.Static, flags: []string{"-gcflags=all=-l"}, source: binary.SourceDWARF, tls: -8},
		{shape: testbuild.Static, flags: []string{"-ldflags=-w"}, source: binary.SourcePCLNTab, tls: -8},
		{shape: testbuild.Stripped, source: binary.SourcePCLNTab, tls: -8},
		{shape: testbuild.StrippedPIE, source: binary.SourcePCLNTab, tls: -8},
		// 40 counters of 4 bytes and g, in a segment aligned to 32 bytes or less.
		{shape: testbuild.CGO, source: binary.SourceDWARF, tls: -168},
		{shape: testbuild.CGOPIE, source: binary.SourceDWARF, tls: -168},
		{shape: testbuild.CGO, flags: []string{"-ldflags=-w"}, source: binary.SourcePCLNTab, tls: -168},
		{shape: testbuild.StrippedCGO, source: binary.SourcePCLNTab},
		{shape: testbuild.StrippedCGO, flags: []string{"-buildmode=pie"}, source: binary.SourcePCLNTab},
	}
	for _, toolchain := range testbuild.Toolchains() {
		for _, b := range builds {
			if toolchain != testbuild.Present && b.flags != nil {
				continue
			}
			p := testbuild.Program{Dir: "testdata/known", Toolchain: toolchain, Shape: b.shape, Flags: b.flags}
			t.Run(strings.Join(append([]string{p.Name()}, b.flags...), " "), func(t *testing.T) {
				built := testbuild.Build(t, p)
				f, p := open(t, built.Path), start(t, built.Path)
				dwarf := b.source == binary.SourceDWARF
				pie := b.shape.PIE() || slices.Contains(b.flags, "-buildmode=pie")

				got := f.Build()
				if toolchain == testbuild.Present {
					assert.Regexp(t, `^go1\.\d+`, got.GoVersion)
				} else {
					assert.Equal(t, toolchain, got.GoVersion)
				}
				assert.Equal(t, testbuild.Module, got.MainModule)
				assert.Equal(t, pie, got.PIE, "PIE")
				assert.Equal(t, b.shape.CGO(), got.CGO, "CGO")
				assert.Equal(t, !dwarf, got.Stripped, "stripped")
				assert.Equal(t, sha256sum(t, built.Path), got.SHA256)
				assert.Equal(t, b.source, f.Symbols().Source, "%s", f.Symbols().Reason)
				assert.Equal(t, dwarf, f.Symbols().Reason == "", "what is missing is said: %q", f.Symbols().Reason)

				bias, err := f.LoadBias(p.pid)
				require.NoError(t, err)
				assert.Equal(t, pie, bias != 0, "load bias %#x", bias)

				procs, err := f.GOMAXPROCS(p.pid)
				if dwarf {
					require.NoError(t, err)
				}
				if err == nil {
					assert.Equal(t, 3, procs, "as the program sets it")
				}

				if dwarf {
					checkInlinedFrames(t, f, p, bias)
				} else {
					checkPlainFrames(t, f, p, bias)
				}
				checkGoroutines(t, f, p, b.tls)
				checkCallSites(t, f, built.Dir, dwarf)
			})
		}
	}
}

// checkInlinedFrames compares each frame of each stack with what the Go
// runtime of the program makes of the same address.
func checkInlinedFrames(t *testing.T, f *binary.File, p *program, bias uint64) {
	t.Helper()
	for _, stack := range p.stacks {
		for i, c := range stack {
			var got []string
			for _, fr := range f.Frames(c.PC - 1 - bias) {
				got = append(got, fmt.Sprintf("%s %s:%d", fr.Function, fr.File, fr.Line))
			}
			// The runtime gives each inlined frame an entry of its own, and the
			// address of an entry is also inside all entries it is inlined into.
			var want []string
			for _, c := range stack[i:min(i+len(got), len(stack))] {
				want = append(want, fmt.Sprintf("%s %s:%d", c.Function, c.File, c.Line))
			}
			require.NotEmpty(t, got, "%s at %#x", c.Function, c.PC-bias)
			assert.Equal(t, want, got)
		}
	}
}

// checkPlainFrames compares functions: without DWARF a frame is the function
// that holds the machine code, so the runtime must name it at or below the call.
func checkPlainFrames(t *testing.T, f *binary.File, p *program, bias uint64) {
	t.Helper()
	for _, stack := range p.stacks {
		for i, c := range stack {
			frames := f.Frames(c.PC - 1 - bias)
			require.Len(t, frames, 1, "%s at %#x", c.Function, c.PC-bias)
			assert.True(t, slices.ContainsFunc(stack[i:], func(c call) bool { return c.Function == frames[0].Function && c.File == frames[0].File }),
				"%+v is none of %+v", frames[0], stack[i:])
			if c.Function == frames[0].Function {
				assert.Equal(t, c.Line, frames[0].Line, "%s", c.Function)
			}
		}
	}
}

// checkGoroutines has the program look for its own goroutine where the file says it is.
func checkGoroutines(t *testing.T, f *binary.File, p *program, tls int64) {
	t.Helper()
	off, err := f.Goroutines()
	if tls == 0 {
		require.ErrorIs(t, err, binary.ErrUnknown)
		assert.ErrorContains(t, err, "runtime.tlsg")
		return
	}
	require.NoError(t, err)
	assert.Equal(t, tls, off.TLS)
	require.NoError(t, json.NewEncoder(p.in).Encode(off))
	var saw struct{ Want, Found, ByM uint64 }
	p.read(t, &saw)
	assert.NotZero(t, saw.Want)
	assert.Equal(t, saw.Want, saw.Found, "goid of g")
	assert.Equal(t, saw.Want, saw.ByM, "goid of g.m.curg")
}

// checkCallSites compares with the comments of the program's source.
func checkCallSites(t *testing.T, f *binary.File, dir string, dwarf bool) {
	t.Helper()
	source := filepath.Join(dir, "main.go")
	text, err := os.ReadFile(source)
	require.NoError(t, err)
	want := map[string]bool{}
	for i, line := range strings.Split(string(text), "\n") {
		if _, callee, ok := strings.Cut(line, "// call: "); ok {
			want[fmt.Sprintf("%d %s", i+1, callee)] = true
		}
	}
	require.Len(t, want, 32)

	sites, err := f.CallSites(binary.DiagnosticCallees())
	require.NoError(t, err)
	got := map[string]bool{}
	functions := map[string]bool{}
	for _, s := range sites.Sites {
		assert.Equal(t, source, s.File)
		assert.True(t, strings.HasPrefix(s.Function, "main."), s.Function)
		functions[s.Function+" "+s.Callee] = true
		if s.Line != 0 {
			call := fmt.Sprintf("%d %s", s.Line, s.Callee)
			if s.Argument != 0 {
				call += fmt.Sprint(" ", s.Argument)
			}
			if s.Callee == "runtime.selectgo" {
				call += fmt.Sprint(" ", s.Sends, " send ", s.Receives, " receive")
			}
			if s.Discards {
				call += " discards"
			}
			got[call] = true
		}
	}
	for _, want := range []string{
		"main.(*pair[...]).put sync.(*Mutex).Lock",
		"main.(*store).get sync.(*Mutex).Lock",
		"main.(*store).read sync.(*RWMutex).RLock",
		"main.(*store).watch runtime.AddCleanup",
	} {
		assert.Contains(t, functions, want)
	}
	if dwarf {
		assert.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)))
	} else {
		// The lines of inlined callees are not known; those given must be right.
		assert.Subset(t, slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(got)))
		assert.Len(t, got, 24)
	}

	again, err := f.CallSites(binary.DiagnosticCallees())
	require.NoError(t, err)
	assert.Equal(t, sites, again)
	seen := map[bundle.CallSite]bool{}
	for _, s := range sites.Sites {
		assert.False(t, seen[s], "%+v twice", s)
		seen[s] = true
	}
}

func TestCallSitesOfFunctionsNobodyCalls(t *testing.T) {
	f := open(t, build(t))
	sites, err := f.CallSites([]string{"main.nobody", "Pool"})
	require.NoError(t, err)
	assert.Equal(t, bundle.CallSites{Sites: []bundle.CallSite{}}, sites)
}

// The comparison with the runtime would hold for a file without inlining too.
func TestFramesGoThroughInlinedFunctions(t *testing.T) {
	path := build(t)
	f, p := open(t, path), start(t, path)
	chains := map[string]bool{}
	for _, stack := range p.stacks {
		for _, c := range stack {
			var names []string
			for _, fr := range f.Frames(c.PC - 1) {
				names = append(names, fr.Function)
			}
			chains[strings.Join(names, " < ")] = true
		}
	}
	assert.Contains(t, chains, "main.three < main.two < main.one < main.outer")
	assert.Contains(t, chains, "main.three < main.two < main.outer")
}

func TestFramesOfNoCode(t *testing.T) {
	f := open(t, build(t))
	for _, pc := range []uint64{0, 1, 1 << 63, ^uint64(0)} {
		assert.Empty(t, f.Frames(pc), "%#x", pc)
	}
}

func TestFramesAfterClose(t *testing.T) {
	path := build(t)
	f, err := binary.Open(path)
	require.NoError(t, err)
	p := start(t, path)
	require.NoError(t, f.Close())
	frames := f.Frames(p.stacks[0][0].PC - 1)
	require.NotEmpty(t, frames)
	assert.Equal(t, p.stacks[0][0].Function, frames[0].Function)
}

func TestLoadBiasOfAnotherProgram(t *testing.T) {
	f := open(t, build(t))
	_, err := f.LoadBias(os.Getpid())
	require.Error(t, err)
	assert.ErrorContains(t, err, "runs another file")
	assert.ErrorContains(t, err, os.Args[0])

	const noProcess = 1 << 30
	_, err = f.LoadBias(noProcess)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestNoGoProgram(t *testing.T) {
	path, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no sh on this machine")
	}
	f := open(t, path)
	assert.Empty(t, f.Build().GoVersion)
	assert.Len(t, f.Build().SHA256, 64)
	_, err = f.Goroutines()
	assert.ErrorIs(t, err, binary.ErrNotGo)
	assert.NotEmpty(t, f.Symbols().Reason)
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	for name, tt := range map[string]struct {
		path string
		want error
		says string
	}{
		"missing":   {filepath.Join(dir, "absent"), os.ErrNotExist, "absent"},
		"directory": {dir, binary.ErrNotExecutable, dir},
		"empty":     {write("empty", ""), binary.ErrNotExecutable, "empty"},
		"script":    {write("script", "#!/bin/sh\n"), binary.ErrNotExecutable, "script"},
		"cut short": {write("short", "\x7fELF\x02\x01\x01"), binary.ErrNotExecutable, "short"},
		"32 bits":   {write("narrow", narrowELF()), binary.ErrNotExecutable, "ELFCLASS32"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := binary.Open(tt.path)
			require.ErrorIs(t, err, tt.want)
			assert.ErrorContains(t, err, tt.says)
		})
	}
}

// narrowELF is the header of a 32-bit executable.
func narrowELF() string {
	b := make([]byte, 52)
	copy(b, "\x7fELF\x01\x01\x01")
	b[16], b[18], b[20], b[40] = 2, 3, 1, 52
	return string(b)
}

func sha256sum(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("sha256sum", path).Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("no sha256sum to compare with")
	}
	require.NoError(t, err)
	return strings.Fields(string(out))[0]
}

func BenchmarkOpen(b *testing.B) {
	path := build(b)
	for b.Loop() {
		f, err := binary.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFrames is the cost of an address never seen before, once the unit
// of its package has been read, and of one seen before.
func BenchmarkFrames(b *testing.B) {
	f := open(b, build(b))
	sites, err := f.CallSites(binary.DiagnosticCallees()) // reads package main
	require.NoError(b, err)
	require.NotEmpty(b, sites.Sites)
	entry := binary.EntryForTest(f, "main.outer")
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			if len(binary.ResolveForTest(f, entry+20)) == 0 {
				b.Fatal("no frames")
			}
		}
	})
	b.Run("seen", func(b *testing.B) {
		for b.Loop() {
			if len(f.Frames(entry+20)) == 0 {
				b.Fatal("no frames")
			}
		}
	})
}

// TestDiagnosticSites holds that calls of functions that put into maps are found
// beside what they do themselves.
func TestDiagnosticSites(t *testing.T) {
	f := open(t, build(t))
	sites, err := f.DiagnosticSites()
	require.NoError(t, err)
	var puts, calls, locks int
	for _, s := range sites.Sites {
		switch {
		case s.Callee == "main.(*store).locked":
			assert.Equal(t, "main.(*store).twice", s.Function)
			assert.Equal(t, 102, s.Line)
			locks++
		case bundle.Puts(s.Callee):
			puts++
		case s.Callee == "main.(*store).write":
			assert.Equal(t, "main.main", s.Function)
			calls++
		}
	}
	assert.Equal(t, 4, puts)
	assert.Positive(t, calls, "write puts into a map")
	assert.Equal(t, 1, locks, "locked locks for its caller, that it is inlined into")
}
