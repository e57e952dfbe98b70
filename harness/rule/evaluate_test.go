package rule

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/signal"
)

// lockSignals is a bundle's worth of a lock held over a sleep.
func lockSignals() map[string]any {
	return map[string]any{
		"trace.lock_wait_share":          0.97,
		"trace.lock_holder_share":        0.98,
		"trace.lock_holder_site":         signal.Location{Function: "main.(*store).get", File: "/src/store.go", Line: 41},
		"trace.lock_holder_blocked_site": signal.Location{Function: "main.(*store).load", File: "/src/store.go", Line: 60},
		"pprof.mutex_delay_top_share":    0.926,
		"pprof.mutex_top_site":           signal.Location{Function: "main.(*store).get", File: "/src/store.go", Line: 47},
		"ebpf.epoll_waits_per_event":     "the syscalls probe was not captured: needs root",
		"ebpf.epoll_wait_mean":           "the syscalls probe was not captured: needs root",
	}
}

func TestResultIsGolden(t *testing.T) {
	set := loadTestdata(t)
	var first []byte
	for range 20 {
		got, err := json.MarshalIndent(set.Evaluate(measured(lockSignals()), everything), "", "  ")
		require.NoError(t, err)
		if first == nil {
			first = got
		}
		require.Equal(t, string(first), string(got), "the same input gave other bytes")
	}
	golden(t, "result.json", append(first, '\n'))
}

// TestExceptions holds that what speaks against a cause does so only when it is known.
func TestExceptions(t *testing.T) {
	const when = "when: trace.lock_wait_share > 0.2 && trace.lock_holder_share > 0.5"
	r, err := Parse("r.yaml", edited(t, when, when+`
unless:
  - {when: pprof.mutex_delay_top_share < 0.05, because: nobody waits by the profile}
  - {when: proc.threads > 1000, because: it is threads}`), catalogue())
	require.NoError(t, err)
	assert.Contains(t, r.Signals(), "proc.threads")
	wait, holder, profile, threads := "trace.lock_wait_share", "trace.lock_holder_share", "pprof.mutex_delay_top_share", "proc.threads"
	tests := []struct {
		name    string
		values  map[string]any
		outcome string
		because []string // of explain
	}{
		{"none is known", map[string]any{wait: 0.9, holder: 0.6}, ExpectFire,
			[]string{wait + " > 0.2 is true: " + wait + " is 90%", holder + " > 0.5 is true: " + holder + " is 60%"}},
		{"none holds", map[string]any{wait: 0.9, holder: 0.6, profile: 0.4, threads: 8.0}, ExpectFire,
			[]string{wait + " > 0.2 is true: " + wait + " is 90%", holder + " > 0.5 is true: " + holder + " is 60%"}},
		{"one holds", map[string]any{wait: 0.9, holder: 0.6, threads: 2000.0}, ExpectSilent,
			[]string{"it is threads", threads + " > 1000 is true: " + threads + " is 2,000"}},
		{"the first that holds is told", map[string]any{wait: 0.9, holder: 0.6, profile: 0.01, threads: 2000.0}, ExpectSilent,
			[]string{"nobody waits by the profile", profile + " < 0.05 is true: " + profile + " is 1%"}},
		{"one holds, and the rest is unknown", map[string]any{wait: 0.9, threads: 2000.0}, ExpectSilent,
			[]string{"it is threads", threads + " > 1000 is true: " + threads + " is 2,000"}},
		{"when is false of itself", map[string]any{wait: 0.1, threads: 8.0}, ExpectSilent,
			[]string{wait + " > 0.2 is false: " + wait + " is 10%"}},
		{"nothing is known", nil, ExpectUnknown, []string{wait + ", " + holder + ": not measured"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := (&Set{lang: r.lang, rules: []*Rule{r}}).Evaluate(measured(tt.values), everything)
			assert.Equal(t, tt.outcome == ExpectFire, len(got.Findings) == 1)
			assert.Equal(t, tt.outcome == ExpectSilent, len(got.Silent) == 1)
			assert.Equal(t, tt.outcome == ExpectUnknown, len(got.Unknown) == 1)
			x := r.Explain(measured(tt.values), everything, nil)
			assert.Equal(t, tt.outcome, x.Outcome)
			assert.Equal(t, tt.because, x.Because)
			assert.Len(t, x.Unless, 2)
		})
	}
}

