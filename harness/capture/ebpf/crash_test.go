package ebpf

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	ossignal "os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
	"chokepoint/harness/internal/testbuild"
)

// crashCells is how much of the crash matrix is run. "all" is every combination
// of probe, work and build. "sample" is all probes together with every work and
// each probe alone with three, of the builds one for each of these in turn.
var crashCells = flag.String("crash", "sample", "cells of the crash matrix to run: sample or all")

// crashWork is what testdata/crash does, what must come of it, and how it ends.
type crashWork struct {
	name   string
	answer uint64
	// ends is how the program ends during the capture; empty when it lives on.
	ends string
}

// crashWorks repeats in closed form what the program adds up.
func crashWorks() []crashWork {
	triangle := func(n uint64) uint64 { return n * (n + 1) / 2 }
	const mill = 6 * 400
	grown := triangle(10_000)
	return []crashWork{
		{name: "stacks", answer: mill + 3*8*2*triangle(5_000)},
		{name: "threads", answer: mill + 150*triangle(200)},
		{name: "signals", answer: mill + 4*(1<<26)/4*(0+1+2+3) + 200},
		{name: "forks", answer: mill + 8*triangle(3_000)},
		{name: "exec", answer: (4 + 1) * mill},
		{name: "exit", answer: mill + grown, ends: "exit status 0"},
		{name: "fail", answer: mill + grown, ends: "exit status 7"},
		{name: "panic", answer: mill + grown, ends: "exit status 2"},
		{name: "kill", answer: mill + grown, ends: "signal: killed"},
	}
}

func crashBuilds() []testbuild.Program {
	var out []testbuild.Program
	for _, toolchain := range testbuild.Toolchains() {
		for _, shape := range []testbuild.Shape{testbuild.Static, testbuild.PIE, testbuild.CGO, testbuild.Stripped} {
			out = append(out, testbuild.Program{Dir: "testdata/crash", Toolchain: toolchain, Shape: shape})
		}
	}
	return out
}

// together is the name of all probes at once: traps of one may meet those of another.
const together = "together"

// crashProbes is each probe alone, and all together.
func crashProbes() map[string][]string {
	out := map[string][]string{}
	var all []string
	for _, k := range Kinds() {
		out[k.Name] = []string{k.Name}
		all = append(all, k.Name)
	}
	out[together] = all
	return out
}

// crashConfig asks for probes. A probe that needs to be told more to have
// anything to attach to is told here: see testdata/crash for what there is.
func crashConfig(probes []string) Config {
	c := Config{Probes: probes, Slow: time.Millisecond}
	if slices.Contains(probes, Custom) {
		// The worst function to put a breakpoint into: its stack moves under it.
		c.Custom = []CustomProbe{{Name: "grow", Function: "main.grow", Time: true, Stacks: true}}
	}
	return c
}

// No probe harms a program or leaves anything behind, whatever the program
// does, and whichever way it was built.
func TestCrashMatrix(t *testing.T) {
	needBPF(t)
	if testing.Short() {
		t.Skip("short: starts some dozens of programs; run it without -short, or whole with `make crash`")
	}
	all := false
	switch *crashCells {
	case "sample":
		t.Log("a sample of the matrix: one build for each probe and work, and three works for a probe alone; the whole with `make crash`")
	case "all":
		all = true
	default:
		t.Fatalf("-crash=%s: want sample or all", *crashCells)
	}
	cache := testbuild.NewCache(t)
	builds, probes := crashBuilds(), crashProbes()
	ran, held := 0, map[string]int{}
	next := 0
	for n, name := range slices.Sorted(maps.Keys(probes)) {
		for m, work := range crashWorks() {
			chosen := builds
			if !all {
				// Stacks that grow are what is hardest on traps: these always.
				if name != together && m > 0 && (n+m)%4 != 0 {
					continue
				}
				// Five is prime to the number of builds, so that neighbours
				// differ in Go and in shape and all have their turn.
				chosen = builds[next*5%len(builds):][:1]
				next++
			}
			for _, b := range chosen {
				cell := name + "/" + work.name + "/" + b.Name()
				passed := t.Run(cell, func(t *testing.T) {
					built := cache.Build(t, b)
					ran++
					crashCell(t, built.Path, probes[name], work)
				})
				if passed {
					held[b.Name()]++
				}
			}
		}
	}
	for _, b := range builds {
		t.Logf("%-18s %d cells held", b.Name(), held[b.Name()])
	}
	t.Logf("%d cells ran: %d probes and all together, %d kinds of work, %d builds", ran, len(probes)-1, len(crashWorks()), len(builds))
}

