package detector_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"chokepoint/harness/bundle"
	"chokepoint/harness/corpus"
	"chokepoint/harness/detector"
	"chokepoint/harness/scenario"
)

// small is a bundle with evidence, a ground truth, and what a run leaves beside.
func small(t *testing.T) *bundle.Bundle {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "lock-contention-flawed")
	w, err := bundle.Create(dir, bundle.Manifest{Host: bundle.Host{CPUs: 2}})
	require.NoError(t, err)
	require.NoError(t, w.WriteFile(bundle.ProcSamples, []byte("{}\n")))
	require.NoError(t, w.WriteFile(bundle.TraceOut, []byte("trace")))
	require.NoError(t, w.WriteFile(bundle.ScenarioFile, []byte(`{"scenario": "secret"}`)))
	require.NoError(t, w.Finish())
	for _, name := range []string{"findings.json", "report.html"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("secret"), 0o644))
	}
	b, err := bundle.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	return b
}

func ask(t *testing.T, command string, timeout time.Duration) detector.Answer {
	t.Helper()
	a, err := detector.Detector{Command: command, Timeout: timeout}.Ask(t.Context(), small(t))
	require.NoError(t, err)
	return a
}

func TestAskTellsTheBundleAndNothingElse(t *testing.T) {
	t.Setenv("CHOKEPOINT_SECRET", "lock-contention")
	script := filepath.Join(t.TempDir(), "look")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\necho \"$# $1\"\npwd\nls -A\nenv | cut -d= -f1 | sort | tr '\\n' ' '\nfind $1 -type f | sort | sed \"s|$1/||\"\n"), 0o755))
	a := ask(t, script, time.Minute)
	require.Empty(t, a.Failed)
	lines := strings.Split(string(a.Output), "\n")
	count, path, _ := strings.Cut(lines[0], " ")
	assert.Equal(t, "1", count, "one argument")
	assert.Equal(t, "bundle", filepath.Base(path))
	assert.Equal(t, filepath.Join(filepath.Dir(path), "work"), lines[1], "it works in a directory of its own, which is empty")
	assert.Equal(t, []string{
		"HOME LANG PATH PWD TMPDIR manifest.json", "proc/samples.jsonl", "trace/trace.out", "",
	}, lines[2:])
	assert.NotContains(t, string(a.Output), "lock-contention")
	assert.NoDirExists(t, filepath.Dir(path), "it is cleared away")
}

func TestAskTakesArgumentsAndPipes(t *testing.T) {
	assert.Equal(t, "a b\n", string(ask(t, "printf '%s %s\\n' 'a b' >&2; echo a b; true", time.Minute).Output))
}

func TestAskSaysWhatWentWrong(t *testing.T) {
	for _, tt := range []struct{ name, command, want string }{
		{"it fails", "echo first >&2; echo no idea >&2; exit 3;", "it failed: exit status 3; it said: first\nno idea"},
		{"it is not there", "/no/such/program", "it failed: exit status 127; it said: "},
		{"it does not end", "echo thinking >&2; sleep 60;", "it did not answer within 200ms and was stopped; it said: thinking"},
		{"it prints without end", "yes", "it printed more than 16 MiB"},
		{"it kills itself", "kill -9 $$;", "it failed: signal: killed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			timeout := time.Minute
			if strings.Contains(tt.command, "sleep") {
				timeout = 200 * time.Millisecond
			}
			a := ask(t, tt.command, timeout)
			assert.Contains(t, a.Failed, tt.want)
			assert.Empty(t, a.Output)
		})
	}
}

// TestNothingIsLeft holds that what a detector started ends with it: whether it
// ran out of time or ended well, and also what made a session of its own.
func TestNothingIsLeft(t *testing.T) {
	for _, tt := range []struct{ name, end string }{{"out of time", "sleep 60;"}, {"ended well", ":;"}} {
		t.Run(tt.name, func(t *testing.T) {
			pids := filepath.Join(t.TempDir(), "pids")
			// The children write their ids before the detector goes on.
			command := fmt.Sprintf("sh -c 'echo $$ >>%[1]s; exec sleep 61' & setsid sh -c 'echo $$ >>%[1]s; exec sleep 62' >/dev/null 2>&1 & while [ \"$(cat %[1]s 2>/dev/null | wc -l)\" != 2 ]; do sleep 0.01; done; %[2]s", pids, tt.end)
			ask(t, command, 2*time.Second)
			data, err := os.ReadFile(pids)
			require.NoError(t, err)
			started := strings.Fields(string(data))
			require.Len(t, started, 2)
			for _, s := range started {
				pid, err := strconv.Atoi(s)
				require.NoError(t, err)
				assert.Eventually(t, func() bool { return gone(pid) }, 5*time.Second, 10*time.Millisecond, "process %d is left", pid)
			}
		})
	}
}

// gone reports whether a process has ended; one that nobody has waited for yet has.
func gone(pid int) bool {
	if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return errors.Is(err, fs.ErrNotExist) || bytes.Contains(stat, []byte(") Z "))
}

func TestAskEndsWithItsContext(t *testing.T) {
	stop := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	b := small(t)
	time.AfterFunc(100*time.Millisecond, func() { cancel(stop) })
	_, err := detector.Detector{Command: "sleep 60;"}.Ask(ctx, b)
	require.ErrorIs(t, err, stop)
}

// TestBlindKeepsAllEvidence holds on a real recording that the copy differs in the
// ground truth alone, and that no file of it names the scenario or its variant.
func TestBlindKeepsAllEvidence(t *testing.T) {
	for _, r := range corpus.Sample(corpus.Bundles(t), 4) {
		t.Run(r.Name, func(t *testing.T) {
			b := r.Open(t)
			truth, err := b.GroundTruth()
			require.NoError(t, err)
			resolved, err := scenario.ReadResolved(truth)
			require.NoError(t, err)

			dir := filepath.Join(t.TempDir(), "copy")
			before := len(b.Manifest().Artifacts)
			require.NoError(t, detector.Blind(b, dir))
			require.Len(t, b.Manifest().Artifacts, before)
			blind, err := bundle.Open(dir)
			require.NoError(t, err)
			defer blind.Close()
			_, err = blind.GroundTruth()
			require.ErrorIs(t, err, bundle.ErrNoArtifact)
			assert.Len(t, blind.Manifest().Artifacts, before-1)
			for _, a := range b.Manifest().Artifacts {
				if a.Path == bundle.ScenarioFile {
					continue
				}
				want, err := b.Evidence().ReadFile(a.Path)
				require.NoError(t, err)
				got, err := blind.Evidence().ReadFile(a.Path)
				require.NoError(t, err)
				assert.Equal(t, want, got, a.Path)
			}
			require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				data, err := os.ReadFile(path)
				require.NoError(t, err)
				for _, told := range []string{resolved.Scenario.Name, r.Scenario, string(scenario.Flawed), resolved.Scenario.About} {
					assert.NotContains(t, string(data), told, path)
				}
				return nil
			}))
		})
	}
}
