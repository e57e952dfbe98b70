package verdict

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/rule"
	"chokepoint/harness/scenario"
	"chokepoint/harness/signal"
)

var (
	truthGet = scenario.Truth{Cause: "lock-contention", Function: "main.(*store).get", File: "targets/sessions/store.go", Line: 20}
	whereGet = signal.Location{Function: "main.(*store).get", File: "/build/targets/sessions/store.go", Line: 20}
)

func resolved(variant scenario.Variant, expect scenario.Expect, truth ...scenario.Truth) scenario.Resolved {
	return scenario.Resolved{
		Schema: 1, Variant: variant, Truth: truth,
		Scenario: scenario.Scenario{Name: "lab/sessions", Expect: expect},
	}
}

// sessions expects one finding, seen by all three dimensions.
func sessions(variant scenario.Variant) scenario.Resolved {
	return resolved(variant, scenario.Expect{
		Findings:    []scenario.ExpectedFinding{{Cause: "lock-contention", At: "(*store).get", Dimensions: []string{"ebpf", "pprof", "trace"}}},
		NothingElse: true,
	}, truthGet)
}

func finding(cause string, rank int, where signal.Location, stances ...rule.Stance) rule.Finding {
	f := rule.Finding{Cause: cause, Rule: cause, Rank: rank, Confidence: rule.High, Where: where}
	for i, d := range []string{"ebpf", "pprof", "trace"} {
		stance := rule.Agrees
		if i < len(stances) {
			stance = stances[i]
		}
		f.Dimensions = append(f.Dimensions, rule.DimensionFinding{Dimension: d, Stance: stance, Says: d + " says so"})
	}
	return f
}

// healthy is the input of a run in which nothing went wrong.
func healthy(findings ...rule.Finding) Input {
	return Input{
		Complete: true, LoadReached: true, Findings: findings, Silent: []string{"gc-thrash"},
		Dimensions: map[string]Captured{"ebpf": {Captured: true}, "pprof": {Captured: true}, "trace": {Captured: true}},
	}
}

