package rule

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rulesWith is the rule of testdata, and more of the same with other ids and exceptions.
func rulesWith(t *testing.T, unless map[string]string) fstest.MapFS {
	t.Helper()
	data, err := os.ReadFile("testdata/rules/lock-contention.yaml")
	require.NoError(t, err)
	const id, when = "rule: lock-contention/mutex\n", "when: trace.lock_wait_share > 0.2 && trace.lock_holder_share > 0.5"
	require.Contains(t, string(data), id)
	require.Contains(t, string(data), when)
	files := fstest.MapFS{}
	for name, exceptions := range unless {
		text := strings.Replace(string(data), id, "rule: lock-contention/"+name+"\n", 1)
		if exceptions != "" {
			text = strings.Replace(text, when, when+"\nunless:\n"+exceptions, 1)
		}
		files[name+".yaml"] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

// TestExceptionsThatAskRules holds that a finding is left to another rule only where that rule fires.
func TestExceptionsThatAskRules(t *testing.T) {
	set, err := LoadFS(rulesWith(t, map[string]string{
		"asks":  "  - {fires: [lock-contention/never, lock-contention/asked], when: proc.threads > 10, because: it is the other}",
		"asked": "  - {when: pprof.mutex_delay_top_share < 0.05, because: nobody waits by the profile}",
		"never": "  - {when: trace.lock_wait_share > 0.0, because: it never is}",
	}), catalogue())
	require.NoError(t, err)
	r, err := set.Rule("lock-contention/asks")
	require.NoError(t, err)
	assert.Contains(t, r.Signals(), "pprof.mutex_delay_top_share", "what the other rule rests on")

	wait, holder, profile, threads := "trace.lock_wait_share", "trace.lock_holder_share", "pprof.mutex_delay_top_share", "proc.threads"
	for _, c := range []struct {
		name    string
		values  map[string]any
		outcome string
		because string // the first of explain
	}{
		{"the other fires", map[string]any{wait: 0.9, holder: 0.6, threads: 20.0}, ExpectSilent, "it is the other"},
		{"the other fires, and the condition does not hold", map[string]any{wait: 0.9, holder: 0.6, threads: 8.0}, ExpectFire, ""},
		{"the other fires, and the condition is unknown", map[string]any{wait: 0.9, holder: 0.6}, ExpectFire, ""},
		{"the other is ruled out", map[string]any{wait: 0.9, holder: 0.6, threads: 20.0, profile: 0.01}, ExpectFire, ""},
		{"the other is unknown", map[string]any{wait: 0.9, threads: 20.0}, ExpectUnknown, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := r.Explain(measured(c.values), everything, nil)
			assert.Equal(t, c.outcome, x.Outcome)
			require.Len(t, x.Unless, 1)
			assert.Equal(t, c.outcome == ExpectSilent, x.Unless[0].When.Value == True)
			assert.Contains(t, x.Unless[0].When.Text, "lock-contention/asked fires")
			if c.because != "" {
				assert.Equal(t, c.because, x.Because[0])
				assert.Contains(t, x.Because, "lock-contention/asked fires")
			}
		})
	}
}

func TestRulesThatCannotBeAsked(t *testing.T) {
	asks := func(names string) string { return fmt.Sprintf("  - {fires: [%s], because: it is}", names) }
	for name, c := range map[string]struct {
		unless map[string]string
		want   string
	}{
		"no such rule":      {map[string]string{"one": asks("lock-contention/twoo"), "two": ""}, `one.yaml:6:13: unless[0].fires: there is no rule "lock-contention/twoo"; did you mean "lock-contention/two"?`},
		"itself":            {map[string]string{"one": asks("lock-contention/one")}, "rules may not wait for each other: lock-contention/one asks lock-contention/one"},
		"each other":        {map[string]string{"one": asks("lock-contention/two"), "two": asks("lock-contention/one")}, "rules may not wait for each other: lock-contention/one asks lock-contention/two asks lock-contention/one"},
		"neither condition": {map[string]string{"one": "  - {because: it is}"}, "unless[0].when: is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := LoadFS(rulesWith(t, c.unless), catalogue())
			assert.ErrorContains(t, err, c.want)
		})
	}
	_, err := LoadFS(rulesWith(t, map[string]string{"one": asks("lock-contention/two"), "two": asks("lock-contention/three"), "three": "", "four": asks("lock-contention/two, lock-contention/three")}), catalogue())
	assert.NoError(t, err, "rules that two ask are no circle")
}
