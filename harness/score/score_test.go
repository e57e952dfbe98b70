package score

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/rule"
	"chokepoint/harness/scenario"
	"chokepoint/harness/signal"
)

func at(function, file string, line int) signal.Location {
	return signal.Location{Function: function, File: file, Line: line}
}

func finding(rank int, cause string, where signal.Location) rule.Finding {
	return rule.Finding{Cause: cause, Rank: rank, Where: where}
}

// recording makes a sample of a scenario with flaws.
func recording(name string, variant scenario.Variant, flaws []scenario.Truth, nearly []string, findings ...rule.Finding) Sample {
	s := Sample{Name: name, Findings: findings}
	s.Truth.Variant = variant
	s.Truth.Scenario.Name = "scenario/" + name
	s.Truth.Scenario.Expect.NearMissOf = nearly
	s.Truth.Scenario.Expect.NothingElse = true
	s.Truth.Truth = flaws
	for _, t := range flaws {
		s.Truth.Scenario.Expect.Findings = append(s.Truth.Scenario.Expect.Findings, scenario.ExpectedFinding{Cause: t.Cause, At: t.Function})
	}
	return s
}

// worked is the example that docs/benchmark.md works by hand.
func worked() []Sample {
	store := scenario.Truth{Cause: "lock-contention", Function: "main.(*store).get", File: "store.go", Line: 41}
	encode := scenario.Truth{Cause: "pool-misuse", Function: "main.encode", File: "encode.go", Line: 10}
	cache := scenario.Truth{Cause: "lock-contention", Function: "main.(*cache).load", File: "cache.go", Line: 7}
	watch := scenario.Truth{Cause: "goroutine-leak", Function: "main.watch", File: "watch.go", Line: 20}
	return []Sample{
		recording("A", scenario.Flawed, []scenario.Truth{store}, nil, finding(1, "lock-contention", at("main.(*store).get", "store.go", 44))),
		recording("B", scenario.Fixed, []scenario.Truth{store}, nil),
		recording("C", scenario.Flawed, []scenario.Truth{encode}, nil,
			finding(1, "gc-pressure", at("main.encode", "encode.go", 12)), finding(2, "pool-misuse", at("main.encode", "encode.go", 10))),
		recording("D", scenario.Flawed, []scenario.Truth{cache, watch}, nil, finding(1, "lock-contention", at("main.(*cache).load", "cache.go", 7))),
		recording("E", scenario.Fixed, nil, []string{"lock-contention"}, finding(1, "lock-contention", at("main.page", "page.go", 3))),
	}
}

func judged(samples []Sample) []Outcome {
	var all []Outcome
	for _, s := range samples {
		all = append(all, Judge(s))
	}
	return all
}

func share(t *testing.T, want float64, s Share) {
	t.Helper()
	got, ok := s.Value()
	require.True(t, ok)
	assert.InDelta(t, want, got, 1e-12)
}

