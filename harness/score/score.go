package score

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"chokepoint/harness/rule"
	"chokepoint/harness/scenario"
	"chokepoint/harness/signal"
	"chokepoint/harness/verdict"
)

// None stands where a cause would: for a recording without a flaw, and for an
// answer without a finding.
const None = "none"

// NoAnswer stands where the first finding would, when the detector failed.
const NoAnswer = "no answer"

// Sample is one recording, the truth about it, and what a detector made of it.
type Sample struct {
	Name     string            // of the recording
	Truth    scenario.Resolved // what was run, and what must be found
	Findings []rule.Finding    // by rank
	// Undecided are the rules that lacked the evidence to decide.
	Undecided []string
	// Failed says why there is no answer; empty when there is one.
	Failed string
}

// Outcome is how one recording was answered.
type Outcome struct {
	Recording string           `json:"recording"`
	Scenario  string           `json:"scenario"`
	Variant   scenario.Variant `json:"variant,omitempty"`
	// NearMissOf are the causes that a healthy server could be mistaken for.
	NearMissOf []string `json:"near_miss_of,omitempty"`
	// Truth is the cause of the first flaw, and none for a healthy server.
	Truth string `json:"truth"`
	// First is the cause of the first finding, none, or no answer.
	First string `json:"first"`
	// Flaws has one entry for each flaw that is there.
	Flaws []Flaw `json:"flaws"`
	// False are the findings of what is not there, by rank.
	False []False `json:"false"`
	// Undecided are the rules that lacked the evidence to decide.
	Undecided []string `json:"undecided,omitempty"`
	Failed    string   `json:"failed,omitempty"` // why there is no answer
}

