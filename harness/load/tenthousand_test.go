package load

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"chokepoint/harness/clock"
)

// tenThousandEnv allows the test at full size, which takes both cores and about
// 1 GiB of memory for 15 seconds.
const tenThousandEnv = "CHOKEPOINT_LOAD_10K"

func TestTenThousand(t *testing.T) {
	if os.Getenv(tenThousandEnv) != "1" {
		t.Skipf("full size; set %s=1 to run it", tenThousandEnv)
	}
	base, server := startServer(t, 2*time.Second)
	g := start(t, Config{
		BaseURL: base, InFlight: 10_000, Ramp: 5 * time.Second,
		Requests: []Request{{Path: "/session?id={seq}", Check: Check{Token: true}}},
	})
	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, g.WaitReached(ctx))
	t.Logf("reached after %s: %+v", time.Since(begun).Round(time.Millisecond), g.Status())

	// The share of looks that find fewer than 9,990, beside the exact extremes.
	g.BeginWindow(clock.MonoNS())
	looks, fewer := 0, 0
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		looks++
		if g.Status().InFlight < 9_990 {
			fewer++
		}
	}
	g.EndWindow(clock.MonoNS())
	serverCPU := cpuOf(t, server)

	begun = time.Now()
	stop(t, g)
	sum := g.Summary()
	var self unix.Rusage
	require.NoError(t, unix.Getrusage(unix.RUSAGE_SELF, &self))
	t.Logf("stopped in %s", time.Since(begun).Round(time.Millisecond))
	t.Logf("in flight: %+v; %d of %d looks found fewer than 9,990", sum.Reached, fewer, looks)
	t.Logf("ended %d, ok %d, errors %v, checks %+v", sum.Requests.Ended, sum.Requests.OK, sum.Requests.ByError, sum.Checks)
	t.Logf("latency s: %+v", sum.LatencySeconds)
	t.Logf("generator: %+v; %.0f CPU-s per million requests; peak RSS %d MiB; server CPU since start %s",
		sum.Generator, sum.Generator.CPUSeconds/float64(sum.Requests.Ended)*1e6, self.Maxrss>>10, serverCPU)
	for _, s := range sum.Seconds {
		t.Logf("%+v", s)
	}

	assert.Equal(t, sum.Requests.Ended, sum.Requests.OK)
	assert.Empty(t, sum.Requests.ByError)
	assert.Zero(t, sum.Checks.Missing+sum.Checks.Foreign)
	assert.Zero(t, sum.Generator.ResultsDropped)
	assert.Greater(t, sum.Reached.InFlightMean, 9_900.0)
	assert.Equal(t, 10_000, sum.Reached.OpenSocketsMin)
	assert.Equal(t, 10_000, sum.Reached.OpenSocketsMax)
	_, results := write(t, g)
	assert.Len(t, results, int(sum.Requests.Ended))
}

// cpuOf reads the CPU time of a running process.
func cpuOf(t *testing.T, p *exec.Cmd) string {
	t.Helper()
	out, err := exec.Command("ps", "-o", "cputimes=", "-p", strconv.Itoa(p.Process.Pid)).Output()
	if err != nil {
		return "unknown: " + err.Error()
	}
	return string(out[:len(out)-1]) + " s"
}
