package matrix_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/matrix"
	"chokepoint/harness/rule"
	"chokepoint/harness/scenario"
	"chokepoint/harness/signal"
	"chokepoint/harness/verdict"
)

var update = flag.Bool("update", false, "write the golden files anew")

func plan(repeat int) matrix.Plan {
	return matrix.Plan{Program: "p", Repeat: repeat, Rows: []matrix.Row{
		{Scenario: "lock/a", Variant: scenario.Flawed, Expect: []string{"lock-contention"}, Digest: "1"},
		{Scenario: "lock/a", Variant: scenario.Fixed, Expect: []string{}, Digest: "2"},
		{Scenario: "lock/near", Variant: scenario.Fixed, Expect: []string{}, NearMissOf: []string{"lock-contention"}, Digest: "3"},
	}}
}

func key(name string, v scenario.Variant, round int) matrix.Key {
	return matrix.Key{Scenario: name, Variant: v, Round: round}
}

func found(cause, function string) rule.Finding {
	return rule.Finding{Cause: cause, Rule: cause, Where: signal.Location{Function: function, File: "a.go", Line: 3}, Impact: 0.5, Confidence: rule.High}
}

func passed(function, line bool) *verdict.Verdict {
	return &verdict.Verdict{Outcome: verdict.Pass, Expected: []verdict.ExpectedResult{{Found: true, FunctionRight: function, LineRight: line}}}
}

func failed(reason string) *verdict.Verdict {
	return &verdict.Verdict{Outcome: verdict.Fail, Reasons: []verdict.Reason{{Outcome: verdict.Fail, Text: reason}, {Outcome: verdict.Pass, Text: "something else"}}}
}

func cells() []matrix.Cell {
	kept := matrix.Judged(key("lock/a", scenario.Flawed, 2), []rule.Finding{found("pool-exhaustion", "main.get")}, failed("lock-contention is not found"))
	kept.Bundle = "runs/b"
	return []matrix.Cell{
		matrix.Judged(key("lock/a", scenario.Flawed, 1), []rule.Finding{found("lock-contention", "main.get")}, passed(true, true)),
		matrix.Judged(key("lock/a", scenario.Fixed, 1), nil, &verdict.Verdict{Outcome: verdict.Pass}),
		matrix.Failed(key("lock/near", scenario.Fixed, 1), errors.New("it does not build")),
		kept,
		matrix.Judged(key("lock/a", scenario.Fixed, 2), nil, &verdict.Verdict{
			Outcome: verdict.CouldNotTell, Reasons: []verdict.Reason{{Outcome: verdict.CouldNotTell, Text: "the load was not reached"}},
		}),
		matrix.Judged(key("lock/near", scenario.Fixed, 2), []rule.Finding{found("lock-contention", "main.near")}, failed("lock-contention is found, and nothing may be")),
	}
}

func TestSummarize(t *testing.T) {
	s := matrix.Summarize(plan(2), cells())
	assert.True(t, s.Complete)
	assert.Equal(t, matrix.Tally{Cells: 2, Right: 1, Wrong: 1, First: 1, Function: 1, Line: 1}, s.Flaws)
	assert.Equal(t, matrix.Tally{Cells: 2, Right: 1, Untold: 1}, s.Twins)
	assert.Equal(t, matrix.Tally{Cells: 2, Wrong: 1, Broken: 1}, s.Near)
	assert.Equal(t, map[string]map[string]int{
		"lock-contention": {"lock-contention": 1, "pool-exhaustion": 1},
		"none":            {"none": 1, "lock-contention": 1},
	}, s.Confusion, "what could not be told is confused with nothing")

	assert.False(t, matrix.Summarize(plan(3), cells()).Complete)
}

func TestChanges(t *testing.T) {
	was := matrix.Summarize(plan(2), cells())
	same := matrix.Changes(was, was)
	assert.Empty(t, same)

	better := cells()
	better[3] = matrix.Judged(better[3].Key, []rule.Finding{found("lock-contention", "main.get")}, passed(true, true))
	worse := append([]matrix.Cell{}, better...)
	worse[1] = matrix.Judged(better[1].Key, []rule.Finding{found("gc-pressure", "main.f")}, failed("gc-pressure is found"))
	changes := matrix.Changes(was, matrix.Summarize(plan(2), worse))
	require.Len(t, changes, 2)
	assert.Equal(t, matrix.Change{
		Scenario: "lock/a", Variant: scenario.Fixed, Worse: true,
		What: "was right in 1 of 2, is right in 0 of 2: gc-pressure at main.f (1), nothing (1)",
	}, changes[0])
	assert.Equal(t, matrix.Change{
		Scenario: "lock/a", Variant: scenario.Flawed,
		What: "was right in 1 of 2, is right in 2 of 2: lock-contention at main.get",
	}, changes[1])

	other := plan(2)
	other.Rows[2].Scenario = "lock/far"
	changes = matrix.Changes(was, matrix.Summarize(other, append(cells(), matrix.Judged(key("lock/far", scenario.Fixed, 1), nil, &verdict.Verdict{Outcome: verdict.Pass}))))
	assert.Equal(t, []string{"is new: right in 1 of 1", "1 of the last matrix's 3 rows were not run"}, []string{changes[0].What, changes[1].What})
}

