package rule

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/signal"
)

func TestExplainIsGolden(t *testing.T) {
	r, err := loadTestdata(t).Rule("lock-contention/mutex")
	require.NoError(t, err)
	x := r.Explain(measured(lockSignals()), everything, map[string][]string{"trace.lock_wait_share": {"trace/trace.out"}})
	got, err := json.MarshalIndent(x, "", "  ")
	require.NoError(t, err)
	golden(t, "explanation.json", got)
}

// explained is the lock-contention rule of testdata with another condition, tried
// on signals.
func explained(t *testing.T, when string, values map[string]any) Explanation {
	t.Helper()
	r, err := Parse("r.yaml", edited(t, "when: trace.lock_wait_share > 0.2 && trace.lock_holder_share > 0.5", "when: "+when), catalogue())
	require.NoError(t, err)
	return r.Explain(measured(values), everything, nil)
}

func TestExplainSaysWhatDecided(t *testing.T) {
	wait, holder := "trace.lock_wait_share", "trace.lock_holder_share"
	tests := []struct {
		name, when, outcome string
		values              map[string]any
		because             []string
	}{
		{"all hold", wait + " > 0.2 && " + holder + " > 0.5", ExpectFire, map[string]any{wait: 0.9, holder: 0.6},
			[]string{wait + " > 0.2 is true: " + wait + " is 90%", holder + " > 0.5 is true: " + holder + " is 60%"}},
		{"one of three fails", wait + " > 0.2 && " + holder + " > 0.5 && proc.threads > 3", ExpectSilent, map[string]any{wait: 0.9, holder: 0.4, "proc.threads": 8.0},
			[]string{holder + " > 0.5 is false: " + holder + " is 40%"}},
		{"one of two holds", wait + " > 0.2 || " + holder + " > 0.5", ExpectFire, map[string]any{wait: 0.1, holder: 0.6},
			[]string{holder + " > 0.5 is true: " + holder + " is 60%"}},
		{"one is missing and does not matter", wait + " > 0.2 && " + holder + " > 0.5", ExpectSilent, map[string]any{wait: 0.1},
			[]string{wait + " > 0.2 is false: " + wait + " is 10%"}},
		{"one is missing", wait + " > 0.2 && " + holder + " > 0.5", ExpectUnknown, map[string]any{wait: 0.3, holder: "the probe fell over"},
			[]string{holder + ": the probe fell over"}},
		{"the branch that was taken", "'known(" + wait + ") ? " + wait + " > 0.2 : proc.threads > 3'", ExpectSilent, map[string]any{wait: 0.1, "proc.threads": 8.0},
			[]string{wait + " > 0.2 is false: " + wait + " is 10%"}},
		{"the branch for want of another", "'known(" + wait + ") ? " + wait + " > 0.2 : proc.threads > 3'", ExpectFire, map[string]any{"proc.threads": 8.0},
			[]string{"proc.threads > 3 is true: proc.threads is 8"}},
		{"a negation", "'!(" + wait + " > 0.2)'", ExpectFire, map[string]any{wait: 0.1},
			[]string{wait + " > 0.2 is false: " + wait + " is 10%"}},
		{"arithmetic", wait + " > 0.5 * proc.threads", ExpectSilent, map[string]any{wait: 0.9, "proc.threads": 2.0},
			[]string{wait + " > 0.5 * proc.threads is false: " + wait + " is 90%, proc.threads is 2"}},
		{"presence alone", "known(" + wait + ")", ExpectSilent, map[string]any{},
			[]string{"known(" + wait + ") is false: " + wait + " is unknown"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := explained(t, tt.when, tt.values)
			assert.Equal(t, tt.outcome, x.Outcome)
			assert.Equal(t, tt.because, x.Because)
			assert.Equal(t, tt.outcome == ExpectFire, x.Finding != nil)
		})
	}
}

func TestExplainShowsEveryTerm(t *testing.T) {
	x := explained(t, "'known(proc.rss) ? proc.rss > 1 : !(trace.lock_wait_share * 2.0 < 0.5) && same_function(trace.lock_holder_site, pprof.mutex_top_site)'", map[string]any{
		"trace.lock_wait_share":  0.4,
		"trace.lock_holder_site": signal.Location{Function: "main.get", File: "a.go", Line: 1},
		"pprof.mutex_top_site":   signal.Location{Function: "main.get", File: "a.go", Line: 9},
	})
	var lines []string
	var walk func(Term, int)
	walk = func(term Term, depth int) {
		line := strings.Repeat("  ", depth) + term.Text + " = " + term.Value
		if term.NotTaken {
			line += " (not taken)"
		}
		lines = append(lines, line)
		for _, part := range term.Terms {
			walk(part, depth+1)
		}
	}
	walk(x.When, 0)
	assert.Equal(t, []string{
		"known(proc.rss) ? (proc.rss > 1) : (!(trace.lock_wait_share * 2.0 < 0.5) && same_function(trace.lock_holder_site, pprof.mutex_top_site)) = true",
		"  known(proc.rss) = false",
		"    proc.rss = unknown",
		"  proc.rss > 1 = unknown (not taken)",
		"    proc.rss = unknown (not taken)",
		"    1 = 1 (not taken)",
		"  !(trace.lock_wait_share * 2.0 < 0.5) && same_function(trace.lock_holder_site, pprof.mutex_top_site) = true",
		"    !(trace.lock_wait_share * 2.0 < 0.5) = true",
		"      trace.lock_wait_share * 2.0 < 0.5 = false",
		"        trace.lock_wait_share * 2.0 = 0.8",
		"          trace.lock_wait_share = 40%",
		"          2.0 = 2",
		"        0.5 = 0.5",
		"    same_function(trace.lock_holder_site, pprof.mutex_top_site) = true",
		"      trace.lock_holder_site = main.get (a.go:1)",
		"      pprof.mutex_top_site = main.get (a.go:9)",
	}, lines)
}

