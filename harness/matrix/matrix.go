// Package matrix keeps the live matrix: what became of each scenario, in each
// variant, each time it was run. A journal on disk makes it survive an
// interruption; a summary says what the cells add up to, and how they differ from
// those of an earlier matrix.
//
// It runs nothing: who does gives it the report of each run.
package matrix

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"chokepoint/harness/rule"
	"chokepoint/harness/scenario"
	"chokepoint/harness/signal"
	"chokepoint/harness/verdict"
)

// Key names a cell of the plan.
type Key struct {
	Scenario string           `json:"scenario"`
	Variant  scenario.Variant `json:"variant,omitempty"`
	Vary     string           `json:"vary,omitempty"` // what was changed that ought not to matter
	Round    int              `json:"round"`          // from 1
}

func (k Key) String() string {
	return fmt.Sprintf("%s, round %d", Row{Scenario: k.Scenario, Variant: k.Variant, Vary: k.Vary}.name(), k.Round)
}

// Row is one scenario in one variant: a row of the matrix.
type Row struct {
	Scenario string           `json:"scenario"`
	Variant  scenario.Variant `json:"variant,omitempty"`
	Vary     string           `json:"vary,omitempty"` // as in Key
	// Expect names the causes that must be found, the first of them first; none
	// for a twin and for a near miss.
	Expect []string `json:"expect"`
	// NearMissOf names the causes that a near miss could be mistaken for.
	NearMissOf []string `json:"near_miss_of,omitempty"`
	// Digest is the SHA-256 of the scenario as it is run, in hexadecimal.
	Digest string `json:"digest"`
}

// Plan is what a matrix runs: every row, in each of Repeat rounds. A round comes
// to its end before the next begins, so that an interrupted matrix still has whole
// rounds.
type Plan struct {
	Program string `json:"program"` // SHA-256 of the program that runs and judges, in hexadecimal
	Repeat  int    `json:"repeat"`
	Rows    []Row  `json:"rows"`
}

// Keys lists the cells in the order in which they are run.
func (p Plan) Keys() []Key {
	keys := make([]Key, 0, p.Repeat*len(p.Rows))
	for round := 1; round <= p.Repeat; round++ {
		for _, r := range p.Rows {
			keys = append(keys, Key{r.Scenario, r.Variant, r.Vary, round})
		}
	}
	return keys
}

// same reports whether the cells of one plan can stand beside those of another.
func (p Plan) same(q Plan) bool {
	return p.Program == q.Program && p.Repeat == q.Repeat && slices.EqualFunc(p.Rows, q.Rows, func(a, b Row) bool {
		return a.Scenario == b.Scenario && a.Variant == b.Variant && a.Vary == b.Vary && a.Digest == b.Digest
	})
}

// State is what became of a cell.
type State string

// The states. Broken is a run that left nothing to judge.
const (
	Right  State = "right"
	Wrong  State = "wrong"
	Untold State = "could not tell"
	Broken State = "broken"
)

// Cell is what one run showed.
type Cell struct {
	Key
	State State     `json:"state"`
	Ended time.Time `json:"ended"`   // by the wall clock
	Took  int64     `json:"took_ns"` // all tries together
	Tries int       `json:"tries"`
	// Found are the findings in their order.
	Found []Found `json:"found"`
	// Function and Line say whether the first expected finding names the right
	// ones; false where nothing is expected.
	Function bool `json:"function_right"`
	Line     bool `json:"line_right"`
	// Reasons are why the cell is not right.
	Reasons []string `json:"reasons,omitempty"`
	// Bundle is where the recording was kept; empty where it was not.
	Bundle string `json:"bundle,omitempty"`
}

// Found is a finding, cut down to what a matrix needs.
type Found struct {
	Cause      string          `json:"cause"`
	Rule       string          `json:"rule"`
	Where      signal.Location `json:"where,omitzero"`
	Impact     float64         `json:"impact"` // 0 to 1
	Confidence rule.Confidence `json:"confidence"`
}

