package score

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"chokepoint/harness/cause"
	"chokepoint/harness/rule"
	"chokepoint/harness/strictyaml"
)

// maxFindings bounds an answer: a detector that names everything names nothing.
const maxFindings = 1000

// ParseAnswer reads what a detector printed of one bundle: one JSON document
// with the field findings, each as docs/finding.schema.json has it. Of a finding
// the cause, the rank and the place are scored; what else it holds is for people.
// The findings come back by rank, counted from 1 without gaps.
func ParseAnswer(data []byte) ([]rule.Finding, error) {
	var doc struct {
		Findings *[]rule.Finding `json:"findings"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it printed nothing; an answer is one JSON document with the field findings")
		}
		return nil, fmt.Errorf("what it printed is no JSON document: %w", err)
	}
	if rest := bytes.TrimSpace(data[d.InputOffset():]); len(rest) > 0 {
		return nil, errors.New("something follows the JSON document that it printed; print messages to standard error")
	}
	if doc.Findings == nil {
		return nil, errors.New("the JSON document has no field findings; an answer without any has \"findings\": []")
	}
	findings := *doc.Findings
	if len(findings) > maxFindings {
		return nil, fmt.Errorf("%d findings, more than the %d there may be", len(findings), maxFindings)
	}
	slices.SortStableFunc(findings, func(a, b rule.Finding) int { return a.Rank - b.Rank })
	for i := range findings {
		f := &findings[i]
		if !cause.Known(f.Cause) {
			err := fmt.Errorf("findings: there is no cause %q", f.Cause)
			if near := strictyaml.Nearest(f.Cause, cause.IDs()); near != "" {
				err = fmt.Errorf("%w; did you mean %q?", err, near)
			}
			return nil, err
		}
		switch {
		case f.Rank < 1:
			return nil, fmt.Errorf("findings: %s has rank %d; the first has 1", f.Cause, f.Rank)
		case i > 0 && f.Rank == findings[i-1].Rank:
			return nil, fmt.Errorf("findings: %s and %s both have rank %d", findings[i-1].Cause, f.Cause, f.Rank)
		}
	}
	for i := range findings {
		findings[i].Rank = i + 1
	}
	return findings, nil
}