func TestJudge(t *testing.T) {
	lock := finding("lock-contention", 1, whereGet)
	other := finding("gc-pressure", 2, signal.Location{Function: "main.parse", File: "p.go", Line: 3})
	at := func(function, file string, line int) signal.Location {
		return signal.Location{Function: function, File: file, Line: line}
	}
	with := func(in Input, change func(*Input)) Input {
		change(&in)
		return in
	}
	lacksTrace := rule.Unknown{Cause: "lock-contention", Rule: "lock-contention/mutex", Missing: []string{"trace.lock_wait_share (no trace was captured)"}}
	anyOther := sessions(scenario.Flawed)
	anyOther.Scenario.Expect.NothingElse = false
	noSource := resolved("", scenario.Expect{Findings: []scenario.ExpectedFinding{{Cause: "lock-contention", At: "(*store).get"}}, NothingElse: true},
		scenario.Truth{Cause: "lock-contention", Function: "(*store).get"})
	anyPlace := resolved("", scenario.Expect{Findings: []scenario.ExpectedFinding{{Cause: "lock-contention"}}, NothingElse: true}, scenario.Truth{Cause: "lock-contention"})
	nothing := resolved("", scenario.Expect{NothingElse: true})
	unjudged := resolved("", scenario.Expect{})

	for name, c := range map[string]struct {
		r    scenario.Resolved
		in   Input
		want Outcome
		say  []string // the reasons, "outcome: text", in order
	}{
		"found": {sessions(scenario.Flawed), healthy(lock), Pass, []string{
			"pass: lock-contention is found at main.(*store).get (/build/targets/sessions/store.go:20), as expected"}},
		"found in a literal inside the function": {sessions(scenario.Flawed), healthy(finding("lock-contention", 1, at("main.(*store).get.func1", "store.go", 20))), Pass, []string{
			"pass: lock-contention is found at main.(*store).get.func1 (store.go:20), as expected"}},
		"found, with rules that could not be decided": {sessions(scenario.Flawed), with(healthy(lock), func(in *Input) {
			in.Unknown = []rule.Unknown{lacksTrace, {Cause: "stalled", Rule: "stalled", Missing: []string{"a", "b"}}}
		}), Pass, []string{
			"pass: lock-contention is found at main.(*store).get (/build/targets/sessions/store.go:20), as expected",
			"note: whether there is lock-contention could not be told: rule lock-contention/mutex lacks trace.lock_wait_share (no trace was captured)",
			"note: whether there is stalled could not be told: rule stalled lacks a; b"}},
		"nothing found": {sessions(scenario.Flawed), healthy(), Fail, []string{
			"fail: lock-contention is not found; it stands in main.(*store).get (targets/sessions/store.go:20)"}},
		"another found instead": {sessions(scenario.Flawed), healthy(finding("gc-pressure", 1, at("main.parse", "p.go", 3))), Fail, []string{
			"fail: lock-contention is not found; it stands in main.(*store).get (targets/sessions/store.go:20)",
			"fail: gc-pressure at main.parse (p.go:3) is not expected (rank 1, confidence high)"}},
		"its rule could not be decided": {sessions(scenario.Flawed), with(healthy(), func(in *Input) { in.Unknown = []rule.Unknown{lacksTrace} }), CouldNotTell, []string{
			"could not tell: whether there is lock-contention could not be told: rule lock-contention/mutex lacks trace.lock_wait_share (no trace was captured)"}},
		"its rule could not be decided, and another fired": {sessions(scenario.Flawed), with(healthy(other), func(in *Input) { in.Unknown = []rule.Unknown{lacksTrace} }), Fail, []string{
			"fail: gc-pressure at main.parse (p.go:3) is not expected (rank 2, confidence high)",
			"could not tell: whether there is lock-contention could not be told: rule lock-contention/mutex lacks trace.lock_wait_share (no trace was captured)"}},
		"wrong function": {sessions(scenario.Flawed), healthy(finding("lock-contention", 1, at("main.(*store).put", "store.go", 20))), Fail, []string{
			"fail: lock-contention is found at main.(*store).put (store.go:20); it stands in main.(*store).get (targets/sessions/store.go:20)"}},
		"no function": {sessions(scenario.Flawed), healthy(finding("lock-contention", 1, signal.Location{})), Fail, []string{
			"fail: lock-contention is found and names no function; it stands in main.(*store).get (targets/sessions/store.go:20)"}},
		"wrong line": {sessions(scenario.Flawed), healthy(finding("lock-contention", 1, at("main.(*store).get", "/b/store.go", 22))), Fail, []string{
			"fail: lock-contention is found in main.(*store).get, which is right, at line store.go:22; it stands at line targets/sessions/store.go:20"}},
		"wrong file": {sessions(scenario.Flawed), healthy(finding("lock-contention", 1, at("main.(*store).get", "/b/other.go", 20))), Fail, []string{
			"fail: lock-contention is found in main.(*store).get, which is right, at line other.go:20; it stands at line targets/sessions/store.go:20"}},
		"no line": {sessions(scenario.Flawed), healthy(finding("lock-contention", 1, at("main.(*store).get", "", 0))), Fail, []string{
			"fail: lock-contention is found in main.(*store).get, which is right, without a line; it stands at targets/sessions/store.go:20"}},
		"not first": {anyOther, healthy(finding("lock-contention", 2, whereGet)), Fail, []string{
			"fail: lock-contention is found with rank 2; it must be first"}},
		"another besides": {sessions(scenario.Flawed), healthy(lock, other), Fail, []string{
			"fail: gc-pressure at main.parse (p.go:3) is not expected (rank 2, confidence high)",
			"pass: lock-contention is found at main.(*store).get (/build/targets/sessions/store.go:20), as expected"}},
		"another besides, allowed": {anyOther, healthy(lock, other), Pass, []string{
			"pass: lock-contention is found at main.(*store).get (/build/targets/sessions/store.go:20), as expected",
			"note: gc-pressure at main.parse (p.go:3) is found besides (rank 2, confidence high)"}},
		"the same cause besides": {sessions(scenario.Flawed), healthy(finding("lock-contention", 1, at("main.x", "x.go", 1)), finding("lock-contention", 2, whereGet)), Fail, []string{
			"fail: lock-contention is found with rank 2; it must be first",
			"fail: lock-contention at main.x (x.go:1) is not expected (rank 1, confidence high)"}},
		"a dimension is silent": {sessions(scenario.Flawed), healthy(finding("lock-contention", 1, whereGet, rule.Agrees, rule.Silent)), Fail, []string{
			"fail: pprof must agree with lock-contention and is silent: pprof says so"}},
		"a dimension disagrees": {sessions(scenario.Flawed), healthy(finding("lock-contention", 1, whereGet, rule.Disagrees)), Fail, []string{
			"fail: ebpf must agree with lock-contention and disagrees: ebpf says so"}},
		"a dimension is not mentioned": {sessions(scenario.Flawed), with(healthy(lock), func(in *Input) {
			in.Findings[0].Dimensions = in.Findings[0].Dimensions[:2:2]
		}), Fail, []string{
			"fail: trace must agree with lock-contention and is silent"}},
		"a dimension was not captured, says the finding": {sessions(scenario.Flawed), healthy(finding("lock-contention", 1, whereGet, rule.NotCaptured)), CouldNotTell, []string{
			"could not tell: whether ebpf agrees with lock-contention could not be told, for it was not captured: ebpf says so"}},
		"a dimension was not captured, says the bundle": {sessions(scenario.Flawed), with(healthy(lock), func(in *Input) {
			in.Dimensions["ebpf"] = Captured{Reason: "it takes root"}
		}), CouldNotTell, []string{
			"could not tell: whether ebpf agrees with lock-contention could not be told, for it was not captured: it takes root"}},
		"one dimension is missing and another disagrees": {sessions(scenario.Flawed), healthy(finding("lock-contention", 1, whereGet, rule.NotCaptured, rule.Disagrees)), Fail, []string{
			"fail: pprof must agree with lock-contention and disagrees: pprof says so",
			"could not tell: whether ebpf agrees with lock-contention could not be told, for it was not captured: ebpf says so"}},
		"a dimension is missing and the place with it": {sessions(scenario.Flawed), healthy(finding("lock-contention", 1, signal.Location{}, rule.NotCaptured)), CouldNotTell, []string{
			"could not tell: whether ebpf agrees with lock-contention could not be told, for it was not captured: ebpf says so",
			"could not tell: lock-contention is found and names no function; it stands in main.(*store).get (targets/sessions/store.go:20)"}},
		"a dimension is missing and the line with it": {sessions(scenario.Flawed), healthy(finding("lock-contention", 1, at("main.(*store).get", "", 0), rule.NotCaptured)), CouldNotTell, []string{
			"could not tell: whether ebpf agrees with lock-contention could not be told, for it was not captured: ebpf says so",
			"could not tell: lock-contention is found in main.(*store).get, which is right, without a line; it stands at targets/sessions/store.go:20"}},
		"a dimension is missing and the function wrong": {sessions(scenario.Flawed), healthy(finding("lock-contention", 1, at("main.x", "x.go", 1), rule.NotCaptured)), Fail, []string{
			"fail: lock-contention is found at main.x (x.go:1); it stands in main.(*store).get (targets/sessions/store.go:20)",
			"could not tell: whether ebpf agrees with lock-contention could not be told, for it was not captured: ebpf says so"}},

		"incomplete": {sessions(scenario.Flawed), with(healthy(lock), func(in *Input) { in.Complete, in.Incomplete = false, "interrupted" }), CouldNotTell, []string{
			"could not tell: the bundle is incomplete: interrupted",
			"note: lock-contention is found at main.(*store).get (/build/targets/sessions/store.go:20), as expected"}},
		"incomplete goes before a failure": {sessions(scenario.Flawed), with(healthy(other), func(in *Input) { in.Complete = false }), CouldNotTell, []string{
			"could not tell: the bundle is incomplete",
			"note: lock-contention is not found; it stands in main.(*store).get (targets/sessions/store.go:20)",
			"note: gc-pressure at main.parse (p.go:3) is not expected (rank 2, confidence high)"}},
		"load not reached": {sessions(scenario.Flawed), with(healthy(lock), func(in *Input) { in.LoadReached, in.LoadReason = false, "9,000 of 10,000" }), CouldNotTell, []string{
			"could not tell: the load did not reach what was asked for: 9,000 of 10,000",
			"note: lock-contention is found at main.(*store).get (/build/targets/sessions/store.go:20), as expected"}},
		"generator not trusted": {sessions(scenario.Flawed), with(healthy(lock), func(in *Input) { in.Distrust = "it was late" }), CouldNotTell, []string{
			"could not tell: it was late",
			"note: lock-contention is found at main.(*store).get (/build/targets/sessions/store.go:20), as expected"}},
		"neither": {sessions(scenario.Fixed), Input{}, CouldNotTell, []string{
			"could not tell: the bundle is incomplete",
			"could not tell: the load did not reach what was asked for",
			"note: the twin shows nothing"}},

		"twin, silent": {sessions(scenario.Fixed), healthy(), Pass, []string{"pass: the twin shows nothing"}},
		"twin, expected cause": {sessions(scenario.Fixed), healthy(lock), Fail, []string{
			"fail: the twin shows lock-contention at main.(*store).get (/build/targets/sessions/store.go:20), and must show nothing"}},
		"twin, another cause": {sessions(scenario.Fixed), healthy(other), Fail, []string{
			"fail: the twin shows gc-pressure at main.parse (p.go:3), and must show nothing"}},
		"twin, its rule could not be decided": {sessions(scenario.Fixed), with(healthy(), func(in *Input) { in.Unknown = []rule.Unknown{lacksTrace} }), CouldNotTell, []string{
			"could not tell: whether the twin is free of lock-contention could not be told: rule lock-contention/mutex lacks trace.lock_wait_share (no trace was captured)"}},
		"twin, another rule could not be decided": {sessions(scenario.Fixed), with(healthy(), func(in *Input) {
			in.Unknown = []rule.Unknown{{Cause: "stalled", Rule: "stalled", Missing: []string{"x"}}}
		}), Pass, []string{
			"pass: the twin shows nothing",
			"note: whether there is stalled could not be told: rule stalled lacks x"}},
		"twin, a finding beside an undecided rule": {sessions(scenario.Fixed), with(healthy(other), func(in *Input) { in.Unknown = []rule.Unknown{lacksTrace} }), Fail, []string{
			"fail: the twin shows gc-pressure at main.parse (p.go:3), and must show nothing",
			"could not tell: whether the twin is free of lock-contention could not be told: rule lock-contention/mutex lacks trace.lock_wait_share (no trace was captured)"}},
		"twin, what is allowed beside the flaw is not allowed here": {func() scenario.Resolved { r := anyOther; r.Variant = scenario.Fixed; return r }(), healthy(other), Fail, []string{
			"fail: the twin shows gc-pressure at main.parse (p.go:3), and must show nothing"}},

		"without source, any line": {noSource, healthy(finding("lock-contention", 1, at("shop.example/app.(*store).get", "s.go", 99))), Pass, []string{
			"pass: lock-contention is found at shop.example/app.(*store).get (s.go:99), as expected"}},
		"without source, wrong function": {noSource, healthy(finding("lock-contention", 1, at("main.put", "s.go", 9))), Fail, []string{
			"fail: lock-contention is found at main.put (s.go:9); it stands in (*store).get"}},
		"without a place": {anyPlace, healthy(finding("lock-contention", 1, signal.Location{})), Pass, []string{
			"pass: lock-contention is found at no known place, as expected"}},
		"without a place, not found": {anyPlace, healthy(), Fail, []string{
			"fail: lock-contention is not found; it stands in a function that the scenario does not name"}},
		"health expected": {nothing, healthy(), Pass, []string{"pass: nothing is found, as expected"}},
		"health expected, a rule could not be decided": {nothing, with(healthy(), func(in *Input) { in.Unknown = []rule.Unknown{lacksTrace} }), Pass, []string{
			"pass: nothing is found, as expected, by the 1 of 2 rules that had the signals they need",
			"note: whether there is lock-contention could not be told: rule lock-contention/mutex lacks trace.lock_wait_share (no trace was captured)"}},
		"health expected, something found": {nothing, healthy(other), Fail, []string{
			"fail: gc-pressure at main.parse (p.go:3) is not expected (rank 2, confidence high)"}},
		"health expected, no rule decided": {nothing, Input{Complete: true, LoadReached: true, Unknown: []rule.Unknown{lacksTrace}}, CouldNotTell, []string{
			"could not tell: whether the target is healthy could not be told: no rule had the signals it needs",
			"note: whether there is lock-contention could not be told: rule lock-contention/mutex lacks trace.lock_wait_share (no trace was captured)"}},
		"nothing expected": {unjudged, healthy(other), Pass, []string{
			"pass: the scenario expects nothing, so nothing was held against it",
			"note: gc-pressure at main.parse (p.go:3) is found besides (rank 2, confidence high)"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := Judge(c.r, c.in)
			assert.Equal(t, c.want, v.Outcome)
			var said []string
			for _, reason := range v.Reasons {
				said = append(said, string(reason.Outcome)+": "+reason.Text)
			}
			assert.Equal(t, c.say, said)
			assert.Equal(t, "lab/sessions", v.Scenario)
			assert.Equal(t, c.r.Variant, v.Variant)
			assert.Equal(t, v, Judge(c.r, c.in), "the same input gives the same verdict")
			data, err := json.Marshal(v)
			require.NoError(t, err)
			assert.NotContains(t, string(data), "null", "lists are never null")
		})
	}
}

