package reports

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/text"

	"chokepoint/harness/bundle"
	"chokepoint/harness/rule"
	"chokepoint/harness/signal"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/verdict"
)

// TextOptions are how Text writes.
type TextOptions struct {
	Color bool // ANSI colours; for a terminal only
	Width int  // columns to keep within; 0 means 100
}

const (
	defaultWidth = 100
	minimumWidth = 40 // below this wrapping does more harm than good
)

// Text writes the report for a person at a terminal.
func Text(w io.Writer, r Report, o TextOptions) error {
	if o.Width == 0 {
		o.Width = defaultWidth
	}
	p := &printer{color: o.Color, width: max(o.Width, minimumWidth)}
	p.head(r)
	for _, f := range r.Result.Findings {
		p.finding(f)
	}
	if len(r.Result.Findings) == 0 || r.Verdict == nil && r.FellShort != "" {
		p.line("")
		p.wrapped("", "", r.emptiness())
	}
	p.unknown(r.Result.Unknown)
	if len(r.Result.Silent) > 0 {
		p.title("Looked for and not found")
		p.wrapped("  ", "  ", strings.Join(r.Result.Silent, ", "))
	}
	p.spent(r.Where)
	p.marked(r.Marked)
	p.captured(r)
	p.facts("Load", r.loadFacts())
	p.facts("Run", r.runFacts())
	if len(r.Notes) > 0 {
		p.title("Notes")
		for _, note := range r.Notes {
			p.wrapped("  ", "  ", note)
		}
	}
	if _, err := io.WriteString(w, p.b.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// printer writes lines, wrapped and perhaps coloured. Colours go around whole
// lines or first words only, so that they never count for the width.
type printer struct {
	b     strings.Builder
	color bool
	width int
}

var (
	bold   = text.Colors{text.Bold}
	faint  = text.Colors{text.Faint}
	red    = text.Colors{text.Bold, text.FgRed}
	green  = text.Colors{text.Bold, text.FgGreen}
	yellow = text.Colors{text.Bold, text.FgYellow}
	cyan   = text.Colors{text.FgCyan}
)

func (p *printer) paint(c text.Colors, s string) string {
	if !p.color || s == "" {
		return s
	}
	return c.EscapeSeq() + s + text.EscapeReset
}

func (p *printer) line(s string) {
	p.b.WriteString(strings.TrimRight(s, " "))
	p.b.WriteByte('\n')
}

func (p *printer) title(s string) {
	p.line("")
	p.line(p.paint(bold, s))
}

// wrapped writes text after first, and its further lines after rest.
func (p *printer) wrapped(first, rest, s string) {
	indent := first
	for _, l := range wrap(printable(s), p.width-text.StringWidthWithoutEscSequences(rest)) {
		p.line(indent + l)
		indent = rest
	}
}

// column writes a label of fixed width and wraps the text beside it.
func (p *printer) column(indent string, c text.Colors, label string, width int, s string) {
	padded := label + strings.Repeat(" ", max(width-text.StringWidthWithoutEscSequences(label), 1))
	p.wrapped(indent+p.paint(c, padded), indent+strings.Repeat(" ", text.StringWidthWithoutEscSequences(padded)), s)
}

func (p *printer) head(r Report) {
	c := bold
	if r.Verdict != nil {
		c = outcomeColor(r.Verdict.Outcome)
	}
	p.line(p.paint(c, r.outcome()) + "  " + p.paint(bold, inline(r.subject())))
	if r.Scenario.About != "" {
		p.wrapped("", "", r.Scenario.About)
	}
	if r.Verdict == nil {
		return
	}
	for _, reason := range r.Verdict.Reasons {
		p.column("  ", outcomeColor(reason.Outcome), string(reason.Outcome), 16, reason.Text)
	}
}

func outcomeColor(o verdict.Outcome) text.Colors {
	switch o {
	case verdict.Pass:
		return green
	case verdict.Fail:
		return red
	case verdict.CouldNotTell:
		return yellow
	}
	return faint
}

func (p *printer) finding(f rule.Finding) {
	p.line("")
	p.line(p.paint(bold, fmt.Sprintf("%d. %s", f.Rank, inline(f.Title))))
	p.wrapped("   ", "   ", fmt.Sprintf("%s, %s confidence, costs %s %s", f.Cause, f.Confidence, show(f.Impact, signal.Share), f.ImpactOf))
	p.line("   " + p.paint(cyan, inline(place(f.Where))))
	p.line("")
	p.wrapped("   ", "   ", f.Because)
	p.line("")
	for _, d := range f.Dimensions {
		c, mark := stanceMark(d.Stance)
		p.column("   ", c, fmt.Sprintf("%s %-6s %-13s", mark, d.Dimension, d.Stance), 24, d.Says)
	}
	p.line("")
	for _, rel := range f.Related {
		p.column("   ", faint, inline(rel.Role), 24, place(rel.Where))
	}
	p.column("   ", green, "fix", 24, f.Fix)
	if len(f.Confused) > 0 {
		p.column("   ", faint, "looks much like", 24, strings.Join(f.Confused, ", "))
	}
	if len(f.Also) > 0 {
		p.column("   ", faint, "also said by rule", 24, strings.Join(f.Also, ", "))
	}
}

func stanceMark(s rule.Stance) (text.Colors, string) {
	switch s {
	case rule.Agrees:
		return green, "+"
	case rule.Disagrees:
		return red, "-"
	case rule.NotCaptured:
		return yellow, "?"
	}
	return faint, "."
}

func (p *printer) unknown(unknown []rule.Unknown) {
	if len(unknown) == 0 {
		return
	}
	p.title("Could not be told, for want of evidence")
	for _, u := range unknown {
		p.line("  " + p.paint(yellow, inline(u.Rule)))
		for _, missing := range u.Missing {
			p.wrapped("    ", "      ", missing)
		}
	}
}

// mostMarked is how many names are told; the rest is counted.
const mostMarked = 10

func (p *printer) marked(all []signal.Marked) {
	if len(all) == 0 {
		return
	}
	p.title("Marked by the program")
	for _, m := range all[:min(mostMarked, len(all))] {
		p.column("  ", faint, inline(m.Name), 24, markedText(m))
	}
	if more := len(all) - mostMarked; more > 0 {
		p.line("  and " + count(int64(more)) + " more")
	}
}

// markedText says in a line what is known of one name.
func markedText(m signal.Marked) string {
	text := plural(int(m.Count), m.Kind)
	if m.Kind == gotrace.RegionPath {
		text = show(m.Share, signal.Share) + " of request time, " + text
		if m.Doing != "" {
			text += ", mostly in " + m.Doing
		}
	}
	if m.MeanNS > 0 {
		text += ", " + show(float64(m.MeanNS), signal.Nanosecond) + " each"
	}
	if len(m.Attrs) > 0 {
		text += "; " + strings.Join(m.Attrs, ", ")
	}
	if !m.Where.IsZero() {
		text += "; " + place(m.Where)
	}
	return text
}

func (p *printer) captured(r Report) {
	if len(r.Dimensions) == 0 {
		return
	}
	p.title("Captured")
	for _, d := range r.Dimensions {
		c := faint
		if !d.Captured {
			c = yellow
		}
		p.column("  ", c, inline(d.Name), 11, capture(d))
		for _, gap := range gaps(d) {
			p.column("  ", faint, "", 11, gap)
		}
		if d.Name == bundle.DimEBPF && r.Price != nil {
			p.price(r.Price)
		}
	}
}

func (p *printer) price(price *Price) {
	p.column("  ", faint, "", 11, price.line())
	if price.Over != "" {
		// The label is what catches the eye, as colours go around first words only.
		p.column("  ", yellow, "  BUDGET", 11, price.Over)
	}
	for _, remark := range price.remarks() {
		p.column("  ", faint, "", 11, remark)
	}
}

func (p *printer) facts(title string, facts []fact) {
	p.title(title)
	for _, f := range facts {
		p.column("  ", faint, f.Name, 11, f.Value)
	}
}

// wrap breaks a text at spaces into lines of at most width columns. A word
// that is longer keeps a line of its own, whole, so that it can be copied.
func wrap(s string, width int) []string {
	lines := []string{}
	for _, paragraph := range strings.Split(strings.TrimSpace(s), "\n") {
		line, used := "", 0
		for _, word := range strings.Fields(paragraph) {
			n := text.StringWidthWithoutEscSequences(word)
			if used > 0 && used+1+n > width {
				lines = append(lines, line)
				line, used = "", 0
			}
			if used > 0 {
				line, used = line+" ", used+1
			}
			line, used = line+word, used+n
		}
		lines = append(lines, line)
	}
	return lines
}

// printable keeps a bundle, which may come from anywhere, from steering the
// terminal: control characters other than newlines are shown as a mark.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// inline is printable for what must stay on one line.
func inline(s string) string { return strings.ReplaceAll(printable(s), "\n", " ") }
