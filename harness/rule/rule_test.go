package rule

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run `go test ./harness/rule -update` to make it")
	assert.Equal(t, string(want), string(got))
}

func loadTestdata(t testing.TB) *Set {
	t.Helper()
	set, err := LoadFS(os.DirFS("testdata/rules"), catalogue())
	require.NoError(t, err)
	return set
}

func TestRunCasesOfTestdata(t *testing.T) {
	results := loadTestdata(t).RunCases()
	require.Len(t, results, 6)
	for _, r := range results {
		assert.True(t, r.Passed, "%s:%d: %s: %s", r.File, r.Line, r.Case, r.Why)
	}
}

// edited is the lock-contention rule of testdata with one text changed.
func edited(t testing.TB, from, to string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/rules/lock-contention.yaml")
	require.NoError(t, err)
	require.Contains(t, string(data), from)
	return []byte(strings.Replace(string(data), from, to, 1))
}

func TestParseFaults(t *testing.T) {
	when := "when: trace.lock_wait_share > 0.2 && trace.lock_holder_share > 0.5"
	tests := []struct{ name, from, to, want string }{
		{"signal misspelt", when, "when: trace.lock_wait_shar > 0.2",
			`r.yaml:4:7: when: there is no signal "trace.lock_wait_shar"; did you mean "trace.lock_wait_share"?`},
		{"signal of a block", when, "when: |\n  trace.lock_wait_share > 0.2 &&\n  trace.lock_holder_shar > 0.5",
			`r.yaml:6: when: there is no signal "trace.lock_holder_shar"; did you mean "trace.lock_holder_share"?`},
		{"signal unlike any", when, "when: weather > 0.2", `r.yaml:4:7: when: there is no signal "weather"`},
		{"syntax", when, "when: trace.lock_wait_share >", "r.yaml:4:7: when: Syntax error"},
		{"empty", when, "when: ''", "r.yaml:4:7: when: is empty; it takes a CEL expression over signals"},
		{"a number for a condition", when, "when: trace.lock_wait_share", "when: is a number and must be a condition (true or false)"},
		{"a condition for a number", "impact: trace.lock_wait_share", "impact: trace.lock_wait_share > 0.1", "impact: is a condition (true or false) and must be a number"},
		{"whole number in arithmetic", when, "when: trace.lock_wait_share * 2 > 0.5", "in arithmetic write whole numbers with a point, 2.0"},
		{"condition without evidence", when, "when: 1 < 2", "when: uses no signal, so no evidence could change it"},
		{"place as number", when, "when: trace.lock_holder_site > 0.5", "when: found no matching overload"},
		{"loop", when, "when: '{1: trace.lock_wait_share} == {}'", "maps, messages and loops have no use over signals"},
		{"exception's signal misspelt", when, when + "\nunless:\n  - {when: trace.lock_wait_shar > 0.2, because: it is}",
			`r.yaml:6:12: unless[0].when: there is no signal "trace.lock_wait_shar"; did you mean "trace.lock_wait_share"?`},
		{"exception without a reason", when, when + "\nunless:\n  - when: trace.lock_wait_share > 0.2",
			"unless[0].because: is required: say what it is instead, or why it is no flaw"},
		{"exception without evidence", when, when + "\nunless:\n  - {when: 1 < 2, because: it is}", "unless[0].when: uses no signal"},
		{"place unknown", "where: [trace.lock_holder_site,", "where: [trace.lock_holder_sit,",
			`where[0]: there is no signal "trace.lock_holder_sit"; did you mean "trace.lock_holder_site"?`},
		{"number as place", "where: [trace.lock_holder_site,", "where: [trace.lock_wait_share,", "where[0]: trace.lock_wait_share is a number; this takes a place signal"},
		{"no place", "where: [trace.lock_holder_site, pprof.mutex_top_site]", "where: []", "where: is required"},
		{"related unknown", "trace.lock_holder_blocked_site}", "trace.lock_holder_blocked_sit}", `did you mean "trace.lock_holder_blocked_site"?`},
		{"cause unknown", "cause: lock-contention", "cause: lock-contentoin", `r.yaml:2:8: cause: there is no cause "lock-contentoin"; did you mean "lock-contention"?`},
		{"id of another cause", "rule: lock-contention/mutex", "rule: mutex", `rule: "mutex" must be the rule's cause, or begin with it: "lock-contention/..."`},
		{"confused with itself", "[pool-exhaustion,", "[lock-contention,", "confused_with[0]: names the rule's own cause"},
		{"confused with nothing known", "[pool-exhaustion,", "[pool-exhastion,", `did you mean "pool-exhaustion"?`},
		{"field unknown", "impact:", "impct:", "impct"},
		{"template signal", "because: \"{trace.lock_wait_share|", "because: \"{trace.lock_wait_shar|",
			`because: {trace.lock_wait_shar|percent}: there is no signal "trace.lock_wait_shar"; did you mean "trace.lock_wait_share"?`},
		{"one sentence of several", "because: \"{trace.lock_wait_share|percent} of request time waits for the lock taken at {where}\"", "because:\n  - fine\n  - '{trace.lock_wait_shar}'",
			`r.yaml:22:5: because[1]: {trace.lock_wait_shar}: there is no signal`},
		{"no sentence", "because: \"{trace.lock_wait_share|percent} of request time waits for the lock taken at {where}\"", "because: []", "because: is required"},
		{"template format", "{trace.lock_wait_share|percent} of request time is", "{trace.lock_wait_share|bytes} of request time is",
			`has no format "bytes"; it takes percent or ratio`},
		{"borrowed evidence", "agrees: pprof.mutex_delay_top_share > 0.5 &&", "agrees: pprof.mutex_delay_top_share > 0.5 && trace.lock_wait_share > 0.5 &&",
			"dimensions.pprof.agrees: trace.lock_wait_share is evidence of trace; a clause of pprof may use its own signals, and those of proc and load"},
		{"no evidence of its own", "disagrees: pprof.mutex_delay_top_share < 0.05", "disagrees: proc.rss < 5.0", "uses no signal of pprof, whose stance it decides"},
		{"clause without says", "    says: \"{trace.lock_wait_share|percent} of request time is spent in Lock\"\n", "", "dimensions.trace: needs says"},
		{"clause without anything", "    blind: a goroutine that waits for a lock does not enter the kernel", "    says: nothing", "dimensions.ebpf: needs agrees or disagrees, or blind"},
		{"case of no known signal", "    signals: {trace.lock_wait_share: 0.001}", "    signals: {trace.lock_wait_shar: 0.001}",
			`r.yaml:40:37: cases[2].signals: there is no signal "trace.lock_wait_shar"; did you mean "trace.lock_wait_share"?`},
		{"case with a word for a number", "    signals: {trace.lock_wait_share: 0.001}", "    signals: {trace.lock_wait_share: much}", "trace.lock_wait_share is a number; write its value"},
		{"case with a number for a place", "    signals: {trace.lock_wait_share: 0.001}", "    signals: {trace.lock_holder_site: 3}", "trace.lock_holder_site is a place; write it as"},
		{"case with a place without line", "    signals: {trace.lock_wait_share: 0.001}", "    signals: {trace.lock_holder_site: main.get store.go}", `"main.get store.go" is no place; write it as`},
		{"case expecting nonsense", "    expect: silent", "    expect: silence", `cases[2].expect: "silence" is none of fire, silent, unknown; did you mean "silent"?`},
		{"case twice", "name: no trace", "name: the trace alone", `another case has the name "the trace alone"`},
		{"confidence of silence", "    expect: silent", "    expect: silent\n    confidence: high", "confidence and where can be expected only of a case that expects fire"},
		{"confidence unknown", "confidence: medium", "confidence: middling", `"middling" is none of high, medium, low`},
		{"no silent case", "    expect: silent", "    expect: unknown", "cases: needs a case that expects silent; a rule cannot be trusted without one"},
		{"no fix", "fix: Do the slow work before taking the lock, or give each key a lock of its own.", "fix: ''", "fix: is required"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("r.yaml", edited(t, tt.from, tt.to), catalogue())
			require.Error(t, err)
			assert.Contains(t, err.Error(), tt.want)
		})
	}
}