func TestText(t *testing.T) {
	s := matrix.Summarize(plan(2), cells())
	earlier := cells()
	earlier[3] = matrix.Judged(earlier[3].Key, []rule.Finding{found("lock-contention", "main.get")}, passed(true, true))
	var b bytes.Buffer
	require.NoError(t, matrix.Text(&b, s, matrix.Changes(matrix.Summarize(plan(2), earlier), s), true))
	const golden = "testdata/matrix.golden.txt"
	if *update {
		require.NoError(t, os.WriteFile(golden, b.Bytes(), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err, "-update writes it")
	assert.Equal(t, string(want), b.String())
}

// An interruption may come at any byte: what was whole before it stays, and the
// rest is run again.
func TestJournalSurvivesInterruption(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	_, ok, err := matrix.Resume(dir, plan(2))
	require.NoError(t, err)
	require.False(t, ok, "there is none yet")

	j, err := matrix.Create(dir, plan(2), at)
	require.NoError(t, err)
	all := cells()
	for _, c := range all[:3] {
		require.NoError(t, j.Add(c))
	}
	file := filepath.Join(j.Dir, "cells.jsonl")
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	ends := []int{0}
	for i, c := range whole {
		if c == '\n' {
			ends = append(ends, i+1)
		}
	}
	for cut := range whole {
		require.NoError(t, os.WriteFile(file, whole[:cut], 0o644))
		j, ok, err := matrix.Resume(dir, plan(2))
		require.NoError(t, err, "cut at byte %d", cut)
		require.True(t, ok)
		there := 0
		for there+1 < len(ends) && ends[there+1] <= cut+1 { // a line whose newline alone is missing is whole
			there++
		}
		require.Len(t, j.Cells, there, "cut at byte %d", cut)
		require.NoError(t, j.Add(all[there]))
		_, err = j.Close()
		require.NoError(t, err)
		again, _, err := matrix.Resume(dir, plan(2))
		require.NoError(t, err, "cut at byte %d", cut)
		require.Len(t, again.Cells, there+1)
	}

	j, ok, err = matrix.Resume(dir, plan(2))
	require.NoError(t, err)
	require.True(t, ok)
	for _, k := range j.Missing() {
		require.NoError(t, j.Add(matrix.Judged(k, nil, &verdict.Verdict{Outcome: verdict.Pass})))
	}
	s, err := j.Close()
	require.NoError(t, err)
	assert.True(t, s.Complete)

	_, ok, err = matrix.Resume(dir, plan(2))
	require.NoError(t, err)
	assert.False(t, ok, "what is at its end is not gone on with")

	next, err := matrix.Create(dir, plan(2), at.Add(time.Minute))
	require.NoError(t, err)
	last, ok, err := matrix.Last(dir, next.Dir)
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, s, last)
	_, ok, err = matrix.Last(dir, j.Dir)
	require.NoError(t, err)
	assert.False(t, ok, "nothing came before the first")
}

func TestResumeTakesTheSamePlanAlone(t *testing.T) {
	for name, change := range map[string]func(*matrix.Plan){
		"another program":  func(p *matrix.Plan) { p.Program = "q" },
		"another scenario": func(p *matrix.Plan) { p.Rows[0].Digest = "9" },
		"more rounds":      func(p *matrix.Plan) { p.Repeat++ },
		"fewer rows":       func(p *matrix.Plan) { p.Rows = p.Rows[:2] },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := matrix.Create(dir, plan(2), time.Now())
			require.NoError(t, err)
			p := plan(2)
			change(&p)
			_, ok, err := matrix.Resume(dir, p)
			require.NoError(t, err)
			assert.False(t, ok)
		})
	}
}

func TestResumeNamesWhatIsDamaged(t *testing.T) {
	dir := t.TempDir()
	j, err := matrix.Create(dir, plan(1), time.Now())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(j.Dir, "cells.jsonl"), []byte("{\nnonsense\n"), 0o644))
	_, _, err = matrix.Resume(dir, plan(1))
	assert.ErrorContains(t, err, "cells.jsonl:1:")
	require.NoError(t, os.WriteFile(filepath.Join(j.Dir, "plan.json"), []byte("{"), 0o644))
	_, _, err = matrix.Resume(dir, plan(1))
	assert.ErrorContains(t, err, "plan.json")
}
