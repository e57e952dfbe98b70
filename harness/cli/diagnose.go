package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/health"
	"chokepoint/harness/heatmap"
	"chokepoint/harness/rule"
	"chokepoint/harness/scenario"
	"chokepoint/harness/signal"
	"chokepoint/harness/verdict"
	"chokepoint/reports"
)

// findingsFile is what a run leaves beside the artifacts of its bundle: the
// document that `chokepoint analyze --json` prints of it. It is no artifact,
// since it is made from them.
const findingsFile = "findings.json"

// pageFile is the report for a browser, which a run leaves there too.
const pageFile = "report.html"

// diagnosis is what there is to say of a bundle, and the exit code it earns.
type diagnosis struct {
	reports.Report
	code int
}

// diagnose takes a bundle to its report: signals, findings and, where the
// bundle says what was expected, the verdict. It touches nothing else.
func diagnose(path string, rules chosen) (*diagnosis, error) {
	if rules.set == nil {
		var err error
		if rules, err = (ruleFlags{}).choose(); err != nil {
			return nil, err
		}
	}
	b, err := bundle.Open(path)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	evidence := b.Evidence()
	m := b.Manifest()
	read := signal.Read(evidence)
	measured := read.Measure()
	r := reports.Report{
		Bundle: path,
		Host:   m.Host, Target: m.Target, Window: m.Window, Dimensions: m.Dimensions,
		Result: rules.set.Evaluate(measured, m.Captured),
		CPU:    reports.NewCPUUse(measured, m.Dimensions),
		Notes:  slices.Clone(rules.notes),
	}
	trace, err := read.Trace()
	if err == nil {
		r.Marked = signal.MarkedOf(trace)
	}
	if w, err := read.Where(""); err == nil {
		r.Where = w
	}
	if in, err := heatmap.Read(evidence, heatmap.FromLoad, read.Trace); err == nil {
		m := heatmap.New(in)
		r.Heatmap = &m
	} else if !errors.Is(err, bundle.ErrNoArtifact) {
		r.Notes = append(r.Notes, err.Error())
	}
	var l bundle.Load
	if err := evidence.ReadJSON(bundle.LoadSummary, &l); err == nil {
		r.Load = &l
	} else if !errors.Is(err, bundle.ErrNoArtifact) {
		r.Notes = append(r.Notes, err.Error())
	}
	if trace != nil && r.Load != nil && r.Load.Requests.Ended > 0 && trace.Requests.TotalNS == 0 && trace.Served.TotalNS() == 0 {
		r.Notes = append(r.Notes, noRequests)
	}
	if r.Load != nil {
		samples, err := bundle.ReadLines[bundle.ProcSample](evidence, bundle.ProcSamples)
		if err != nil && !errors.Is(err, bundle.ErrNoArtifact) {
			r.Notes = append(r.Notes, err.Error())
		}
		generator := health.Judge(health.In{Manifest: m, Load: r.Load, Proc: samples})
		r.Health = &generator
	}
	r.FellShort = fellShort(m, r.Health)
	r.Price = reports.NewPrice(m.Dimensions, 0)

	truth, err := b.GroundTruth()
	if errors.Is(err, bundle.ErrNoArtifact) { // a recording of a server nobody knows the truth about
		return &diagnosis{r, exitUnjudged(r)}, nil
	}
	if err != nil {
		return nil, err
	}
	resolved, err := scenario.ReadResolved(truth)
	if err != nil {
		return nil, fmt.Errorf("%s of bundle %s: %w", bundle.ScenarioFile, path, err)
	}
	r.Scenario = reports.Scenario{
		Name: resolved.Scenario.Name, Variant: string(resolved.Variant), About: resolved.Scenario.About,
	}
	r.Price = reports.NewPrice(m.Dimensions, resolved.Scenario.Capture.Budget.Fraction())
	if !resolved.Judged() {
		return &diagnosis{r, exitUnjudged(r)}, nil
	}
	v := verdict.Judge(resolved, verdictInput(m, r.Load, r.Health, r.Result))
	r.Verdict = &v
	return &diagnosis{r, v.Outcome.ExitCode()}, nil
}

// noRequests is said where a trace shows none of the requests that the load had
// answered.
const noRequests = "the trace shows no request, and the load had some answered: the server is none that is known (net/http's, fasthttp's and gRPC's are); " +
	"what is said of request time is of all goroutines' time instead"

// exitUnjudged is the exit code where nothing is expected.
func exitUnjudged(r reports.Report) int {
	if r.FellShort != "" {
		return ExitCouldNotTell
	}
	return ExitPass
}

// fellShort says why nothing can be concluded from a recording, not even that
// the target is healthy; empty where something can.
func fellShort(m bundle.Manifest, generator *health.Report) string {
	switch {
	case !m.Complete:
		return "the recording is incomplete: " + m.Incomplete
	case generator == nil:
		return "the bundle has no account of the load"
	case !generator.Trusted:
		return generator.Reason
	}
	return ""
}

func verdictInput(m bundle.Manifest, l *bundle.Load, generator *health.Report, result rule.Result) verdict.Input {
	in := verdict.Input{
		Complete: m.Complete, Incomplete: m.Incomplete,
		Findings: result.Findings, Unknown: result.Unknown, Silent: result.Silent,
		Dimensions: map[string]verdict.Captured{},
	}
	if l == nil || generator == nil {
		in.LoadReason = "the bundle has no record of the load"
	} else {
		in.LoadReached, in.LoadReason = l.Generator.ReachedInFlight, l.Generator.Reason
		if in.LoadReached {
			in.Distrust = generator.Reason
		}
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

// keep writes the report of a bundle beside its artifacts: the document, and
// a page that links to them.
func keep(r reports.Report) error {
	return errors.Join(
		writeWhole(filepath.Join(r.Bundle, findingsFile), func(w io.Writer) error { return document(w, r) }),
		writeWhole(filepath.Join(r.Bundle, pageFile), func(w io.Writer) error { return reports.HTML(w, r) }),
	)
}

// writeWhole makes a file that is there whole or not at all.
func writeWhole(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err = errors.Join(write(f), f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
