// Package verdict holds findings against what a scenario expects and says pass,
// fail, or could not tell. It is pure, and the only judge that sees the ground
// truth: findings are made without it.
package verdict

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"chokepoint/harness/rule"
	"chokepoint/harness/scenario"
	"chokepoint/harness/signal"
)

// Outcome is what a verdict says.
type Outcome string

// The outcomes.
const (
	Pass         Outcome = "pass"
	Fail         Outcome = "fail"
	CouldNotTell Outcome = "could not tell"
)

// note marks a reason that a reader should know and the outcome does not rest on.
const note Outcome = "note"

// ExitCode is the exit status of a command that ends in this outcome: 0 for
// pass, 1 for fail, 3 for could not tell.
func (o Outcome) ExitCode() int {
	switch o {
	case Pass:
		return 0
	case Fail:
		return 1
	}
	return 3
}

// Combine is the outcome of several verdicts together: fail if any failed, else
// could not tell if any could not, else pass. Of no verdicts at all nothing can
// be told.
func Combine(outcomes ...Outcome) Outcome {
	switch {
	case slices.Contains(outcomes, Fail):
		return Fail
	case len(outcomes) == 0 || slices.ContainsFunc(outcomes, func(o Outcome) bool { return o != Pass }):
		return CouldNotTell
	}
	return Pass
}

// Input is what there is to judge.
type Input struct {
	Complete    bool   // the bundle holds all that the run meant to record
	Incomplete  string // why it does not
	LoadReached bool   // the asked concurrency stood before capture began
	LoadReason  string // why it did not
	// Distrust says why the load generator is not to be trusted, though the load
	// was reached; empty when it is.
	Distrust string
	Findings []rule.Finding
	Unknown  []rule.Unknown
	Silent   []string // ids of the rules that were decided and did not fire
	// Dimensions says of each dimension, by its name, whether it was captured.
	// One that is absent is known only by what each finding says of it.
	Dimensions map[string]Captured
}

// Captured says whether a dimension was captured.
type Captured struct {
	Captured bool
	Reason   string // why not
}

// Verdict is findings held against an expectation.
type Verdict struct {
	Scenario string           `json:"scenario"`
	Variant  scenario.Variant `json:"variant,omitempty"`
	Outcome  Outcome          `json:"outcome"`
	// Reasons are what the outcome rests on, the decisive ones first, notes last.
	Reasons []Reason `json:"reasons"`
	// Expected has one entry for each finding that had to be there; none for the
	// fixed variant.
	Expected []ExpectedResult `json:"expected"`
	// Unexpected are the other findings, whether they were allowed or not.
	Unexpected []FindingRef `json:"unexpected"`
}

// Reason is one thing that speaks for an outcome.
type Reason struct {
	// Outcome is pass, fail or could not tell, or note when the verdict does not
	// rest on it.
	Outcome Outcome `json:"outcome"`
	Cause   string  `json:"cause,omitempty"` // what it is about
	Text    string  `json:"text"`            // a sentence without its full stop
}

// ExpectedResult is what became of one expected finding.
type ExpectedResult struct {
	Cause string         `json:"cause"`
	At    string         `json:"at,omitempty"` // as the scenario writes it
	Truth scenario.Truth `json:"truth"`

	Found bool            `json:"found"`
	Rank  int             `json:"rank,omitempty"` // 1 is first
	Got   signal.Location `json:"got,omitzero"`
	// FunctionRight is also true when the scenario names no function.
	FunctionRight bool `json:"function_right"`
	// LineRight is also true when the truth has no line.
	LineRight  bool              `json:"line_right"`
	Dimensions []DimensionResult `json:"dimensions"` // that the scenario names
}

// DimensionResult is what a dimension had to say, and said.
type DimensionResult struct {
	Dimension string      `json:"dimension"`
	Stance    rule.Stance `json:"stance"`
	Right     bool        `json:"right"` // it agrees
}

// FindingRef points to a finding.
type FindingRef struct {
	Cause      string          `json:"cause"`
	Rank       int             `json:"rank"`
	Confidence rule.Confidence `json:"confidence"`
	Where      signal.Location `json:"where"`
}

