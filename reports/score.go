package reports

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"

	"chokepoint/harness/bundle"
	"chokepoint/harness/rule"
	"chokepoint/harness/score"
	"chokepoint/harness/signal"
)

// TestReport is everything that `chokepoint test` says, as a machine reads it;
// docs/test.schema.json is its schema.
type TestReport struct {
	SchemaVersion int `json:"schema_version"`
	// Passed is false when a case of a rule does not hold, or a recording is
	// answered worse than in the baseline.
	Passed bool `json:"passed"`
	// Detector is what was scored: rules, or the command of another program.
	Detector string            `json:"detector"`
	Notes    []string          `json:"notes"`
	Rules    []TestedRule      `json:"rules"`  // by id; none with another detector
	Failed   []rule.CaseResult `json:"failed"` // the cases that do not hold
	Corpus   Corpus            `json:"corpus"`
	Score    score.Score       `json:"score"`
	Baseline *AgainstBaseline  `json:"baseline,omitempty"` // absent: held against none
	Cases    []rule.CaseResult `json:"-"`
}

// RulesDetector is the Detector of a TestReport for the rules.
const RulesDetector = "rules"

// TestedRule is one rule and how its own cases went.
type TestedRule struct {
	Rule   string `json:"rule"`
	Cause  string `json:"cause"`
	File   string `json:"file"`
	Cases  int    `json:"cases"`
	Failed int    `json:"failed"`
}

// NewTestedRules sums up cases by rule.
func NewTestedRules(rules []*rule.Rule, cases []rule.CaseResult) []TestedRule {
	tested := make([]TestedRule, 0, len(rules))
	for _, r := range rules {
		t := TestedRule{Rule: r.ID, Cause: r.Cause, File: r.File}
		for _, c := range cases {
			if c.Rule != r.ID {
				continue
			}
			t.Cases++
			if !c.Passed {
				t.Failed++
			}
		}
		tested = append(tested, t)
	}
	return tested
}

// AgainstBaseline is a score held against a baseline file.
type AgainstBaseline struct {
	File string `json:"file"`
	score.Comparison
}

// Corpus says where recordings came from.
type Corpus struct {
	Dir        string     `json:"dir"`
	Recordings []Recorded `json:"recordings"` // by name
}

// Recorded is one recording and the machine and versions it came from.
type Recorded struct {
	Name     string `json:"name"`
	Scenario string `json:"scenario"`
	Variant  string `json:"variant,omitempty"`
	Date     string `json:"date"` // of the wall clock, UTC: 2026-11-22
	// WindowSeconds is the length of the recording.
	WindowSeconds float64       `json:"window_seconds"`
	InFlight      int           `json:"in_flight,omitempty"` // requests that the scenario asked for
	Captured      []string      `json:"captured"`            // dimensions
	Host          bundle.Host   `json:"host"`
	Tool          bundle.Tool   `json:"tool"`
	Target        bundle.Target `json:"target"`
}

// NewRecorded takes from a manifest what says where a recording came from.
func NewRecorded(name string, m bundle.Manifest) Recorded {
	r := Recorded{
		Name: name, Host: m.Host, Tool: m.Tool, Target: m.Target, Captured: []string{},
		Date: m.Clock.Wall.UTC().Format("2006-01-02"), WindowSeconds: m.Window.Duration().Seconds(),
	}
	for _, d := range m.Dimensions {
		if d.Captured {
			r.Captured = append(r.Captured, d.Name)
		}
	}
	return r
}

// TestText writes the report for a person.
func TestText(w io.Writer, r TestReport, o TextOptions) error {
	p := newPrinter(o)
	p.testHead(r)
	p.failedCases(r.Failed)
	if r.Score.Recordings > 0 {
		p.matrix(r.Score.Confusion)
		p.causes(r.Score)
		p.scenarios(r.Score.ByScene)
		p.mistakes(r.Score.Outcomes)
		p.baseline(r)
	}
	return p.flush(w)
}

func newPrinter(o TextOptions) *printer {
	if o.Width == 0 {
		o.Width = defaultWidth
	}
	return &printer{color: o.Color, width: max(o.Width, minimumWidth)}
}

