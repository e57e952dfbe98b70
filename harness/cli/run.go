package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"chokepoint/harness/run"
	"chokepoint/harness/scenario"
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
		rules    ruleFlags
	)
	cmd := &cobra.Command{
		Use:   "run SCENARIO...",
		Short: "Record scenarios, diagnose what was recorded, and hold it against what must be found",
		Long: `Run builds and starts the target of each scenario, brings the load to the
concurrency the scenario asks for, captures eBPF, pprof, the execution trace and
/proc over the same seconds, and leaves a bundle. It then diagnoses the bundle
and judges the findings, as analyze does with any bundle. The report stays in
the bundle as findings.json and report.html.

A scenario that cannot be run does not keep the others from running. The exit
code is that of the gravest outcome: 130 (interrupted), then 2 (bad input), 1 (a
verdict failed), 3 (could not tell), 0.`,
		Example: `  chokepoint run scenarios/lock-contention-sleep.yaml
  chokepoint run scenarios/*.yaml --variant both --in-flight 500`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			plans, err := plan(args, variant, inFlight, window)
			if err != nil {
				return err
			}
			with, err := rules.choose()
			if err != nil {
				return err
			}
			for i := range plans {
				plans[i].rules = with
			}
			if err := writable(out); err != nil {
				return fmt.Errorf("make the directory for bundles: %w; name another with --out", err)
			}
			return a.runAll(cmd.Context(), plans, out, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&variant, "variant", "", "flawed, fixed or both (default: what the scenario says)")
	f.IntVar(&inFlight, "in-flight", 0, "requests in flight, in place of the scenario's")
	f.DurationVar(&window, "window", 0, "length of the capture window, in place of the scenario's")
	f.StringVar(&out, "out", "runs", "directory that bundles are made in")
	rules.add(cmd)
	f.BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

// writable makes a directory and tries to write there, before a target is
// started in vain.
func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".try-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// planned is one run to come.
type planned struct {
	resolved scenario.Resolved
	dir      string // of the scenario's module
	vary     string // what a matrix changed; empty: nothing
	rules    chosen // that the recording is diagnosed by
}

// name is what a person calls the run.
func (p planned) name() string { return runName(p.resolved.Scenario.Name, p.resolved.Variant) }

func runName(name string, v scenario.Variant) string {
	if v == "" {
		return name
	}
	return fmt.Sprintf("%s (%s)", name, v)
}

// plan reads all scenarios before the first is run, so that a typo in the last
// does not cost the runs before it.
func plan(files []string, variant string, inFlight int, window time.Duration, vary ...variation) ([]planned, error) {
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
		o := scenario.Overrides{InFlight: inFlight, Window: scenario.Duration(window)}
		if len(vary) == 0 {
			vary = []variation{asItIs()}
		}
		for _, v := range vary {
			p, err := planOne(file, variant, o, v, len(files) > 1)
			plans = append(plans, p...)
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(plans) == 0 {
		return nil, errors.New("nothing is left to run: none of the scenarios can be run so")
	}
	return plans, nil
}

// planOne plans the runs of a file. Among many a near miss, which has no flawed
// variant, is passed over where that one is asked for.
func planOne(file, variant string, o scenario.Overrides, vary variation, many bool) ([]planned, error) {
	s, err := scenario.Load(file)
	if err != nil {
		return nil, err
	}
	dir, err := scenario.ModuleDir(file)
	if err != nil {
		return nil, err
	}
	if why := vary.apply(s, &o); why != "" {
		return nil, nil
	}
	variants := []scenario.Variant{scenario.Variant(variant)}
	switch {
	case variant == bothVariants:
		variants = s.Variants()
	case many && len(s.Expect.NearMissOf) > 0 && variant == string(scenario.Flawed):
		return nil, nil
	}
	var plans []planned
	for _, v := range variants {
		o.Variant = v
		r, err := s.Resolve(o)
		if err != nil {
			return nil, err
		}
		plans = append(plans, planned{resolved: r, dir: dir, vary: vary.name})
	}
	return plans, nil
}

// runAll makes the runs one after another; one that fails does not keep the
// others from running, but an interruption does.
func (a *app) runAll(ctx context.Context, plans []planned, out string, asJSON bool) error {
	var (
		done   []reports.Report
		failed []failure
		codes  []int
	)
	for _, p := range plans {
		d, err := a.runOne(ctx, p, out)
		if d != nil {
			done = append(done, d.Report)
			codes = append(codes, d.code)
			if !asJSON {
				if err := a.text(d.Report); err != nil {
					return fmt.Errorf("write report: %w", err)
				}
			}
		}
		if err != nil {
			f := newFailure(p, err)
			failed = append(failed, f)
			codes = append(codes, f.ExitCode)
			fmt.Fprintf(a.err, "chokepoint: %s: %s\n", p.name(), f.Message)
		}
		if ctx.Err() != nil {
			codes = append(codes, ExitInterrupted)
			break
		}
	}
	if asJSON {
		if err := a.runsDocument(done, failed); err != nil {
			return err
		}
	}
	return exitWith(gravest(codes...))
}

// failure is a run that ended without a report, or whose target could not be
// taken down in order.
type failure struct {
	Scenario string           `json:"scenario"`
	Variant  scenario.Variant `json:"variant,omitempty"`
	Message  string           `json:"message"`
	// ExitCode is what the command would end with if this were all.
	ExitCode int `json:"exit_code"`
}

func newFailure(p planned, err error) failure {
	return failure{Scenario: p.resolved.Scenario.Name, Variant: p.resolved.Variant, Message: err.Error(), ExitCode: exitCode(err)}
}

// runsDocument prints the reports of several bundles as one document.
func (a *app) runsDocument(done []reports.Report, failed []failure) error {
	doc := struct {
		SchemaVersion int                `json:"schema_version"`
		Runs          []reports.Document `json:"runs"`
		Failed        []failure          `json:"failed"`
	}{reports.SchemaVersion, make([]reports.Document, len(done)), append([]failure{}, failed...)}
	for i, r := range done {
		doc.Runs[i] = reports.NewDocument(r)
	}
	return a.json(doc)
}

// runOne makes one run. There is no diagnosis when the bundle is not
// whole; an error beside one is of what came after the recording.
func (a *app) runOne(ctx context.Context, p planned, out string) (*diagnosis, error) {
	show := a.progress()
	defer show.end()
	made, err := run.Run(ctx, run.Config{Scenario: p.resolved, Dir: p.dir, Out: out, Version: version(), Observe: show.show})
	if errors.Is(err, errInterrupted) && !errors.Is(err, run.ErrUnclean) {
		err = fmt.Errorf("%w; the target is stopped and the probes are off", err)
	}
	if !made.Whole {
		if made.Bundle != "" {
			err = fmt.Errorf("%w\nwhat was recorded until then is in %s", err, made.Bundle)
		}
		return nil, err
	}
	show.words(p.name(), "diagnosing")
	d, failed := diagnose(made.Bundle, p.rules)
	if failed != nil {
		return nil, errors.Join(failed, err)
	}
	return d, errors.Join(err, keep(d.Report))
}