// crashCell records one program and looks at both sides afterwards.
func crashCell(t *testing.T, path string, probes []string, work crashWork) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := startCrash(t, path, work.name)
	pinned, traced := pinnedObjects(t), tracedAt(t, path, p.pid())
	require.Empty(t, traced)
	before := descriptors(t, "self")

	r := New(crashConfig(probes))
	closed := false
	defer func() {
		if !closed {
			assert.NoError(t, r.Close())
		}
	}()
	require.NoError(t, r.Prepare(ctx, capture.Subject{PID: p.pid(), Executable: path}))
	require.NoError(t, r.Start(ctx))
	mine := objectsOf(t, "self")
	require.NotEmpty(t, mine.programs, "no program was loaded")

	p.tell(t)
	answer := p.line(t)
	if work.ends != "" {
		p.awaitEnd(t, work.ends)
	}
	require.NoError(t, r.Stop(ctx))
	if work.ends == "" {
		checkText(t, p.pid())
	}
	w, err := bundle.Create(filepath.Join(t.TempDir(), "bundle"), bundle.Manifest{})
	require.NoError(t, err)
	dim, err := r.Write(ctx, w)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	closed = true

	assert.Equal(t, fmt.Sprintf("answer %d", work.answer), answer)
	if work.ends == "" {
		p.tell(t)
		p.awaitEnd(t, "exit status 0")
	}
	require.Len(t, dim.Probes, len(probes))
	for _, p := range dim.Probes {
		if !p.Captured {
			// Which is allowed when it is said; see the matrix of the probe's own tests.
			assert.NotEmpty(t, p.Reason, "%s was not captured, without a word", p.Name)
			t.Logf("%s was not captured: %s", p.Name, p.Reason)
		}
	}
	assert.Equal(t, before, descriptors(t, "self"), "descriptors of the recorder")
	checkGone(t, mine)
	assert.Equal(t, pinned, pinnedObjects(t), "pinned objects")
	assert.Empty(t, tracedAt(t, path, p.pid()), "left in uprobe_events")
}

// crasher is a running testdata/crash.
type crasher struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer
	ended  bool
}

func startCrash(t *testing.T, path, work string) *crasher {
	t.Helper()
	c := &crasher{cmd: exec.Command(path, work)}
	c.cmd.Stderr = &c.stderr
	var err error
	c.in, err = c.cmd.StdinPipe()
	require.NoError(t, err)
	// A pipe of our own: Wait would close one of the command's before it is read.
	out, give, err := os.Pipe()
	require.NoError(t, err)
	c.cmd.Stdout = give
	c.out = bufio.NewReader(out)
	require.NoError(t, c.cmd.Start())
	require.NoError(t, give.Close())
	t.Cleanup(func() {
		if !c.ended {
			_ = c.cmd.Process.Kill() // the test has failed already
			_ = c.cmd.Wait()
		}
		assert.NoError(t, out.Close())
	})
	require.Equal(t, "ready", c.line(t))
	return c
}

func (c *crasher) pid() int { return c.cmd.Process.Pid }

func (c *crasher) line(t *testing.T) string {
	t.Helper()
	type read struct {
		text string
		err  error
	}
	got := make(chan read, 1)
	go func() {
		text, err := c.out.ReadString('\n')
		got <- read{text, err}
	}()
	select {
	case r := <-got:
		require.NoError(t, r.err, "the program says: %s", &c.stderr)
		return strings.TrimSpace(r.text)
	case <-time.After(time.Minute):
		_ = c.cmd.Process.Signal(syscall.SIGQUIT) // for its stacks
		_ = c.cmd.Wait()
		c.ended = true
		t.Fatalf("the program said nothing for a minute:\n%s", &c.stderr)
		return ""
	}
}

func (c *crasher) tell(t *testing.T) {
	t.Helper()
	_, err := io.WriteString(c.in, "go\n")
	require.NoError(t, err)
}

// awaitEnd waits until the program has ended as it should.
func (c *crasher) awaitEnd(t *testing.T, how string) {
	t.Helper()
	_ = c.cmd.Wait() // the state tells
	c.ended = true
	assert.Equal(t, how, c.cmd.ProcessState.String(), "the program says: %s", &c.stderr)
}

// objects are what a process holds in the kernel, by id.
type objects struct {
	programs, links, maps []uint32
	clocks                int // perf events
}

