package binary_test

import (
	"bufio"
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/binary"
)

// pushRBP is the instruction that the kernel emulates, and knows a frame's start by.
var pushRBP = []byte{0x55}

// probed builds testdata/probed by a toolchain ("local" is the present one). It
// skips where the toolchain cannot be had.
func probed(t testing.TB, toolchain string, cgo bool, env []string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	source, err := os.ReadFile("testdata/probed/main.go")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), source, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module probed\n\ngo 1.24\n"), 0o600))
	env = append(append(os.Environ(), "GOTOOLCHAIN="+toolchain, "CGO_ENABLED=0", "GOFLAGS=-mod=mod"), env...)
	if cgo {
		if _, err := exec.LookPath("gcc"); err != nil {
			t.Skip("no gcc: cannot build a program with C in it")
		}
		env = append(env, "CGO_ENABLED=1")
		with := "package main\n\n// int one(void) { return 1; }\nimport \"C\"\n\nfunc init() { sink = int(C.one()) }\n"
		require.NoError(t, os.WriteFile(filepath.Join(dir, "with_c.go"), []byte(with), 0o600))
	}
	has := exec.Command("go", "version")
	has.Dir, has.Env = dir, env
	if text, err := has.CombinedOutput(); err != nil {
		t.Skipf("toolchain %s cannot be had: %s", toolchain, text)
	}
	out := filepath.Join(dir, "probed")
	cmd := exec.Command("go", append(append([]string{"build", "-o", out}, flags...), ".")...)
	cmd.Dir, cmd.Env = dir, env
	text, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", text)
	return out
}

// one is the probe of a function that there is once.
func one(t *testing.T, f *binary.File, name string) binary.Probe {
	t.Helper()
	probes, err := f.Probes(name)
	require.NoError(t, err)
	require.Len(t, probes, 1, name)
	return probes[0]
}

func TestProbes(t *testing.T) {
	type build struct {
		name     string
		cgo      bool
		flags    []string
		env      []string
		stripped bool
	}
	builds := []build{
		{name: "static"},
		{name: "pie", flags: []string{"-buildmode=pie"}},
		{name: "cgo", cgo: true},
		{name: "stripped", flags: []string{"-ldflags=-s -w"}, stripped: true},
		{name: "stripped pie", flags: []string{"-buildmode=pie", "-ldflags=-s -w"}, stripped: true},
		{name: "v3", env: []string{"GOAMD64=v3"}},
	}
	for _, toolchain := range []string{"go1.24.0", "go1.25.0", "local"} {
		for _, b := range builds {
			t.Run(toolchain+"/"+b.name, func(t *testing.T) {
				path := probed(t, toolchain, b.cgo, b.env, b.flags...)
				f := open(t, path)
				checkShapes(t, f, b.stripped)
				checkPlaces(t, f, path)
				checkRuntimePoints(t, f)
				if b.stripped {
					_, err := f.Arguments(one(t, f, "main.manyReturns"))
					require.ErrorIs(t, err, binary.ErrUnknown)
					assert.ErrorContains(t, err, "no DWARF")
				} else {
					checkArguments(t, f)
				}
			})
		}
	}
}

func checkShapes(t *testing.T, f *binary.File, stripped bool) {
	t.Helper()
	for _, name := range []string{"main.(*store).get", "main.manyReturns", "main.largeFrame", "main.hugeFrame", "main.dense", "main.forever", "main.main.func1", "main.main.func1.1"} {
		p := one(t, f, name)
		assert.True(t, p.GoCode, "%s has a stack check", name)
		assert.True(t, p.Frame, name)
		assert.Greater(t, p.Start.Addr, p.Entry, "%s: behind the check", name)
		assert.Empty(t, p.TailJumps, name)
	}
	assert.Len(t, one(t, f, "main.manyReturns").Returns, 4)
	assert.Empty(t, one(t, f, "main.forever").Returns)

	leaf := one(t, f, "main.leaf")
	assert.Equal(t, leaf.Entry, leaf.Start.Addr, "nothing is checked: the entry is safe")
	assert.False(t, leaf.Frame)
	assert.False(t, leaf.GoCode)
	assert.Len(t, leaf.Returns, 1)
	noSplit := one(t, f, "main.noSplit")
	assert.Equal(t, noSplit.Entry, noSplit.Start.Addr)
	assert.True(t, noSplit.Frame)

	instances, err := f.Probes("main.generic[...]")
	require.NoError(t, err)
	assert.Len(t, instances, 2, "of int and of string")

	mcall := one(t, f, "runtime.mcall") // leaves by a jump to what does not return
	assert.NotEmpty(t, mcall.TailJumps)

	_, err = f.Probes("main.absent")
	require.ErrorIs(t, err, binary.ErrAbsent)
	_, err = f.Probes("main.inlined")
	if stripped {
		require.ErrorIs(t, err, binary.ErrAbsent) // that it was one is not told any more
		assert.Equal(t, -1, one(t, f, "main.both").Inlined)
	} else {
		require.ErrorIs(t, err, binary.ErrInlined)
		assert.ErrorContains(t, err, "2 places")
		assert.Equal(t, 1, one(t, f, "main.both").Inlined)
	}
	names := f.FunctionNames()
	assert.True(t, slices.IsSorted(names))
	assert.Contains(t, names, "main.generic[...]")
}

