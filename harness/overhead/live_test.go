package overhead

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"chokepoint/harness/capture/ebpf"
	"chokepoint/harness/run"
	"chokepoint/harness/scenario"
)

// hello is a measurement of the healthy server, small.
func hello(t *testing.T, modes ...string) Config {
	t.Helper()
	const file = "../../scenarios/overhead/hello.yaml"
	s, err := scenario.Load(file)
	require.NoError(t, err)
	dir, err := scenario.ModuleDir(file)
	require.NoError(t, err)
	r, err := s.Resolve(scenario.Overrides{InFlight: 20})
	require.NoError(t, err)
	picked, err := Select(Modes(r.Scenario, true), modes)
	require.NoError(t, err)
	return Config{
		Setup: run.Setup{Scenario: r, Dir: dir}, Modes: picked, Rounds: 1, Times: 1, Window: 500 * time.Millisecond, Seed: 1, MostOthers: 1,
	}
}

// What a round leaves is looked at, never how long anything took.
func TestRoundLive(t *testing.T) {
	if testing.Short() {
		t.Skip("it holds a server under load")
	}
	modes := []string{Control, Trace}
	for _, c := range ebpf.Check(t.Context()) {
		if c.OK && c.Probe == ebpf.Syscalls {
			modes = append(modes, Floor, ebpf.Syscalls)
		}
	}
	c := hello(t, modes...)
	c.Pin = true
	var seen []Status
	c.Observe = func(s Status) { seen = append(seen, s) }
	before, err := unixAffinity()
	require.NoError(t, err)
	found, err := Run(t.Context(), c)
	require.NoError(t, err)
	after, err := unixAffinity()
	require.NoError(t, err)
	assert.Equal(t, before, after, "this process may use the CPUs that it could before")

	assert.Len(t, found.Windows, 2*len(modes)+1)
	assert.Empty(t, found.Interrupted)
	assert.Empty(t, found.Notes)
	for _, w := range found.Windows {
		assert.Empty(t, w.LeftOut, "%+v", w)
		assert.Positive(t, w.Requests, w.Mode)
		assert.Zero(t, w.Failed, w.Mode)
		assert.Positive(t, w.TargetNSPerRequest, w.Mode)
		assert.Positive(t, w.P99NS, w.Mode)
		assert.GreaterOrEqual(t, w.LengthNS, c.Window.Nanoseconds(), w.Mode)
		if w.Mode == Floor {
			assert.Equal(t, "nothing, on every system call", w.Recorded)
		}
		if w.Mode == ebpf.Syscalls {
			assert.Contains(t, w.Recorded, "system calls")
			assert.NotEqual(t, "0 system calls", w.Recorded)
		}
	}
	for _, m := range found.Modes {
		assert.Empty(t, m.Missing, m.Mode)
		if m.Mode != Off {
			require.NotNil(t, m.CPU, m.Mode)
			assert.Equal(t, 1, m.CPU.N)
		}
	}
	assert.True(t, found.Told())
	assert.Equal(t, 1, seen[len(seen)-1].Rounds)
	assert.Equal(t, len(found.Windows), seen[len(seen)-1].Window)
}

// An end before its time leaves what was found, and nothing running.
func TestInterruptedLive(t *testing.T) {
	if testing.Short() {
		t.Skip("it holds a server under load")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("interrupted")
	c := hello(t, Control)
	c.Rounds = 100
	c.Observe = func(s Status) {
		if s.Window == 3 {
			cancel(stop)
		}
	}
	found, err := Run(ctx, c)
	assert.ErrorIs(t, err, stop)
	assert.Equal(t, "interrupted", found.Interrupted)
	assert.Len(t, found.Windows, 2)
	require.Len(t, found.Modes, 2)
	assert.Equal(t, 1, found.Modes[0].Windows)
	assert.NotNil(t, found.Modes[1].CPU, "the window before it is enough to compare with")
}

func TestWhatCannotBeMeasured(t *testing.T) {
	c := hello(t, Control)
	c.Setup.Scenario.Scenario.Target.URL = "http://127.0.0.1:1"
	_, err := Run(t.Context(), c)
	assert.ErrorIs(t, err, ErrConfig)
	assert.ErrorContains(t, err, "give a package, a command or a pid")

	c = hello(t, Control)
	c.Pin = true
	c.Setup.Scenario.Scenario.Target.CPUs = "0"
	_, err = Run(t.Context(), c)
	assert.ErrorIs(t, err, ErrConfig)

	c = hello(t, Pprof, All)
	c.Setup.Scenario.Scenario.Target.Debug = ""
	m := &measurement{Config: c, missing: map[string]string{}}
	m.lookForMissing(t.Context())
	assert.Contains(t, m.missing[Pprof], "give target.debug")
	assert.Contains(t, m.missing[All], "give target.debug")
}

// An outside tool is waited for, measured while it is there, and gone afterwards.
func TestToolLive(t *testing.T) {
	victim := exec.Command("sleep", "60")
	require.NoError(t, victim.Start())
	defer func() { _ = victim.Process.Kill(); _ = victim.Wait() }()

	quick := &tool{name: "quick", program: "sh", ready: "attached", args: func(pid int) []string {
		return []string{"-c", "echo attached to " + strconv.Itoa(pid) + "; exec sleep 60"}
	}}
	r, err := quick.start(t.Context(), victim.Process.Pid)
	require.NoError(t, err)
	assert.NoError(t, r.alive())
	assert.NoError(t, r.stop())
	assert.ErrorIs(t, unix.Kill(r.cmd.Process.Pid, 0), unix.ESRCH)
	assert.ErrorContains(t, r.alive(), "ended before its window did")

	failing := &tool{name: "failing", program: "sh", ready: "attached", args: func(int) []string {
		return []string{"-c", "echo not permitted >&2; exit 3"}
	}}
	_, err = failing.start(t.Context(), victim.Process.Pid)
	assert.ErrorContains(t, err, "exit status 3; it said: not permitted")

	assert.Equal(t, "no-such-tool is not installed", (&tool{program: "no-such-tool"}).missing())
	assert.Empty(t, (&tool{program: "sh"}).missing())
}

func unixAffinity() (unix.CPUSet, error) {
	var set unix.CPUSet
	err := unix.SchedGetaffinity(os.Getpid(), &set)
	return set, err
}