func TestParseReportsEveryFault(t *testing.T) {
	data := edited(t, "cause: lock-contention", "cause: lock")
	data = []byte(strings.Replace(string(data), "impact: trace.lock_wait_share", "impact: true", 1))
	_, err := Parse("r.yaml", data, catalogue())
	require.ErrorContains(t, err, `there is no cause "lock"`)
	require.ErrorContains(t, err, "impact: is a condition")
}

func TestLoadFS(t *testing.T) {
	good, err := os.ReadFile("testdata/rules/lock-contention.yaml")
	require.NoError(t, err)

	_, err = LoadFS(fstest.MapFS{
		"a.yaml": {Data: good}, "deep/b.yaml": {Data: good},
		"c.yaml": {Data: []byte("rule: [")}, "d.yaml": {}, "notes.md": {Data: []byte("no rule")},
	}, catalogue())
	require.ErrorContains(t, err, `deep/b.yaml: rule "lock-contention/mutex" is also in a.yaml; give one of them another id`)
	require.ErrorContains(t, err, "c.yaml")
	require.ErrorContains(t, err, "d.yaml:1: is empty")

	set, err := LoadFS(fstest.MapFS{"deep/b.yaml": {Data: good}, "notes.md": {}}, catalogue())
	require.NoError(t, err)
	require.Len(t, set.Rules(), 1)
	assert.Equal(t, "deep/b.yaml", set.Rules()[0].File)
	assert.Equal(t, []string{
		"pprof.mutex_delay_top_share", "pprof.mutex_top_site", "trace.lock_holder_blocked_site",
		"trace.lock_holder_share", "trace.lock_holder_site", "trace.lock_wait_share",
	}, set.Rules()[0].Signals())
}

