package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/cli"
	"chokepoint/harness/corpus"
	"chokepoint/reports"
)

// part makes a corpus of some of the repository's recordings.
func part(t *testing.T, names ...string) string {
	t.Helper()
	from, err := corpus.Dir()
	require.NoError(t, err)
	dir := t.TempDir()
	for _, name := range names {
		require.NoError(t, os.Symlink(filepath.Join(from, name+".tar.gz"), filepath.Join(dir, name+".tar.gz")))
	}
	return dir
}

func mixed(t *testing.T) string {
	return part(t, "lock-contention-sleep-flawed", "lock-contention-sleep-fixed", "lock-contention-rwmutex-flawed",
		"pool-misuse-dirty-flawed", "netpoll-spin-epoll-flawed", "finalizer-backlog-io-fixed")
}

func tested(t *testing.T, args ...string) reports.TestReport {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := cli.Main(append([]string{"test", "--json"}, args...), &stdout, &stderr)
	require.Equal(t, cli.ExitPass, code, stderr.String())
	var r reports.TestReport
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &r))
	return r
}

// builds compiles a main package of the module.
func builds(t *testing.T, pkg string) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	program := filepath.Join(t.TempDir(), "program")
	build := exec.Command("go", "build", "-o", program, pkg)
	build.Dir = root
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	return program
}

// TestReferenceDetector scores a program that shares no code with the rules, knows
// one cause, and names the line of the unlock in place of the lock's.
func TestReferenceDetector(t *testing.T) {
	r := tested(t, "--corpus", mixed(t), "--detector", builds(t, "./harness/detector/testdata/reference"))
	assert.Zero(t, r.Score.Unanswered)
	assert.Nil(t, r.Baseline)
	text := func(s interface{ String() string }) string { return s.String() }
	all := r.Score.Overall
	assert.Equal(t, []string{"100%", "50%", "50%", "50%", "50%", "0%", "100%"},
		[]string{text(all.Precision), text(all.Recall), text(all.AC1), text(all.AC3), text(all.Function), text(all.Line), text(all.Silent)})
	for _, o := range r.Score.Outcomes {
		want := "none"
		if o.Truth == "lock-contention" {
			want = o.Truth
		}
		assert.Equal(t, want, o.First, o.Recording)
	}
}

// TestAnalyzeIsADetector holds that the rules, asked as any program is, of a copy
// without the truth, answer what they answer with it: the interface loses nothing,
// and the rules do not peek.
func TestAnalyzeIsADetector(t *testing.T) {
	dir := mixed(t)
	program := builds(t, ".")
	asked := tested(t, "--corpus", dir, "--detector", program+" analyze --json")
	direct := tested(t, "--corpus", dir)
	assert.Equal(t, direct.Score, asked.Score)
	assert.Len(t, direct.Score.Outcomes, 6)
	assert.NotEmpty(t, direct.Rules)
	assert.Empty(t, asked.Rules)
}

// TestTestTwiceGivesTheSameBytes holds that neither time nor the order in which
// recordings are done shows in the document.
func TestTestTwiceGivesTheSameBytes(t *testing.T) {
	dir := mixed(t)
	once := func(flags ...string) string {
		junit := filepath.Join(t.TempDir(), "junit.xml")
		var stdout, stderr bytes.Buffer
		require.Equal(t, cli.ExitPass, cli.Main(append([]string{"test", "--corpus", dir, "--junit", junit}, flags...), &stdout, &stderr), stderr.String())
		data, err := os.ReadFile(junit)
		require.NoError(t, err)
		return stdout.String() + string(data)
	}
	text, doc := once(), once("--json")
	for range 2 {
		assert.Equal(t, text, once())
		assert.Equal(t, doc, once("--json"))
	}
}

// TestExplainIsGolden shows explanations of real recordings: a rule that fires, the
// same on the twin, one that is far from firing, and one that lacks evidence.
func TestExplainIsGolden(t *testing.T) {
	dir := part(t, "lock-contention-sleep-flawed", "lock-contention-sleep-fixed", "netpoll-spin-epoll-flawed")
	without := filepath.Join(dir, "netpoll-spin-epoll-without-ebpf")
	withoutEBPF(t, filepath.Join(dir, "netpoll-spin-epoll-flawed.tar.gz"), without)
	t.Chdir(dir)
	for _, tt := range []struct{ golden, bundle, rule string }{
		{"fires", "lock-contention-sleep-flawed.tar.gz", "lock-contention"},
		{"twin", "lock-contention-sleep-fixed.tar.gz", "lock-contention"},
		{"other", "lock-contention-sleep-flawed.tar.gz", "netpoll-spin/poll"},
		{"without-ebpf", filepath.Base(without), "netpoll-spin/deadline"},
	} {
		for _, form := range []string{"txt", "json"} {
			args := []string{"explain", tt.bundle, tt.rule}
			if form == "json" {
				if tt.golden != "fires" {
					continue // one shows the form; package rule tests the rest
				}
				args = append(args, "--json")
			}
			var stdout, stderr bytes.Buffer
			require.Equal(t, cli.ExitPass, cli.Main(args, &stdout, &stderr), stderr.String())
			golden(t, filepath.Join("explain", tt.golden+"."+form), stdout.Bytes())
		}
	}
}

// here is the package's directory, which tests may leave.
var here = func() string { dir, _ := os.Getwd(); return dir }()

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join(here, "testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "-update writes it")
	assert.Equal(t, string(want), string(got))
}

// withoutEBPF copies a recording as it would be without the right to use eBPF.
func withoutEBPF(t *testing.T, from, to string) {
	t.Helper()
	b, err := bundle.Open(from)
	require.NoError(t, err)
	defer b.Close()
	m := b.Manifest()
	artifacts := m.Artifacts
	m.Artifacts = nil
	m.Dimensions = append([]bundle.Dimension{}, m.Dimensions...)
	for i := range m.Dimensions {
		if m.Dimensions[i].Name == bundle.DimEBPF {
			m.Dimensions[i] = bundle.Dimension{Name: bundle.DimEBPF, Reason: "not root"}
		}
	}
	w, err := bundle.Create(to, m)
	require.NoError(t, err)
	for _, a := range artifacts {
		if strings.HasPrefix(a.Path, "ebpf/") || a.Path == bundle.ScenarioFile {
			continue
		}
		data, err := b.Evidence().ReadFile(a.Path)
		require.NoError(t, err)
		require.NoError(t, w.WriteFile(a.Path, data))
	}
	require.NoError(t, w.Finish())
}