func TestWorkedExample(t *testing.T) {
	s := Of(judged(worked()))
	assert.Equal(t, []int{5, 5, 3, 1, 1, 0}, []int{s.Recordings, s.Scenarios, s.Sick, s.Twins, s.NearMisses, s.Unanswered})

	share(t, 3.0/5, s.Overall.Precision)
	share(t, 3.0/4, s.Overall.Recall)
	share(t, 2.0/3, s.Overall.AC1)
	share(t, 2.5/3, s.Overall.AC3)
	share(t, 3.0/4, s.Overall.Function)
	share(t, 2.0/4, s.Overall.Line)
	share(t, 1.0/2, s.Overall.Silent)

	share(t, 3.0/10, s.Chance.Precision)
	share(t, 1.0/4, s.Chance.Recall)
	share(t, 1.0/3, s.Chance.AC1)
	share(t, 5.0/12, s.Chance.AC3)
	share(t, 1.0/6, s.Chance.Function)
	share(t, 1.0/6, s.Chance.Line)
	share(t, 1.0/3, s.Chance.Silent)

	assert.Equal(t, Matrix{
		Rows:    []string{"gc-pressure", "lock-contention", "pool-misuse", None},
		Columns: []string{"gc-pressure", "lock-contention", "pool-misuse", None},
		Count:   [][]int{{0, 0, 0, 0}, {0, 2, 0, 0}, {1, 0, 0, 0}, {0, 1, 0, 1}},
	}, s.Confusion)

	var causes []string
	for _, c := range s.Causes {
		causes = append(causes, fmt.Sprintf("%s %s %s %s %s", c.Cause, c.Precision, c.Recall, c.AC1, c.Chance.AC1))
	}
	assert.Equal(t, []string{
		"gc-pressure 0% - - -", "goroutine-leak - 0% 0% 16.7%", "lock-contention 66.7% 100% 100% 33.3%", "pool-misuse 100% 100% 0% 16.7%",
	}, causes)
	var right []string
	for _, o := range s.Outcomes {
		if o.Right() {
			right = append(right, o.Recording)
		}
	}
	assert.Equal(t, []string{"B"}, right)
}

func TestScoreDoesNotDependOnOrder(t *testing.T) {
	want, err := json.Marshal(Of(judged(worked())))
	require.NoError(t, err)
	all := judged(worked())
	r := rand.New(rand.NewPCG(1, 2))
	for range 5 {
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		got, err := json.Marshal(Of(all))
		require.NoError(t, err)
		assert.Equal(t, string(want), string(got))
	}
}

func TestScoreOfNoAnswer(t *testing.T) {
	samples := worked()
	for i := range samples {
		if samples[i].Name == "A" || samples[i].Name == "B" {
			samples[i].Failed = "it fell over"
		}
	}
	s := Of(judged(samples))
	assert.Equal(t, 2, s.Unanswered)
	share(t, 2.0/4, s.Overall.Recall) // A is not found
	share(t, 2.0/4, s.Overall.Precision)
	share(t, 0, s.Overall.Silent) // saying nothing for want of an answer is no silence
	assert.Equal(t, append(slices.Clone(s.Confusion.Rows), NoAnswer), s.Confusion.Columns)
}

func TestScoreOfNothing(t *testing.T) {
	s := Of(nil)
	data, err := json.Marshal(s)
	require.NoError(t, err)
	assert.Contains(t, string(data), `"precision":{"share":null,"part":0,"of":0}`)
	assert.NotContains(t, strings.ReplaceAll(string(data), `"share":null`, ""), "null")
	assert.Equal(t, "-", s.Overall.Recall.String())
}

// TestBesides holds that where the truth is not said to be whole, what else is
// found is no mistake.
func TestBesides(t *testing.T) {
	s := worked()[2]
	s.Truth.Scenario.Expect.NothingElse = false
	assert.Empty(t, Judge(s).False)
	assert.Len(t, Judge(worked()[2]).False, 1)
}

func TestHealthyServersOfOthers(t *testing.T) {
	s := Of(judged([]Sample{
		recording("a", "", nil, nil), recording("b", scenario.Fixed, nil, nil), recording("c", scenario.Fixed, nil, []string{"stalled"}),
	}))
	assert.Equal(t, []int{0, 1, 1, 1}, []int{s.Sick, s.Twins, s.NearMisses, s.Others})
	share(t, 1, s.Overall.Silent)
}

// listed enumerates every list that the chance detector can draw, with its
// probability: the definition, where chance has closed forms.
func listed(p map[string]float64, left float64, drawn []string, prob float64, visit func([]string, float64)) {
	ended := true
	for answer, pa := range p {
		if answer == None || slices.Contains(drawn, answer) {
			continue
		}
		ended = false
		listed(p, left-pa, append(slices.Clone(drawn), answer), prob*pa/left, visit)
	}
	switch none := p[None]; {
	case none > 0:
		visit(drawn, prob*none/left)
	case ended:
		visit(drawn, prob)
	}
}

