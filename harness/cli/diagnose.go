package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"chokepoint/harness/bundle"
	"chokepoint/harness/rule"
	"chokepoint/harness/rule/builtin"
	"chokepoint/harness/scenario"
	"chokepoint/harness/signal"
	"chokepoint/harness/verdict"
	"chokepoint/reports"
)

// findingsFile is what a run leaves beside the artifacts of its bundle: the
// document that `chokepoint analyze --json` prints of it. It is no artifact,
// since it is made from them.
const findingsFile = "findings.json"

func builtinRules() (*rule.Set, error) {
	set, err := rule.LoadFS(builtin.FS(), signal.Catalogue())
	if err != nil {
		return nil, fmt.Errorf("built-in rules: %w", err)
	}
	return set, nil
}

// diagnose takes a bundle to its report: signals, findings and, where the
// bundle says what was expected, the verdict. It touches nothing else.
func diagnose(path string) (reports.Report, error) {
	rules, err := builtinRules()
	if err != nil {
		return reports.Report{}, err
	}
	b, err := bundle.Open(path)
	if err != nil {
		return reports.Report{}, err
	}
	defer b.Close()
	evidence := b.Evidence()
	m := b.Manifest()
	captured := func(dimension string) (bool, string) {
		d, ok := m.Dimension(dimension)
		if !ok {
			return false, "the recording has nothing of it"
		}
		return d.Captured, d.Reason
	}
	r := reports.Report{
		Bundle: path,
		Host:   m.Host, Target: m.Target, Window: m.Window, Dimensions: m.Dimensions,
		Result: rules.Evaluate(signal.Measure(evidence), captured),
	}
	var l bundle.Load
	if err := evidence.ReadJSON(bundle.LoadSummary, &l); err == nil {
		r.Load = &l
	} else if !errors.Is(err, bundle.ErrNoArtifact) {
		r.Notes = append(r.Notes, err.Error())
	}
	if !m.Complete {
		r.Notes = append(r.Notes, "the recording is incomplete: "+m.Incomplete)
	}

	truth, err := b.GroundTruth()
	if errors.Is(err, bundle.ErrNoArtifact) {
		return r, nil // a recording of a server nobody knows the truth about
	}
	if err != nil {
		return reports.Report{}, err
	}
	resolved, err := scenario.ReadResolved(truth)
	if err != nil {
		return reports.Report{}, fmt.Errorf("%s of bundle %s: %w", bundle.ScenarioFile, path, err)
	}
	r.Scenario = reports.Scenario{
		Name: resolved.Scenario.Name, Variant: string(resolved.Variant), About: resolved.Scenario.About,
	}
	if judged(resolved) {
		v := verdict.Judge(resolved, verdictInput(m, r.Load, r.Result))
		r.Verdict = &v
	}
	return r, nil
}

// judged reports whether a scenario expects anything that findings can be held
// against.
func judged(r scenario.Resolved) bool {
	return r.Variant != "" || len(r.Scenario.Expect.Findings) > 0 || r.Scenario.Expect.NothingElse
}

func verdictInput(m bundle.Manifest, l *bundle.Load, result rule.Result) verdict.Input {
	in := verdict.Input{
		Complete: m.Complete, Incomplete: m.Incomplete,
		Findings: result.Findings, Unknown: result.Unknown, Silent: result.Silent,
		Dimensions: map[string]verdict.Captured{},
	}
	if l == nil {
		in.LoadReason = "the bundle has no record of the load"
	} else {
		in.LoadReached, in.LoadReason = l.Generator.ReachedInFlight, l.Generator.Reason
	}
	for _, d := range m.Dimensions {
		in.Dimensions[d.Name] = verdict.Captured{Captured: d.Captured, Reason: d.Reason}
	}
	return in
}

// document writes the report of one bundle without the path it was opened by,
// so that the same bundle gives the same bytes wherever it lies.
func document(w io.Writer, r reports.Report) error {
	r.Bundle = ""
	return reports.JSON(w, r)
}

// keep writes the report's document beside the bundle it was made from.
func keep(path string, r reports.Report) error {
	var doc bytes.Buffer
	if err := document(&doc, r); err != nil {
		return err
	}
	file := filepath.Join(path, findingsFile)
	if err := os.WriteFile(file, doc.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write findings: %w", err)
	}
	return nil
}