// Judged makes the cell of a run that left a report. Without a verdict there is
// nothing that findings could be held against, and the cell is broken.
func Judged(k Key, findings []rule.Finding, v *verdict.Verdict) Cell {
	c := Cell{Key: k, Found: make([]Found, 0, len(findings))}
	for _, f := range findings {
		c.Found = append(c.Found, Found{f.Cause, f.Rule, f.Where, f.Impact, f.Confidence})
	}
	if v == nil {
		c.State = Broken
		c.Reasons = []string{"the scenario expects nothing that findings could be held against"}
		return c
	}
	switch v.Outcome {
	case verdict.Pass:
		c.State = Right
	case verdict.Fail:
		c.State = Wrong
	default:
		c.State = Untold
	}
	if len(v.Expected) > 0 {
		c.Function, c.Line = v.Expected[0].Found && v.Expected[0].FunctionRight, v.Expected[0].Found && v.Expected[0].LineRight
	}
	for _, r := range v.Reasons {
		if c.State != Right && r.Outcome == v.Outcome {
			c.Reasons = append(c.Reasons, r.Text)
		}
	}
	return c
}

// Failed makes the cell of a run that left nothing to judge.
func Failed(k Key, err error) Cell {
	return Cell{Key: k, State: Broken, Found: []Found{}, Reasons: []string{err.Error()}}
}

// Summary is what the cells of a matrix add up to.
type Summary struct {
	Schema int `json:"schema_version"`
	// Complete says that every cell of the plan was run.
	Complete bool         `json:"complete"`
	Repeat   int          `json:"repeat"`
	Rows     []RowSummary `json:"rows"`
	Flaws    Tally        `json:"flaws"`
	Twins    Tally        `json:"twins"`
	Near     Tally        `json:"near_misses"`
	// Confusion counts, by the cause that is true and the cause that was found
	// first, the cells that could be judged. "none" stands for no cause.
	Confusion map[string]map[string]int `json:"confusion"`
}

// None stands for no cause, true or found.
const None = "none"

// RowSummary is what the cells of a row add up to.
type RowSummary struct {
	Row
	Tally
	// First counts what was found first, by cause and function; "none" where
	// nothing was.
	First map[string]int `json:"first"`
	// Reasons are why cells are not right, each once.
	Reasons []string `json:"reasons,omitempty"`
	Bundles []string `json:"bundles,omitempty"` // of cells that are not right
}

// Tally counts cells.
type Tally struct {
	Cells    int `json:"cells"`
	Right    int `json:"right"`
	Wrong    int `json:"wrong"`
	Untold   int `json:"could_not_tell"`
	Broken   int `json:"broken"`
	First    int `json:"right_first"`    // of flaws: the true cause is ranked first
	Function int `json:"function_right"` // of flaws
	Line     int `json:"line_right"`     // of flaws
}

func (t *Tally) add(c Cell, first bool) {
	t.Cells++
	switch c.State {
	case Right:
		t.Right++
	case Wrong:
		t.Wrong++
	case Untold:
		t.Untold++
	case Broken:
		t.Broken++
	}
	if first {
		t.First++
	}
	if c.Function {
		t.Function++
	}
	if c.Line {
		t.Line++
	}
}

// SummarySchema is the version of the Summary document.
const SummarySchema = 1

// Summarize adds up the cells of a plan. Of two cells with the same key the later
// counts; cells that the plan does not have are left out.
func Summarize(p Plan, cells []Cell) Summary {
	s := Summary{Schema: SummarySchema, Complete: true, Repeat: p.Repeat, Confusion: map[string]map[string]int{}}
	by := byKey(cells)
	for _, row := range p.Rows {
		r := RowSummary{Row: row, First: map[string]int{}}
		for round := 1; round <= p.Repeat; round++ {
			c, ok := by[Key{row.Scenario, row.Variant, row.Vary, round}]
			if !ok {
				s.Complete = false
				continue
			}
			s.add(&r, c)
		}
		s.Rows = append(s.Rows, r)
	}
	return s
}

