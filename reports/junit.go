package reports

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"chokepoint/harness/score"
)

// The part of JUnit's format that CI systems read. Times are left out, so that
// the same answers give the same bytes.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string       `xml:"classname,attr"`
		Name    string       `xml:"name,attr"`
		File    string       `xml:"file,attr,omitempty"`
		Line    int          `xml:"line,attr,omitempty"`
		Failure *junitReason `xml:"failure"`
		Skipped *junitReason `xml:"skipped"`
	}
	junitReason struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

func (s *junitSuite) add(c junitCase) {
	s.Tests++
	switch {
	case c.Failure != nil:
		s.Failures++
	case c.Skipped != nil:
		s.Skipped++
	}
	s.Cases = append(s.Cases, c)
}

func reason(lines []string) *junitReason {
	return &junitReason{Message: lines[0], Text: strings.Join(lines, "\n")}
}

// JUnit writes a test report as JUnit XML: a suite of the rules' cases, and one
// of the recordings. A recording fails where it is answered worse than in the
// baseline; where it is wrong and no worse it counts as skipped, with what is wrong.
func JUnit(w io.Writer, r TestReport) error {
	cases := junitSuite{Name: "cases"}
	for _, c := range r.Cases {
		j := junitCase{Class: c.Rule, Name: c.Case, File: c.File, Line: c.Line}
		if !c.Passed {
			j.Failure = reason([]string{c.Why})
		}
		cases.add(j)
	}
	recordings := junitSuite{Name: "recordings"}
	there := map[string]bool{}
	for _, o := range r.Score.Outcomes {
		there[o.Recording] = true
		recordings.add(recordingCase(o, r.Baseline))
	}
	if r.Baseline != nil {
		for _, c := range r.Baseline.Worse {
			if !there[c.Recording] {
				recordings.add(junitCase{Class: "baseline", Name: c.Recording, Failure: reason([]string{c.Text})})
			}
		}
	}
	doc := junitSuites{Name: "chokepoint test"}
	for _, s := range []junitSuite{cases, recordings} {
		if s.Tests == 0 {
			continue
		}
		doc.Tests += s.Tests
		doc.Failures += s.Failures
		doc.Skipped += s.Skipped
		doc.Suites = append(doc.Suites, s)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("write JUnit XML: %w", err)
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(doc); err != nil {
		return fmt.Errorf("write JUnit XML: %w", err)
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return fmt.Errorf("write JUnit XML: %w", err)
	}
	return nil
}

func recordingCase(o score.Outcome, b *AgainstBaseline) junitCase {
	j := junitCase{Class: o.Scenario, Name: o.Recording}
	if b != nil {
		if worse := b.Of(o.Recording); len(worse) > 0 {
			j.Failure = reason(worse)
			return j
		}
	}
	if wrong := o.Mistakes(); len(wrong) > 0 {
		j.Skipped = reason(wrong)
	}
	return j
}
