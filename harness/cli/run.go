package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"chokepoint/harness/run"
	"chokepoint/harness/scenario"
	"chokepoint/harness/verdict"
	"chokepoint/reports"
)

const bothVariants = "both"

func (a *app) runCommand() *cobra.Command {
	var (
		variant  string
		inFlight int
		window   time.Duration
		out      string
		asJSON   bool
	)
	cmd := &cobra.Command{
		Use:   "run SCENARIO...",
		Short: "Record scenarios, diagnose what was recorded, and hold it against what must be found",
		Long: `Run builds and starts the target of each scenario, brings the load to the
concurrency the scenario asks for, captures eBPF, pprof, the execution trace and
/proc over the same seconds, and leaves a bundle. It then diagnoses the bundle
and judges the findings, as analyze does with any bundle.`,
		Example: `  chokepoint run scenarios/lock-contention-sleep.yaml
  chokepoint run scenarios/*.yaml --variant both --in-flight 500`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			plans, err := plan(args, variant, inFlight, window)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(out, 0o755); err != nil {
				return fmt.Errorf("make the directory for bundles: %w", err)
			}
			return a.runAll(cmd.Context(), plans, out, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&variant, "variant", "", "flawed, fixed or both (default: what the scenario says)")
	f.IntVar(&inFlight, "in-flight", 0, "requests in flight, in place of the scenario's")
	f.DurationVar(&window, "window", 0, "length of the capture window, in place of the scenario's")
	f.StringVar(&out, "out", "runs", "directory that bundles are made in")
	f.BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

// planned is one run to come.
type planned struct {
	resolved scenario.Resolved
	dir      string // of the scenario's module
}

// plan reads all scenarios before the first is run, so that a typo in the last
// does not cost the runs before it.
func plan(files []string, variant string, inFlight int, window time.Duration) ([]planned, error) {
	switch variant {
	case "", bothVariants, string(scenario.Flawed), string(scenario.Fixed):
	default:
		return nil, fmt.Errorf("--variant %q: it is %s, %s or %s", variant, scenario.Flawed, scenario.Fixed, bothVariants)
	}
	if inFlight < 0 {
		return nil, fmt.Errorf("--in-flight %d: it must be at least 1", inFlight)
	}
	if window < 0 {
		return nil, fmt.Errorf("--window %s: it must be positive", window)
	}
	var plans []planned
	var errs []error
	for _, file := range files {
		p, err := planOne(file, variant, scenario.Overrides{InFlight: inFlight, Window: scenario.Duration(window)})
		plans = append(plans, p...)
		errs = append(errs, err)
	}
	return plans, errors.Join(errs...)
}

func planOne(file, variant string, o scenario.Overrides) ([]planned, error) {
	s, err := scenario.Load(file)
	if err != nil {
		return nil, err
	}
	dir, err := scenario.ModuleDir(file)
	if err != nil {
		return nil, err
	}
	variants := []scenario.Variant{scenario.Variant(variant)}
	if variant == bothVariants {
		variants = []scenario.Variant{""}
		if s.Target.HasTwin() {
			variants = []scenario.Variant{scenario.Flawed, scenario.Fixed}
		}
	}
	var plans []planned
	for _, v := range variants {
		o.Variant = v
		r, err := s.Resolve(o)
		if err != nil {
			return nil, err
		}
		plans = append(plans, planned{r, dir})
	}
	return plans, nil
}

// runAll makes the runs one after another; one that fails does not keep the
// others from running, but an interruption does.
func (a *app) runAll(ctx context.Context, plans []planned, out string, asJSON bool) error {
	var (
		done     []reports.Report
		outcomes []verdict.Outcome
		errs     []error
	)
	for _, p := range plans {
		r, err := a.runOne(ctx, p, out)
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("scenario %s: %w", p.resolved.Scenario.Name, err))
			continue
		}
		done = append(done, r)
		if r.Verdict != nil {
			outcomes = append(outcomes, r.Verdict.Outcome)
		}
		if !asJSON {
			if err := a.text(r); err != nil {
				return err
			}
		}
	}
	if asJSON {
		if err := a.list(done); err != nil {
			return err
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return finish(outcomes)
}

// list prints the reports of several bundles as one document.
func (a *app) list(done []reports.Report) error {
	doc := struct {
		SchemaVersion int                `json:"schema_version"`
		Runs          []reports.Document `json:"runs"`
	}{reports.SchemaVersion, make([]reports.Document, len(done))}
	for i, r := range done {
		doc.Runs[i] = reports.NewDocument(r)
	}
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(doc); err != nil {
		return fmt.Errorf("write reports: %w", err)
	}
	return nil
}

func (a *app) runOne(ctx context.Context, p planned, out string) (reports.Report, error) {
	show := a.progress()
	defer show.end()
	path, err := run.Run(ctx, run.Config{Scenario: p.resolved, Dir: p.dir, Out: out, Version: version(), Observe: show.show})
	if err != nil {
		if path != "" {
			err = fmt.Errorf("%w\nwhat was recorded until then is in %s", err, path)
		}
		return reports.Report{}, err
	}
	show.line("diagnosing")
	r, err := diagnose(path)
	if err != nil {
		return reports.Report{}, err
	}
	show.end()
	if err := keep(path, r); err != nil {
		return r, err
	}
	return r, a.keepPage(path, r)
}

// keepPage leaves the report as a page beside the bundle's artifacts, to which
// it links.
func (a *app) keepPage(path string, r reports.Report) error {
	f, err := os.Create(filepath.Join(path, "report.html"))
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return errors.Join(reports.HTML(f, r), f.Close())
}