func TestChanceIsTheExactExpectation(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	causes := []string{"lock-contention", "pool-misuse", "goroutine-leak", "gc-pressure", "stalled"}
	for trial := range 20 {
		var samples []Sample
		for i := range 3 + r.IntN(8) {
			var flaws []scenario.Truth
			for range r.IntN(3) {
				c := causes[r.IntN(len(causes))]
				if !slices.ContainsFunc(flaws, func(t scenario.Truth) bool { return t.Cause == c }) {
					flaws = append(flaws, scenario.Truth{Cause: c, Function: fmt.Sprintf("main.f%d", r.IntN(2)), File: "a.go", Line: 1 + r.IntN(2)})
				}
			}
			variant := scenario.Flawed
			if len(flaws) == 0 {
				variant = scenario.Fixed
			}
			samples = append(samples, recording(fmt.Sprint(i), variant, flaws, nil))
		}
		outcomes := judged(samples)
		c := newChance(outcomes)
		want := map[string]float64{}
		var whole, ac3, n float64
		listed(c.p, 1, nil, 1, func(list []string, prob float64) {
			whole += prob
			for _, o := range outcomes {
				if len(o.Flaws) == 0 {
					continue
				}
				in := 0.0
				for _, f := range o.Flaws {
					if i := slices.Index(list, f.Cause); i >= 0 && i < 3 {
						in++
					}
				}
				ac3 += prob * in / float64(min(3, len(o.Flaws)))
			}
			for i, cause := range list[:min(3, len(list))] {
				_ = i
				want[cause] += prob
			}
		})
		assert.InDelta(t, 1, whole, 1e-9, "trial %d", trial)
		for _, cause := range c.others() {
			assert.InDelta(t, want[cause], c.amongThree(cause), 1e-9, "trial %d: %s", trial, cause)
		}
		for _, o := range outcomes {
			if len(o.Flaws) > 0 {
				n++
			}
		}
		if n > 0 {
			got, _ := c.overall().AC3.Value()
			assert.InDelta(t, ac3/n, got, 1e-9, "trial %d", trial)
		}
	}
}

func TestBaseline(t *testing.T) {
	base := NewBaseline(Of(judged(worked())))
	var file bytes.Buffer
	require.NoError(t, base.Encode(&file))
	assert.Equal(t, `{"schema": 1, "recordings": {
"A": {"flaws":[{"cause":"lock-contention","rank":1,"function":true,"line":false}]},
"B": {},
"C": {"flaws":[{"cause":"pool-misuse","rank":2,"function":true,"line":true}],"false":["gc-pressure"]},
"D": {"flaws":[{"cause":"lock-contention","rank":1,"function":true,"line":true},{"cause":"goroutine-leak","rank":0,"function":false,"line":false}]},
"E": {"false":["lock-contention"]}
}}
`, file.String())
	read, err := ParseBaseline("baseline.json", file.Bytes())
	require.NoError(t, err)
	assert.Equal(t, base, read)
	same := read.Compare(Of(judged(worked())))
	assert.Equal(t, Comparison{Worse: []Change{}, Better: []Change{}, New: []Change{}}, same)
	assert.False(t, same.Failed())
}