// Judge holds what was found against what the scenario expects.
//
// A bundle that is incomplete and a load that was not reached cannot be judged,
// whatever was found. Apart from these a failure goes before what could not be
// told: it rests on evidence that is there.
func Judge(r scenario.Resolved, in Input) Verdict {
	j := &judge{in: in, v: Verdict{
		Scenario: r.Scenario.Name, Variant: r.Variant,
		Expected: []ExpectedResult{}, Unexpected: []FindingRef{},
	}}
	switch {
	case r.Variant == scenario.Fixed:
		j.fixed(r)
	default:
		j.expected(r)
	}
	j.noteUnknown()
	j.conclude()
	return j.v
}

type judge struct {
	in   Input
	v    Verdict
	told []string // rules whose being unknown was a reason
}

func (j *judge) say(o Outcome, cause, format string, args ...any) {
	j.v.Reasons = append(j.v.Reasons, Reason{Outcome: o, Cause: cause, Text: fmt.Sprintf(format, args...)})
}

func (j *judge) conclude() {
	unfit := j.unfit()
	rank := map[Outcome]int{Fail: 0, CouldNotTell: 1, Pass: 2, note: 3}
	slices.SortStableFunc(j.v.Reasons, func(a, b Reason) int { return rank[a.Outcome] - rank[b.Outcome] })
	j.v.Outcome = Pass
	switch {
	case len(unfit) > 0:
		j.v.Outcome = CouldNotTell
		// What was seen stays readable, as notes: nothing rests on it.
		for i := range j.v.Reasons {
			j.v.Reasons[i].Outcome = note
		}
		j.v.Reasons = append(unfit, j.v.Reasons...)
	case len(j.v.Reasons) > 0:
		if first := j.v.Reasons[0].Outcome; first != note {
			j.v.Outcome = first
		}
	}
	if j.v.Reasons == nil {
		j.v.Reasons = []Reason{}
	}
}

// unfit says why nothing can be concluded from the bundle.
func (j *judge) unfit() []Reason {
	var unfit []Reason
	if !j.in.Complete {
		unfit = append(unfit, Reason{Outcome: CouldNotTell, Text: because("the bundle is incomplete", j.in.Incomplete)})
	}
	if !j.in.LoadReached {
		unfit = append(unfit, Reason{Outcome: CouldNotTell, Text: because("the load did not reach what was asked for", j.in.LoadReason)})
	}
	if j.in.Distrust != "" {
		unfit = append(unfit, Reason{Outcome: CouldNotTell, Text: j.in.Distrust})
	}
	return unfit
}

func because(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}

// fixed judges the twin: it must be silent, and able to speak.
func (j *judge) fixed(r scenario.Resolved) {
	for _, f := range j.in.Findings {
		j.v.Unexpected = append(j.v.Unexpected, refTo(f))
		j.say(Fail, f.Cause, "the twin shows %s at %s, and must show nothing", f.Cause, place(f.Where))
	}
	causes := causesOf(r)
	for _, u := range j.in.Unknown {
		if slices.Contains(causes, u.Cause) {
			j.unknown(CouldNotTell, u, "the twin is free of "+u.Cause)
		}
	}
	if len(j.v.Reasons) == 0 {
		j.say(Pass, "", "the twin shows nothing")
	}
}

// causesOf lists the causes a scenario is about.
func causesOf(r scenario.Resolved) []string {
	var causes []string
	for _, t := range r.Truth {
		causes = append(causes, t.Cause)
	}
	return causes
}

// expected judges a target that must show its expected findings.
func (j *judge) expected(r scenario.Resolved) {
	expect := r.Scenario.Expect
	matched := match(expect.Findings, r.Truth, j.in.Findings)
	for i, f := range expect.Findings {
		truth := truthOf(r, i)
		var found *rule.Finding
		if matched[i] >= 0 {
			found = &j.in.Findings[matched[i]]
		}
		j.v.Expected = append(j.v.Expected, j.one(f, truth, found, i == 0))
	}
	for i, f := range j.in.Findings {
		if slices.Contains(matched, i) {
			continue
		}
		j.v.Unexpected = append(j.v.Unexpected, refTo(f))
		if expect.NothingElse {
			j.say(Fail, f.Cause, "%s at %s is not expected (rank %d, confidence %s)", f.Cause, place(f.Where), f.Rank, f.Confidence)
		} else {
			j.say(note, f.Cause, "%s at %s is found besides (rank %d, confidence %s)", f.Cause, place(f.Where), f.Rank, f.Confidence)
		}
	}
	switch {
	case len(expect.Findings) > 0:
	case !expect.NothingElse:
		j.say(Pass, "", "the scenario expects nothing, so nothing was held against it")
	case len(j.in.Findings) > 0:
	case len(j.in.Silent) == 0 && len(j.in.Unknown) > 0:
		j.say(CouldNotTell, "", "whether the target is healthy could not be told: no rule had the signals it needs")
	case len(j.in.Unknown) > 0:
		n := len(j.in.Silent) + len(j.in.Unknown)
		j.say(Pass, "", "nothing is found, as expected, by the %d of %d rules that had the signals they need", len(j.in.Silent), n)
	default:
		j.say(Pass, "", "nothing is found, as expected")
	}
}

