package ebpf

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	target "chokepoint/harness/binary"
	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
)

// declared is the custom probes that the test of known answers has.
func declared() []CustomProbe {
	return []CustomProbe{
		{Name: "step", Function: "main.step", Argument: "n", Keep: Comparison{">", 100}, Stacks: true},
		{Name: "step-all", Function: "main.step", Argument: "n"},
		{Name: "narrow", Function: "main.narrow", Argument: "x", Keep: Comparison{"<", 0}},
		{Name: "narrow-length", Function: "main.narrow", Argument: "len(p)", Keep: Comparison{">=", 64}},
		{Name: "down", Function: "main.down", Time: true, Stacks: true},
		{Name: "throws", Function: "main.throws", Time: true},
		{Name: "nap", Function: "main.nap", Time: true, SlowerThan: time.Millisecond, Argument: "d", Stacks: true},
		{Name: "pick", Function: "main.pick", Time: true},
		{Name: "generic", Function: "main.generic[...]"},
		{Name: "inlined", Function: "main.inlined"},
		{Name: "misspelt", Function: "main.stepp"},
		{Name: "no-number", Function: "main.narrow", Argument: "p"},
		{Name: "parents", Tracepoint: "raw_syscalls/sys_enter", Argument: "id", Keep: Comparison{"==", 110}, Stacks: true},
		{Name: "no-tracepoint", Tracepoint: "raw_syscalls/sys_entre"},
		{Name: "no-field", Tracepoint: "raw_syscalls/sys_enter", Argument: "args"},
	}
}

// watched is what a bundle holds after runtimeknown did its work.
type watched struct {
	recording
	collections int64 // that it counted
	threads     int64 // that it has more than before
}

func watch(t *testing.T, cgo bool, flags ...string) watched {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "runtimeknown")
	build := exec.Command("go", append(append([]string{"build", "-o", bin}, flags...), "./testdata/runtimeknown")...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if cgo {
		if _, err := exec.LookPath("gcc"); err != nil {
			t.Skip("no gcc: cannot build a program with C in it")
		}
		build.Args = append(build.Args[:len(build.Args)-1], "-tags=withc", "./testdata/runtimeknown")
		build.Env = append(os.Environ(), "CGO_ENABLED=1")
	}
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	k := startProgram(t, bin)

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r := New(Config{Probes: []string{GoRuntime, Custom}, Custom: declared()})
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	require.NoError(t, r.Prepare(ctx, capture.Subject{PID: k.cmd.Process.Pid, Executable: k.cmd.Path}))
	tasks := func() int64 {
		all, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", k.cmd.Process.Pid))
		require.NoError(t, err)
		return int64(len(all))
	}
	before := tasks()
	require.NoError(t, r.Start(ctx))
	k.tell(t)
	var w watched
	_, err = fmt.Sscan(k.line(t), &w.collections, &w.goid)
	require.NoError(t, err)
	require.NoError(t, r.Stop(ctx))
	w.threads = tasks() - before
	k.end(t) // the artifacts must not need it any more

	w.dir = filepath.Join(t.TempDir(), "bundle")
	to, err := bundle.Create(w.dir, bundle.Manifest{})
	require.NoError(t, err)
	w.dim, err = r.Write(ctx, to)
	require.NoError(t, err)
	return w
}

func TestKnownRuntime(t *testing.T) {
	needBPF(t)
	for _, build := range []struct {
		name             string
		cgo              bool
		flags            []string
		stripped, noGoID bool
	}{
		{name: "static"},
		{name: "position independent", flags: []string{"-buildmode=pie"}},
		{name: "cgo", cgo: true},
		{name: "stripped", flags: []string{"-ldflags=-s -w"}, stripped: true},
		{name: "stripped position independent", flags: []string{"-buildmode=pie", "-ldflags=-s -w"}, stripped: true},
	} {
		t.Run(build.name, func(t *testing.T) {
			w := watch(t, build.cgo, build.flags...)
			w.stripped = build.stripped
			require.True(t, w.dim.Captured, "%+v", w.dim)
			for _, p := range w.dim.Probes {
				assert.True(t, p.Captured, "%+v", p)
				delete(p.Lost, "stacks_not_walked") // another was being walked there; its calls stay
				assert.Empty(t, p.Lost)
				t.Logf("%s: lost %v, %s", p.Name, p.Lost, p.Reason)
			}
			t.Run("goruntime", func(t *testing.T) { checkGoRuntime(t, w) })
			t.Run("custom", func(t *testing.T) { checkCustom(t, w) })
		})
	}
}