func TestEmptyResultHasEmptyLists(t *testing.T) {
	got, err := json.Marshal((&Set{}).Evaluate(signal.Set{}, everything))
	require.NoError(t, err)
	assert.JSONEq(t, `{"findings":[],"unknown":[],"silent":[]}`, string(got))
}

func TestStances(t *testing.T) {
	const agrees, disagrees, plain = 0.9, 0.01, 0.3
	tests := []struct {
		name     string
		clause   string
		captured bool
		values   map[string]any
		stance   Stance
		says     string
		figures  int
	}{
		{"agrees", "{agrees: pprof.mutex_delay_top_share > 0.5, disagrees: pprof.mutex_delay_top_share < 0.05, says: 'saw {pprof.mutex_delay_top_share}'}",
			true, map[string]any{"pprof.mutex_delay_top_share": agrees}, Agrees, "saw 90%", 1},
		{"disagrees", "{agrees: pprof.mutex_delay_top_share > 0.5, disagrees: pprof.mutex_delay_top_share < 0.05, says: 'saw {pprof.mutex_delay_top_share}'}",
			true, map[string]any{"pprof.mutex_delay_top_share": disagrees}, Disagrees, "saw 1%", 1},
		{"neither", "{agrees: pprof.mutex_delay_top_share > 0.5, disagrees: pprof.mutex_delay_top_share < 0.05, says: 'saw {pprof.mutex_delay_top_share}'}",
			true, map[string]any{"pprof.mutex_delay_top_share": plain}, Silent, "saw 30%", 1},
		{"neither, and blind", "{agrees: pprof.mutex_delay_top_share > 0.5, says: 'saw', blind: waits that never end are not in it}",
			true, map[string]any{"pprof.mutex_delay_top_share": plain}, Silent, "waits that never end are not in it", 1},
		{"blind alone", "{blind: it cannot see this}", true, nil, Silent, "it cannot see this", 0},
		{"asks nothing", "", true, nil, Silent, "the rule asks nothing of pprof", 0},
		{"dimension not captured", "{agrees: pprof.mutex_delay_top_share > 0.5, says: 'saw'}",
			false, map[string]any{"pprof.mutex_delay_top_share": agrees}, NotCaptured, "no endpoint", 0},
		{"dimension not captured, and asks nothing", "", false, nil, NotCaptured, "no endpoint", 0},
		{"all evidence missing", "{agrees: pprof.mutex_delay_top_share > 0.5, says: 'saw'}",
			true, map[string]any{"pprof.mutex_delay_top_share": "the mutex profile is damaged"}, NotCaptured, "pprof.mutex_delay_top_share: the mutex profile is damaged", 0},
		{"evidence missing in part, and it matters", "{agrees: pprof.mutex_delay_top_share > 0.5 && proc.threads > 5.0, says: 'saw'}",
			true, map[string]any{"pprof.mutex_delay_top_share": agrees, "proc.threads": "no /proc"}, NotCaptured, "proc.threads: no /proc", 1},
		{"evidence missing in part, and it does not matter", "{agrees: pprof.mutex_delay_top_share > 0.5 || proc.threads > 5.0, says: 'saw'}",
			true, map[string]any{"pprof.mutex_delay_top_share": agrees}, Agrees, "saw", 1},
		{"agreement undecided is not overruled", "{agrees: pprof.mutex_delay_top_share < 0.5 && proc.threads > 5.0, disagrees: pprof.mutex_delay_top_share < 0.05, says: 'saw'}",
			true, map[string]any{"pprof.mutex_delay_top_share": disagrees}, NotCaptured, "proc.threads: not measured", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dimension := ""
			if tt.clause != "" {
				dimension = "  pprof: " + tt.clause + "\n"
			}
			r, err := Parse("r.yaml", fmt.Appendf(nil, ruleText, "lock-contention", "lock-contention", "1.0", dimension), catalogue())
			require.NoError(t, err)
			values := map[string]any{"trace.lock_wait_share": 0.9}
			for name, v := range tt.values {
				values[name] = v
			}
			got := (&Set{lang: r.lang, rules: []*Rule{r}}).Evaluate(measured(values), func(d string) (bool, string) {
				return d != "pprof" || tt.captured, "no endpoint"
			})
			require.Len(t, got.Findings, 1)
			d := got.Findings[0].Dimensions[1]
			assert.Equal(t, "pprof", d.Dimension)
			assert.Equal(t, tt.stance, d.Stance)
			assert.Equal(t, tt.says, d.Says)
			assert.Len(t, d.Figures, tt.figures)
		})
	}
}

