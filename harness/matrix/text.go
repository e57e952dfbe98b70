package matrix

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Text writes the matrix for a person: a row for each scenario and variant, the
// confusion of causes, what is not right and why, and what changed since an earlier
// matrix, if there is one.
func Text(w io.Writer, s Summary, changes []Change, compared bool) error {
	var b strings.Builder
	rows(&b, s)
	confusion(&b, s)
	wrong(&b, s)
	switch {
	case !compared:
	case len(changes) == 0:
		b.WriteString("\nNothing changed since the last matrix.\n")
	default:
		b.WriteString("\nSince the last matrix\n")
		for _, c := range changes {
			mark := " "
			if c.Worse {
				mark = "!"
			}
			if c.Scenario == "" {
				fmt.Fprintf(&b, "  %s\n", c.What)
				continue
			}
			fmt.Fprintf(&b, "%s %s %s\n", mark, Row{Scenario: c.Scenario, Variant: c.Variant, Vary: c.Vary}.name(), c.What)
		}
	}
	b.WriteByte('\n')
	for _, t := range []struct {
		what  string
		tally Tally
		flaw  bool
	}{{"flawed", s.Flaws, true}, {"twins", s.Twins, false}, {"near misses", s.Near, false}} {
		if t.tally.Cells == 0 {
			continue
		}
		fmt.Fprintf(&b, "%-12s %d of %d right", t.what, t.tally.Right, t.tally.Cells)
		if t.flaw {
			fmt.Fprintf(&b, "; the cause first in %d, function right in %d, line right in %d", t.tally.First, t.tally.Function, t.tally.Line)
		}
		if t.tally.Untold > 0 {
			fmt.Fprintf(&b, "; could not tell in %d", t.tally.Untold)
		}
		if t.tally.Broken > 0 {
			fmt.Fprintf(&b, "; broken in %d", t.tally.Broken)
		}
		b.WriteByte('\n')
	}
	if !s.Complete {
		b.WriteString("The matrix is not at its end: the same command goes on with it.\n")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the matrix: %w", err)
	}
	return nil
}

func plain() table.Writer {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	return t
}

func rows(b *strings.Builder, s Summary) {
	t := plain()
	t.AppendHeader(table.Row{"scenario", "variant", "right", "first", "function", "line", "found first"})
	last := ""
	for _, r := range s.Rows {
		name := r.Scenario
		if name == last {
			name = ""
		}
		last = r.Scenario
		variant := string(r.Variant)
		if len(r.NearMissOf) > 0 {
			variant = "near miss"
		}
		if r.Vary != "" {
			variant += ", " + r.Vary
		}
		if r.Cells == 0 {
			t.AppendRow(table.Row{name, variant, "not run"})
			continue
		}
		line := table.Row{name, variant, of(r.Right, r.Cells), "", "", "", r.found()}
		if len(r.Expect) > 0 {
			line[3], line[4], line[5] = of(r.Tally.First, r.Cells), of(r.Function, r.Cells), of(r.Line, r.Cells)
		}
		t.AppendRow(line)
	}
	b.WriteString(t.Render())
	b.WriteByte('\n')
}

func of(n, total int) string { return fmt.Sprintf("%d/%d", n, total) }

// confusion tells which cause was found first where another is true.
func confusion(b *strings.Builder, s Summary) {
	var lines []string
	for _, truth := range slices.Sorted(maps.Keys(s.Confusion)) {
		for _, found := range slices.Sorted(maps.Keys(s.Confusion[truth])) {
			if found != truth {
				lines = append(lines, fmt.Sprintf("  %-22s %-22s %d", truth, found, s.Confusion[truth][found]))
			}
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(b, "\nTaken for another\n  %-22s %-22s %s\n%s\n", "true", "found first", "runs", strings.Join(lines, "\n"))
	}
}

// wrong tells what is not right, and why.
func wrong(b *strings.Builder, s Summary) {
	head := "\nNot right\n"
	for _, r := range s.Rows {
		if r.Right == r.Cells {
			continue
		}
		fmt.Fprintf(b, "%s  %s: %d of %d\n", head, r.name(), r.Cells-r.Right, r.Cells)
		head = ""
		for _, reason := range r.Reasons {
			fmt.Fprintf(b, "    %s\n", reason)
		}
		for _, path := range r.Bundles {
			fmt.Fprintf(b, "    kept: %s\n", path)
		}
	}
}

func (r Row) name() string {
	what := string(r.Variant)
	if r.Vary != "" {
		what = strings.TrimPrefix(what+", "+r.Vary, ", ")
	}
	if what == "" {
		return r.Scenario
	}
	return fmt.Sprintf("%s (%s)", r.Scenario, what)
}
