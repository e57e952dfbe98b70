package ebpf

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
)

// BenchmarkCustomHit is what a call of a probed function costs the target, the
// function's own time of a few nanoseconds included, in ns/hit.
func BenchmarkCustomHit(b *testing.B) {
	if c := Check(b.Context()); !c[len(c)-1].OK {
		b.Skip(c[len(c)-1].Missing)
	}
	const calls = 500_000
	bin := filepath.Join(b.TempDir(), "hits")
	out, err := exec.Command("go", "build", "-o", bin, "./testdata/hits").CombinedOutput()
	require.NoError(b, err, "%s", out)
	for _, probe := range []CustomProbe{
		{},
		{Name: "count", Function: "main.hit"},
		{Name: "filtered", Function: "main.hit", Argument: "n", Keep: Comparison{"<", 0}},
		{Name: "timed", Function: "main.hit", Time: true},
		{Name: "stacks", Function: "main.hit", Stacks: true},
		{Name: "timed-slow-stacks", Function: "main.hit", Time: true, SlowerThan: time.Second, Stacks: true},
		{Name: "leaf", Function: "main.leaf"},
	} {
		b.Run(probe.Name+"/", func(b *testing.B) {
			var total time.Duration
			for b.Loop() {
				total += hits(b, bin, probe, calls)
			}
			b.ReportMetric(float64(total.Nanoseconds())/float64(b.N)/calls, "ns/hit")
		})
	}
}

// hits has the program make the calls with a probe on, and is how long they took.
func hits(b *testing.B, bin string, probe CustomProbe, calls int) time.Duration {
	b.Helper()
	k := &known{cmd: exec.Command(bin, strconv.Itoa(calls))}
	k.start(b)
	defer k.end(b)
	r := New(Config{Probes: []string{Custom}, Custom: []CustomProbe{probe}})
	defer func() { assert.NoError(b, r.Close()) }()
	if probe.Name != "" {
		require.NoError(b, r.Prepare(b.Context(), capture.Subject{PID: k.cmd.Process.Pid, Executable: bin}))
		require.NoError(b, r.Start(b.Context()))
	}
	k.tell(b)
	var ns int64
	_, err := fmt.Sscan(k.line(b), &ns)
	require.NoError(b, err)
	if probe.Name != "" {
		require.NoError(b, r.Stop(b.Context()))
		w, err := bundle.Create(filepath.Join(b.TempDir(), strconv.Itoa(os.Getpid())+strconv.FormatInt(time.Now().UnixNano(), 36)), bundle.Manifest{})
		require.NoError(b, err)
		d, err := r.Write(b.Context(), w)
		require.NoError(b, err)
		require.True(b, d.Captured, "%+v", d)
	}
	return time.Duration(ns)
}
