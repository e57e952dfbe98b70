package harness_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/cli"
	"chokepoint/harness/rule"
	"chokepoint/reports"
)

// The live tests run at a twentieth of what the scenarios ask for. Below 400 in
// flight the lock of lock-contention-sleep is not asked for more often than it
// can serve, and there is no bottleneck to find.
const (
	inFlight = "500"
	window   = "3s"
)

// TestLive goes the whole way with one flaw of each family: build and start the
// target, hold it under load, record, diagnose, judge. The flaw must come first
// and at its line, and the twin must show nothing, with as many CPUs for Go code
// as the target may have and with one.
func TestLive(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs for two minutes: left out with -short")
	}
	for _, c := range []struct {
		scenario   string
		gomaxprocs int // 0: what the machine gives
	}{
		{"lock-contention-sleep", 1},
		{"lock-contention-sleep", 2},
		{"finalizer-backlog-io", 0},
		{"netpoll-spin-epoll", 0},
		{"pool-misuse-never-put", 0},
	} {
		name := c.scenario
		if c.gomaxprocs > 0 {
			name += fmt.Sprintf(" at GOMAXPROCS %d", c.gomaxprocs)
		}
		t.Run(name, func(t *testing.T) {
			if c.gomaxprocs > runtime.NumCPU() {
				t.Skipf("this machine has %d CPU", runtime.NumCPU())
			}
			runs := record(t, scenarioFile(t, c.scenario, c.gomaxprocs))
			require.Len(t, runs, 2, "the flaw and its twin")
			for _, r := range runs {
				require.NotNil(t, r.Load)
				require.True(t, r.Load.Generator.ReachedInFlight, r.Load.Generator.Reason)
				if c.gomaxprocs > 0 {
					assert.Equal(t, c.gomaxprocs, r.Target.GOMAXPROCS)
				}
				said(t, r)
				if r.Scenario.Variant == "fixed" {
					assert.Empty(t, r.Findings, "a twin is silent")
				} else {
					found(t, r)
				}
			}
		})
	}
}

// found holds that the expected finding is the first, in its function and at the
// line that the target's source marks, and that the dimensions say so which are
// to. The kernel is let off: what a scenario expects it to see is there at 10,000
// in flight, and may be too little at this load or with one CPU for Go code.
func found(t *testing.T, r reports.Document) {
	t.Helper()
	require.NotNil(t, r.Verdict)
	require.NotEmpty(t, r.Verdict.Expected)
	require.NotEmpty(t, r.Findings, "silent: %v, unknown: %v", r.Silent, r.Unknown)
	want := r.Verdict.Expected[0].Truth
	got := r.Findings[0]
	assert.Equal(t, want.Cause, got.Cause)
	assert.Equal(t, want.Function, got.Where.Function)
	assert.Equal(t, want.Line, got.Where.Line)
	assert.Len(t, r.Findings, 1, "and nothing else")
	assert.NotEqual(t, rule.Low, got.Confidence)
	for _, d := range r.Verdict.Expected[0].Dimensions {
		if d.Dimension == bundle.DimEBPF {
			assert.NotEqual(t, rule.Disagrees, d.Stance, d.Dimension)
		} else {
			assert.Equal(t, rule.Agrees, d.Stance, d.Dimension)
		}
	}
}

// said says which dimension was not captured, and why: a machine that lacks BPF
// still tries the others. Only eBPF may be lacking; pprof and the trace are the
// target's own.
func said(t *testing.T, r reports.Document) {
	t.Helper()
	for _, d := range r.Dimensions {
		if d.Captured {
			continue
		}
		require.Equal(t, bundle.DimEBPF, d.Name, "not captured: %s", d.Reason)
		t.Logf("%s (%s): tried without ebpf, which was not captured: %s", r.Scenario.Name, r.Scenario.Variant, d.Reason)
	}
}

// record is `chokepoint run --variant both --json`.
func record(t *testing.T, file string) []reports.Document {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := cli.Main([]string{
		"run", file, "--variant", "both", "--in-flight", inFlight, "--window", window, "--out", t.TempDir(), "--json",
	}, &stdout, &stderr)
	require.Contains(t, []int{cli.ExitPass, cli.ExitFail, cli.ExitCouldNotTell}, code, stderr.String())
	var doc struct {
		Runs []reports.Document `json:"runs"`
	}
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &doc), stderr.String())
	return doc.Runs
}

// scenarioFile is the scenario's file, or a copy with GOMAXPROCS set. The copy
// lies inside the module, since that is where its target is looked for.
func scenarioFile(t *testing.T, name string, gomaxprocs int) string {
	t.Helper()
	file := filepath.Join("..", "scenarios", name+".yaml")
	if gomaxprocs == 0 {
		return file
	}
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	const before = "\n  variant: flawed\n"
	require.Equal(t, 1, strings.Count(string(data), before))
	text := strings.Replace(string(data), before, fmt.Sprintf("%s  gomaxprocs: %d\n", before, gomaxprocs), 1)
	require.NoError(t, os.MkdirAll("../runs", 0o755))
	dir, err := os.MkdirTemp("../runs", "live-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	copied := filepath.Join(dir, name+".yaml")
	require.NoError(t, os.WriteFile(copied, []byte(text), 0o644))
	return copied
}
