package reports_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/rule"
	"chokepoint/harness/scenario"
	"chokepoint/harness/score"
	"chokepoint/harness/signal"
	"chokepoint/reports"
)

func TestTestSchema(t *testing.T) {
	got, err := reports.TestSchema()
	require.NoError(t, err)
	file := filepath.Join("..", "docs", "test.schema.json")
	if *update {
		require.NoError(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "-update writes it")
	assert.Equal(t, string(want), string(got))

	// Every field of the report says what it means; those of the bundle's own
	// formats are described in docs/bundle.md.
	var schema struct {
		Properties map[string]map[string]any `json:"properties"`
		Defs       map[string]struct {
			Properties map[string]map[string]any `json:"properties"`
		} `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(got, &schema))
	for field, p := range schema.Properties {
		assert.NotEmpty(t, p["description"], field)
	}
	require.Greater(t, len(schema.Defs), 8)
	for name, def := range schema.Defs {
		switch name {
		case "Host", "Tool", "Target", "Location":
			continue
		}
		for field, p := range def.Properties {
			assert.NotEmpty(t, p["description"], "%s.%s", name, field)
		}
	}
}

// manyCauses is a score of 20 causes with a recording each, one of them confused,
// a twin that speaks and a failure.
func manyCauses() score.Score {
	causes := []string{
		"netpoll-spin", "fd-exhaustion", "finalizer-backlog", "lock-contention", "pool-misuse", "goroutine-leak", "missing-timeout",
		"gomaxprocs-starvation", "gc-pressure", "gc-thrash", "heap-growth", "blocked-write", "pool-exhaustion", "cpu-hot-path",
		"preemption-stall", "channel-bottleneck", "slow-syscall", "thread-explosion", "timer-churn", "stalled",
	}
	var outcomes []score.Outcome
	for i, c := range causes {
		o := score.Outcome{
			Recording: c + "-flawed", Scenario: c + "/one", Variant: scenario.Flawed, Truth: c, First: c, False: []score.False{},
			Flaws: []score.Flaw{{Cause: c, Function: "main.f", File: "f.go", Line: i + 1, Rank: 1, FunctionRight: true, LineRight: true, Got: signal.Location{Function: "main.f", File: "f.go", Line: i + 1}}},
		}
		switch c {
		case "gc-thrash":
			o.First = "gc-pressure"
			o.Flaws[0].Rank = 2
			o.False = []score.False{{Cause: "gc-pressure", Rank: 1, Where: signal.Location{Function: "main.g", File: "g.go", Line: 3}}}
		case "stalled":
			o.First, o.Failed = score.NoAnswer, "it did not answer within 1m0s and was stopped"
			o.Flaws[0] = score.Flaw{Cause: c, Function: "main.f", File: "f.go", Line: 20}
		}
		outcomes = append(outcomes, o, score.Outcome{
			Recording: c + "-fixed", Scenario: c + "/one", Variant: scenario.Fixed, Truth: score.None, First: score.None, Flaws: []score.Flaw{}, False: []score.False{},
		})
	}
	outcomes = append(outcomes, score.Outcome{
		Recording: "long-poll-fixed", Scenario: "missing-timeout/near-long-poll", Variant: scenario.Fixed, NearMissOf: []string{"missing-timeout"},
		Truth: score.None, First: "missing-timeout", Flaws: []score.Flaw{}, Undecided: []string{"timer-churn"},
		False: []score.False{{Cause: "missing-timeout", Rank: 1, Where: signal.Location{Function: "main.poll", File: "poll.go", Line: 9}}},
	})
	return score.Of(outcomes)
}

func testReport() reports.TestReport {
	s := manyCauses()
	return reports.TestReport{
		SchemaVersion: 1, Detector: reports.RulesDetector, Score: s,
		Rules:  []reports.TestedRule{{Rule: "gc-thrash", Cause: "gc-thrash", File: "gc-thrash.yaml", Cases: 2, Failed: 1}},
		Cases:  []rule.CaseResult{{Rule: "gc-thrash", File: "gc-thrash.yaml", Line: 30, Case: "tight", Expect: "fire", Got: "fire", Passed: true}, failedCase()},
		Failed: []rule.CaseResult{failedCase()},
		Notes:  []string{"with the rules of mine"},
		Baseline: &reports.AgainstBaseline{File: "baseline.json", Comparison: score.Comparison{
			Worse:  []score.Change{{Recording: "gc-thrash-flawed", Text: "gc-thrash is found with rank 2, and had 1; before it stands gc-pressure"}, {Recording: "gone-fixed", Text: "is in the baseline and not in the corpus"}},
			Better: []score.Change{{Recording: "heap-growth-flawed", Text: "heap-growth is found"}},
			New:    []score.Change{{Recording: "pool-misuse-flawed", Text: "is answered right"}},
		}},
	}
}

func failedCase() rule.CaseResult {
	return rule.CaseResult{Rule: "gc-thrash", File: "gc-thrash.yaml", Line: 34, Case: "a \x1b[31mred\x1b[0m <case>", Expect: "silent", Got: "fire", Why: "expected silent, got fire"}
}

func TestTestText(t *testing.T) {
	var text bytes.Buffer
	require.NoError(t, reports.TestText(&text, testReport(), reports.TextOptions{}))
	golden(t, "test.txt", text.Bytes())
	assert.NotContains(t, text.String(), "\x1b", "control characters of a rule's file do not reach the terminal")
	for _, line := range strings.Split(text.String(), "\n") {
		assert.LessOrEqual(t, len([]rune(line)), 110, "wider than a terminal: %s", line)
	}

	var painted bytes.Buffer
	require.NoError(t, reports.TestText(&painted, testReport(), reports.TextOptions{Color: true}))
	assert.Contains(t, painted.String(), "\x1b[")
}

func TestJUnit(t *testing.T) {
	var text bytes.Buffer
	require.NoError(t, reports.JUnit(&text, testReport()))
	golden(t, "test.xml", text.Bytes())
	var doc struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Skipped  int `xml:"skipped,attr"`
		Suites   []struct {
			Cases []struct {
				Failure *struct{} `xml:"failure"`
				Skipped *struct{} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	require.NoError(t, xml.Unmarshal(text.Bytes(), &doc))
	tests, failures, skipped := 0, 0, 0
	for _, s := range doc.Suites {
		for _, c := range s.Cases {
			tests++
			if c.Failure != nil {
				failures++
			}
			if c.Skipped != nil {
				skipped++
			}
		}
	}
	assert.Equal(t, fmt.Sprint(tests, failures, skipped), fmt.Sprint(doc.Tests, doc.Failures, doc.Skipped))
	assert.Equal(t, "44 3 2", fmt.Sprint(tests, failures, skipped))
}

func TestCorpusText(t *testing.T) {
	host := bundle.Host{OS: "linux", Arch: "amd64", Kernel: "6.18.0", CPUs: 2, MemoryBytes: 24 << 30}
	rec := func(name string, h bundle.Host, go_ string) reports.Recorded {
		r := reports.NewRecorded(name, bundle.Manifest{
			Host: h, Tool: bundle.Tool{Version: "v1.2.0", Go: "go1.26.8"}, Target: bundle.Target{GoVersion: go_, GOMAXPROCS: h.CPUs},
			Window: bundle.Window{StartNS: 1e9, EndNS: 4e9}, Dimensions: []bundle.Dimension{{Name: "ebpf"}, {Name: "trace", Captured: true}},
		})
		r.InFlight = 500
		return r
	}
	one := host
	one.CPUs = 1
	var text bytes.Buffer
	require.NoError(t, reports.CorpusText(&text, reports.Corpus{Dir: "corpus", Recordings: []reports.Recorded{
		rec("a-fixed", host, "go1.26.8"), rec("a-flawed", host, "go1.26.8"), rec("b-flawed", one, ""),
	}}, reports.TextOptions{}))
	golden(t, "corpus.txt", text.Bytes())
}