func TestCompareNamesEachChange(t *testing.T) {
	base := NewBaseline(Of(judged(worked())))
	tests := []struct {
		name   string
		change func([]Sample) []Sample
		worse  []Change
		better []Change
		fresh  []Change
	}{
		{name: "not found any more", change: edit("A", nil), worse: []Change{{"A", "lock-contention is no longer found"}}},
		{name: "another function", change: edit("D", []rule.Finding{finding(1, "lock-contention", at("main.other", "cache.go", 7))}),
			worse: []Change{{"D", "lock-contention is no longer found in main.(*cache).load but at main.other (cache.go:7)"}}},
		{name: "another line", change: edit("D", []rule.Finding{finding(1, "lock-contention", at("main.(*cache).load", "cache.go", 8))}),
			worse: []Change{{"D", "lock-contention is no longer found at cache.go:7 but at main.(*cache).load (cache.go:8)"}}},
		{name: "something before it", change: edit("A", []rule.Finding{
			finding(1, "stalled", at("main.x", "x.go", 1)), finding(2, "lock-contention", at("main.(*store).get", "store.go", 44))}),
			worse: []Change{
				{"A", "lock-contention is found with rank 2, and had 1; before it stands stalled"},
				{"A", "stalled is found at main.x (x.go:1), which is not there"},
			}},
		{name: "a twin that speaks", change: edit("B", []rule.Finding{finding(1, "stalled", signal.Location{})}),
			worse: []Change{{"B", "stalled is found at no place in a healthy server"}}},
		{name: "all right", change: edit("A", []rule.Finding{finding(1, "lock-contention", at("main.(*store).get", "store.go", 41))}),
			better: []Change{{"A", "lock-contention is found at store.go:41"}}},
		{name: "a near miss left alone", change: edit("E", nil), better: []Change{{"E", "lock-contention, which is not there, is no longer found"}}},
		{name: "first, and the second one found", change: func(s []Sample) []Sample {
			s = edit("C", []rule.Finding{finding(1, "pool-misuse", at("main.encode", "encode.go", 10))})(s)
			return edit("D", []rule.Finding{finding(1, "lock-contention", at("main.(*cache).load", "cache.go", 7)), finding(2, "goroutine-leak", at("main.watch", "watch.go", 20))})(s)
		}, better: []Change{
			{"C", "pool-misuse is found with rank 1, and had 2"},
			{"C", "gc-pressure, which is not there, is no longer found"},
			{"D", "goroutine-leak is found"},
			{"D", "goroutine-leak is found in main.watch"},
			{"D", "goroutine-leak is found at watch.go:20"},
		}},
		{name: "no answer", change: func(s []Sample) []Sample { s[1].Failed = "exit status 2"; return s },
			worse: []Change{{"B", "there is no answer: exit status 2"}}},
		{name: "taken away", change: func(s []Sample) []Sample { return s[1:] }, worse: []Change{{"A", "is in the baseline and not in the corpus"}}},
		{name: "a new one, right", change: func(s []Sample) []Sample { return append(s, recording("F", scenario.Fixed, nil, nil)) },
			fresh: []Change{{"F", "is answered right"}}},
		{name: "a new one, wrong", change: func(s []Sample) []Sample {
			return append(s, recording("F", scenario.Flawed, []scenario.Truth{{Cause: "stalled", Function: "main.x", File: "x.go", Line: 1}}, nil))
		}, worse: []Change{{"F", "stalled is not found; the baseline does not know this recording"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := base.Compare(Of(judged(tt.change(worked()))))
			assert.Equal(t, append([]Change{}, tt.worse...), c.Worse)
			assert.Equal(t, append([]Change{}, tt.better...), c.Better)
			assert.Equal(t, append([]Change{}, tt.fresh...), c.New)
			assert.Equal(t, len(tt.worse) > 0, c.Failed())
		})
	}
}

// edit gives one recording another answer.
func edit(name string, findings []rule.Finding) func([]Sample) []Sample {
	return func(all []Sample) []Sample {
		for i := range all {
			if all[i].Name == name {
				all[i].Findings = findings
			}
		}
		return all
	}
}

func TestParseBaselineFaults(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "b.json:1: not a baseline: EOF"},
		{"{\"schema\": 1,\n\"recordings\": {\n\"a\": 3}}", "b.json:"},
		{`{"schema": 1, "recording": {}}`, `unknown field "recording"`},
		{`{"schema": 7, "recordings": {}}`, "b.json: has schema 7, and this chokepoint knows 1"},
		{`{"schema": 1, "recordings": {}} x`, "something follows its end"},
	} {
		_, err := ParseBaseline("b.json", []byte(tt.text))
		require.ErrorContains(t, err, tt.want)
	}
}

