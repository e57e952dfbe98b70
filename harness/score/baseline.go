package score

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"chokepoint/harness/signal"
)

// baselineSchema is the version of a baseline file.
const baselineSchema = 1

// Baseline is how each recording of a corpus was answered when somebody last
// found it good enough to commit. It holds recordings one by one, so that what
// got better in one cannot hide what got worse in another.
type Baseline struct {
	marks map[string]mark // by recording
}

// mark is what is kept of an outcome.
type mark struct {
	// Flaws by cause, in the order of the truth.
	Flaws []flawMark `json:"flaws,omitempty"`
	// False are the causes that are found and not there, sorted.
	False    []string `json:"false,omitempty"`
	NoAnswer bool     `json:"no_answer,omitempty"`
}

type flawMark struct {
	Cause    string `json:"cause"`
	Rank     int    `json:"rank"` // 0: not found
	Function bool   `json:"function"`
	Line     bool   `json:"line"`
}

// NewBaseline is what a score would be held against later.
func NewBaseline(s Score) Baseline {
	b := Baseline{marks: map[string]mark{}}
	for _, o := range s.Outcomes {
		b.marks[o.Recording] = markOf(o)
	}
	return b
}

func markOf(o Outcome) mark {
	m := mark{NoAnswer: o.Failed != ""}
	for _, f := range o.Flaws {
		m.Flaws = append(m.Flaws, flawMark{f.Cause, f.Rank, f.FunctionRight, f.LineRight})
	}
	for _, f := range o.False {
		m.False = append(m.False, f.Cause)
	}
	slices.Sort(m.False)
	return m
}

// Encode writes the baseline, one line a recording: a diff shows what changed,
// and branches that add recordings merge.
func (b Baseline) Encode(w io.Writer) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "{\"schema\": %d, \"recordings\": {", baselineSchema)
	for i, name := range slices.Sorted(maps.Keys(b.marks)) {
		key, err := json.Marshal(name)
		if err != nil {
			return fmt.Errorf("write baseline: %w", err)
		}
		value, err := json.Marshal(b.marks[name])
		if err != nil {
			return fmt.Errorf("write baseline: %w", err)
		}
		if i > 0 {
			out.WriteByte(',')
		}
		fmt.Fprintf(&out, "\n%s: %s", key, value)
	}
	out.WriteString("\n}}\n")
	if _, err := out.WriteTo(w); err != nil {
		return fmt.Errorf("write baseline: %w", err)
	}
	return nil
}