// objectsOf reads them off the process's descriptors, so that what others load
// meanwhile does not matter.
func objectsOf(t *testing.T, process string) objects {
	t.Helper()
	var o objects
	for fd, target := range descriptors(t, process) {
		if strings.Contains(target, "[perf_event]") {
			o.clocks++
		}
		data, err := os.ReadFile(filepath.Join("/proc", process, "fdinfo", fd))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was the listing's own
		}
		require.NoError(t, err)
		for line := range strings.Lines(string(data)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			into := map[string]*[]uint32{"prog_id": &o.programs, "link_id": &o.links, "map_id": &o.maps}[key]
			if into == nil {
				continue
			}
			id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
			require.NoError(t, err, "%s", line)
			if !slices.Contains(*into, uint32(id)) {
				*into = append(*into, uint32(id))
			}
		}
	}
	return o
}

// checkGone asserts that the kernel forgets objects. It does so a while after
// the last descriptor has been closed.
func checkGone(t *testing.T, o objects) {
	t.Helper()
	attached := func() (left []string) {
		for _, id := range o.programs {
			if p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id)); err == nil {
				left = append(left, fmt.Sprintf("program %d, %v", id, p))
				_ = p.Close()
			}
		}
		for _, id := range o.links {
			if l, err := link.NewFromID(link.ID(id)); err == nil {
				left = append(left, fmt.Sprintf("link %d", id))
				_ = l.Close()
			}
		}
		return left
	}
	kept := func() (left []string) {
		// The library unmaps the memory of variables when it is collected.
		runtime.GC()
		for _, id := range o.maps {
			if m, err := ebpf.NewMapFromID(ebpf.MapID(id)); err == nil {
				left = append(left, fmt.Sprintf("map %d, %v", id, m))
				_ = m.Close()
			}
		}
		return left
	}
	// What is attached must go by itself, and not because the collector closes
	// what was forgotten: maps come second.
	for _, left := range []func() []string{attached, kept} {
		deadline := time.Now().Add(10 * time.Second)
		for len(left()) > 0 && time.Now().Before(deadline) {
			time.Sleep(5 * time.Millisecond)
		}
		assert.Empty(t, left(), "left in the kernel")
	}
}

// descriptors is what a process has open, by descriptor, without the pipes and
// handles by which a test holds its programs.
func descriptors(t *testing.T, process string) map[string]string {
	t.Helper()
	dir := filepath.Join("/proc", process, "fd")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	out := map[string]string{}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil || strings.HasPrefix(target, "/proc/") && strings.HasSuffix(target, "/fd") {
			continue // the listing's own
		}
		if strings.HasPrefix(target, "pipe:") || target == "anon_inode:[pidfd]" {
			continue
		}
		out[e.Name()] = target
	}
	return out
}

// pinnedObjects is what stands in the kernel's file system for pinned objects.
func pinnedObjects(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir("/sys/fs/bpf", func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			out = append(out, path)
		}
		return nil // it need not be mounted
	})
	require.NoError(t, err)
	return out
}

// tracedAt is the lines of uprobe_events that are about a program: traps that
// were set by way of tracefs, which no descriptor holds and nothing takes away.
func tracedAt(t *testing.T, path string, pid int) []string {
	t.Helper()
	data, err := os.ReadFile("/sys/kernel/tracing/uprobe_events")
	if err != nil {
		return nil // without tracefs there is no such way
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, path) || strings.Contains(line, fmt.Sprintf("/proc/%d/", pid)) {
			out = append(out, line)
		}
	}
	return out
}

// checkText asserts that the code of a running process is that of its
// executable: a trap that was left would stand in it.
func checkText(t *testing.T, pid int) {
	t.Helper()
	assert.Empty(t, changedCode(t, pid), "traps in the program's code")
}

// changedCode is where the code of a running process is not its executable's.
func changedCode(t *testing.T, pid int) (changed []string) {
	t.Helper()
	img, err := openImage(pid, "")
	require.NoError(t, err)
	defer img.Close()
	f, err := elf.Open(fmt.Sprintf("/proc/%d/exe", pid))
	require.NoError(t, err)
	defer f.Close()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	require.NoError(t, err)
	defer mem.Close()
	text := f.Section(".text")
	require.NotNil(t, text)
	want, err := text.Data()
	require.NoError(t, err)
	got := make([]byte, len(want))
	_, err = mem.ReadAt(got, int64(text.Addr+img.bias))
	require.NoError(t, err)
	for i := range want {
		if want[i] != got[i] {
			at := text.Addr + uint64(i)
			changed = append(changed, fmt.Sprintf("%s at %#x: %#x in place of %#x", img.frames(at + img.bias)[0].Function, at, got[i], want[i]))
		}
	}
	return changed
}