func (p *printer) flush(w io.Writer) error {
	if _, err := io.WriteString(w, p.b.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func (p *printer) testHead(r TestReport) {
	c, outcome := green, "PASS"
	switch {
	case !r.Passed:
		c, outcome = red, "FAIL"
	case r.Baseline == nil && r.Score.Recordings > 0: // there was nothing to fail
		c, outcome = bold, "SCORED"
	}
	what := r.Detector
	if r.Detector == RulesDetector {
		what = plural(len(r.Rules), "rule") + ", " + plural(len(r.Cases), "case")
	}
	s := r.Score
	indent := strings.Repeat(" ", len(outcome)+2)
	if s.Recordings > 0 {
		what += "; " + plural(s.Recordings, "recording") + " of " + plural(s.Scenarios, "scenario")
	}
	p.line(p.paint(c, outcome) + "  " + p.paint(bold, inline(what)))
	if s.Recordings > 0 {
		healthy := []string{plural(s.Twins, "twin"), manyMisses(s.NearMisses)}
		if s.Others > 0 {
			healthy = append(healthy, plural(s.Others, "other server"))
		}
		p.wrapped(indent, indent, fmt.Sprintf("%d with a flaw, %d healthy: %s", s.Sick, s.Twins+s.NearMisses+s.Others, strings.Join(healthy, ", ")))
	}
	for _, note := range r.Notes {
		p.wrapped(indent, indent, note)
	}
}

func manyMisses(n int) string {
	if n == 1 {
		return "1 near miss"
	}
	return count(int64(n)) + " near misses"
}

func (p *printer) failedCases(failed []rule.CaseResult) {
	if len(failed) == 0 {
		return
	}
	p.title("Cases that do not hold")
	for _, c := range failed {
		p.line("  " + p.paint(red, inline(fmt.Sprintf("%s:%d", c.File, c.Line))) + "  " + inline(c.Case))
		p.wrapped("    ", "    ", c.Rule+": "+c.Why)
	}
}

// matrix writes the confusion matrix. Columns bear the numbers of the rows, so
// that twenty causes fit beside each other.
func (p *printer) matrix(m score.Matrix) {
	p.title("Truth, and what was found first")
	name, cell := 0, 3
	for i, row := range m.Rows {
		name = max(name, len(row))
		for _, n := range m.Count[i] {
			cell = max(cell, len(strconv.Itoa(n))+1)
		}
	}
	mark := func(i int) string {
		switch m.Columns[i] {
		case score.None:
			return "-"
		case score.NoAnswer:
			return "!"
		}
		return strconv.Itoa(i + 1)
	}
	head := "  " + strings.Repeat(" ", 4+name)
	for i := range m.Columns {
		head += fmt.Sprintf("%*s", cell, mark(i))
	}
	p.line(p.paint(faint, head))
	for i, row := range m.Rows {
		line := fmt.Sprintf("  %2s  %-*s", mark(i), name, row)
		for j, n := range m.Count[i] {
			switch {
			case n == 0:
				line += fmt.Sprintf("%*s", cell, ".")
			case i == j:
				line += p.paint(green, fmt.Sprintf("%*d", cell, n))
			default:
				line += p.paint(red, fmt.Sprintf("%*d", cell, n))
			}
		}
		p.line(line)
	}
	if slices.Contains(m.Columns, score.NoAnswer) {
		p.line(p.paint(faint, "   !  the detector gave no answer"))
	}
}

// grid writes rows in columns: the first to the left, the others to the right.
// The first row is the head.
func (p *printer) grid(rows [][]string, after func(i int) bool) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for j, cell := range row {
			widths[j] = max(widths[j], text.StringWidthWithoutEscSequences(cell))
		}
	}
	for i, row := range rows {
		var b strings.Builder
		for j, cell := range row {
			pad := strings.Repeat(" ", widths[j]-text.StringWidthWithoutEscSequences(cell))
			switch {
			case j == 0:
				b.WriteString("  " + cell + pad)
			default:
				b.WriteString("  " + pad + cell)
			}
		}
		switch {
		case i == 0:
			p.line(p.paint(faint, b.String()))
		default:
			p.line(b.String())
		}
		if after != nil && after(i) {
			p.line("")
		}
	}
}

func (p *printer) causes(s score.Score) {
	p.title("How well, by cause")
	rows := [][]string{{"", "flaws", "precision", "recall", "AC@1", "AC@3", "function", "line", "by chance: AC@1", "AC@3"}}
	row := func(name string, r, chance score.Rates) []string {
		return []string{
			name, count(int64(r.Recall.Of)), r.Precision.String(), r.Recall.String(), r.AC1.String(), r.AC3.String(),
			r.Function.String(), r.Line.String(), chance.AC1.String(), chance.AC3.String(),
		}
	}
	for _, c := range s.Causes {
		rows = append(rows, row(c.Cause, c.Rates, c.Chance))
	}
	rows = append(rows, row("all", s.Overall, s.Chance))
	chance := row("by chance", s.Chance, score.Rates{})
	chance[1], chance[8], chance[9] = "", "", ""
	rows = append(rows, chance)
	p.grid(rows, func(i int) bool { return len(s.Causes) > 0 && i == len(s.Causes) })
	if silent := s.Overall.Silent; silent.Of > 0 {
		p.line("")
		p.line(fmt.Sprintf("  Healthy servers left alone: %s of %s, %s (by chance %s)",
			count(int64(silent.Part)), count(int64(silent.Of)), silent, s.Chance.Silent))
	}
}