// checkPlaces compares every place in the program with what another disassembler
// makes of the same code: a probe that is not on an instruction breaks the program.
func checkPlaces(t *testing.T, f *binary.File, path string) {
	t.Helper()
	if _, err := exec.LookPath("objdump"); err != nil {
		t.Log("no objdump to compare with")
		return
	}
	text, err := exec.Command("objdump", "-d", "--no-show-raw-insn", path).Output()
	require.NoError(t, err)
	mnemonic := map[uint64]string{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		addr, rest, ok := strings.Cut(lines.Text(), ":\t")
		if at, err := strconv.ParseUint(strings.TrimSpace(addr), 16, 64); ok && err == nil {
			mnemonic[at] = strings.TrimSpace(rest)
		}
	}
	require.Greater(t, len(mnemonic), 10_000)
	image, err := os.ReadFile(path)
	require.NoError(t, err)
	functions, returns, refused := 0, 0, 0
	for _, name := range f.FunctionNames() {
		probes, err := f.Probes(name)
		if err != nil {
			require.ErrorIs(t, err, binary.ErrUnsafe)
			refused++
			continue
		}
		for _, p := range probes {
			functions++
			require.NotEmpty(t, mnemonic[p.Start.Addr], "%s does not start on an instruction", name)
			assert.Equal(t, p.Frame, bytes.Equal(p.Start.Bytes, pushRBP))
			for _, at := range append(p.Returns, p.Start) {
				require.Equal(t, at.Bytes, image[at.Offset:at.Offset+uint64(len(at.Bytes))], "%s: offset in the file", name)
			}
			for _, at := range p.Returns {
				returns++
				require.Contains(t, mnemonic[at.Addr], "ret", "%s at %#x", name, at.Addr)
			}
		}
	}
	t.Logf("%d functions, %d returns, %d refused", functions, returns, refused)
	assert.Greater(t, functions, 1000)
	assert.Less(t, refused, functions/20, "what is refused is assembly")
}

// checkRuntimePoints looks for what the goruntime probe stands on.
func checkRuntimePoints(t *testing.T, f *binary.File) {
	t.Helper()
	for _, name := range []string{"runtime.gopark", "runtime.ready", "runtime.execute", "runtime.newm1", "runtime.(*gcControllerState).startCycle",
		"runtime.queuefinalizer", "internal/sync.(*Mutex).lockSlow"} {
		p := one(t, f, name)
		assert.True(t, p.GoCode && p.Frame, name)
	}
	assert.True(t, one(t, f, "runtime.netpollready").Frame)
	lock := one(t, f, "internal/sync.(*Mutex).lockSlow")
	assert.NotEmpty(t, lock.Returns)
	assert.Empty(t, lock.TailJumps)
	rg, wg, err := f.NetpollWaiters()
	require.NoError(t, err)
	assert.Equal(t, []int64{32, 40}, []int64{rg, wg})
}