func checkGoRuntime(t *testing.T, w watched) {
	var doc bundle.GoRuntime
	w.json(t, bundle.EBPFGoRuntime, &doc)
	assert.Empty(t, doc.Missing)
	assert.EqualValues(t, w.collections, doc.Counts["collections_started"])
	assert.EqualValues(t, 30, doc.Counts["finalizers_queued"])
	assert.EqualValues(t, 20, doc.Counts["cleanups_queued"])
	assert.EqualValues(t, 100, doc.Counts["pool_get_slow"])
	assert.EqualValues(t, 100, doc.Counts["pool_misses"])
	assert.Positive(t, doc.Counts["pool_pin_slow"])
	assert.EqualValues(t, w.threads, doc.Counts["threads_started"])
	assert.Positive(t, doc.Counts["threads_started"])
	assert.EqualValues(t, 50, doc.Counts["mutex_lock_slow"])
	require.NotNil(t, doc.LockSlow)
	assert.EqualValues(t, 50, doc.LockSlow.Count)

	reasons := map[string]bundle.GoPark{}
	var parks, delays int64
	for _, p := range doc.Parks {
		reasons[p.Reason] = p
		parks += p.Parks
		delays += p.Delay.Count
		var n int64
		for _, slot := range p.Delay.Log2NS {
			n += slot
		}
		assert.Equal(t, p.Delay.Count, n, "%s: the histogram must hold every delay", p.Reason)
	}
	stacks := w.profile(t, bundle.EBPFGoParkProfile)
	scavenger := sum(stacks, 0, "runtime.bgscavenge", map[string]string{"reason": "sleep"})
	assert.EqualValues(t, 100+30, reasons["sleep"].Parks-scavenger)
	assert.GreaterOrEqual(t, reasons["sleep"].ParkedNS, int64(100*time.Millisecond), "a sleep lasts at least as long as asked")
	assert.GreaterOrEqual(t, reasons["chan receive"].Parks, int64(200), "the runtime has channels too")
	assert.EqualValues(t, 50, reasons["sync.Mutex.Lock"].Parks)
	assert.Equal(t, parks, doc.Counts["goroutines_parked"])
	require.NotNil(t, doc.Delay)
	assert.Equal(t, delays, doc.Delay.Count)
	assert.GreaterOrEqual(t, doc.Delay.Count, int64(350))
	assert.GreaterOrEqual(t, doc.Counts["goroutines_ready"], int64(350))
	assert.GreaterOrEqual(t, doc.Counts["goroutines_run"], doc.Counts["goroutines_ready"])

	assert.EqualValues(t, 200, sum(stacks, 0, "main.receiver", map[string]string{"reason": "chan receive"}))
	assert.EqualValues(t, 100, sum(stacks, 0, "main.sleeper", map[string]string{"reason": "sleep"}))
	assert.EqualValues(t, 50, sum(stacks, 0, "main.locker", map[string]string{"reason": "sync.Mutex.Lock"}))
	var parked, delay int64
	for _, r := range doc.Parks {
		parked += r.ParkedNS
		delay += r.Delay.TotalNS
	}
	assert.Equal(t, parked, sum(stacks, 2, "", nil), "the profile and the totals tell the same time")
	assert.Equal(t, delay, sum(stacks, 1, "", nil))
	sleeping := map[int64]int64{}
	for _, s := range stacks.Sample {
		if slices.Contains(frames(s), "main.sleeper") {
			sleeping[s.NumLabel["goid"][0]] += s.Value[0]
		}
	}
	assert.Len(t, sleeping, 4, "one entry for each goroutine that slept")
	for goid, n := range sleeping {
		assert.EqualValues(t, 25, n, "goroutine %d", goid)
	}
	locks := w.profile(t, bundle.EBPFLockSlowProfile)
	assert.EqualValues(t, 50, sum(locks, 0, "main.locker", nil))
	assert.Equal(t, doc.LockSlow.TotalNS, sum(locks, 1, "", nil))
	// The leaf and its callers, none left out.
	want := []string{"internal/sync.(*Mutex).lockSlow", "internal/sync.(*Mutex).Lock", "sync.(*Mutex).Lock", "main.locker", "main.contend.func1"}
	if w.stripped { // inlined calls are not told
		want = slices.Delete(want, 1, 3)
	}
	require.NotEmpty(t, locks.Sample)
	for _, s := range locks.Sample {
		assert.Equal(t, want, frames(s)[:len(want)])
	}
}

