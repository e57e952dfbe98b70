package cli_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestScripts runs testdata/script: one file, one behaviour. Beside the usual
// commands there are
//
//	exits CODE chokepoint ARG...    runs it and demands just this exit code
//	bundle DIR [incomplete]         makes a small bundle
//	latencies DIR                   makes one with 20 s of latencies, slow in the 13th
func TestScripts(t *testing.T) {
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(e *testscript.Env) error {
			e.Setenv("ROOT", root)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  exits,
			"bundle": makeBundle, "latencies": makeLatencies,
		},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := err.(*exec.ExitError)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// makeBundle makes the smallest bundle that says something.
func makeBundle(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: bundle DIR [incomplete]")
	}
	w, err := bundle.Create(ts.MkAbs(args[0]), bundle.Manifest{Host: bundle.Host{OS: "linux", Arch: "amd64", CPUs: 2}})
	ts.Check(err)
	ts.Check(w.WriteJSON(bundle.LoadSummary, bundle.Load{
		Asked:     bundle.LoadAsked{InFlight: 50},
		Generator: bundle.GeneratorHealth{ReachedInFlight: true},
	}))
	ts.Check(w.Update(func(m *bundle.Manifest) {
		m.Dimensions = []bundle.Dimension{
			{Name: bundle.DimEBPF, Reason: "not root"},
			{Name: bundle.DimLoad, Captured: true, Probes: []bundle.Probe{{Name: "summary", Captured: true, Artifacts: []string{bundle.LoadSummary}}}},
		}
	}))
	if len(args) > 1 {
		ts.Check(w.Abandon(fmt.Sprintf("%s on purpose", args[1])))
		return
	}
	ts.Check(w.Finish())
	_, err = os.Stat(filepath.Join(ts.MkAbs(args[0]), bundle.ManifestFile))
	ts.Check(err)
}

// makeLatencies makes a bundle with histograms of each second.
func makeLatencies(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: latencies DIR")
	}
	w, err := bundle.Create(ts.MkAbs(args[0]), bundle.Manifest{Host: bundle.Host{OS: "linux", Arch: "amd64", CPUs: 2}})
	ts.Check(err)
	var log strings.Builder
	log.WriteString("#StartTime is the wall clock when the load began; CLOCK_MONOTONIC was 50000000000 ns.\n")
	for second := range 20 {
		h := hdrhistogram.New(1, 1<<40, 3)
		for i := range int64(150) {
			us := 20_000 + 100*i
			if second == 12 {
				us += 1_000_000
			}
			ts.Check(h.RecordValue(us))
		}
		text, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
		ts.Check(err)
		fmt.Fprintf(&log, "Tag=service,%d.000,1.000,%.3f,%s\n", second, float64(h.Max())/1000, text)
	}
	ts.Check(w.WriteFile(bundle.LoadLatency, []byte(log.String())))
	ts.Check(w.Finish())
}