func TestJudgeDetails(t *testing.T) {
	v := Judge(sessions(scenario.Flawed), healthy(
		finding("lock-contention", 2, signal.Location{Function: "main.(*store).get", File: "store.go", Line: 9}, rule.Agrees, rule.Silent, rule.NotCaptured),
		finding("gc-pressure", 1, signal.Location{Function: "main.parse"})))
	assert.Equal(t, []ExpectedResult{{
		Cause: "lock-contention", At: "(*store).get", Truth: truthGet, Found: true, Rank: 2,
		Got:           signal.Location{Function: "main.(*store).get", File: "store.go", Line: 9},
		FunctionRight: true, LineRight: false,
		Dimensions: []DimensionResult{
			{Dimension: "ebpf", Stance: rule.Agrees, Right: true},
			{Dimension: "pprof", Stance: rule.Silent},
			{Dimension: "trace", Stance: rule.NotCaptured},
		},
	}}, v.Expected)
	assert.Equal(t, []FindingRef{{Cause: "gc-pressure", Rank: 1, Confidence: rule.High, Where: signal.Location{Function: "main.parse"}}}, v.Unexpected)

	in := healthy()
	in.Dimensions["trace"] = Captured{}
	v = Judge(sessions(scenario.Flawed), in)
	assert.Equal(t, []DimensionResult{
		{Dimension: "ebpf", Stance: rule.Silent}, {Dimension: "pprof", Stance: rule.Silent}, {Dimension: "trace", Stance: rule.NotCaptured},
	}, v.Expected[0].Dimensions)
	assert.Empty(t, Judge(sessions(scenario.Fixed), healthy()).Expected)
}

