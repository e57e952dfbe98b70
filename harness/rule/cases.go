package rule

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"chokepoint/harness/signal"
	"chokepoint/harness/strictyaml"
)

// What a case may expect of its rule.
const (
	ExpectFire    = "fire"
	ExpectSilent  = "silent"
	ExpectUnknown = "unknown"
)

// CaseResult is the outcome of one case of one rule.
type CaseResult struct {
	Rule   string `json:"rule"`
	File   string `json:"file"`
	Line   int    `json:"line"`
	Case   string `json:"case"`
	Expect string `json:"expect"`
	Got    string `json:"got"`
	Passed bool   `json:"passed"`
	Why    string `json:"why,omitempty"` // it did not pass
}

type testCase struct {
	name       string
	line       int
	signals    signal.Set
	dimensions []string // it has signals of
	expect     string
	confidence Confidence
	where      signal.Location
}

// RunCases tries every rule on its own cases, in order of rules and cases. A
// dimension counts as captured in a case that gives a signal of it.
func (s *Set) RunCases() []CaseResult {
	var results []CaseResult
	for _, r := range s.rules {
		results = append(results, r.RunCases()...)
	}
	return results
}

// RunCases tries the rule on its own cases.
func (r *Rule) RunCases() []CaseResult {
	results := make([]CaseResult, 0, len(r.cases))
	alone := &Set{lang: r.lang, rules: []*Rule{r}}
	for _, c := range r.cases {
		got := alone.Evaluate(c.signals, func(dimension string) (bool, string) {
			return slices.Contains(c.dimensions, dimension), "the case gives no signal of " + dimension
		})
		result := CaseResult{Rule: r.ID, File: r.File, Line: c.line, Case: c.name, Expect: c.expect}
		result.Got, result.Why = c.judge(got)
		result.Passed = result.Why == ""
		results = append(results, result)
	}
	return results
}

// judge says what the rule did, and why that is not what the case expects.
func (c testCase) judge(got Result) (outcome, why string) {
	switch {
	case len(got.Findings) > 0:
		outcome = ExpectFire
	case len(got.Unknown) > 0:
		outcome = ExpectUnknown
	default:
		outcome = ExpectSilent
	}
	if outcome != c.expect {
		why = fmt.Sprintf("expected %s, got %s", c.expect, outcome)
		if outcome == ExpectUnknown {
			why += " for want of " + strings.Join(got.Unknown[0].Missing, "; ")
		}
		return outcome, why
	}
	if outcome != ExpectFire {
		return outcome, ""
	}
	f := got.Findings[0]
	if c.confidence != "" && c.confidence != f.Confidence {
		var stances []string
		for _, d := range f.Dimensions {
			stances = append(stances, fmt.Sprintf("%s: %s", d.Dimension, d.Stance))
		}
		return outcome, fmt.Sprintf("expected confidence %s, got %s (%s)", c.confidence, f.Confidence, strings.Join(stances, ", "))
	}
	if !c.where.IsZero() && c.where != f.Where && (c.where.File != "" || c.where.Function != f.Where.Function) {
		return outcome, fmt.Sprintf("expected it at %s, got %s", placeText(c.where), placeText(f.Where))
	}
	return outcome, ""
}

func (p *parser) cases(docs []caseDocument) []testCase {
	var cases []testCase
	expects := []string{ExpectFire, ExpectSilent, ExpectUnknown}
	seen := map[string]bool{}
	for i, doc := range docs {
		field := fmt.Sprintf("cases[%d]", i)
		line, _ := p.yaml.Position(field)
		c := testCase{
			name: doc.Name, line: line, expect: doc.Expect, confidence: Confidence(doc.Confidence),
			signals: signal.Set{Signals: map[string]signal.Signal{}},
		}
		switch {
		case strings.TrimSpace(doc.Name) == "":
			p.problem(field+".name", "is required: say what the case shows")
		case seen[doc.Name]:
			p.problem(field+".name", "another case has the name %q", doc.Name)
		}
		seen[doc.Name] = true
		if !slices.Contains(expects, doc.Expect) {
			p.problem(field+".expect", "%q is none of %s", doc.Expect, strings.Join(expects, ", ")).Hint = strictyaml.Nearest(doc.Expect, expects)
		}
		if doc.Expect != ExpectFire && (doc.Confidence != "" || doc.Where != "") {
			p.problem(field, "confidence and where can be expected only of a case that expects fire")
		}
		if sure := []string{string(High), string(Medium), string(Low)}; doc.Confidence != "" && !slices.Contains(sure, doc.Confidence) {
			p.problem(field+".confidence", "%q is none of %s", doc.Confidence, strings.Join(sure, ", ")).Hint = strictyaml.Nearest(doc.Confidence, sure)
		}
		if doc.Where != "" {
			at, err := parsePlace(doc.Where)
			if err != nil {
				p.problem(field+".where", "%s", err)
			}
			c.where = at
		}
		for _, name := range slices.Sorted(maps.Keys(doc.Signals)) {
			value := doc.Signals[name]
			d, known := p.lang.catalogue[name]
			at := func(message, hint string) {
				e := p.problem(field+".signals", "%s", message)
				e.Line, e.Column, e.Hint = value.line, value.column, hint
			}
			switch {
			case !known:
				f := p.lang.noSignal(name)
				at(f.message, f.hint)
				continue
			case d.Kind == signal.Number && !value.isNumber:
				at(name+" is a number; write its value", "")
				continue
			case d.Kind == signal.Place && value.isNumber:
				at(name+` is a place; write it as "main.(*store).get store.go:41"`, "")
				continue
			}
			c.signals.Signals[name] = signal.Signal{Definition: d, Value: value.number, Where: value.place}
			if !slices.Contains(c.dimensions, d.Dimension) {
				c.dimensions = append(c.dimensions, d.Dimension)
			}
		}
		cases = append(cases, c)
	}
	for _, must := range []string{ExpectFire, ExpectSilent} {
		if !slices.ContainsFunc(cases, func(c testCase) bool { return c.expect == must }) {
			p.problem("cases", "needs a case that expects %s; a rule cannot be trusted without one", must)
		}
	}
	return cases
}