// truthOf is the truth of the i-th expected finding; less than a resolved
// scenario promises is made up from the expectation.
func truthOf(r scenario.Resolved, i int) scenario.Truth {
	if i < len(r.Truth) {
		return r.Truth[i]
	}
	f := r.Scenario.Expect.Findings[i]
	return scenario.Truth{Cause: f.Cause, Function: f.At}
}

// match assigns to each expected finding the index of the finding that answers
// it, or -1. A finding answers one expectation only; right lines go first, then
// right functions, then right causes.
func match(expected []scenario.ExpectedFinding, truth []scenario.Truth, findings []rule.Finding) []int {
	matched := make([]int, len(expected))
	for i := range matched {
		matched[i] = -1
	}
	for _, good := range []func(scenario.ExpectedFinding, scenario.Truth, signal.Location) bool{
		func(f scenario.ExpectedFinding, t scenario.Truth, at signal.Location) bool {
			return functionRight(f, t, at) && lineRight(t, at)
		},
		functionRight,
		func(scenario.ExpectedFinding, scenario.Truth, signal.Location) bool { return true },
	} {
		for i, f := range expected {
			t := scenario.Truth{Function: f.At}
			if i < len(truth) {
				t = truth[i]
			}
			if matched[i] >= 0 {
				continue
			}
			best := -1
			for k, got := range findings {
				if got.Cause == f.Cause && !slices.Contains(matched, k) && good(f, t, got.Where) &&
					(best < 0 || got.Rank < findings[best].Rank) {
					best = k
				}
			}
			matched[i] = best
		}
	}
	return matched
}

func functionRight(f scenario.ExpectedFinding, t scenario.Truth, got signal.Location) bool {
	if f.At == "" && t.Function == "" {
		return true
	}
	return scenario.MatchesFunction(t.Function, got.Function) || scenario.MatchesFunction(f.At, got.Function)
}

func lineRight(t scenario.Truth, got signal.Location) bool {
	if t.Line == 0 {
		return true
	}
	// A build may record its files by full path, by module or trimmed; the name
	// is the same in all.
	sameFile := t.File == "" || path.Base(t.File) == path.Base(strings.ReplaceAll(got.File, "\\", "/"))
	return sameFile && t.Line == got.Line
}

