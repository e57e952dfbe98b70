package reports

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"

	"chokepoint/harness/rule"
	"chokepoint/harness/signal"
)

// ExplainText writes for a person what each term of a rule came to, and why it
// fired or did not.
func ExplainText(w io.Writer, bundle string, x rule.Explanation, o TextOptions) error {
	p := newPrinter(o)
	outcome, c := "IS SILENT", faint
	switch x.Outcome {
	case rule.ExpectFire:
		outcome, c = "FIRES", red
	case rule.ExpectUnknown:
		outcome, c = "CANNOT TELL", yellow
	}
	p.line(p.paint(c, outcome) + "  " + p.paint(bold, inline(x.Rule)) + " on " + inline(bundle))
	p.wrapped("  ", "  ", x.Title)
	why := "since"
	if x.Outcome == rule.ExpectUnknown {
		why = "lacks"
	}
	for _, b := range x.Because {
		p.column("  ", c, why, 7, b)
		why = ""
	}

	p.title("when")
	p.term(x.When, "", 1)
	if x.Finding != nil {
		p.line("")
		p.wrapped("  ", "  ", x.Finding.Because)
	}

	if len(x.Unless) > 0 {
		p.title("unless")
		for _, e := range x.Unless {
			p.term(e.When, "", 1)
			p.wrapped("            ", "            ", e.Because)
		}
	}
	p.title("impact")
	p.term(x.Impact, "", 1)
	p.title("where, the first that has a value")
	taken := false
	for _, u := range x.Where {
		mark, c := " ", faint
		if u.Known && !taken {
			taken, mark, c = true, ">", cyan
		}
		said := u.Text
		if !u.Known {
			said = "no value: " + u.Missing
		}
		p.column("  ", c, mark+" "+u.Name, 34, said)
	}

	p.title("dimensions: " + string(x.Confidence) + " confidence" + iffy(x))
	for _, d := range x.Dimensions {
		c, mark := stanceMark(d.Stance)
		p.column("  ", c, fmt.Sprintf("%s %-6s %-13s", mark, d.Dimension, d.Stance), 24, d.Says)
		p.clause("agrees", d.Agrees)
		p.clause("disagrees", d.Disagrees)
	}

	p.title("signals")
	for _, u := range x.Signals {
		p.use(u)
	}
	return p.flush(w)
}

func iffy(x rule.Explanation) string {
	if x.Finding == nil {
		return ", if it fired"
	}
	return ""
}

func (p *printer) clause(name string, t *rule.Term) {
	if t == nil {
		return
	}
	p.line("    " + p.paint(faint, name))
	p.term(*t, "", 3)
}

// term writes a condition as a tree: what is made of several on a line of its
// own, and below it a line for each, with the values of its signals. What was not
// taken is kept to one line.
func (p *printer) term(t rule.Term, role string, depth int) {
	indent := strings.Repeat("  ", depth)
	value := t.Value
	c := faint
	switch {
	case t.NotTaken:
		value = "not taken"
	case value == rule.True:
		c = green
	case value == rule.False:
		c = red
	case value == rule.Undecided:
		c = yellow
	}
	const valueWidth = 10
	label := value + strings.Repeat(" ", max(valueWidth-text.StringWidthWithoutEscSequences(value), 1))
	if !t.NotTaken && (t.Made == rule.AllOf || t.Made == rule.AnyOf || t.Made == rule.If) {
		p.line(indent + p.paint(c, label) + role + made(t))
		for i, part := range t.Terms {
			p.term(part, branch(t, i), depth+1)
		}
		return
	}
	said := role + t.Text
	switch values := t.Values(); {
	case t.Signal != "" || len(values) == 0:
	case len(values) == 1:
		_, value, _ := strings.Cut(values[0], " is ")
		said += " (" + value + ")"
	default:
		said += " (" + strings.Join(values, ", ") + ")"
	}
	p.wrapped(indent+p.paint(c, label), indent+strings.Repeat(" ", text.StringWidthWithoutEscSequences(label)), said)
}

func made(t rule.Term) string {
	switch t.Made {
	case rule.AllOf:
		return "all of these"
	case rule.AnyOf:
		return "any of these"
	}
	return "by this condition"
}

func branch(t rule.Term, i int) string {
	if t.Made != rule.If {
		return ""
	}
	return []string{"if ", "then ", "else "}[i]
}

func (p *printer) use(u rule.SignalUse) {
	c := green
	value := u.Text
	switch {
	case !u.Known:
		c, value = yellow, "no value: "+u.Missing
	case u.Kind == signal.Place:
		c = cyan
	case u.Of != "":
		value += " of " + u.Of
	}
	p.line("  " + p.paint(c, u.Name) + "  " + inline(value))
	p.wrapped("      ", "      ", u.Meaning)
	if len(u.From) > 0 {
		p.wrapped("      ", "      ", "from "+strings.Join(u.From, ", "))
	}
}
