package ebpf

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
	"chokepoint/harness/internal/testbuild"
)

// needBPF skips where the machine or the user may not run the probes.
func needBPF(t *testing.T) {
	t.Helper()
	for _, c := range Check(t.Context()) {
		if !c.OK {
			t.Skipf("%s: %s", c.Probe, c.Missing)
		}
	}
}

// known is a running testdata/known.
type known struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startKnown(t *testing.T, flags ...string) *known {
	return startSource(t, "./testdata/known", flags...)
}

// startSource builds a program and starts it.
func startSource(t *testing.T, source string, flags ...string) *known {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "program")
	build := exec.Command("go", append(append([]string{"build", "-o", bin}, flags...), source)...)
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return startProgram(t, bin)
}

func (k *known) line(t testing.TB) string {
	t.Helper()
	s, err := k.out.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(s)
}

func (k *known) tell(t testing.TB) {
	t.Helper()
	_, err := io.WriteString(k.in, "go\n")
	require.NoError(t, err)
}

func (k *known) end(t testing.TB) {
	t.Helper()
	_ = k.in.Close() // it may have been closed before
	_ = k.cmd.Wait()
}

// recording is what a bundle holds after known did its work under all probes.
type recording struct {
	dim      bundle.Dimension
	dir      string
	goid     int64 // of main.burn
	stripped bool
}

func record(t *testing.T, k *known) recording {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := New(Config{})
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	watched, stopWatching := make(chan struct{}), make(chan struct{})
	go func() { // as live progress does
		defer close(watched)
		for {
			select {
			case <-stopWatching:
				return
			case <-time.After(10 * time.Millisecond):
				assert.NotEmpty(t, r.Status())
			}
		}
	}()
	defer func() { close(stopWatching); <-watched }()
	require.NoError(t, r.Prepare(ctx, capture.Subject{PID: k.cmd.Process.Pid, Executable: k.cmd.Path}))
	require.NoError(t, r.Start(ctx))
	k.tell(t)
	goid, err := strconv.ParseInt(k.line(t), 10, 64)
	require.NoError(t, err)
	require.NoError(t, r.Stop(ctx))
	k.end(t) // the artifacts must not need it any more

	rec := recording{dir: filepath.Join(t.TempDir(), "bundle"), goid: goid}
	w, err := bundle.Create(rec.dir, bundle.Manifest{})
	require.NoError(t, err)
	rec.dim, err = r.Write(ctx, w)
	require.NoError(t, err)
	return rec
}

func (r recording) json(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, path))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, into))
}

func (r recording) profile(t *testing.T, path string) *profile.Profile {
	t.Helper()
	f, err := os.Open(filepath.Join(r.dir, path))
	require.NoError(t, err)
	defer f.Close()
	p, err := profile.Parse(f)
	require.NoError(t, err)
	return p
}

// frames is the functions of a sample, innermost first, inlined ones included.
func frames(s *profile.Sample) []string {
	var out []string
	for _, l := range s.Location {
		for _, line := range l.Line {
			out = append(out, line.Function.Name)
		}
	}
	return out
}

// sum adds up a value of the samples that pass function and match labels.
func sum(p *profile.Profile, value int, function string, labels map[string]string) int64 {
	var n int64
	for _, s := range p.Sample {
		match := function == "" || slices.Contains(frames(s), function)
		for k, v := range labels {
			match = match && slices.Equal(s.Label[k], []string{v})
		}
		if match {
			n += s.Value[value]
		}
	}
	return n
}

func TestKnownAnswers(t *testing.T) {
	needBPF(t)
	for _, build := range []struct {
		name  string
		flags []string
	}{
		{"static", nil},
		{"position independent", []string{"-buildmode=pie"}},
		{"stripped", []string{"-ldflags=-s -w"}},
	} {
		t.Run(build.name, func(t *testing.T) {
			rec := record(t, startKnown(t, build.flags...))
			// Whether an unlock has to wake a thread is up to Go's scheduler: where others
			// keep the CPUs busy, one that is awake may come by every time.
			for try := 0; try < 4 && unlockWakes(t, rec) == 0; try++ {
				rec = record(t, startKnown(t, build.flags...))
			}
			rec.stripped = build.name == "stripped"
			require.True(t, rec.dim.Captured, "%+v", rec.dim)
			for _, p := range rec.dim.Probes {
				assert.True(t, p.Captured, "%+v", p)
				assert.Positive(t, p.Window.Duration())
				assert.NotContains(t, p.Lost, "map_full")
				assert.NotContains(t, p.Lost, "events_missed")
				t.Logf("%s: lost %v, %s", p.Name, p.Lost, p.Reason)
			}
			t.Run("syscalls", func(t *testing.T) { checkSyscalls(t, rec) })
			t.Run("sched", func(t *testing.T) { checkSched(t, rec) })
			t.Run("oncpu", func(t *testing.T) { checkOnCPU(t, rec) })
		})
	}
}