// The crash tests would notice: a return probe replaces return addresses on
// the stack, and the Go runtime finds them when it copies the stack.
func TestCrashTestsNotice(t *testing.T) {
	needBPF(t)
	path := testbuild.Build(t, testbuild.Program{Dir: "testdata/crash"}).Path
	before := objectsOf(t, "self")
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.Kprobe, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
	require.NoError(t, err)
	defer prog.Close()
	exe, err := link.OpenExecutable(path)
	require.NoError(t, err)

	t.Run("a trap that is left", func(t *testing.T) {
		p := startCrash(t, path, "exit")
		trap, err := exe.Uprobe("main.grow", prog, nil)
		require.NoError(t, err)
		held := objectsOf(t, "self")
		assert.Greater(t, len(held.programs), len(before.programs))
		assert.Len(t, changedCode(t, p.pid()), 1)
		require.NoError(t, trap.Close())
		assert.Empty(t, changedCode(t, p.pid()))
	})
	t.Run("a program that is harmed", func(t *testing.T) {
		p := startCrash(t, path, "stacks")
		trap, err := exe.Uretprobe("main.grow", prog, nil)
		require.NoError(t, err)
		defer trap.Close()
		p.tell(t)
		p.awaitEnd(t, "exit status 2")
		assert.Contains(t, p.stderr.String(), "unexpected return pc")
	})
}

// The test binary runs itself with this variable set to the id of a process
// that it attaches every probe to; then it waits for its end.
const asHarness = "CHOKEPOINT_TEST_AS_HARNESS"

func holdTarget(pid string) error {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return err
	}
	ctx := context.Background()
	r := New(crashConfig(crashProbes()[together]))
	if err := r.Prepare(ctx, capture.Subject{PID: n}); err != nil {
		return err
	}
	if err := r.Start(ctx); err != nil {
		return err
	}
	fmt.Println("attached")
	_, err = io.Copy(io.Discard, os.Stdin) // until its end, which a test that has died brings too
	return errors.Join(err, r.Close())
}

// Whatever ends the harness while every probe is attached, nothing of it stays
// in the kernel, and the target goes on.
func TestKilledHarnessLeavesNothing(t *testing.T) {
	needBPF(t)
	cache := testbuild.NewCache(t)
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGSEGV, syscall.SIGKILL}
	shapes := []testbuild.Shape{testbuild.Static, testbuild.PIE, testbuild.CGO, testbuild.Stripped}
	for n, signal := range signals {
		for m, busy := range []bool{false, true} {
			if *crashCells != "all" && n%2 != m {
				continue
			}
			shape := shapes[n%len(shapes)]
			name := fmt.Sprintf("%v of an idle target's", signal)
			if busy {
				name = fmt.Sprintf("%v of a busy target's", signal)
			}
			t.Run(name, func(t *testing.T) {
				if ossignal.Ignored(signal) {
					t.Skipf("%v is ignored, as under nohup, and processes started here inherit that", signal)
				}
				path := cache.Build(t, testbuild.Program{Dir: "testdata/crash", Shape: shape}).Path
				killHarness(t, path, signal, busy)
			})
		}
	}
}

func killHarness(t *testing.T, path string, signal syscall.Signal, busy bool) {
	work := crashWorks()[0]
	p := startCrash(t, path, work.name)
	pinned := pinnedObjects(t)

	harness := exec.Command("/proc/self/exe")
	harness.Env = append(os.Environ(), asHarness+"="+strconv.Itoa(p.pid()))
	var stderr bytes.Buffer
	harness.Stderr = &stderr
	in, err := harness.StdinPipe()
	require.NoError(t, err)
	defer in.Close()
	out, err := harness.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, harness.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "attached\n" {
		_ = harness.Process.Kill()
		_ = harness.Wait()
		t.Fatalf("the harness did not attach: %q, %v: %s", line, err, &stderr)
	}
	mine := objectsOf(t, strconv.Itoa(harness.Process.Pid))
	require.NotEmpty(t, mine.programs)
	require.NotEmpty(t, mine.links)
	require.NotZero(t, mine.clocks)

	if busy {
		p.tell(t)
		time.Sleep(20 * time.Millisecond) // into its work; where, does not matter
	}
	require.NoError(t, harness.Process.Signal(signal))
	_ = harness.Wait() // it was killed
	checkGone(t, mine)
	assert.Equal(t, pinned, pinnedObjects(t), "pinned objects")
	assert.Empty(t, tracedAt(t, path, p.pid()), "left in uprobe_events")
	checkText(t, p.pid())
	if !busy {
		p.tell(t)
	}
	assert.Equal(t, fmt.Sprintf("answer %d", work.answer), p.line(t))
	p.tell(t)
	p.awaitEnd(t, "exit status 0")
}
