package matrix

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Files of a matrix's directory.
const (
	planFile    = "plan.json"
	cellsFile   = "cells.jsonl"
	summaryFile = "summary.json"
)

// Journal is a matrix on disk: its plan, and a line for each cell that was run. It
// is made of whole lines: what an interruption cut short is as if it had not been
// run.
type Journal struct {
	Dir   string
	Plan  Plan
	Cells []Cell // in the order in which they ended
	file  *os.File
}

// Resume opens the newest matrix below dir if it has the same plan and is not at
// its end; ok is false where there is none. The error is of one that cannot be read.
func Resume(dir string, p Plan) (j *Journal, ok bool, err error) {
	names, err := list(dir)
	if err != nil || len(names) == 0 {
		return nil, false, err
	}
	j, err = Open(filepath.Join(dir, names[len(names)-1]))
	if err != nil {
		return nil, false, err
	}
	if !j.Plan.same(p) || len(j.Missing()) == 0 {
		return nil, false, nil
	}
	// A half line at the end goes: what is appended must stand on a line of its own.
	if err := j.rewrite(); err != nil {
		return nil, false, err
	}
	j.file, err = os.OpenFile(filepath.Join(j.Dir, cellsFile), os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, false, fmt.Errorf("resume matrix: %w", err)
	}
	return j, true, nil
}

// Create begins a matrix in a directory of its own below dir, named by the time.
func Create(dir string, p Plan, at time.Time) (*Journal, error) {
	j := &Journal{Dir: filepath.Join(dir, at.UTC().Format("20060102T150405.000Z")), Plan: p}
	if err := os.MkdirAll(j.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("begin matrix: %w", err)
	}
	text, err := json.MarshalIndent(p, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(j.Dir, planFile), append(text, '\n'), 0o644)
	}
	if err == nil {
		j.file, err = os.OpenFile(filepath.Join(j.Dir, cellsFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644)
	}
	if err != nil {
		return nil, fmt.Errorf("begin matrix: %w", err)
	}
	return j, nil
}

// Add writes a cell.
func (j *Journal) Add(c Cell) error {
	line, err := json.Marshal(c)
	if err == nil {
		_, err = j.file.Write(append(line, '\n'))
	}
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("write a cell of the matrix: %w", err)
	}
	j.Cells = append(j.Cells, c)
	return nil
}

// Missing lists the cells that are still to be run, in their order.
func (j *Journal) Missing() []Key {
	ran := map[Key]bool{}
	for _, c := range j.Cells {
		ran[c.Key] = true
	}
	return slices.DeleteFunc(j.Plan.Keys(), func(k Key) bool { return ran[k] })
}

// Last lists the cells of the plan that were run, in the plan's order: of two with
// the same key the later.
func (j *Journal) Last() []Cell {
	by := byKey(j.Cells)
	var cells []Cell
	for _, k := range j.Plan.Keys() {
		if c, ok := by[k]; ok {
			cells = append(cells, c)
		}
	}
	return cells
}

// Close ends the writing and leaves a summary beside the cells.
func (j *Journal) Close() (Summary, error) {
	s := Summarize(j.Plan, j.Cells)
	text, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(j.Dir, summaryFile), append(text, '\n'), 0o644)
	}
	if err = errors.Join(err, j.file.Close()); err != nil {
		return s, fmt.Errorf("end matrix: %w", err)
	}
	return s, nil
}

// Last is the summary of the newest matrix below dir that came to its end, before
// the one named. There is none where ok is false.
func Last(dir, before string) (s Summary, ok bool, err error) {
	names, err := list(dir)
	if err != nil {
		return Summary{}, false, err
	}
	slices.Reverse(names)
	for _, n := range names {
		if n >= filepath.Base(before) {
			continue
		}
		j, err := Open(filepath.Join(dir, n))
		if err != nil {
			return Summary{}, false, err
		}
		if s := Summarize(j.Plan, j.Cells); s.Complete {
			return s, true, nil
		}
	}
	return Summary{}, false, nil
}

// list names the matrices below dir, the oldest first.
func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list matrices: %w", err)
	}
	var names []string
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(dir, e.Name(), planFile)); e.IsDir() && err == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Open reads the matrix in dir. It is not open for writing. The error is of one that
// is not there or cannot be read; a cell that an interruption cut short is left out.
func Open(dir string) (*Journal, error) {
	j := &Journal{Dir: dir}
	text, err := os.ReadFile(filepath.Join(dir, planFile))
	if err == nil {
		err = json.Unmarshal(text, &j.Plan)
	}
	if err != nil {
		return nil, fmt.Errorf("read matrix %s: %w", filepath.Join(dir, planFile), err)
	}
	text, err = os.ReadFile(filepath.Join(dir, cellsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read matrix: %w", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, len(text)+1)
	for n := 1; lines.Scan(); n++ {
		var c Cell
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			if !bytes.HasSuffix(text, []byte{'\n'}) && bytes.HasSuffix(text, lines.Bytes()) {
				break // an interruption cut it short
			}
			return nil, fmt.Errorf("read matrix: %s:%d: %w", filepath.Join(dir, cellsFile), n, err)
		}
		j.Cells = append(j.Cells, c)
	}
	return j, nil
}

// rewrite leaves the cells that were read, and nothing else.
func (j *Journal) rewrite() error {
	var b bytes.Buffer
	for _, c := range j.Cells {
		line, err := json.Marshal(c)
		if err != nil {
			return fmt.Errorf("resume matrix: %w", err)
		}
		b.Write(append(line, '\n'))
	}
	name := filepath.Join(j.Dir, cellsFile)
	err := os.WriteFile(name+".new", b.Bytes(), 0o644)
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		return fmt.Errorf("resume matrix: %w", err)
	}
	return nil
}