// unlockWakes is how many wake-ups the lock of testdata/known is seen to make.
func unlockWakes(t *testing.T, rec recording) int64 {
	t.Helper()
	return sum(rec.profile(t, bundle.EBPFSyscallsProfile), 0, "main.(*store).get", map[string]string{"syscall": "futex", "op": "wake"})
}

func checkSyscalls(t *testing.T, rec recording) {
	var doc bundle.Syscalls
	rec.json(t, bundle.EBPFSyscalls, &doc)
	calls := map[string]bundle.Syscall{}
	for _, c := range doc.Calls {
		calls[c.Name] = c
		var n int64
		for _, slot := range c.Log2NS {
			n += slot
		}
		assert.Equal(t, c.Count, n, "%s: the histogram must hold every call", c.Name)
	}
	assert.EqualValues(t, 1000, calls["getppid"].Count)
	assert.Empty(t, calls["getppid"].Errors)
	assert.EqualValues(t, 200, calls["openat"].Count)
	assert.Equal(t, map[string]int64{"ENOENT": 200}, calls["openat"].Errors)
	assert.EqualValues(t, 35, calls["epoll_pwait2"].Count)

	// An interrupted wait is made again, so that there may be a few more than asked.
	interrupted := calls["epoll_wait"].Errors["EINTR"]
	assert.EqualValues(t, 300+50+40, calls["epoll_wait"].Count-interrupted)
	assert.EqualValues(t, 300+50+40+35+interrupted, doc.Epoll.ProgramWaits)
	assert.EqualValues(t, 300+40+20, doc.Epoll.ProgramZeroTimeout)
	assert.EqualValues(t, 40+5, doc.Epoll.ProgramReturnedEvents)
	assert.Positive(t, doc.Epoll.ProgramTotalNS)
	assert.Greater(t, doc.Epoll.Waits, doc.Epoll.ProgramWaits, "the runtime polls too")
	assert.GreaterOrEqual(t, doc.Epoll.Empty, int64(300+50+30)-interrupted)

	p := rec.profile(t, bundle.EBPFSyscallsProfile)
	assert.EqualValues(t, 200, sum(p, 0, "main.openNothing", map[string]string{"syscall": "openat"}))
	assert.EqualValues(t, 340, sum(p, 0, "main.pollWithoutBlocking", map[string]string{"syscall": "epoll_wait", "op": "zero"}))
	assert.EqualValues(t, 50+interrupted, sum(p, 0, "main.pollBriefly", map[string]string{"syscall": "epoll_wait", "op": "finite"}))
	assert.EqualValues(t, 20, sum(p, 0, "main.pollByTimespec", map[string]string{"syscall": "epoll_pwait2", "op": "zero"}))
	assert.EqualValues(t, 10, sum(p, 0, "main.pollByTimespec", map[string]string{"syscall": "epoll_pwait2", "op": "finite"}))
	assert.EqualValues(t, 5, sum(p, 0, "main.pollByTimespec", map[string]string{"syscall": "epoll_pwait2", "op": "infinite"}))
	assert.EqualValues(t, calls["futex"].Count, sum(p, 0, "", map[string]string{"syscall": "futex"}))
	assert.EqualValues(t, calls["futex"].TotalNS, sum(p, 1, "", map[string]string{"syscall": "futex"}))
	assert.Positive(t, unlockWakes(t, rec))
	// It also reads what woke it for a timer, now and then.
	assert.EqualValues(t, doc.Epoll.Waits-doc.Epoll.ProgramWaits, sum(p, 0, "runtime.netpoll", map[string]string{"syscall": "epoll_pwait"}))
	if rec.stripped {
		return // inlined calls, and with them the lines, are not told
	}
	assert.Positive(t, sum(p, 0, "sync.(*Mutex).Unlock", map[string]string{"syscall": "futex", "op": "wake"}))
	assert.Equal(t, line(t, "syscall.Open("), callLine(t, p, "main.openNothing"))
	assert.Equal(t, line(t, "// the wake-ups"), callLine(t, p, "main.(*store).get"))
}