// TestExplainAgreesWithEvaluate holds on every case of the rules in testdata that
// the explanation says what the evaluation does: whole and in each stance.
func TestExplainAgreesWithEvaluate(t *testing.T) {
	set := loadTestdata(t)
	for _, r := range set.rules {
		alone := &Set{lang: r.lang, rules: []*Rule{r}}
		for _, c := range r.cases {
			captured := func(d string) (bool, string) { return slices.Contains(c.dimensions, d), "not given" }
			got := alone.Evaluate(c.signals, captured)
			x := r.Explain(c.signals, captured, nil)
			switch x.Outcome {
			case ExpectFire:
				require.Len(t, got.Findings, 1, c.name)
				assert.Equal(t, got.Findings[0], *x.Finding, c.name)
				assert.Equal(t, True, x.When.Value, c.name)
				assert.Equal(t, got.Findings[0].Confidence, x.Confidence, c.name)
			case ExpectUnknown:
				require.Len(t, got.Unknown, 1, c.name)
				assert.Equal(t, got.Unknown[0].Missing, x.Because, c.name)
				assert.Equal(t, Undecided, x.When.Value, c.name)
			default:
				assert.Equal(t, []string{r.ID}, got.Silent, c.name)
				assert.Equal(t, False, x.When.Value, c.name)
			}
			assert.NotEmpty(t, x.Because, c.name)
		}
	}
}

func TestRuleByID(t *testing.T) {
	set := loadTestdata(t)
	_, err := set.Rule("lock-contention/mutx")
	require.EqualError(t, err, `there is no rule "lock-contention/mutx"; did you mean "lock-contention/mutex"?`)
	_, err = set.Rule("lock-contention")
	require.EqualError(t, err, `there is no rule "lock-contention"; the rules of that cause are lock-contention/mutex`)
	_, err = set.Rule("weather")
	require.ErrorContains(t, err, "there are lock-contention/mutex, ")
}

func TestLoadSources(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) {
		require.NoError(t, os.WriteFile(dir+"/"+name, data, 0o644))
	}
	base := Source{FS: os.DirFS("testdata/rules")}
	user := Source{Dir: "my/rules", FS: os.DirFS(dir)}

	_, err := Load(catalogue(), base, user)
	require.EqualError(t, err, "look for rules in my/rules: it holds no .yaml file")

	write("lock.yaml", edited(t, "when: trace.lock_wait_share > 0.2", "when: trace.lock_wait_shar > 0.2"))
	_, err = Load(catalogue(), base, user)
	require.ErrorContains(t, err, `my/rules/lock.yaml:4:7: when: there is no signal "trace.lock_wait_shar"; did you mean "trace.lock_wait_share"?`)

	write("lock.yaml", edited(t, "when: trace.lock_wait_share > 0.2", "when: trace.lock_wait_share > 0.3"))
	write("more.yaml", edited(t, "rule: lock-contention/mutex", "rule: lock-contention/mine"))
	set, err := Load(catalogue(), base, user)
	require.NoError(t, err)
	assert.Equal(t, []Replaced{{Rule: "lock-contention/mutex", Was: "lock-contention.yaml", By: "my/rules/lock.yaml"}}, set.Replaced())
	var ids []string
	for _, r := range set.Rules() {
		ids = append(ids, r.ID)
	}
	assert.Equal(t, []string{"lock-contention/mine", "lock-contention/mutex", "netpoll-spin"}, ids)

	write("twice.yaml", edited(t, "rule: lock-contention/mutex", "rule: lock-contention/mine"))
	_, err = Load(catalogue(), base, user)
	require.ErrorContains(t, err, `my/rules/twice.yaml: rule "lock-contention/mine" is also in my/rules/more.yaml`)

	require.NoError(t, os.Remove(dir+"/twice.yaml"))
	write("stray.yml", nil)
	_, err = Load(catalogue(), base, user)
	require.ErrorContains(t, err, "my/rules/stray.yml: a rule's file ends in .yaml; rename it")
}