func checkArguments(t *testing.T, f *binary.File) {
	t.Helper()
	read := func(name string) map[string]binary.Argument {
		args, err := f.Arguments(one(t, f, name))
		require.NoError(t, err)
		out := map[string]binary.Argument{}
		for _, a := range args {
			assert.NotContains(t, out, a.Name)
			out[a.Name] = a
		}
		return out
	}
	// s, id (2), opts.Limit, opts.Deep, p (3): eight, and from (2) is one too many, but size is not.
	args := read("main.(*store).get")
	for name, want := range map[string]struct {
		register, bytes int
		signed          bool
	}{
		"s": {0, 8, false}, "len(id)": {2, 8, true}, "opts.Limit": {3, 4, true}, "opts.Deep": {4, 1, false},
		"len(p)": {6, 8, true}, "cap(p)": {7, 8, true}, "size": {8, 2, false},
	} {
		got := args[name]
		assert.Equal(t, fmt.Sprint(want), fmt.Sprint(struct {
			register, bytes int
			signed          bool
		}{got.Register, got.Bytes, got.Signed}), name)
		assert.Empty(t, got.Refused, name)
	}
	assert.Contains(t, args["id"].Refused, "len(id)")
	assert.Contains(t, args["opts.Ratio"].Refused, "floating-point")
	assert.Contains(t, args["from"].Refused, "on the stack")
	assert.NotContains(t, args, "n", "a result")
	assert.NotContains(t, args, "err", "a result")

	args = read("main.onStack")
	assert.Contains(t, args["big"].Refused, "on the stack")
	assert.Equal(t, 0, args["n"].Register)
	assert.Equal(t, 1, args["u"].Register)

	instances, err := f.Probes("main.generic[...]")
	require.NoError(t, err)
	for _, p := range instances {
		args, err := f.Arguments(p)
		require.NoError(t, err)
		i := slices.IndexFunc(args, func(a binary.Argument) bool { return a.Name == "n" })
		require.GreaterOrEqual(t, i, 0, "%+v", args)
		assert.Equal(t, binary.Argument{Name: "n", Type: "int8", Register: 1, Bytes: 1, Signed: true}, args[i],
			"%s: a dictionary goes before the arguments", p.Function)
	}
}

// Where the dictionary of generic code goes is read off the machine code once more.
func TestDictionaryRegister(t *testing.T) {
	path := probed(t, "local", false, nil)
	f := open(t, path)
	args, err := f.Arguments(one(t, f, "main.(*pair[...]).put"))
	require.NoError(t, err)
	assert.Equal(t, binary.Argument{Name: "n", Type: "int32", Register: 2, Bytes: 4, Signed: true}, args[1])
	out, err := exec.Command("go", "tool", "objdump", "-s", `main.\(\*pair.*put`, path).CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Regexp(t, `ADDL CX|LEAL .*CX|ADDL .*, CX|MOVL CX, AX`, string(out), "n is in CX, behind the receiver and the dictionary")
}

// The reasons stand in the executable itself, whatever its version.
func TestWaitReasons(t *testing.T) {
	for _, toolchain := range []string{"go1.24.0", "go1.25.0", "local"} {
		t.Run(toolchain, func(t *testing.T) {
			path := probed(t, toolchain, false, nil, "-ldflags=-s -w")
			f := open(t, path)
			reasons, err := f.WaitReasons(loaded(t, path), 0)
			require.NoError(t, err)
			assert.Equal(t, []string{"", "GC assist marking", "IO wait"}, reasons[:3])
			assert.Contains(t, reasons, "chan receive")
			assert.Contains(t, reasons, "sync.Mutex.Lock")
		})
	}
}

// loaded is a static executable's memory as it is when it starts.
func loaded(t *testing.T, path string) readAt {
	t.Helper()
	f, err := elf.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, f.Close()) })
	return func(b []byte, addr int64) (int, error) {
		for _, p := range f.Progs {
			if p.Type == elf.PT_LOAD && uint64(addr) >= p.Vaddr && uint64(addr)-p.Vaddr < p.Filesz {
				return p.ReadAt(b, addr-int64(p.Vaddr))
			}
		}
		return 0, os.ErrNotExist
	}
}

type readAt func(b []byte, addr int64) (int, error)

func (r readAt) ReadAt(b []byte, addr int64) (int, error) { return r(b, addr) }

func TestProbesOfNoGoProgram(t *testing.T) {
	f := open(t, "testdata/tiny/tiny.elf")
	_, err := f.Probes("main.main")
	assert.Error(t, err)
}