// ruleText takes an id, a cause, an impact and more dimensions.
const ruleText = `
rule: %s
cause: %s
title: A test
when: trace.lock_wait_share > 0.5
impact: %s
where: [trace.lock_holder_site]
dimensions:
  trace: {blind: not asked}
%sbecause: so
fix: mend
cases:
  - {name: a, signals: {trace.lock_wait_share: 1}, expect: fire}
  - {name: b, signals: {trace.lock_wait_share: 0}, expect: silent}
`

func TestConfidenceFollowsFromStances(t *testing.T) {
	for _, tt := range []struct {
		stances []Stance
		want    Confidence
	}{
		{[]Stance{Agrees, Agrees, Agrees}, High},
		{[]Stance{Agrees, Agrees, Silent}, High},
		{[]Stance{Agrees, NotCaptured, Agrees}, High},
		{[]Stance{Agrees, Agrees, Disagrees}, Medium},
		{[]Stance{Silent, Agrees, NotCaptured}, Medium},
		{[]Stance{Agrees, NotCaptured, NotCaptured}, Medium},
		{[]Stance{Agrees, Disagrees, Silent}, Low},
		{[]Stance{Agrees, Disagrees, Disagrees}, Low},
		{[]Stance{NotCaptured, NotCaptured, NotCaptured}, Low},
		{[]Stance{Silent, Silent, Silent}, Low},
		{[]Stance{Disagrees, Silent, Silent}, Low},
	} {
		var dimensions []DimensionFinding
		for _, s := range tt.stances {
			dimensions = append(dimensions, DimensionFinding{Stance: s})
		}
		assert.Equal(t, tt.want, confidence(dimensions), "%v", tt.stances)
	}
}

func TestRanking(t *testing.T) {
	at := func(function string) signal.Location {
		return signal.Location{Function: function, File: "f.go", Line: 1}
	}
	in := []Finding{
		{Cause: "pool-misuse", Rule: "pool-misuse", Impact: 0.5, Confidence: Low, Where: at("a")},
		{Cause: "gc-pressure", Rule: "gc-pressure", Impact: 0.5, Confidence: High, Where: at("a")},
		{Cause: "lock-contention", Rule: "lock-contention/b", Impact: 0.9, Confidence: Low, Where: at("b")},
		{Cause: "lock-contention", Rule: "lock-contention/c", Impact: 0.2, Confidence: High, Where: signal.Location{Function: "b", File: "f.go", Line: 9}},
		{Cause: "lock-contention", Rule: "lock-contention/d", Impact: 0.1, Confidence: High, Where: at("other")},
		{Cause: "gc-thrash", Rule: "gc-thrash", Impact: 0.5, Confidence: High, Where: at("a")},
		{Cause: "goroutine-leak", Rule: "goroutine-leak", Impact: 0.99, Confidence: High, Where: at("a"), resource: true},
	}
	type line struct {
		rank int
		rule string
		also []string
	}
	want := []line{
		{1, "gc-pressure", nil},
		{2, "gc-thrash", nil},
		{3, "lock-contention/c", []string{"lock-contention/b"}},
		{4, "lock-contention/d", nil},
		{5, "pool-misuse", nil},    // doubtful
		{6, "goroutine-leak", nil}, // what it loses is no time
	}
	for range len(in) { // in any order of arrival
		in = append(in[1:], in[0])
		var got []line
		for _, f := range rank(append([]Finding(nil), in...)) {
			got = append(got, line{f.Rank, f.Rule, f.Also})
		}
		assert.Equal(t, want, got)
	}
}

func TestOfTwoRulesOfOneCauseTheStrongerIsKept(t *testing.T) {
	set, err := LoadFS(fstest.MapFS{
		"a.yaml": {Data: fmt.Appendf(nil, ruleText, "lock-contention/a", "lock-contention", "0.4", "")},
		"b.yaml": {Data: fmt.Appendf(nil, ruleText, "lock-contention/b", "lock-contention", "0.6", "")},
		"c.yaml": {Data: fmt.Appendf(nil, ruleText, "stalled", "stalled", "0.5", "")},
	}, catalogue())
	require.NoError(t, err)
	got := set.Evaluate(measured(lockSignals()), everything)
	require.Len(t, got.Findings, 2)
	assert.Equal(t, "lock-contention/b", got.Findings[0].Rule)
	assert.Equal(t, []string{"lock-contention/a"}, got.Findings[0].Also)
	assert.Equal(t, "stalled", got.Findings[1].Rule)
}