func checkCustom(t *testing.T, w watched) {
	var doc bundle.Custom
	w.json(t, bundle.EBPFCustom, &doc)
	require.Len(t, doc.Probes, len(declared()))
	probes := map[string]bundle.CustomProbe{}
	for _, p := range doc.Probes {
		probes[p.Name] = p
		if p.Timed != nil {
			assert.Equal(t, p.Counts.Calls, p.Timed.Ended+p.Timed.Unended+p.Timed.Unwound+p.Timed.Untimed, p.Name)
		}
	}
	missing := map[string]string{
		"misspelt":      `did you mean "main.step"?`,
		"no-tracepoint": `did you mean "raw_syscalls/sys_enter"?`,
		"no-field":      "it is a list",
		"inlined":       "inlined every call",
		"no-number":     "len(p) and cap(p) are numbers",
	}
	if w.stripped {
		missing["inlined"] = "no such function" // that it was one is not told any more
		for _, name := range []string{"step", "step-all", "narrow", "narrow-length", "nap", "no-number"} {
			missing[name] = "it has no DWARF"
		}
	}
	for _, p := range doc.Probes {
		if want, ok := missing[p.Name]; ok {
			assert.Contains(t, p.Missing, want, p.Name)
			assert.Nil(t, p.Counts, "%s: what is missing is not zero", p.Name)
			continue
		}
		assert.Empty(t, p.Missing, p.Name)
	}

	down := probes["down"]
	assert.EqualValues(t, 4*301, down.Counts.Calls)
	assert.EqualValues(t, 4*301, down.Timed.Ended, "each level of a recursion ends, whatever thread and stack it is on")
	require.Len(t, down.Goroutines, 4)
	for _, g := range down.Goroutines {
		assert.EqualValues(t, 301, g.Calls)
	}
	levels := w.profile(t, down.Profile) // each its own stack
	assert.EqualValues(t, 4*301, kept(levels, "main.down"))

	throws := probes["throws"]
	assert.EqualValues(t, 21, throws.Counts.Calls)
	assert.EqualValues(t, 1, throws.Timed.Ended)
	assert.EqualValues(t, 19, throws.Timed.Unwound)
	assert.EqualValues(t, 1, throws.Timed.Unended)
	assert.EqualValues(t, 60, probes["pick"].Timed.Ended)
	assert.EqualValues(t, 120, probes["generic"].Counts.Calls)

	parents := probes["parents"]
	assert.EqualValues(t, 300, parents.Counts.Calls)
	assert.EqualValues(t, 300, kept(w.profile(t, parents.Profile), "main.main"))
	require.NotEmpty(t, parents.Goroutines)
	assert.Equal(t, bundle.CustomGoroutine{ID: w.goid, Calls: 300}, parents.Goroutines[0])
	if w.stripped {
		return
	}

	step := probes["step"]
	assert.Equal(t, bundle.CustomCounts{Calls: 399, LeftOut: 601}, *step.Counts) // 101 to 499
	assert.EqualValues(t, (101+499)*399/2, step.Number.Sum)
	assert.EqualValues(t, 399, kept(w.profile(t, step.Profile), "main.main"))
	all := probes["step-all"]
	assert.EqualValues(t, 1000, all.Counts.Calls)
	assert.EqualValues(t, -500, all.Number.Sum)
	assert.EqualValues(t, 500, all.Number.Negative)
	assert.Equal(t, []int64{2, 2, 4, 8, 16, 32, 64, 128, 244}, all.Number.Log2)
	assert.Equal(t, bundle.CustomCounts{Calls: 50, LeftOut: 50}, *probes["narrow"].Counts)
	assert.EqualValues(t, -50*51/2, probes["narrow"].Number.Sum)
	assert.Equal(t, bundle.CustomCounts{Calls: 36, LeftOut: 64}, *probes["narrow-length"].Counts)
	nap := probes["nap"]
	assert.EqualValues(t, 60, nap.Timed.Ended)
	assert.LessOrEqual(t, nap.Timed.Quick, int64(30), "the naps of a millisecond are slower than one")
	assert.EqualValues(t, 60-nap.Timed.Quick, kept(w.profile(t, nap.Profile), "main.main"), "of a call that ends the caller is on the stack")
	assert.EqualValues(t, 60-nap.Timed.Quick, kept(w.profile(t, nap.Profile), "main.nap"))
	assert.EqualValues(t, 30*time.Millisecond, nap.Number.Sum)
}

// kept is the calls below function, those whose stack lost its place included.
func kept(p *profile.Profile, function string) int64 {
	return sum(p, 0, function, nil) + sum(p, 0, frameLost, nil)
}

// startProgram starts a program that prints "ready" and waits for a line.
func startProgram(t *testing.T, bin string) *known {
	t.Helper()
	k := &known{cmd: exec.Command(bin)}
	k.start(t)
	t.Cleanup(func() { k.end(t) })
	return k
}

// start starts the program and waits until it is ready.
func (k *known) start(t testing.TB) {
	t.Helper()
	var err error
	k.in, err = k.cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := k.cmd.StdoutPipe()
	require.NoError(t, err)
	k.out = bufio.NewReader(stdout)
	require.NoError(t, k.cmd.Start())
	require.Equal(t, "ready", k.line(t))
}

// What stands in the process is compared before a probe is put on it.
func TestVerifyRefusesOtherCode(t *testing.T) {
	if _, err := os.Open("/proc/self/mem"); err != nil {
		t.Skipf("own memory cannot be read: %v", err)
	}
	img, err := openImage(os.Getpid(), "")
	require.NoError(t, err)
	defer func() { assert.NoError(t, img.Close()) }()
	require.NotNil(t, img.file, img.problem)
	probes, err := img.file.Probes("runtime.gopark")
	require.NoError(t, err)
	at := probes[0].Start
	require.NoError(t, img.verify(at))
	at.Bytes = []byte{0x90}
	err = img.verify(at)
	require.ErrorIs(t, err, target.ErrUnsafe)
	assert.ErrorContains(t, err, "where its file has 90")
	at.Addr = 1
	assert.Error(t, img.verify(at))
}