func (p *printer) scenarios(all []score.ScenarioScore) {
	p.title("By scenario")
	rows := [][]string{{"", "recordings", "precision", "recall", "AC@1", "AC@3", "function", "line", "silent"}}
	for _, s := range all {
		name := s.Scenario
		if len(s.NearMissOf) > 0 {
			name += " (healthy)"
		}
		rows = append(rows, []string{
			inline(name), count(int64(s.Recordings)), s.Precision.String(), s.Recall.String(), s.AC1.String(), s.AC3.String(),
			s.Function.String(), s.Line.String(), s.Silent.String(),
		})
	}
	p.grid(rows, nil)
}

// mistakes lists what is wrong, whatever the baseline says of it.
func (p *printer) mistakes(outcomes []score.Outcome) {
	titled := false
	for _, o := range outcomes {
		wrong := o.Mistakes()
		if len(o.Undecided) > 0 {
			wrong = append(wrong, "could not be decided: "+strings.Join(o.Undecided, ", "))
		}
		if len(wrong) == 0 {
			continue
		}
		if !titled {
			p.title("Answered wrong")
			titled = true
		}
		p.line("  " + p.paint(yellow, inline(o.Recording)))
		for _, m := range wrong {
			p.wrapped("    ", "      ", m)
		}
	}
}

func (p *printer) baseline(r TestReport) {
	b := r.Baseline
	if b == nil {
		how := "--update-baseline"
		if r.Detector != RulesDetector {
			how = "--baseline FILE --update-baseline"
		}
		p.line("")
		p.wrapped("", "", "Held against no baseline. "+how+" writes one, and from then on what gets worse fails.")
		return
	}
	p.title("Against the baseline in " + inline(b.File))
	changes := func(c text.Colors, label string, list []score.Change) {
		for _, change := range list {
			p.column("  ", c, label, 8, change.Recording+": "+change.Text)
		}
	}
	changes(red, "worse", b.Worse)
	changes(green, "better", b.Better)
	if len(b.New) > 0 {
		var names []string
		for _, change := range b.New {
			names = append(names, change.Recording)
		}
		p.column("  ", cyan, "new", 8, strings.Join(names, ", ")+": answered right")
	}
	switch {
	case len(b.Worse) > 0:
		p.wrapped("  ", "  ", plural(len(b.Worse), "change")+" for the worse. Where that is meant, --update-baseline writes the baseline anew; commit it, and say why.")
	case len(b.Better) > 0, len(b.New) > 0:
		p.wrapped("  ", "  ", "Nothing is worse. --update-baseline writes the baseline anew; commit it, so that what was won is kept.")
	default:
		p.line("  nothing changed")
	}
}

// CorpusText says where the recordings of a corpus came from: the machines first,
// then each recording.
func CorpusText(w io.Writer, c Corpus, o TextOptions) error {
	p := newPrinter(o)
	p.line(p.paint(bold, plural(len(c.Recordings), "recording")+" in "+inline(c.Dir)))
	p.title("Machines and versions")
	type origin struct{ machine, versions string }
	var origins []origin
	n := map[origin]int{}
	for _, r := range c.Recordings {
		h := r.Host
		at := origin{
			machine:  fmt.Sprintf("%s/%s, kernel %s, %s, %s", h.OS, h.Arch, h.Kernel, plural(h.CPUs, "CPU"), show(float64(h.MemoryBytes), signal.Byte)),
			versions: fmt.Sprintf("chokepoint %s built with %s; target built with %s", r.Tool.Version, r.Tool.Go, orUnknown(r.Target.GoVersion)),
		}
		if n[at] == 0 {
			origins = append(origins, at)
		}
		n[at]++
	}
	for _, at := range origins {
		p.column("  ", faint, plural(n[at], "recording"), 16, at.machine)
		p.column("  ", faint, "", 16, at.versions)
	}
	p.line("")
	rows := [][]string{{"recording", "recorded", "window", "in flight", "GOMAXPROCS", "captured"}}
	for _, r := range c.Recordings {
		inFlight := "-"
		if r.InFlight > 0 {
			inFlight = count(int64(r.InFlight))
		}
		rows = append(rows, []string{
			inline(r.Name), r.Date, show(r.WindowSeconds, signal.Second), inFlight,
			count(int64(r.Target.GOMAXPROCS)), inline(strings.Join(r.Captured, " ")),
		})
	}
	p.grid(rows, nil)
	return p.flush(w)
}

func orUnknown(s string) string {
	if s == "" {
		return "what is not known"
	}
	return s
}