// one judges one expected finding.
func (j *judge) one(f scenario.ExpectedFinding, t scenario.Truth, found *rule.Finding, first bool) ExpectedResult {
	r := ExpectedResult{Cause: f.Cause, At: f.At, Truth: t, Dimensions: []DimensionResult{}}
	before := len(j.v.Reasons)
	if found == nil {
		j.absent(f, t)
		for _, d := range f.Dimensions {
			stance := rule.Silent
			if c, known := j.in.Dimensions[d]; known && !c.Captured {
				stance = rule.NotCaptured
			}
			r.Dimensions = append(r.Dimensions, DimensionResult{Dimension: d, Stance: stance})
		}
		return r
	}

	r.Found, r.Rank, r.Got = true, found.Rank, found.Where
	r.FunctionRight = functionRight(f, t, found.Where)
	r.LineRight = lineRight(t, found.Where)
	lost := false
	for _, d := range f.Dimensions {
		stance, why := j.stance(*found, d)
		r.Dimensions = append(r.Dimensions, DimensionResult{Dimension: d, Stance: stance, Right: stance == rule.Agrees})
		switch stance {
		case rule.Agrees:
		case rule.NotCaptured:
			lost = true
			j.say(CouldNotTell, f.Cause, "%s", because(fmt.Sprintf("whether %s agrees with %s could not be told, for it was not captured", d, f.Cause), why))
		default:
			j.say(Fail, f.Cause, "%s", because(fmt.Sprintf("%s must agree with %s and %s", d, f.Cause, says(stance)), why))
		}
	}
	// A place that could not be told is a fault of the rule only if it had all
	// that it was promised.
	unplaced := Fail
	if lost {
		unplaced = CouldNotTell
	}
	switch {
	case !r.FunctionRight && found.Where.Function == "":
		j.say(unplaced, f.Cause, "%s is found and names no function; it stands in %s", f.Cause, truthPlace(t))
	case !r.FunctionRight:
		j.say(Fail, f.Cause, "%s is found at %s; it stands in %s", f.Cause, place(found.Where), truthPlace(t))
	case !r.LineRight && found.Where.Line == 0:
		j.say(unplaced, f.Cause, "%s is found in %s, which is right, without a line; it stands at %s:%d", f.Cause, found.Where.Function, t.File, t.Line)
	case !r.LineRight:
		j.say(Fail, f.Cause, "%s is found in %s, which is right, at line %s:%d; it stands at line %s:%d",
			f.Cause, found.Where.Function, path.Base(found.Where.File), found.Where.Line, t.File, t.Line)
	}
	if first && found.Rank != 1 {
		j.say(Fail, f.Cause, "%s is found with rank %d; it must be first", f.Cause, found.Rank)
	}
	if len(j.v.Reasons) == before {
		j.say(Pass, f.Cause, "%s is found at %s, as expected", f.Cause, place(found.Where))
	}
	return r
}

// absent says why an expected finding is not there.
func (j *judge) absent(f scenario.ExpectedFinding, t scenario.Truth) {
	undecided := false
	for _, u := range j.in.Unknown {
		if u.Cause == f.Cause && !slices.Contains(j.told, u.Rule) {
			j.unknown(CouldNotTell, u, "there is "+u.Cause)
		}
		undecided = undecided || u.Cause == f.Cause
	}
	if undecided {
		return
	}
	j.say(Fail, f.Cause, "%s is not found; it stands in %s", f.Cause, truthPlace(t))
}

// stance is what dimension d says of a finding, and why.
func (j *judge) stance(f rule.Finding, d string) (rule.Stance, string) {
	if c, known := j.in.Dimensions[d]; known && !c.Captured {
		return rule.NotCaptured, c.Reason
	}
	for _, said := range f.Dimensions {
		if said.Dimension == d {
			return said.Stance, said.Says
		}
	}
	return rule.Silent, ""
}

func says(s rule.Stance) string {
	if s == rule.Silent {
		return "is silent"
	}
	return string(s)
}

// unknown says that a rule could not be decided.
func (j *judge) unknown(o Outcome, u rule.Unknown, what string) {
	j.told = append(j.told, u.Rule)
	j.say(o, u.Cause, "whether %s could not be told: rule %s lacks %s", what, u.Rule, strings.Join(u.Missing, "; "))
}

// noteUnknown mentions the rules that could not be decided and that the
// verdict does not rest on.
func (j *judge) noteUnknown() {
	for _, u := range j.in.Unknown {
		if !slices.Contains(j.told, u.Rule) {
			j.unknown(note, u, "there is "+u.Cause)
		}
	}
}

func refTo(f rule.Finding) FindingRef {
	return FindingRef{Cause: f.Cause, Rank: f.Rank, Confidence: f.Confidence, Where: f.Where}
}

// place is a location for a person.
func place(l signal.Location) string {
	switch {
	case l.Function == "" && l.File == "":
		return "no known place"
	case l.File == "":
		return l.Function
	case l.Function == "":
		return fmt.Sprintf("%s:%d", l.File, l.Line)
	}
	return fmt.Sprintf("%s (%s:%d)", l.Function, l.File, l.Line)
}

func truthPlace(t scenario.Truth) string {
	switch {
	case t.Function == "":
		return "a function that the scenario does not name"
	case t.Line == 0:
		return t.Function
	}
	return fmt.Sprintf("%s (%s:%d)", t.Function, t.File, t.Line)
}