func TestCasesThatFailSayWhy(t *testing.T) {
	for _, tt := range []struct{ from, to, want string }{
		{"{trace.lock_wait_share: 0.3, trace.lock_holder_share: 0.6}", "{trace.lock_wait_share: 0.1, trace.lock_holder_share: 0.6}", "expected fire, got silent"},
		{"{trace.lock_wait_share: 0.3, trace.lock_holder_share: 0.6}", "{trace.lock_wait_share: 0.3}", "expected fire, got unknown for want of trace.lock_holder_share: not measured"},
		{"confidence: medium", "confidence: high", "expected confidence high, got medium (ebpf: not captured, pprof: not captured, trace: agrees)"},
		{"where: main.(*store).get store.go:41", "where: main.(*store).get store.go:42", "expected it at main.(*store).get (store.go:42), got main.(*store).get (store.go:41)"},
		{"where: main.(*store).get store.go:41", "where: main.(*store).put", "expected it at main.(*store).put, got main.(*store).get (store.go:41)"},
	} {
		r, err := Parse("r.yaml", edited(t, tt.from, tt.to), catalogue())
		require.NoError(t, err)
		var why []string
		for _, c := range r.RunCases() {
			assert.Equal(t, c.Why == "", c.Passed)
			if !c.Passed {
				why = append(why, c.Why)
				assert.Greater(t, c.Line, 1)
			}
		}
		assert.Equal(t, []string{tt.want}, why)
	}
	r, err := Parse("r.yaml", edited(t, "where: main.(*store).get store.go:41", "where: main.(*store).get"), catalogue())
	require.NoError(t, err)
	for _, c := range r.RunCases() {
		assert.True(t, c.Passed, c.Why)
	}
}

func TestSchemas(t *testing.T) {
	for name, make := range map[string]func() ([]byte, error){
		"../../../docs/rule.schema.json": Schema, "../../../docs/finding.schema.json": FindingSchema,
	} {
		got, err := make()
		require.NoError(t, err)
		require.True(t, json.Valid(got))
		golden(t, name, got)
	}
}

// Minimising an input takes long, since what CEL's parser covers varies with
// what it parsed before: run it with -fuzzminimizetime 10x.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"lock-contention.yaml", "netpoll-spin.yaml"} {
		data, err := os.ReadFile(filepath.Join("testdata/rules", name))
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte("when: " + strings.Repeat("!", 5000) + "true"))
	f.Add([]byte("when: |\n\n  a\n"))
	lang, err := newLanguage(catalogue())
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := lang.parse("fuzz.yaml", data)
		if err != nil {
			if !strings.Contains(err.Error(), "fuzz.yaml") {
				t.Fatalf("the error does not name the file: %v", err)
			}
			return
		}
		result := (&Set{lang: lang, rules: []*Rule{r}}).Evaluate(measured(lockSignals()), everything)
		if _, err := json.Marshal(result); err != nil {
			t.Fatalf("the result cannot be written: %v", err)
		}
		for _, c := range r.RunCases() {
			if c.Passed != (c.Why == "") {
				t.Fatalf("case %q: passed %v, why %q", c.Case, c.Passed, c.Why)
			}
		}
	})
}