func checkSched(t *testing.T, rec recording) {
	var doc bundle.Sched
	rec.json(t, bundle.EBPFSched, &doc)
	window := int64(rec.dim.Probes[1].Window.Duration())
	require.Positive(t, window)
	assert.Positive(t, doc.CPUs)
	assert.LessOrEqual(t, doc.CPUs, runtime.NumCPU()*64)
	assert.Positive(t, doc.TargetOnCPUNS)
	assert.Positive(t, doc.Switches)
	assert.Positive(t, doc.Wakeups)
	assert.Positive(t, doc.Threads)
	// Every nanosecond of every CPU belongs to one of four. The last is what the kernel
	// does not show, where something else runs that it keeps from being looked at.
	assert.InEpsilon(t, int64(doc.CPUs)*window, doc.IdleNS+doc.OtherOnCPUNS+doc.TargetOnCPUNS+doc.UnknownNS, 0.01)
	assert.Less(t, 4*doc.UnknownNS, int64(doc.CPUs)*window)

	off := rec.profile(t, bundle.EBPFOffCPUProfile)
	rest := sum(off, 0, "main.rest", map[string]string{"state": "sleep"})
	assert.GreaterOrEqual(t, rest, int64(299*time.Millisecond), "nanosleep sleeps at least as long as asked")
	var offTotal int64
	for _, ns := range doc.OffCPUNS {
		offTotal += ns
	}
	assert.Equal(t, offTotal, sum(off, 0, "", nil), "the profile and the totals tell the same time")
	queue := rec.profile(t, bundle.EBPFRunQueueProfile)
	assert.Equal(t, doc.RunQueueNS, sum(queue, 0, "", nil))
}

func checkOnCPU(t *testing.T, rec recording) {
	p := rec.profile(t, bundle.EBPFOnCPUProfile)
	require.Len(t, p.SampleType, 2)
	total := sum(p, 0, "", nil)
	burnt := sum(p, 0, "main.burn", nil)
	assert.Positive(t, burnt)
	assert.Greater(t, 2*burnt, total, "burning takes most of the CPU that is used")
	var right int64
	for _, s := range p.Sample {
		if !slices.Contains(frames(s), "main.burn") {
			continue
		}
		if assert.Len(t, s.NumLabel["goid"], 1) && s.NumLabel["goid"][0] == rec.goid {
			right += s.Value[0]
		}
	}
	assert.Equal(t, burnt, right, "every sample of main.burn is goroutine %d's", rec.goid)
}

// line is the line of testdata/known that holds text.
func line(t *testing.T, text string) int64 {
	t.Helper()
	data, err := os.ReadFile("testdata/known/main.go")
	require.NoError(t, err)
	for n, l := range strings.Split(string(data), "\n") {
		if strings.Contains(l, text) {
			return int64(n + 1)
		}
	}
	require.Fail(t, "no such line", text)
	return 0
}

// callLine is the line of function on the first stack that passes it.
func callLine(t *testing.T, p *profile.Profile, function string) int64 {
	t.Helper()
	for _, s := range p.Sample {
		if slices.Contains(s.Label["op"], "wait") {
			continue
		}
		for _, l := range s.Location {
			for _, line := range l.Line {
				if line.Function.Name == function {
					assert.True(t, strings.HasSuffix(line.Function.Filename, "testdata/known/main.go") ||
						strings.HasSuffix(line.Function.Filename, "main.go"), line.Function.Filename)
					return line.Line
				}
			}
		}
	}
	require.Fail(t, "no stack passes", function)
	return 0
}

func TestProfilesOpenInPprof(t *testing.T) {
	needBPF(t)
	rec := record(t, startKnown(t))
	for _, path := range []string{bundle.EBPFSyscallsProfile, bundle.EBPFOnCPUProfile, bundle.EBPFOffCPUProfile, bundle.EBPFRunQueueProfile} {
		cmd := exec.Command("go", "tool", "pprof", "-top", filepath.Join(rec.dir, path))
		cmd.Env = append(os.Environ(), "PPROF_TMPDIR="+t.TempDir())
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", path, out)
		assert.Contains(t, string(out), "flat%", path)
	}
}

// recordOnce records a program of testdata while it does its work: it begins when told,
// says done when that is over, and ends when told again.
func recordOnce(t *testing.T, p testbuild.Program, config Config, done string) recording {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	path := testbuild.Build(t, p).Path
	c := startCrash(t, path, "")
	r := New(config)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	require.NoError(t, r.Prepare(ctx, capture.Subject{PID: c.pid(), Executable: path}))
	require.NoError(t, r.Start(ctx))
	c.tell(t)
	require.Equal(t, done, c.line(t))
	require.NoError(t, r.Stop(ctx))
	c.tell(t)
	c.awaitEnd(t, "exit status 0")
	rec := recording{dir: filepath.Join(t.TempDir(), "bundle")}
	w, err := bundle.Create(rec.dir, bundle.Manifest{})
	require.NoError(t, err)
	rec.dim, err = r.Write(ctx, w)
	require.NoError(t, err)
	return rec
}
