package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/cli"
	"chokepoint/harness/corpus"
	"chokepoint/harness/matrix"
)

// kept makes a matrix of three cells, two of whose recordings are there; the flaw was
// not found in it.
func kept(t *testing.T) string {
	t.Helper()
	from, err := corpus.Dir()
	require.NoError(t, err)
	dir := t.TempDir()
	const name = "lock-contention/held-over-sleep"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "plan.json"), fmt.Appendf(nil,
		`{"program": "p", "repeat": 1, "rows": [
			{"scenario": %q, "variant": "flawed", "expect": ["lock-contention"], "digest": "1"},
			{"scenario": %[1]q, "variant": "fixed", "expect": [], "digest": "2"},
			{"scenario": "demo/gone", "expect": [], "digest": "3"}]}`, name), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cells.jsonl"), fmt.Appendf(nil,
		`{"scenario": %q, "variant": "flawed", "round": 1, "state": "wrong", "tries": 1, "found": [], "bundle": %q}
{"scenario": %[1]q, "variant": "fixed", "round": 1, "state": "right", "tries": 1, "found": [], "bundle": %[3]q}
{"scenario": "demo/gone", "round": 1, "state": "right", "tries": 1, "found": []}
`, name, filepath.Join(from, "lock-contention-sleep-flawed.tar.gz"), filepath.Join(from, "lock-contention-sleep-fixed.tar.gz")), 0o644))
	return dir
}

func TestMatrixJudgesRecordingsAgain(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := cli.Main([]string{"matrix", "--judge", kept(t), "--out", t.TempDir(), "--json"}, &stdout, &stderr)
	require.Equal(t, cli.ExitPass, code, stderr.String())
	var got struct {
		matrix.Summary
		Changes []matrix.Change `json:"changes"`
	}
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &got))
	assert.False(t, got.Complete, "one recording is gone")
	assert.Equal(t, matrix.Tally{Cells: 1, Right: 1, First: 1, Function: 1, Line: 1}, got.Flaws)
	assert.Equal(t, matrix.Tally{Cells: 1, Right: 1}, got.Twins)
	require.NotEmpty(t, got.Changes)
	assert.Contains(t, got.Changes[0].What, "was right in 0 of 1, is right in 1 of 1: lock-contention at ")
	assert.Contains(t, stderr.String(), "right          was wrong: lock-contention/held-over-sleep (flawed), round 1")

	rules := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(rules, "lock.yaml"), []byte(`rule: lock-contention
cause: lock-contention
title: Never
when: proc.cpus_used < 0
impact: proc.cpus_used
where: [trace.lock_holder_site]
dimensions:
  trace: {blind: it is for a test}
because: it is for a test
fix: nothing
cases:
  - {name: fires, signals: {proc.cpus_used: -1}, expect: fire}
  - {name: silent, signals: {proc.cpus_used: 1}, expect: silent}
`), 0o644))
	stdout.Reset()
	stderr.Reset()
	code = cli.Main([]string{"matrix", "--judge", kept(t), "--out", t.TempDir(), "--rules", rules, "--json"}, &stdout, &stderr)
	require.Equal(t, cli.ExitFail, code, stderr.String())
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &got))
	assert.Equal(t, 1, got.Flaws.Wrong, "the rules of --rules judge")
}
