package corpus_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/cause"
	"chokepoint/harness/cli"
	"chokepoint/harness/corpus"
	"chokepoint/harness/rule"
	"chokepoint/harness/scenario"
	"chokepoint/harness/verdict"
	"chokepoint/reports"
)

var (
	update = flag.Bool("update", false, "write the golden files and the baseline anew")
	all    = flag.Bool("all", false, "try on every recording what is tried on a sample otherwise")
)

// golden is what is kept of a report: all that was concluded, and nothing that
// only repeats the recording.
type golden struct {
	Verdict  *verdict.Verdict `json:"verdict"`
	Findings []rule.Finding   `json:"findings"`
	Unknown  []rule.Unknown   `json:"unknown"`
	Silent   []string         `json:"silent"`
}

// TestFindings holds every recording to what it is known to show: the flaw,
// first and at its line, and nothing in the twin. The golden files hold the rest
// of what is said, so that no figure or sentence changes unseen.
func TestFindings(t *testing.T) {
	for _, r := range corpus.Bundles(t) {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			got := analyze(t, r.Path)

			require.NotNil(t, got.Verdict)
			assert.Equal(t, verdict.Pass, got.Verdict.Outcome, "%+v", got.Verdict)
			if r.Flawed {
				require.NotEmpty(t, got.Findings)
				truth := groundTruth(t, r).Truth[0]
				assert.Equal(t, truth.Cause, got.Findings[0].Cause)
				if truth.Line != 0 { // of a command the source is not known
					assert.Equal(t, truth.Line, got.Findings[0].Where.Line, "the line of %s", truth.Function)
				}
			} else {
				assert.Empty(t, got.Findings, "a twin is silent")
			}
			assert.Empty(t, got.Unknown, "every rule has what it needs")

			file := filepath.Join("testdata", r.Name+".golden.json")
			doc := text(t, golden{got.Verdict, got.Findings, got.Unknown, got.Silent})
			if *update {
				require.NoError(t, os.WriteFile(file, doc, 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err, "-update writes it")
			assert.Equal(t, string(want), string(doc))
		})
	}
}

// TestEveryFlawHasItsTwin holds that no flaw is recorded without its control,
// and that what has no flaw is a near miss.
func TestEveryFlawHasItsTwin(t *testing.T) {
	variants := map[string][]scenario.Variant{}
	wanted := map[string][]scenario.Variant{}
	families := map[string]bool{}
	for _, r := range corpus.Bundles(t) {
		resolved := groundTruth(t, r)
		variants[r.Scenario] = append(variants[r.Scenario], resolved.Variant)
		wanted[r.Scenario] = resolved.Scenario.Variants()
		if r.Flawed {
			families[resolved.Truth[0].Cause] = true
		}
	}
	goldens, err := filepath.Glob("testdata/*.golden.json")
	require.NoError(t, err)
	if !*update {
		assert.Len(t, goldens, len(corpus.Bundles(t)), "golden files: one for each recording")
	}
	for name, recorded := range variants {
		assert.ElementsMatch(t, wanted[name], recorded, "recordings of %s", name)
	}
	for _, id := range cause.IDs() {
		assert.True(t, families[id], "no recording shows %s", id)
	}
}

// TestBaseline holds the corpus to the baseline that is committed, and that to the
// corpus: what got worse must not pass, and what got better must be kept.
func TestBaseline(t *testing.T) {
	args := []string{"test", "--json"}
	if *update {
		args = append(args, "--update-baseline")
	}
	var stdout, stderr bytes.Buffer
	code := cli.Main(args, &stdout, &stderr)
	require.Empty(t, stderr.String())
	var r reports.TestReport
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &r))
	assert.Empty(t, r.Failed, "every rule holds its own cases")
	require.NotNil(t, r.Baseline)
	assert.Empty(t, r.Baseline.Worse)
	assert.Empty(t, r.Baseline.Better, "-update keeps what got better")
	assert.Empty(t, r.Baseline.New, "-update adds what is new")
	assert.Equal(t, cli.ExitPass, code)
	assert.Len(t, r.Score.Outcomes, len(corpus.Bundles(t)))
}

// TestAnalyzeTwiceGivesTheSameBytes holds that a diagnosis does not depend on
// the order of maps or on time.
func TestAnalyzeTwiceGivesTheSameBytes(t *testing.T) {
	r := corpus.Bundles(t)[0]
	_, first := analyzeText(t, r.Path)
	for range 3 {
		_, again := analyzeText(t, r.Path)
		require.Equal(t, string(first), string(again))
	}
}

// analyze is what `chokepoint analyze --json` says of a bundle.
func analyze(t *testing.T, path string) reports.Document {
	t.Helper()
	_, out := analyzeText(t, path)
	var doc reports.Document
	require.NoError(t, json.Unmarshal(out, &doc))
	return doc
}

func analyzeText(t *testing.T, path string) (code int, out []byte) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = cli.Main([]string{"analyze", "--json", path}, &stdout, &stderr)
	require.Empty(t, stderr.String())
	require.Contains(t, []int{cli.ExitPass, cli.ExitFail, cli.ExitCouldNotTell}, code)
	return code, stdout.Bytes()
}

func text(t *testing.T, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	require.NoError(t, e.Encode(v))
	return b.Bytes()
}
