package rule

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"chokepoint/harness/strictyaml"
)

// exception is what rules the cause out: a condition, or that another rule fires, or
// both. One that leaves a finding to another rule asks that rule, and no condition of its own
// that is like the other's: where the two differ nobody would tell of it.
type exception struct {
	when    *expression // nil where the rules alone decide
	fires   []string    // ids of rules, of which one must fire
	others  []*Rule     // those of the set; none before link
	because string
	errorf  func(format string, args ...any) *strictyaml.Error // at fires
}

func (p *parser) exception(field string, doc unlessDocument, because string) exception {
	e := exception{because: because, fires: doc.Fires, errorf: func(format string, args ...any) *strictyaml.Error {
		return p.yaml.Errorf(field+".fires", format, args...)
	}}
	if doc.When != "" || len(doc.Fires) == 0 {
		e.when = p.condition(field+".when", doc.When)
	}
	return e
}

// holds reports whether it rules the cause out. What evidence leaves undecided does not.
func (e exception) holds(ev *evidence) bool {
	if e.when != nil {
		if holds, _ := e.when.condition(ev); holds != yes {
			return false
		}
	}
	return len(e.fires) == 0 || slices.ContainsFunc(e.others, func(r *Rule) bool {
		fires, _ := r.fires(ev)
		return fires == yes
	})
}

// signals are those that decide it.
func (e exception) signals() []string {
	var names []string
	if e.when != nil {
		names = append(names, e.when.signals...)
	}
	for _, r := range e.others {
		names = append(names, r.when.signals...)
		for _, x := range r.unless {
			names = append(names, x.signals()...)
		}
	}
	return names
}

// link gives the exceptions of rules the rules that they ask. A rule that is not there, and
// rules that ask each other, are errors.
func link(by map[string]*Rule) error {
	ids := slices.Sorted(maps.Keys(by))
	var problems []*strictyaml.Error
	for _, id := range ids {
		for i := range by[id].unless {
			e := &by[id].unless[i]
			e.others = nil
			for _, name := range e.fires {
				if other := by[name]; other != nil {
					e.others = append(e.others, other)
					continue
				}
				problem := e.errorf("there is no rule %q", name)
				problem.Hint = strictyaml.Nearest(name, ids)
				problems = append(problems, problem)
			}
		}
	}
	if len(problems) > 0 {
		return strictyaml.Join(problems)
	}
	done := map[*Rule]bool{}
	for _, id := range ids {
		if p := by[id].circle(nil, done); p != nil {
			problems = append(problems, p)
		}
	}
	return strictyaml.Join(problems)
}

// circle is the error of a rule that its own exceptions ask, by way of others. path are the
// rules that lead to this one.
func (r *Rule) circle(path []*Rule, done map[*Rule]bool) *strictyaml.Error {
	if done[r] {
		return nil
	}
	path = append(path, r)
	for _, e := range r.unless {
		for _, other := range e.others {
			if at := slices.Index(path, other); at >= 0 {
				var names []string
				for _, x := range append(path[at:], other) {
					names = append(names, x.ID)
				}
				return e.errorf("rules may not wait for each other: %s", strings.Join(names, " asks "))
			}
			if p := other.circle(path, done); p != nil {
				return p
			}
		}
	}
	done[r] = true
	return nil
}

// exception explains what would rule the cause out.
func (ev *evidence) exception(e exception) Term {
	var asked []Term
	for _, other := range e.others {
		fires, missing := other.fires(ev)
		value := map[truth]string{yes: True, no: False, unknown: Undecided}[fires]
		asked = append(asked, Term{Text: fmt.Sprintf("%s fires", other.ID), Value: value, Rule: other.ID, Missing: missing})
	}
	all := join(AnyOf, " || ", asked)
	if e.when == nil {
		return all
	}
	when := ev.explain(e.when)
	if len(asked) == 0 {
		return when
	}
	return join(AllOf, " && ", []Term{all, when})
}

// join makes one term of several conditions.
func join(made, sign string, terms []Term) Term {
	if len(terms) == 1 {
		return terms[0]
	}
	one, other := True, False // the value that decides, and that of none
	if made == AllOf {
		one, other = False, True
	}
	t := Term{Made: made, Terms: terms, Value: other}
	var texts []string
	for _, x := range terms {
		texts = append(texts, x.Text)
		switch {
		case x.Value == one:
			t.Value = one
		case x.Value == Undecided && t.Value != one:
			t.Value = Undecided
		}
		t.Missing = append(t.Missing, x.Missing...)
	}
	if t.Value != Undecided {
		t.Missing = nil
	}
	slices.Sort(t.Missing)
	t.Missing = slices.Compact(t.Missing)
	t.Text = strings.Join(texts, sign)
	return t
}

// asksRule says what a term that asks about a rule came to.
func (t Term) asksRule() string {
	switch t.Value {
	case True:
		return t.Rule + " fires"
	case False:
		return t.Rule + " does not fire"
	}
	return "whether " + t.Rule + " fires cannot be told"
}