// Two expectations of one cause each take the finding at their own place,
// whatever the order, and neither takes both.
func TestJudgeTwoPlacesOfOneCause(t *testing.T) {
	truthPut := scenario.Truth{Cause: "lock-contention", Function: "main.(*store).put", File: "targets/sessions/store.go", Line: 40}
	wherePut := signal.Location{Function: "main.(*store).put", File: "store.go", Line: 40}
	r := resolved(scenario.Flawed, scenario.Expect{NothingElse: true, Findings: []scenario.ExpectedFinding{
		{Cause: "lock-contention", At: "(*store).get"}, {Cause: "lock-contention", At: "(*store).put"},
	}}, truthGet, truthPut)

	v := Judge(r, healthy(finding("lock-contention", 1, whereGet), finding("lock-contention", 2, wherePut)))
	assert.Equal(t, Pass, v.Outcome)
	v = Judge(r, healthy(finding("lock-contention", 2, wherePut), finding("lock-contention", 1, whereGet)))
	assert.Equal(t, Pass, v.Outcome)
	v = Judge(r, healthy(finding("lock-contention", 1, wherePut), finding("lock-contention", 2, whereGet)))
	assert.Equal(t, Fail, v.Outcome, "the first expected must be first")
	v = Judge(r, healthy(finding("lock-contention", 1, wherePut)))
	assert.Equal(t, Fail, v.Outcome)
	assert.False(t, v.Expected[0].Found)
	assert.True(t, v.Expected[1].Found)
}

func TestOutcomes(t *testing.T) {
	assert.Equal(t, []int{0, 1, 3, 3}, []int{Pass.ExitCode(), Fail.ExitCode(), CouldNotTell.ExitCode(), Outcome("").ExitCode()})
	for _, c := range []struct {
		in   []Outcome
		want Outcome
	}{
		{nil, CouldNotTell},
		{[]Outcome{Pass}, Pass},
		{[]Outcome{Pass, Pass}, Pass},
		{[]Outcome{Pass, CouldNotTell}, CouldNotTell},
		{[]Outcome{CouldNotTell, Fail, Pass}, Fail},
		{[]Outcome{""}, CouldNotTell},
	} {
		assert.Equal(t, c.want, Combine(c.in...), "%v", c.in)
	}
}