// TestRelated holds that each place is shown once.
func TestRelated(t *testing.T) {
	at := func(function string, line int) signal.Location {
		return signal.Location{Function: function, File: "/src/store.go", Line: line}
	}
	related := "related:\n" +
		"  - {role: the holder is held up here, where: trace.lock_holder_blocked_site}\n" +
		"  - {role: requests wait here, where: pprof.mutex_top_site}\n" +
		"  - {role: requests wait here, where: ebpf.epoll_site}\n"
	for _, tt := range []struct {
		name                 string
		blocked, mutex, ebpf any
		want                 []Related
	}{
		{"all apart", at("main.load", 60), at("main.get", 7), at("main.get", 9), []Related{
			{"the holder is held up here", at("main.load", 60)}, {"requests wait here", at("main.get", 7)}}},
		{"not known", at("main.load", 60), "not captured", at("main.get", 9), []Related{
			{"the holder is held up here", at("main.load", 60)}, {"requests wait here", at("main.get", 9)}}},
		{"where the finding points", at("main.(*store).get", 41), at("main.get", 7), "not captured", []Related{{"requests wait here", at("main.get", 7)}}},
		{"the same in its closure", at("main.(*store).get.func1", 41), "not captured", "not captured", nil},
		{"another line of it", at("main.(*store).get", 42), "not captured", "not captured", []Related{{"the holder is held up here", at("main.(*store).get", 42)}}},
		{"one before it", at("main.load", 60), at("main.load[...]", 60), at("main.get", 9), []Related{{"the holder is held up here", at("main.load", 60)}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set, err := LoadFS(fstest.MapFS{"a.yaml": {Data: fmt.Appendf(nil, ruleText, "stalled", "stalled", "0.4", related)}}, catalogue())
			require.NoError(t, err)
			signals := lockSignals()
			signals["trace.lock_holder_blocked_site"], signals["pprof.mutex_top_site"], signals["ebpf.epoll_site"] = tt.blocked, tt.mutex, tt.ebpf
			got := set.Evaluate(measured(signals), everything)
			require.Len(t, got.Findings, 1)
			assert.Equal(t, tt.want, got.Findings[0].Related)
		})
	}
}

// TestInsideALibrary holds that a rule's own place for the library's line goes before the
// one that is known of any line, and that the advice may depend on it.
func TestInsideALibrary(t *testing.T) {
	at := func(function string) signal.Location {
		return signal.Location{Function: function, File: "/src/log.go", Line: 58}
	}
	own := at("other.org/log.(*Logger).fire")
	text := strings.Replace(ruleText, "fix: mend", "fix: [\"a newer one than {pprof.mutex_top_site}, at {where}\", mend]", 1)
	for _, tt := range []struct {
		name    string
		library any
		want    []Related
		fix     string
	}{
		{"the rule knows", own, []Related{{"inside a library", own}}, "a newer one than other.org/log.(*Logger).fire (log.go:58), at main.(*store).get (store.go:41)"},
		{"it does not", "not captured", []Related{{"inside a library", at("other.org/codec.Read")}}, "mend"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set, err := LoadFS(fstest.MapFS{"a.yaml": {Data: fmt.Appendf(nil, text, "stalled", "stalled", "0.4",
				"related: [{role: inside a library, where: pprof.mutex_top_site}]\n")}}, catalogue())
			require.NoError(t, err)
			signals := lockSignals()
			signals["pprof.mutex_top_site"] = tt.library
			all := measured(signals)
			all.Libraries = map[signal.Location]signal.Location{all.Signals["trace.lock_holder_site"].Where: at("other.org/codec.Read")}
			got := set.Evaluate(all, everything)
			require.Len(t, got.Findings, 1)
			assert.Equal(t, tt.want, got.Findings[0].Related)
			assert.Equal(t, tt.fix, got.Findings[0].Fix)
		})
	}
}

func BenchmarkEvaluate(b *testing.B) {
	set, signals := loadTestdata(b), measured(lockSignals())
	for b.Loop() {
		set.Evaluate(signals, everything)
	}
}