// Flaw is one flaw that is there, and how it was found.
type Flaw struct {
	Cause    string `json:"cause"`
	Function string `json:"function,omitempty"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	// Rank of the finding that names it, 1 for the first; 0: it was not found.
	Rank int `json:"rank"`
	// FunctionRight and LineRight hold for a finding that names the place, and
	// where the truth names none.
	FunctionRight bool            `json:"function_right"`
	LineRight     bool            `json:"line_right"`
	Got           signal.Location `json:"got,omitzero"` // where the finding points
}

// False is a finding of what is not there.
type False struct {
	Cause string          `json:"cause"`
	Rank  int             `json:"rank"`
	Where signal.Location `json:"where"`
}

// Right reports whether all was answered as it is: each flaw found, the first
// one first, all at their lines, and nothing else.
func (o Outcome) Right() bool { return len(o.Mistakes()) == 0 }

// Judge says how a recording was answered, as a verdict would, but for what a
// run's load or a dimension's stance may lack: those say nothing of a detector.
func Judge(s Sample) Outcome {
	r := s.Truth
	o := Outcome{
		Recording: s.Name, Scenario: r.Scenario.Name, Variant: r.Variant, NearMissOf: r.Scenario.Expect.NearMissOf,
		Truth: None, First: None, Flaws: []Flaw{}, False: []False{}, Undecided: s.Undecided, Failed: s.Failed,
	}
	findings := s.Findings
	if s.Failed != "" {
		findings = nil
	}
	v := verdict.Judge(r, verdict.Input{Complete: true, LoadReached: true, Findings: findings})
	for _, e := range v.Expected {
		o.Flaws = append(o.Flaws, Flaw{
			Cause: e.Cause, Function: e.Truth.Function, File: e.Truth.File, Line: e.Truth.Line,
			Rank: e.Rank, FunctionRight: e.FunctionRight && e.Found, LineRight: e.LineRight && e.FunctionRight && e.Found, Got: e.Got,
		})
	}
	// Where a scenario does not say that its flaws are all there is, what else
	// is found may be there too.
	if r.Variant == scenario.Fixed || r.Scenario.Expect.NothingElse {
		for _, f := range v.Unexpected {
			o.False = append(o.False, False{Cause: f.Cause, Rank: f.Rank, Where: f.Where})
		}
	}
	if len(o.Flaws) > 0 {
		o.Truth = o.Flaws[0].Cause
	}
	switch {
	case s.Failed != "":
		o.First = NoAnswer
	case len(findings) > 0:
		first := slices.MinFunc(findings, func(a, b rule.Finding) int { return a.Rank - b.Rank })
		o.First = first.Cause
	}
	return o
}

// Share is a part of a whole. A whole of 0 has no share.
type Share struct {
	Part float64 // may be a fraction: an expectation, or AC@k of a recording with several flaws
	Of   int
}

// Value is the share, between 0 and 1; ok is false when there is nothing to
// have a share of.
func (s Share) Value() (value float64, ok bool) {
	if s.Of == 0 {
		return 0, false
	}
	return s.Part / float64(s.Of), true
}

func (s *Share) add(part float64) { s.Part += part; s.Of++ }

// count adds a whole of one, and its part if it holds.
func (s *Share) count(holds bool) {
	s.Of++
	if holds {
		s.Part++
	}
}

// String is "92.9%", or "-" when there is no share.
func (s Share) String() string {
	v, ok := s.Value()
	if !ok {
		return "-"
	}
	return rule.Figure{Value: v, Unit: signal.Share}.String()
}

// shareDocument is a Share in JSON.
type shareDocument struct {
	Share *float64 `json:"share"` // null when of is 0
	Part  float64  `json:"part"`
	Of    int      `json:"of"`
}

// MarshalJSON writes the share beside its parts; it is null when there is none.
func (s Share) MarshalJSON() ([]byte, error) {
	d := shareDocument{Part: s.Part, Of: s.Of}
	if v, ok := s.Value(); ok {
		d.Share = &v
	}
	return json.Marshal(d)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (s *Share) UnmarshalJSON(data []byte) error {
	var d shareDocument
	if err := json.Unmarshal(data, &d); err != nil {
		return fmt.Errorf("read a share: %w", err)
	}
	s.Part, s.Of = d.Part, d.Of
	return nil
}

// Rates are the measures over some recordings.
type Rates struct {
	// Precision is the share of the findings that name a flaw which is there.
	Precision Share `json:"precision"`
	// Recall is the share of the flaws that are found, at whatever rank.
	Recall Share `json:"recall"`
	// AC1 and AC3 are AC@1 and AC@3: the mean over the recordings with flaws of
	// the flaws among the first k findings, divided by the flaws that k findings
	// could name at most.
	AC1 Share `json:"ac_1"`
	AC3 Share `json:"ac_3"`
	// Function and Line are the shares of the flaws that are found at the right
	// function, and at the right line of it.
	Function Share `json:"right_function"`
	Line     Share `json:"right_line"`
	// Silent is the share of the healthy recordings without a finding.
	Silent Share `json:"silent_on_healthy"`
}

// rates sums over outcomes. With a cause, only its flaws and findings count.
func rates(outcomes []Outcome, cause string) Rates {
	var r Rates
	for _, o := range outcomes {
		r.add(o, cause)
	}
	return r
}

func (r *Rates) add(o Outcome, cause string) {
	counts := func(c string) bool { return cause == "" || cause == c }
	flaws := 0
	var in1, in3 float64
	for _, f := range o.Flaws {
		if !counts(f.Cause) {
			continue
		}
		flaws++
		found := f.Rank > 0
		r.Recall.count(found)
		r.Function.count(f.FunctionRight)
		r.Line.count(f.LineRight)
		if found {
			r.Precision.count(true)
		}
		if found && f.Rank <= 1 {
			in1++
		}
		if found && f.Rank <= 3 {
			in3++
		}
	}
	for _, f := range o.False {
		if counts(f.Cause) {
			r.Precision.count(false)
		}
	}
	if flaws > 0 {
		r.AC1.add(in1 / float64(min(1, flaws)))
		r.AC3.add(in3 / float64(min(3, flaws)))
	}
	if len(o.Flaws) == 0 && cause == "" {
		r.Silent.count(o.First == None)
	}
}

// CauseScore is how one cause is told.
type CauseScore struct {
	Cause string `json:"cause"`
	Rates
	// Chance is what the detector that knows only how frequent causes are gets.
	Chance Rates `json:"chance"`
}

// ScenarioScore is how the recordings of one scenario are answered.
type ScenarioScore struct {
	Scenario   string   `json:"scenario"`
	Truth      []string `json:"truth"` // causes; none for a near miss
	NearMissOf []string `json:"near_miss_of,omitempty"`
	Recordings int      `json:"recordings"`
	Rates
}

// Matrix is the confusion of causes: Count[i][j] recordings whose truth is
// Rows[i] were answered with Columns[j] first.
type Matrix struct {
	Rows    []string `json:"rows"`
	Columns []string `json:"columns"`
	Count   [][]int  `json:"count"`
}

// Score is how a detector does on a corpus.
type Score struct {
	Recordings int `json:"recordings"`
	Scenarios  int `json:"scenarios"`
	Sick       int `json:"sick"`        // recordings with a flaw
	Twins      int `json:"twins"`       // healthy recordings that a flawed one stands beside
	NearMisses int `json:"near_misses"` // healthy recordings that only look sick
	Others     int `json:"others"`      // healthy recordings of servers without a flawed variant
	Unanswered int `json:"unanswered"`  // the detector failed

	Overall   Rates           `json:"overall"`
	Chance    Rates           `json:"chance"` // what the chance detector can expect
	Causes    []CauseScore    `json:"causes"` // by name
	ByScene   []ScenarioScore `json:"by_scenario"`
	Confusion Matrix          `json:"confusion"`
	Outcomes  []Outcome       `json:"outcomes"` // by recording
}

// Of scores the outcomes of a corpus. They may come in any order.
func Of(outcomes []Outcome) Score {
	outcomes = append([]Outcome{}, outcomes...) // an empty list is [], never null
	slices.SortFunc(outcomes, func(a, b Outcome) int { return strings.Compare(a.Recording, b.Recording) })
	s := Score{Recordings: len(outcomes), Overall: rates(outcomes, ""), Causes: []CauseScore{}, ByScene: []ScenarioScore{}, Outcomes: outcomes}
	chance := newChance(outcomes)
	s.Chance = chance.overall()

	var causes, scenarios []string
	for _, o := range outcomes {
		switch {
		case len(o.Flaws) > 0:
			s.Sick++
		case len(o.NearMissOf) > 0:
			s.NearMisses++
		case o.Variant == scenario.Fixed:
			s.Twins++
		default:
			s.Others++
		}
		if o.Failed != "" {
			s.Unanswered++
		}
		scenarios = append(scenarios, o.Scenario)
		for _, f := range o.Flaws {
			causes = append(causes, f.Cause)
		}
		for _, f := range o.False {
			causes = append(causes, f.Cause)
		}
	}
	for _, c := range distinct(causes) {
		s.Causes = append(s.Causes, CauseScore{Cause: c, Rates: rates(outcomes, c), Chance: chance.of(c)})
	}
	scenarios = distinct(scenarios)
	s.Scenarios = len(scenarios)
	for _, name := range scenarios {
		s.ByScene = append(s.ByScene, scene(name, outcomes))
	}
	s.Confusion = confusion(outcomes)
	return s
}

func scene(name string, outcomes []Outcome) ScenarioScore {
	of := slices.DeleteFunc(slices.Clone(outcomes), func(o Outcome) bool { return o.Scenario != name })
	s := ScenarioScore{Scenario: name, Truth: []string{}, Recordings: len(of), Rates: rates(of, "")}
	for _, o := range of {
		s.NearMissOf = append(s.NearMissOf, o.NearMissOf...)
		for _, f := range o.Flaws {
			s.Truth = append(s.Truth, f.Cause)
		}
	}
	s.Truth, s.NearMissOf = distinct(s.Truth), distinct(s.NearMissOf)
	return s
}

// confusion counts what was answered first to what was true. Both axes have
// every cause that occurs on either, then none; no answer is a column at the end
// where there is one.
func confusion(outcomes []Outcome) Matrix {
	var causes []string
	failed := false
	for _, o := range outcomes {
		causes = append(causes, o.Truth)
		if o.First == NoAnswer {
			failed = true
			continue
		}
		causes = append(causes, o.First)
	}
	causes = slices.DeleteFunc(distinct(causes), func(c string) bool { return c == None })
	m := Matrix{Rows: append(causes, None)}
	m.Columns = slices.Clone(m.Rows)
	if failed {
		m.Columns = append(m.Columns, NoAnswer)
	}
	m.Count = make([][]int, len(m.Rows))
	for i := range m.Count {
		m.Count[i] = make([]int, len(m.Columns))
	}
	for _, o := range outcomes {
		m.Count[slices.Index(m.Rows, o.Truth)][slices.Index(m.Columns, o.First)]++
	}
	return m
}

// distinct sorts names and leaves out repetitions.
func distinct(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}
