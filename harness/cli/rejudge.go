package cli

import (
	"context"
	"fmt"
	"os"
	"time"

	"chokepoint/harness/matrix"
)

// rejudge makes a matrix of the recordings that an earlier one kept, with the rules
// of today: what took hours to record is judged again in minutes. What was expected
// is what the recordings say, not the scenario files of today. A cell whose recording
// was not kept is left out, and the matrix is then not at its end.
func (a *app) rejudge(ctx context.Context, o matrixFlags) error {
	was, err := matrix.Open(o.judge)
	if err != nil {
		return fmt.Errorf("--judge: %w", err)
	}
	with, err := o.rules.choose()
	if err != nil {
		return err
	}
	p := was.Plan
	if p.Program, err = ownDigest(); err != nil {
		return err
	}
	cells := was.Last()
	kept := 0
	for _, c := range cells {
		if c.Bundle != "" {
			kept++
		}
	}
	if kept == 0 {
		return fmt.Errorf("--judge %s: none of its %d cells has a recording; matrix keeps them all with --keep", o.judge, len(cells))
	}
	j, err := matrix.Create(o.out, p, time.Now())
	if err != nil {
		return err
	}
	fmt.Fprintf(a.err, "judging %d recordings of %s; of %d cells there is none\n", kept, was.Dir, len(p.Keys())-kept)
	for _, c := range cells {
		if ctx.Err() != nil {
			break
		}
		if c.Bundle == "" {
			continue
		}
		is, err := judgeAgain(c, with)
		if err != nil {
			return err
		}
		if err := j.Add(is); err != nil {
			return err
		}
		if is.State != c.State {
			fmt.Fprintf(a.err, "%-14s was %s: %s%s\n", is.State, c.State, is.Key, cellWords(is))
		}
	}
	return a.tellMatrix(ctx, j, o, func() (matrix.Summary, bool, error) {
		return matrix.Summarize(was.Plan, was.Cells), true, nil
	})
}

// judgeAgain diagnoses the recording of a cell. The error is of a recording that is
// gone; one that cannot be read is a broken cell.
func judgeAgain(c matrix.Cell, with chosen) (matrix.Cell, error) {
	if _, err := os.Stat(c.Bundle); err != nil {
		return c, fmt.Errorf("the recording of %s: %w", c.Key, err)
	}
	begun := time.Now()
	var is matrix.Cell
	if d, err := diagnose(c.Bundle, with); err != nil {
		is = matrix.Failed(c.Key, err)
	} else {
		is = matrix.Judged(c.Key, d.Result.Findings, d.Verdict)
	}
	is.Bundle, is.Tries = c.Bundle, c.Tries
	is.Ended, is.Took = time.Now(), time.Since(begun).Nanoseconds()
	return is, nil
}
