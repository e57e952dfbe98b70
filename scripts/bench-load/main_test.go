package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/load"
)

// The test binary is the server and the generator too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{serveMode, attackMode, load.WorkerCommand}, os.Args[1]) {
		main()
		return
	}
	os.Exit(m.Run())
}

func newRunner(t *testing.T) *runner {
	self, err := os.Executable()
	require.NoError(t, err)
	return &runner{self: self, connections: 20, length: time.Second, quiet: 1}
}

func TestRunCountsTheSameAsTheTool(t *testing.T) {
	if testing.Short() {
		t.Skip("puts a server under load")
	}
	for _, c := range contenders() {
		if c.command != "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			r := newRunner(t)
			f, err := r.run(t.Context(), c, r.self)
			require.NoError(t, err)
			require.Empty(t, f.Fault)
			assert.Positive(t, f.Requests)
			// The end cuts requests off whose answers may be on their way: one a connection.
			assert.InDelta(t, f.Answered, f.ToolRequests, float64(r.connections))
			assert.Equal(t, f.ToolRequests, f.Requests)
			assert.Positive(t, f.Connections)
			assert.Zero(t, f.Errors)
			assert.Positive(t, f.CPUSecondsPerMillion)
			assert.Positive(t, f.PeakMiB)
			assert.Positive(t, f.P99MS)
		})
	}
}

// A tool that fails costs its own run and says why.
func TestRunOfAToolThatFails(t *testing.T) {
	sh, err := exec.LookPath("sh")
	require.NoError(t, err)
	for _, test := range []struct{ name, script, want string }{
		{"exits", "echo no such flag >&2; exit 3", "no such flag"},
		{"says nothing", "exit 0", "its output has no"},
		{"does nothing", "echo ' 5 requests in 1s'; echo ' 99% 1ms'", "the server answered no request"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := contender{name: "sick", parse: parseWrk, invoke: func(job) invocation {
				return invocation{args: []string{"-c", test.script}}
			}}
			f, err := newRunner(t).run(t.Context(), c, sh)
			require.NoError(t, err)
			assert.Contains(t, f.Fault, test.want)
		})
	}
}

// Ctrl-C ends what a tool has started, too.
func TestNothingIsLeftWhenInterrupted(t *testing.T) {
	sh, err := exec.LookPath("sh")
	require.NoError(t, err)
	pidFile := filepath.Join(t.TempDir(), "pid")
	c := contender{name: "slow", parse: parseWrk, invoke: func(job) invocation {
		return invocation{args: []string{"-c", "sleep 600 & echo $! > " + pidFile + "; wait"}}
	}}
	ctx, interrupt := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	ended := make(chan error, 1)
	go func() {
		_, err := newRunner(t).run(ctx, c, sh)
		ended <- err
	}()
	var pid int
	require.Eventually(t, func() bool {
		raw, _ := os.ReadFile(pidFile)
		pid, err = strconv.Atoi(strings.TrimSpace(string(raw)))
		return err == nil
	}, 20*time.Second, 10*time.Millisecond)
	interrupt(interrupted)
	select {
	case err := <-ended:
		require.ErrorIs(t, err, interrupted)
	case <-time.After(20 * time.Second):
		t.Fatal("the run goes on")
	}
	assert.Eventually(t, func() bool {
		// A zombie that nobody has waited for yet has no command line.
		line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		return len(line) == 0 || errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH)
	}, 20*time.Second, 10*time.Millisecond, "the child %d of the tool is left", pid)
}

func TestOptionsRefuses(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"-connections", "0"}, "-connections is 0"},
		{[]string{"-rounds", "0"}, "-rounds is 0"},
		{[]string{"-quiet", "101"}, "-quiet is 101"},
		{[]string{"-for", "10ms"}, "-for is 10ms"},
		{[]string{"wrk"}, `unexpected argument "wrk"`},
	} {
		_, err := parseOptions(test.args, &bytes.Buffer{})
		require.ErrorContains(t, err, test.want)
	}
	err := compare(t.Context(), []string{"-only", "nobody"}, &bytes.Buffer{}, &bytes.Buffer{})
	require.ErrorContains(t, err, `-only "nobody" fits no generator`)
	err = compare(t.Context(), []string{"-connections", "1000000000"}, &bytes.Buffer{}, &bytes.Buffer{})
	require.ErrorContains(t, err, "hard limit")
}