// byKey is the last cell of each key.
func byKey(cells []Cell) map[Key]Cell {
	by := make(map[Key]Cell, len(cells))
	for _, c := range cells {
		by[c.Key] = c
	}
	return by
}

func (s *Summary) add(r *RowSummary, c Cell) {
	truth, found, name := None, None, None
	if len(r.Expect) > 0 {
		truth = r.Expect[0]
	}
	if len(c.Found) > 0 {
		found = c.Found[0].Cause
		name = found
		if f := c.Found[0].Where.Function; f != "" {
			name += " at " + f
		}
	}
	first := truth != None && truth == found
	r.add(c, first)
	switch {
	case truth != None:
		s.Flaws.add(c, first)
	case len(r.NearMissOf) > 0:
		s.Near.add(c, first)
	default:
		s.Twins.add(c, first)
	}
	if c.State != Broken {
		r.First[name]++
	}
	if c.State == Right || c.State == Wrong {
		if s.Confusion[truth] == nil {
			s.Confusion[truth] = map[string]int{}
		}
		s.Confusion[truth][found]++
	}
	for _, reason := range c.Reasons {
		if !slices.Contains(r.Reasons, reason) {
			r.Reasons = append(r.Reasons, reason)
		}
	}
	if c.Bundle != "" {
		r.Bundles = append(r.Bundles, c.Bundle)
	}
}

// Change is a row that is not as it was.
type Change struct {
	Scenario string           `json:"scenario"`
	Variant  scenario.Variant `json:"variant,omitempty"`
	Vary     string           `json:"vary,omitempty"`
	What     string           `json:"what"` // a sentence without its full stop
	Worse    bool             `json:"worse"`
}

// Changes says what is not as it was in an earlier matrix: rows that are new, that
// are right more or less often, and those in which another thing is found; and how
// many went. The worse come first.
func Changes(was, is Summary) []Change {
	type name struct {
		scenario string
		variant  scenario.Variant
		vary     string
	}
	before := map[name]RowSummary{}
	for _, r := range was.Rows {
		before[name{r.Scenario, r.Variant, r.Vary}] = r
	}
	var changes []Change
	say := func(r RowSummary, worse bool, format string, args ...any) {
		changes = append(changes, Change{r.Scenario, r.Variant, r.Vary, fmt.Sprintf(format, args...), worse})
	}
	for _, r := range is.Rows {
		n := name{r.Scenario, r.Variant, r.Vary}
		old, ok := before[n]
		delete(before, n)
		switch {
		case !ok && r.Cells > 0:
			say(r, false, "is new: %s", r.right())
		case r.Cells == 0 || old.Cells == 0:
		case r.Right*old.Cells != old.Right*r.Cells:
			say(r, r.Right*old.Cells < old.Right*r.Cells, "was %s, is %s: %s", old.right(), r.right(), r.found())
		case !slices.Equal(keys(old.First), keys(r.First)):
			say(r, false, "is %s as before, and finds %s in place of %s", r.right(), r.found(), old.found())
		}
	}
	if len(before) > 0 { // often a part was asked for
		changes = append(changes, Change{What: fmt.Sprintf("%d of the last matrix's %d rows were not run", len(before), len(was.Rows))})
	}
	slices.SortStableFunc(changes, func(a, b Change) int { return cmp.Compare(rank(a.Worse), rank(b.Worse)) })
	return changes
}

func rank(worse bool) int {
	if worse {
		return 0
	}
	return 1
}

func (r RowSummary) right() string { return fmt.Sprintf("right in %d of %d", r.Right, r.Cells) }

// found lists what was found first, the most frequent first.
func (r RowSummary) found() string {
	names := keys(r.First)
	slices.SortStableFunc(names, func(a, b string) int { return r.First[b] - r.First[a] })
	text := ""
	for i, n := range names {
		if i > 0 {
			text += ", "
		}
		if n == None {
			n = "nothing"
		}
		text += n
		if len(names) > 1 {
			text += fmt.Sprintf(" (%d)", r.First[names[i]])
		}
	}
	if text == "" {
		return "nothing to judge"
	}
	return text
}

func keys(m map[string]int) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
