package worker

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"chokepoint/harness/load/attack"
	"chokepoint/harness/load/client"
	"chokepoint/harness/load/request"
	"chokepoint/harness/load/schedule"
)

// workerEnv makes the test program a worker, which is how these tests start one.
const workerEnv = "CHOKEPOINT_WORKER_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" {
		if Serve(context.Background(), os.Stdin, os.Stdout) != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// plan is one for a target that is never asked: nothing begins.
func plan() attack.Plan {
	return attack.Plan{
		Workers: 1, Stages: []schedule.Stage{{Level: 2, Captured: true}},
		Request: request.Plan{Templates: []request.Template{{Path: "/"}}},
		Client:  client.Plan{BaseURL: "http://127.0.0.1:1", MaxInFlight: 2},
	}
}

// TestWorkersThatAreNone has other programs in place of a worker. Each must be
// told with what it said, and none may be waited for any longer than it lives.
func TestWorkersThatAreNone(t *testing.T) {
	long := plan()
	long.Request.Templates[0].Body = strings.Repeat("x", 1<<20) // more than a pipe holds
	tests := map[string]struct {
		script string // of a shell
		plan   attack.Plan
		within time.Duration // how long it is waited for
		is     error
		says   []string
		not    string
	}{
		"exits at once": {
			script: `echo 'Error: unknown command "load-worker"' >&2; echo "run with --help" >&2; exit 3`, plan: plan(), is: ErrDied,
			says: []string{"exit status 3", `it said: Error: unknown command "load-worker" / run with --help`},
		},
		"exits at once, with a plan that is long": {
			script: `echo broken >&2; exit 4`, plan: long, is: ErrDied, says: []string{"exit status 4", "it said: broken"}, not: "broken pipe",
		},
		"ends without a word": {script: `exit 0`, plan: plan(), is: ErrDied, says: []string{"exit status 0"}},
		"panics": {
			script: `printf 'panic: out of luck\n\ngoroutine 1 [running]:\nmain.main()\n' >&2; exit 2`, plan: plan(), is: ErrDied,
			says: []string{"it said: panic: out of luck"}, not: "goroutine 1",
		},
		"is killed": {script: `kill -9 $$`, plan: plan(), is: ErrDied, says: []string{"signal: killed"}},
		"dies in the middle of a frame": {
			script: `printf '\001\000\000\000\377{'; exit 5`, plan: plan(), is: ErrDied, says: []string{"exit status 5"}, not: "EOF",
		},
		"speaks otherwise, and stays": {
			script: `echo usage: something; echo never mind >&2; sleep 600`, plan: plan(),
			says: []string{"load worker 0 (/bin/sh) does not speak as one", "not that of a load worker"},
		},
		"never answers": {
			script: `echo thinking >&2; sleep 600`, plan: plan(), within: 300 * time.Millisecond, is: context.DeadlineExceeded,
			says: []string{"start load worker 0 (/bin/sh)", "it said: thinking"},
		},
		"never reads a plan that is long": {
			script: `sleep 600`, plan: long, within: 300 * time.Millisecond, is: context.DeadlineExceeded, says: []string{"start load worker 0"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			if tc.within > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tc.within)
				defer cancel()
			}
			begun := time.Now()
			_, _, err := Start(ctx, []string{"/bin/sh", "-c", tc.script}, Limits{}, tc.plan, io.Discard)
			require.Error(t, err)
			// Bounded far below the time that a worker is given to answer.
			assert.Less(t, time.Since(begun), answerTime-5*time.Second)
			if tc.is != nil {
				assert.ErrorIs(t, err, tc.is)
			}
			for _, words := range tc.says {
				assert.ErrorContains(t, err, words)
			}
			if tc.not != "" {
				assert.NotContains(t, err.Error(), tc.not)
			}
		})
	}
}

func TestWorkerThatIsNotThere(t *testing.T) {
	_, _, err := Start(t.Context(), []string{"/nowhere/chokepoint"}, Limits{}, plan(), io.Discard)
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, "start load worker 0")
}

func startSelf(t *testing.T, limits Limits, p attack.Plan) (*Process, Ready, error) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	return Start(t.Context(), []string{"/usr/bin/env", workerEnv + "=1", self}, limits, p, io.Discard)
}

func TestLimitsAreTheWorkers(t *testing.T) {
	p, ready, err := startSelf(t, Limits{GOMAXPROCS: 1, CPUs: []int{0}, MemoryBytes: 64 << 20}, plan())
	require.NoError(t, err)
	defer p.Kill()
	assert.Equal(t, 1, ready.GOMAXPROCS)
	env, err := os.ReadFile("/proc/" + pid(p) + "/environ")
	require.NoError(t, err)
	for _, set := range []string{"GOMAXPROCS=1", "GOGC=400", "GOMEMLIMIT=67108864"} {
		assert.Contains(t, string(env), set+"\x00")
	}
	var cpus unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(p.PID(), &cpus))
	assert.Equal(t, 1, cpus.Count())
	assert.True(t, cpus.IsSet(0))
	assert.NotEqual(t, os.Getpid(), p.PID(), "it is a process of its own")
}

// TestLimitThatIsTooLow: which limit, what it is, and each way out.
func TestLimitThatIsTooLow(t *testing.T) {
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	if limit.Max > 900_000 {
		t.Skipf("%d files may be open here, which is enough for any plan", limit.Max)
	}
	p := plan()
	p.Client.Connections = 1_000_000
	p.Client.From = loopback(60)
	_, _, err := startSelf(t, Limits{}, p)
	require.Error(t, err)
	for _, words := range []string{"1000000 connections need 1000128 open files", "hard limit", "load.workers", "ulimit -n"} {
		assert.ErrorContains(t, err, words)
	}
}

// TestWorkerEndsWithTheHarness: a worker whose standard input ends goes, however
// the harness went.
func TestWorkerEndsWithTheHarness(t *testing.T) {
	p, _, err := startSelf(t, Limits{}, plan())
	require.NoError(t, err)
	require.NoError(t, p.Begin(0))
	require.NoError(t, p.stdin.Close())
	select {
	case <-p.Ended():
	case <-time.After(10 * time.Second):
		p.Kill()
		t.Fatal("it lives on")
	}
	assert.True(t, errors.Is(p.Err(), ErrDied), "%v", p.Err())
}

// TestStuckWorkerIsNotWaitedFor: one that does nothing any more, not even end.
func TestStuckWorkerIsNotWaitedFor(t *testing.T) {
	p, _, err := startSelf(t, Limits{}, plan())
	require.NoError(t, err)
	defer p.Kill()
	require.NoError(t, unix.Kill(p.PID(), unix.SIGSTOP))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = p.Stop(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	p.Kill()
	assert.ErrorIs(t, unix.Kill(p.PID(), 0), unix.ESRCH)
}

func pid(p *Process) string { return strconv.Itoa(p.PID()) }

// loopback are n addresses to send from.
func loopback(n int) []netip.Addr {
	out := make([]netip.Addr, n)
	at := netip.MustParseAddr("127.0.0.1")
	for i := range out {
		out[i], at = at, at.Next()
	}
	return out
}
