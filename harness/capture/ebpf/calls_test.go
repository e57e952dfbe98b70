package ebpf

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"chokepoint/harness/capture"
)

// BenchmarkSyscallsProbe is what the probe of system calls costs the program that makes
// them, as ns/call for each kind of call: with nothing attached, with the empty programs
// of Floor, and with the probe. The three take turns, and medians are told.
func BenchmarkSyscallsProbe(b *testing.B) {
	if c := Check(b.Context()); !c[len(c)-1].OK {
		b.Skip(c[len(c)-1].Missing)
	}
	bin := filepath.Join(b.TempDir(), "calls")
	out, err := exec.Command("go", "build", "-o", bin, "./testdata/calls").CombinedOutput()
	require.NoError(b, err, "%s", out)
	k := &known{cmd: exec.Command(bin)}
	k.start(b)
	defer k.end(b)
	s := capture.Subject{PID: k.cmd.Process.Pid, Executable: bin}

	var kinds []string
	took := map[string][]float64{}
	measure := func(mode string, r capture.Recorder) {
		if r != nil {
			require.NoError(b, r.Prepare(b.Context(), s))
			defer func() { require.NoError(b, r.Close()) }()
			require.NoError(b, r.Start(b.Context()))
		}
		k.tell(b)
		for _, said := range strings.Fields(k.line(b)) {
			kind, figure, _ := strings.Cut(said, "=")
			var ns float64
			_, err := fmt.Sscan(figure, &ns)
			require.NoError(b, err)
			if name := kind + "/" + mode; took[name] == nil {
				kinds = append(kinds, name)
			}
			took[kind+"/"+mode] = append(took[kind+"/"+mode], ns)
		}
		if r != nil {
			require.NoError(b, r.Stop(b.Context()))
		}
	}
	for b.Loop() {
		measure("off", nil)
		measure("floor", new(Floor))
		measure("probe", New(Config{Probes: []string{Syscalls}}))
	}
	b.ReportMetric(0, "ns/op") // says nothing here
	for _, name := range kinds {
		slices.Sort(took[name])
		b.ReportMetric(took[name][len(took[name])/2], name+"-ns/call")
	}
}