func TestPick(t *testing.T) {
	var names []string
	for _, c := range pick(contenders(), "wrk, hey") {
		names = append(names, c.name)
	}
	assert.Equal(t, []string{"wrk", "hey"}, names)
	assert.Len(t, pick(contenders(), ""), len(contenders()))
}

func TestFindSaysHowToGetWhatIsMissing(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "there"), []byte("#!/bin/sh\n"), 0o700))
	here, missing := find([]contender{
		{name: "own"},
		{name: "one", command: "there"},
		{name: "two", command: "not-there-2b7", module: "example.org/two", version: "v1.0.0"},
		{name: "three", command: "not-there-2b7", hint: "apt-get install three"},
	}, []string{folder}, "/self")
	require.Len(t, here, 2)
	assert.Equal(t, "/self", here[0].path)
	assert.Equal(t, filepath.Join(folder, "there"), here[1].path)
	assert.Equal(t, []absent{{"two", "go install example.org/two@v1.0.0"}, {"three", "apt-get install three"}}, missing)
}

func TestMarkdown(t *testing.T) {
	good := func(cpu float64) figures {
		return figures{CPUSecondsPerMillion: cpu, SteadyPerMillion: cpu / 2, PeakMiB: 50, RequestsPerSecond: 30000, Connections: 10000,
			Made: 10001, Requests: 239000, Answered: 240000, ToolRequests: 239000, P99MS: 400, OthersShare: 0.05}
	}
	disturbed := good(90)
	disturbed.Disturbed = true
	rep := report{Connections: 10000, LengthNS: int64(8 * time.Second), Rounds: 2, CPUs: 2,
		Results: []result{
			{Name: "quick", Runs: []figures{good(18), disturbed, good(20)}},
			{Name: "half", Runs: []figures{good(30), {Round: 2, Fault: "it broke\nbadly"}}},
			{Name: "noisy", Runs: []figures{disturbed, disturbed}},
			{Name: "sick", Runs: []figures{{Round: 1, Fault: "no"}, {Round: 2, Fault: "no"}}},
		},
		Absent: []absent{{"hey", "go install hey"}},
	}
	var out bytes.Buffer
	require.NoError(t, rep.writeMarkdown(&out))
	for _, line := range []string{
		"| quick | 19.0 (18.5–19.5) | 9.5 (9.2–9.8) | 50 (50–50) | 30,000 (30,000–30,000) | 10,000 (10,001) | 240,000 / 239,000 | 400 (400–400) | 0 |",
		"| half | 30.0 | 15.0 | 50 | 30,000 | 10,000 (10,001) | 240,000 / 239,000 | 400 | 0 |",
		"| sick | failed |",
		"| noisy | 90.0 (90.0–90.0) |",
		"- quick: other processes disturbed 1 of its 3 runs, which are left out.",
		"- noisy: other processes disturbed each of its 2 runs; its figures are too high.",
		"- half failed in round 2: it broke badly",
		"- hey is not installed; to get it: go install hey",
		"used 5 (5–5) % of the CPUs",
	} {
		assert.Contains(t, out.String(), line)
	}
	var raw bytes.Buffer
	require.NoError(t, rep.writeJSON(&raw), "no NaN may come in")
}

func TestInterruptionLeavesWhatWasFound(t *testing.T) {
	r := newRunner(t)
	ctx, interrupt := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	quick := contender{name: "quick", invoke: func(job) invocation {
		return invocation{args: []string{"-c", "exit 3"}}
	}}
	stop := contender{name: "stop", invoke: func(job) invocation {
		interrupt(interrupted)
		return invocation{args: []string{"-c", "exit 0"}}
	}}
	sh, err := exec.LookPath("sh")
	require.NoError(t, err)
	rep := report{Rounds: 3, Results: []result{{Name: "quick"}, {Name: "stop"}}}
	err = r.rounds(ctx, []found{{quick, sh}, {stop, sh}}, &rep, &bytes.Buffer{})
	require.ErrorIs(t, err, interrupted)
	assert.Len(t, rep.Results[0].Runs, 1)
	assert.Empty(t, rep.Results[1].Runs)
	var out bytes.Buffer
	require.NoError(t, rep.writeMarkdown(&out))
	assert.Contains(t, out.String(), "| quick | failed")
	assert.NotContains(t, out.String(), "stop")
}
