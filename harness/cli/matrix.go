package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"chokepoint/harness/matrix"
	"chokepoint/harness/scenario"
)

type matrixFlags struct {
	repeat, inFlight, retry int
	window                  time.Duration
	out                     string
	vary                    []string
	judge                   string
	rules                   ruleFlags
	anew, keepAll, asJSON   bool
}

func (a *app) matrixCommand() *cobra.Command {
	var o matrixFlags
	cmd := &cobra.Command{
		Use:   "matrix [SCENARIO...]",
		Short: "Run every scenario, flaw, twin and near miss, and say how good detection is today",
		Long: `Matrix runs scenarios (default: all of scenarios/) in every variant, so many
rounds over, and ends with the matrix: for each scenario and variant in how many
runs the answer was right, what was found first, what was taken for what, and what
changed since the last matrix that came to its end.

With --vary they are run changed, in ways that ought not to change the answer: at a
part of their load, with other GOMAXPROCS, built by another Go release or stripped;
"none" among them is the scenario as it is. A change that means nothing for a
scenario is left out.

A run that could not tell, for want of CPU that other processes took or of load, is
tried again --retry times; the matrix says when it still could not. Each cell is on
disk when it ends: after an interruption the same command goes on where it stopped,
as long as program and scenarios are the same. Recordings of cells that are not
right are kept, with --keep those of all.

With --judge DIR nothing is run: the recordings that the matrix in DIR kept are
judged again, by the rules of today and those of --rules, and what changed is told
against DIR.

The exit code is that of the gravest cell: 2 (a run left nothing to judge), 1 (a
verdict failed), 3 (could not tell), 0; and 130 when it was interrupted.`,
		Example: `  chokepoint matrix --repeat 5
  chokepoint matrix scenarios/lock-*.yaml --in-flight 1000 --window 5s
  chokepoint matrix --vary in-flight/10,gomaxprocs=1,go=1.24.0
  chokepoint matrix --judge runs/matrix/20261128T015022.000Z --rules my-rules`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.judge != "" {
				if len(args) > 0 {
					return fmt.Errorf("--judge %s: it takes the scenarios that were run; leave out %s", o.judge, args[0])
				}
				return a.rejudge(cmd.Context(), o)
			}
			if o.rules.own() {
				return errors.New("--rules goes with --judge: cells of a matrix are judged by one set of rules; run it with --keep, then judge it with yours")
			}
			return a.matrix(cmd.Context(), args, o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.repeat, "repeat", 1, "rounds")
	f.IntVar(&o.inFlight, "in-flight", 0, "requests in flight, in place of the scenarios'")
	f.DurationVar(&o.window, "window", 0, "length of the capture window, in place of the scenarios'")
	f.StringSliceVar(&o.vary, "vary", nil, "also or only run scenarios changed in ways that ought not to matter: "+variationForms)
	f.IntVar(&o.retry, "retry", 1, "times that a run which could not tell is tried again")
	f.StringVar(&o.out, "out", filepath.Join("runs", "matrix"), "directory that matrices are kept in")
	f.BoolVar(&o.anew, "new", false, "begin a new matrix, even if the last is not at its end")
	f.BoolVar(&o.keepAll, "keep", false, "keep the recordings of all cells")
	f.StringVar(&o.judge, "judge", "", "directory of a matrix whose recordings are judged again, instead of running anything")
	o.rules.add(cmd)
	f.BoolVar(&o.asJSON, "json", false, "print one JSON document")
	for _, running := range []string{"repeat", "in-flight", "window", "vary", "retry", "new", "keep"} {
		cmd.MarkFlagsMutuallyExclusive("judge", running)
	}
	return cmd
}

// cell names the row of a run.
func (p planned) cell() string { return cellName(p.resolved.Scenario.Name, p.resolved.Variant, p.vary) }

func cellName(name string, v scenario.Variant, vary string) string {
	return runName(name, v) + " " + vary
}

const maxRepeat = 100 // keeps a slip of the pen from becoming a week

func (a *app) matrix(ctx context.Context, files []string, o matrixFlags) error {
	switch {
	case o.repeat < 1 || o.repeat > maxRepeat:
		return fmt.Errorf("--repeat %d: it must be between 1 and %d", o.repeat, maxRepeat)
	case o.retry < 0 || o.retry > maxRepeat:
		return fmt.Errorf("--retry %d: it must be between 0 and %d", o.retry, maxRepeat)
	}
	if len(files) == 0 {
		var err error
		if files, err = filepath.Glob(filepath.Join("scenarios", "*.yaml")); err != nil || len(files) == 0 {
			return errors.New("scenarios holds no .yaml file; name scenario files, or change to the project's directory")
		}
	}
	var vary []variation
	for _, word := range o.vary {
		v, err := newVariation(word)
		if err != nil {
			return err
		}
		vary = append(vary, v)
	}
	plans, err := plan(files, bothVariants, o.inFlight, o.window, vary...)
	if err != nil {
		return err
	}
	p, err := newMatrixPlan(plans, o.repeat)
	if err != nil {
		return err
	}
	if err := writable(o.out); err != nil {
		return fmt.Errorf("make the directory of matrices: %w; name another with --out", err)
	}
	j, err := a.openMatrix(p, o)
	if err != nil {
		return err
	}
	return a.fillMatrix(ctx, j, plans, o)
}

// newMatrixPlan makes a row of each scenario and variant.
func newMatrixPlan(plans []planned, repeat int) (matrix.Plan, error) {
	p := matrix.Plan{Repeat: repeat}
	seen := map[string]bool{}
	for _, one := range plans {
		r := one.resolved
		if !r.Judged() {
			return p, fmt.Errorf("scenario %s expects nothing that findings could be held against; a matrix needs scenarios with expect", r.Scenario.Name)
		}
		if seen[one.cell()] {
			return p, fmt.Errorf("%s is there twice; a matrix needs scenarios of different names", one.name())
		}
		seen[one.cell()] = true
		text, err := json.Marshal(r)
		if err != nil {
			return p, fmt.Errorf("scenario %s: %w", r.Scenario.Name, err)
		}
		digest := sha256.Sum256(text)
		row := matrix.Row{
			Scenario: r.Scenario.Name, Variant: r.Variant, Vary: one.vary, Expect: []string{},
			NearMissOf: r.Scenario.Expect.NearMissOf, Digest: hex.EncodeToString(digest[:]),
		}
		if r.Variant != scenario.Fixed {
			for _, f := range r.Scenario.Expect.Findings {
				row.Expect = append(row.Expect, f.Cause)
			}
		}
		p.Rows = append(p.Rows, row)
	}
	var err error
	p.Program, err = ownDigest()
	return p, err
}

// ownDigest tells one build of this program from another.
func ownDigest() (string, error) {
	name, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("read this program: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read this program: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// openMatrix goes on with the last matrix, if it is the same one and not at its
// end, or begins one.
func (a *app) openMatrix(p matrix.Plan, o matrixFlags) (*matrix.Journal, error) {
	if !o.anew {
		j, ok, err := matrix.Resume(o.out, p)
		if err != nil {
			return nil, fmt.Errorf("%w; --new begins another", err)
		}
		if ok {
			fmt.Fprintf(a.err, "going on with %s: %d of %d cells are there\n", j.Dir, len(j.Plan.Keys())-len(j.Missing()), len(j.Plan.Keys()))
			return j, nil
		}
	}
	return matrix.Create(o.out, p, time.Now())
}

// fillMatrix runs the cells that are missing, and tells what the matrix says.
func (a *app) fillMatrix(ctx context.Context, j *matrix.Journal, plans []planned, o matrixFlags) error {
	by := map[string]planned{}
	for _, p := range plans {
		by[p.cell()] = p
	}
	// On a terminal the status of a run is painted over; in a log it would bury the cells.
	runner := a
	if show := a.progress(); !show.terminal {
		runner = &app{out: a.out, err: io.Discard}
	}
	total := len(j.Plan.Keys())
	for _, k := range j.Missing() {
		c, err := runner.fillCell(ctx, k, by[cellName(k.Scenario, k.Variant, k.Vary)], filepath.Join(j.Dir, "bundles"), o)
		if ctx.Err() != nil {
			break // what was interrupted is not a cell
		}
		if err == nil {
			err = j.Add(c)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(a.err, "%4d of %d  %-14s %s%s\n", total-len(j.Missing()), total, c.State, k, cellWords(c))
	}
	return a.tellMatrix(ctx, j, o, func() (matrix.Summary, bool, error) { return matrix.Last(o.out, j.Dir) })
}

// tellMatrix ends a matrix and tells what it says, and what is not as it was in the
// matrix that before finds, if it finds one.
func (a *app) tellMatrix(ctx context.Context, j *matrix.Journal, o matrixFlags, before func() (matrix.Summary, bool, error)) error {
	summary, err := j.Close()
	if err != nil {
		return err
	}
	last, compared, err := before()
	if err != nil {
		fmt.Fprintf(a.err, "chokepoint: what changed since the last matrix is not known: %v\n", err)
	}
	var changes []matrix.Change
	if compared {
		changes = matrix.Changes(last, summary)
	}
	if o.asJSON {
		err = a.json(struct {
			matrix.Summary
			Directory string          `json:"directory"`
			Changes   []matrix.Change `json:"changes"`
		}{summary, j.Dir, append([]matrix.Change{}, changes...)})
	} else {
		err = matrix.Text(a.out, summary, changes, compared)
	}
	if err != nil {
		return err
	}
	return exitWith(matrixCode(ctx, summary))
}

func matrixCode(ctx context.Context, s matrix.Summary) int {
	var codes []int
	if ctx.Err() != nil {
		codes = append(codes, ExitInterrupted)
	}
	for _, t := range []matrix.Tally{s.Flaws, s.Twins, s.Near} {
		if t.Broken > 0 {
			codes = append(codes, ExitUsage)
		}
		if t.Wrong > 0 {
			codes = append(codes, ExitFail)
		}
		if t.Untold > 0 {
			codes = append(codes, ExitCouldNotTell)
		}
	}
	return gravest(codes...)
}

// cellWords says in a few words what was found, or what went wrong.
func cellWords(c matrix.Cell) string {
	if c.State == matrix.Right || len(c.Reasons) == 0 {
		return ""
	}
	return ": " + c.Reasons[0]
}

// fillCell makes a run, and another where the first could not tell. The error is of
// what keeps the matrix from going on.
func (a *app) fillCell(ctx context.Context, k matrix.Key, p planned, bundles string, o matrixFlags) (c matrix.Cell, err error) {
	begun := time.Now()
	for try := 1; try <= 1+o.retry; try++ {
		if c.Bundle != "" && !o.keepAll {
			if err := os.RemoveAll(c.Bundle); err != nil {
				return c, fmt.Errorf("remove the recording of a first try: %w", err)
			}
		}
		d, failed := a.runOne(ctx, p, bundles)
		switch {
		case d == nil:
			c = matrix.Failed(k, failed)
		default:
			c = matrix.Judged(k, d.Result.Findings, d.Verdict)
			c.Bundle = d.Bundle
			if failed != nil {
				c.Reasons = append(c.Reasons, failed.Error())
			}
		}
		c.Tries = try
		if ctx.Err() != nil || c.State == matrix.Right || c.State == matrix.Wrong {
			break
		}
	}
	if c.Bundle != "" && c.State == matrix.Right && !o.keepAll {
		if err := os.RemoveAll(c.Bundle); err != nil {
			return c, fmt.Errorf("remove the recording of a cell that is right: %w", err)
		}
		c.Bundle = ""
	}
	c.Ended, c.Took = time.Now(), time.Since(begun).Nanoseconds()
	return c, nil
}