// ParseBaseline reads what Encode wrote. file is used in errors.
func ParseBaseline(file string, data []byte) (Baseline, error) {
	var doc struct {
		Schema     int             `json:"schema"`
		Recordings map[string]mark `json:"recordings"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(&doc)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows its end")
		}
	}
	switch {
	case err != nil:
		line := 1 + bytes.Count(data[:min(int(d.InputOffset()), len(data))], []byte("\n"))
		return Baseline{}, fmt.Errorf("%s:%d: not a baseline: %w; `chokepoint test --update-baseline` writes one", file, line, err)
	case doc.Schema != baselineSchema:
		return Baseline{}, fmt.Errorf("%s: has schema %d, and this chokepoint knows %d; `chokepoint test --update-baseline` writes it anew", file, doc.Schema, baselineSchema)
	}
	if doc.Recordings == nil {
		doc.Recordings = map[string]mark{}
	}
	return Baseline{doc.Recordings}, nil
}

// Change is how one recording is answered otherwise than in the baseline.
type Change struct {
	Recording string `json:"recording"`
	Text      string `json:"text"` // a sentence without its full stop
}

// Comparison is a score held against a baseline.
type Comparison struct {
	Worse  []Change `json:"worse"`  // any of these fails
	Better []Change `json:"better"` // what committing the baseline anew would keep
	New    []Change `json:"new"`    // recordings the baseline does not know, all answered right
}

// Failed reports whether anything got worse.
func (c Comparison) Failed() bool { return len(c.Worse) > 0 }

// Of reports whether the comparison found a recording worse, and in what.
func (c Comparison) Of(recording string) []string {
	var texts []string
	for _, w := range c.Worse {
		if w.Recording == recording {
			texts = append(texts, w.Text)
		}
	}
	return texts
}

// Compare holds a score against the baseline. A recording that the baseline does
// not know must be answered right, and one that it knows must be there: neither
// a new mistake nor a recording taken away goes through unseen.
func (b Baseline) Compare(s Score) Comparison {
	c := Comparison{Worse: []Change{}, Better: []Change{}, New: []Change{}}
	there := map[string]bool{}
	for _, o := range s.Outcomes {
		there[o.Recording] = true
		was, known := b.marks[o.Recording]
		if !known {
			if mistakes := o.Mistakes(); len(mistakes) > 0 {
				for _, m := range mistakes {
					c.Worse = append(c.Worse, Change{o.Recording, m + "; the baseline does not know this recording"})
				}
			} else {
				c.New = append(c.New, Change{o.Recording, "is answered right"})
			}
			continue
		}
		c.compare(was, o)
	}
	for _, name := range slices.Sorted(maps.Keys(b.marks)) {
		if !there[name] {
			c.Worse = append(c.Worse, Change{name, "is in the baseline and not in the corpus"})
		}
	}
	return c
}

func (c *Comparison) compare(was mark, o Outcome) {
	worse := func(format string, args ...any) {
		c.Worse = append(c.Worse, Change{o.Recording, fmt.Sprintf(format, args...)})
	}
	better := func(format string, args ...any) {
		c.Better = append(c.Better, Change{o.Recording, fmt.Sprintf(format, args...)})
	}
	if o.Failed != "" {
		if !was.NoAnswer {
			worse("there is no answer: %s", o.Failed)
		}
		return // what was not answered got neither better nor worse
	}
	if was.NoAnswer {
		better("there is an answer")
	}
	before := map[string][]flawMark{}
	for _, f := range was.Flaws {
		before[f.Cause] = append(before[f.Cause], f)
	}
	for _, f := range o.Flaws {
		if len(before[f.Cause]) == 0 {
			if f.Rank == 0 {
				worse("%s is not found; the baseline does not know of it", f.Cause)
			}
			continue
		}
		old := before[f.Cause][0]
		before[f.Cause] = before[f.Cause][1:]
		switch {
		case old.Rank > 0 && f.Rank == 0:
			worse("%s is no longer found", f.Cause)
			continue
		case old.Rank == 0 && f.Rank > 0:
			better("%s is found", f.Cause)
		case f.Rank > old.Rank:
			worse("%s is found with rank %d, and had %d%s", f.Cause, f.Rank, old.Rank, ahead(o, f.Rank))
		case f.Rank < old.Rank:
			better("%s is found with rank %d, and had %d", f.Cause, f.Rank, old.Rank)
		}
		switch {
		case old.Function && !f.FunctionRight:
			worse("%s is no longer found in %s but at %s", f.Cause, f.Function, place(f.Got))
			continue
		case !old.Function && f.FunctionRight:
			better("%s is found in %s", f.Cause, f.Function)
		}
		switch {
		case old.Line && !f.LineRight:
			worse("%s is no longer found at %s:%d but at %s", f.Cause, f.File, f.Line, place(f.Got))
		case !old.Line && f.LineRight:
			better("%s is found at %s:%d", f.Cause, f.File, f.Line)
		}
	}
	old := slices.Clone(was.False)
	for _, f := range o.False {
		if i := slices.Index(old, f.Cause); i >= 0 {
			old = slices.Delete(old, i, i+1)
			continue
		}
		worse("%s", f.text(o))
	}
	for _, cause := range old {
		better("%s, which is not there, is no longer found", cause)
	}
}

// ahead names what stands before rank.
func ahead(o Outcome, rank int) string {
	var causes []string
	for _, f := range o.False {
		if f.Rank < rank {
			causes = append(causes, f.Cause)
		}
	}
	if len(causes) == 0 {
		return ""
	}
	return "; before it stands " + strings.Join(causes, ", ")
}

func (f False) text(o Outcome) string {
	if len(o.Flaws) == 0 {
		return fmt.Sprintf("%s is found at %s in a healthy server", f.Cause, place(f.Where))
	}
	return fmt.Sprintf("%s is found at %s, which is not there", f.Cause, place(f.Where))
}

// Mistakes says what is wrong with an answer, a sentence each; none when all of
// it is right.
func (o Outcome) Mistakes() []string {
	if o.Failed != "" {
		return []string{"there is no answer: " + o.Failed}
	}
	var said []string
	for i, f := range o.Flaws {
		switch {
		case f.Rank == 0:
			said = append(said, f.Cause+" is not found")
			continue
		case i == 0 && f.Rank > 1:
			said = append(said, fmt.Sprintf("%s is found with rank %d%s", f.Cause, f.Rank, ahead(o, f.Rank)))
		}
		switch {
		case !f.FunctionRight:
			said = append(said, fmt.Sprintf("%s is found at %s and stands in %s", f.Cause, place(f.Got), f.Function))
		case !f.LineRight:
			said = append(said, fmt.Sprintf("%s is found at %s and stands at %s:%d", f.Cause, place(f.Got), f.File, f.Line))
		}
	}
	for _, f := range o.False {
		said = append(said, f.text(o))
	}
	return said
}

func place(l signal.Location) string {
	switch {
	case l.Function == "" && l.File == "":
		return "no place"
	case l.File == "":
		return l.Function
	}
	return fmt.Sprintf("%s (%s:%d)", l.Function, l.File, l.Line)
}