func TestParseAnswer(t *testing.T) {
	got, err := ParseAnswer([]byte(`{"schema_version": 1, "findings": [
		{"cause": "pool-misuse", "rank": 7, "where": {"function": "main.f", "file": "f.go", "line": 3}},
		{"cause": "stalled", "rank": 2}], "more": true}
	`))
	require.NoError(t, err)
	require.Len(t, got, 2)
	assert.Equal(t, []string{"stalled 1", "pool-misuse 2"}, []string{fmt.Sprint(got[0].Cause, " ", got[0].Rank), fmt.Sprint(got[1].Cause, " ", got[1].Rank)})
	assert.Equal(t, at("main.f", "f.go", 3), got[1].Where)
	got, err = ParseAnswer([]byte(`{"findings": []}`))
	require.NoError(t, err)
	assert.Empty(t, got)

	for _, tt := range []struct{ text, want string }{
		{"", "it printed nothing"},
		{"oops", "no JSON document"},
		{"{}", "no field findings"},
		{`{"findings": null}`, "no field findings"},
		{`{"findings": []} trailing`, "something follows the JSON document"},
		{`{"findings": [{"cause": "pool-missuse", "rank": 1}]}`, `there is no cause "pool-missuse"; did you mean "pool-misuse"?`},
		{`{"findings": [{"cause": "weather", "rank": 1}]}`, `there is no cause "weather"`},
		{`{"findings": [{"cause": "stalled"}]}`, "stalled has rank 0; the first has 1"},
		{`{"findings": [{"cause": "stalled", "rank": 1}, {"cause": "gc-pressure", "rank": 1}]}`, "stalled and gc-pressure both have rank 1"},
		{`{"findings": [` + strings.Repeat(`{"cause": "stalled", "rank": 1},`, 1000) + `{"cause": "stalled", "rank": 1}]}`, "1001 findings, more than the 1000"},
	} {
		_, err := ParseAnswer([]byte(tt.text))
		require.ErrorContains(t, err, tt.want)
	}
}

// TestDocumentedAnswer holds that the example of docs/benchmark.md is an answer.
func TestDocumentedAnswer(t *testing.T) {
	doc, err := os.ReadFile("../../docs/benchmark.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(doc), "```json\n")
	require.True(t, ok)
	example, _, ok := strings.Cut(rest, "```")
	require.True(t, ok)
	findings, err := ParseAnswer([]byte(example))
	require.NoError(t, err)
	require.Len(t, findings, 1)
	assert.Equal(t, at("main.(*store).get", "/src/shop/store.go", 41), findings[0].Where)
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(`{"findings": [{"cause": "stalled", "rank": 2, "where": {"function": "f", "file": "g", "line": 1}}]}`))
	f.Add([]byte(`{"findings": []}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		findings, err := ParseAnswer(data)
		for i, x := range findings {
			if err != nil || x.Rank != i+1 {
				t.Fatalf("findings %v with error %v", findings, err)
			}
		}
	})
}

func FuzzParseBaseline(f *testing.F) {
	f.Add([]byte("{\"schema\": 1, \"recordings\": {\n\"A\": {\"flaws\":[{\"cause\":\"stalled\",\"rank\":1,\"function\":true,\"line\":true}]}\n}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ParseBaseline("f", data)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := b.Encode(&out); err != nil {
			t.Fatal(err)
		}
		again, err := ParseBaseline("f", out.Bytes())
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		var twice bytes.Buffer
		if err := again.Encode(&twice); err != nil || twice.String() != out.String() {
			t.Fatalf("%v: %s", err, twice.String())
		}
	})
}
