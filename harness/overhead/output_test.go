package overhead

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run `go test ./harness/overhead -update` to make it")
	assert.Equal(t, string(want), string(got))
}

// window is one of mode in a round, at a price and with a p99.
func window(round, order int, mode string, nsPerRequest float64, p99 time.Duration) Window {
	return Window{
		Round: round, Order: order, Mode: mode, LengthNS: 3e9, Requests: 60_000, InFlight: 199.4,
		TargetNSPerRequest: nsPerRequest, RequestsPerSecond: 20_000, P99NS: int64(p99),
		TargetCPUNS: int64(nsPerRequest * 60_000), GeneratorCPUNS: 2e9, HarnessCPUNS: 1e7,
	}
}

// found is a small measurement: a dear mode, a cheap one, the control; one window
// disturbed, one failed, one mode missing.
func found() Result {
	var modes []Mode
	for _, name := range []string{Off, Control, "syscalls", "sched", "strace"} {
		modes = append(modes, Mode{Name: name, About: "about " + name})
	}
	var windows []Window
	for round := 1; round <= 6; round++ {
		drift := float64(round) * 1000
		add := func(mode string, ns float64, p99 time.Duration) {
			windows = append(windows, window(round, len(windows)%7+1, mode, ns, p99))
		}
		add(Off, 36_000+drift, 10*time.Millisecond)
		add("syscalls", (37_000+drift)*1.05, 11*time.Millisecond)
		add(Off, 38_000+drift, 10*time.Millisecond)
		add(Control, (37_000+drift)*(0.97+0.01*float64(round)), 10*time.Millisecond)
		add(Off, 36_000+drift, 10*time.Millisecond)
		add("sched", 37_000+drift, 12*time.Millisecond)
		add(Off, 38_000+drift, 10*time.Millisecond)
	}
	windows[7].Disturbed, windows[7].LeftOut, windows[7].OthersShare = true, "other processes used 30% of the CPUs", 0.3
	windows[12].LeftOut = "900 of 60000 requests failed"
	return Result{
		Scenario: "overhead/hello", InFlight: 200, Rounds: 6, Window: 3 * time.Second, Seed: 42, MostOthers: 0.1,
		TargetCPUs: []int{0}, LoadCPUs: []int{1}, Host: bundle.Host{OS: "linux", Arch: "amd64", Kernel: "6.18.0", CPUs: 2, MemoryBytes: 24 << 30},
		Modes: summarise(modes, map[string]string{"strace": "strace is not installed"}, windows), Windows: windows, Notes: []string{},
	}
}

func TestSummary(t *testing.T) {
	r := found()
	syscalls, sched, control, strace := r.mode("syscalls"), r.mode("sched"), r.mode(Control), r.mode("strace")
	assert.InDelta(t, 1.05, syscalls.CPU.Median, 1e-9, "drift hits both sides")
	assert.Equal(t, 6, syscalls.CPU.N, "where one window beside it is left out the other serves")
	assert.InDelta(t, 1.1, syscalls.P99.Median, 1e-9)
	assert.Equal(t, 5, sched.Windows)
	assert.Equal(t, 1, sched.Failed)
	assert.InDelta(t, 1, sched.CPU.Median, 1e-9)
	assert.InDelta(t, 1.2, sched.P99.Median, 1e-9)
	assert.InDelta(t, 1.005, control.CPU.Median, 1e-9)
	assert.InDelta(t, 0.98, control.CPU.Low, 1e-9)
	assert.InDelta(t, 1.03, control.CPU.High, 1e-9)
	assert.Equal(t, 1, r.mode(Off).Disturbed)
	assert.Nil(t, r.mode(Off).CPU)
	assert.Equal(t, "strace is not installed", strace.Missing)
	assert.Nil(t, strace.CPU)
	assert.True(t, r.Told())
}

func TestUnpaired(t *testing.T) {
	windows := []Window{window(1, 1, Off, 10, 1), window(1, 2, "syscalls", 11, 1), window(1, 3, Off, 10, 1), window(2, 1, "syscalls", 12, 1)}
	windows[0].LeftOut, windows[2].LeftOut = "no request ended", "no request ended"
	modes := summarise([]Mode{{Name: Off}, {Name: "syscalls"}}, nil, windows)
	assert.Equal(t, 2, modes[1].Windows)
	assert.Equal(t, 2, modes[1].Unpaired, "a window of another round is no neighbour")
	assert.Nil(t, modes[1].CPU)
	assert.False(t, Result{Modes: modes}.Told())

	quiet := summarise([]Mode{{Name: Off}, {Name: Control}}, nil, []Window{window(1, 1, Off, 10, 1), window(1, 2, Control, 10, 1)})
	assert.True(t, Result{Modes: quiet}.Told(), "the control alone was asked for")
}

func TestOutput(t *testing.T) {
	early := found()
	early.Interrupted, early.Windows = "interrupted", early.Windows[:3]
	early.Variant, early.TargetCPUs, early.LoadCPUs = "fixed", nil, nil
	early.Modes = summarise([]Mode{{Name: Off}, {Name: "syscalls"}}, nil, early.Windows)
	for name, write := range map[string]func(*bytes.Buffer) error{
		"table.txt":       func(b *bytes.Buffer) error { return Table(b, found()) },
		"table-early.txt": func(b *bytes.Buffer) error { return Table(b, early) },
		"benchstat.txt":   func(b *bytes.Buffer) error { return Benchstat(b, found()) },
		"result.json": func(b *bytes.Buffer) error {
			e := json.NewEncoder(b)
			e.SetIndent("", "  ")
			return e.Encode(early)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, write(&b))
			golden(t, name, b.Bytes())
		})
	}
}

func TestRounding(t *testing.T) {
	assert.Equal(t, "37.1 µs", micros(37_123))
	assert.Equal(t, "1.23 µs", micros(1_234))
	assert.Equal(t, "0.123 µs", micros(123))
	assert.Equal(t, "1235 µs", micros(1_234_567))
	assert.Equal(t, time.Microsecond*10, latencyStep(float64(2500*time.Microsecond)))
	assert.Equal(t, time.Duration(1), latencyStep(0))
}
