package rule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal"
)

// Result is what a set of rules makes of one bundle.
type Result struct {
	Findings []Finding `json:"findings"` // by rank
	Unknown  []Unknown `json:"unknown"`  // by rule
	Silent   []string  `json:"silent"`   // rules, by name
}

// Evaluate applies every rule to signals. captured says of a dimension whether
// any of it was captured, and if not why.
//
// Findings are ranked by impact, then confidence, then cause, then rule. Of two
// rules of one cause that fire at the same function the first by that order is
// kept, and names the other in Also.
func (s *Set) Evaluate(signals signal.Set, captured func(dimension string) (bool, string)) Result {
	result := Result{Findings: []Finding{}, Unknown: []Unknown{}, Silent: []string{}}
	if len(s.rules) == 0 {
		return result
	}
	ev := s.lang.newEvidence(signals)
	for _, r := range s.rules {
		switch fires, missing := r.fires(ev); fires {
		case yes:
			result.Findings = append(result.Findings, r.finding(ev, captured))
		case unknown:
			result.Unknown = append(result.Unknown, Unknown{Cause: r.Cause, Rule: r.ID, Missing: ev.reasons(missing)})
		default:
			result.Silent = append(result.Silent, r.ID)
		}
	}
	result.Findings = rank(result.Findings)
	return result
}

// fires says whether the rule does, and where that is unknown which signals are
// missing. What is undecided rules nothing out.
func (r *Rule) fires(ev *evidence) (truth, []string) {
	if _, ok := r.ruledOut(ev); ok {
		return no, nil
	}
	return r.when.condition(ev)
}

// ruledOut is the first of the exceptions that holds.
func (r *Rule) ruledOut(ev *evidence) (exception, bool) {
	for _, e := range r.unless {
		if e.holds(ev) {
			return e, true
		}
	}
	return exception{}, false
}

// rank orders findings and merges those that say the same.
func rank(findings []Finding) []Finding {
	slices.SortFunc(findings, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(costsLater(a), costsLater(b)),
			cmp.Compare(doubtful(a), doubtful(b)),
			cmp.Compare(b.Impact, a.Impact),
			cmp.Compare(sureness(b.Confidence), sureness(a.Confidence)),
			strings.Compare(a.Cause, b.Cause),
			strings.Compare(a.Rule, b.Rule),
		)
	})
	kept := findings[:0:0]
	for _, f := range findings {
		same := slices.IndexFunc(kept, func(k Finding) bool {
			return k.Cause == f.Cause && k.Where.Function == f.Where.Function
		})
		if same >= 0 {
			kept[same].Also = append(kept[same].Also, f.Rule)
			continue
		}
		f.Rank = len(kept) + 1
		kept = append(kept, f)
	}
	if kept == nil {
		return []Finding{}
	}
	return kept
}

// costsLater is 1 for a finding that loses a resource rather than time: shares of the
// two cannot be compared, and time is what is lost now.
func costsLater(f Finding) int {
	if f.resource {
		return 1
	}
	return 0
}

// doubtful findings stand behind the others: as many dimensions deny as confirm what they
// say, and so what it costs.
func doubtful(f Finding) int {
	if f.Confidence == Low {
		return 1
	}
	return 0
}

func sureness(c Confidence) int {
	switch c {
	case High:
		return 3
	case Medium:
		return 2
	}
	return 1
}

// finding builds the finding of a rule that fires.
func (r *Rule) finding(ev *evidence, captured func(string) (bool, string)) Finding {
	impact, _ := r.impact.share(ev) // not measured counts as 0 and ranks last
	where := ev.firstPlace(r.where)
	f := Finding{
		Cause: r.Cause, Rule: r.ID, Title: r.Title,
		Impact: impact, ImpactOf: r.of, resource: r.resource, Where: where,
		Because: r.because.render(ev, where), Fix: r.fix.render(ev, where),
		Confused: r.Confused,
	}
	told := map[string]bool{}
	if library, ok := r.library(ev, where); ok {
		told[insideLibrary] = true
		if !f.shows(library) {
			f.Related = append(f.Related, Related{Role: insideLibrary, Where: library})
		}
	}
	for _, rel := range r.related {
		at, ok := ev.place(rel.where)
		if !ok || told[rel.role] {
			continue
		}
		told[rel.role] = true // by the first that is known, even if that is no news
		if !f.shows(at) {
			f.Related = append(f.Related, Related{Role: rel.role, Where: at})
		}
	}
	for _, c := range r.clauses {
		f.Dimensions = append(f.Dimensions, c.stance(ev, where, captured))
	}
	f.Confidence = confidence(f.Dimensions)
	return f
}

// insideLibrary is the role of the library's line that a finding has below its own.
const insideLibrary = "inside a library"

// library is that line: the one that the rule knows of, or else what the program's line
// most often has below it, whatever for.
func (r *Rule) library(ev *evidence, where signal.Location) (signal.Location, bool) {
	for _, rel := range r.related {
		if at, ok := ev.place(rel.where); ok && rel.role == insideLibrary {
			return at, true
		}
	}
	at, ok := ev.signals.Libraries[where]
	return at, ok
}

// shows reports whether a finding has a line among its places. Closures and instances
// of generic functions are named apart in some evidence and not in other.
func (f *Finding) shows(at signal.Location) bool {
	same := func(l signal.Location) bool {
		return l.File == at.File && l.Line == at.Line && gofunc.Base(l.Function) == gofunc.Base(at.Function)
	}
	return same(f.Where) || slices.ContainsFunc(f.Related, func(r Related) bool { return same(r.Where) })
}

// confidence follows from the stances alone; a dimension that is silent or was
// not captured counts for nothing.
func confidence(dimensions []DimensionFinding) Confidence {
	agree, disagree := 0, 0
	for _, d := range dimensions {
		switch d.Stance {
		case Agrees:
			agree++
		case Disagrees:
			disagree++
		}
	}
	switch {
	case agree >= 2 && disagree == 0:
		return High
	case agree == 1 && disagree == 0, agree == 2 && disagree == 1:
		return Medium
	}
	return Low
}

// stance decides what one dimension says.
func (c clause) stance(ev *evidence, where signal.Location, captured func(string) (bool, string)) DimensionFinding {
	d := DimensionFinding{Dimension: c.dimension}
	if ok, reason := captured(c.dimension); !ok {
		d.Stance, d.Says = NotCaptured, cmp.Or(reason, "no reason was recorded")
		return d
	}
	needs := c.signals()
	for _, name := range needs {
		if value, ok := ev.number(name); ok && ev.lang.catalogue[name].Kind == signal.Number {
			d.Figures = append(d.Figures, Figure{Signal: name, Value: value, Unit: ev.unit(name)})
		}
	}
	silent := func() string {
		return cmp.Or(c.blind.render(ev, where), c.says.render(ev, where), fmt.Sprintf("the rule asks nothing of %s", c.dimension))
	}
	if len(needs) == 0 {
		d.Stance, d.Says = Silent, silent()
		return d
	}
	if missing := ev.without(needs); len(missing) == len(needs) {
		d.Stance, d.Says = NotCaptured, strings.Join(ev.reasons(missing), "; ")
		return d
	}
	// A condition that missing evidence leaves undecided could still turn out
	// to be true, so nothing after it may decide either.
	for _, side := range []struct {
		condition *expression
		stance    Stance
	}{{c.agrees, Agrees}, {c.disagrees, Disagrees}} {
		if side.condition == nil {
			continue
		}
		switch holds, missing := side.condition.condition(ev); holds {
		case yes:
			d.Stance, d.Says = side.stance, c.says.render(ev, where)
			return d
		case unknown:
			d.Stance, d.Says = NotCaptured, strings.Join(ev.reasons(missing), "; ")
			return d
		}
	}
	d.Stance, d.Says = Silent, silent()
	return d
}

// signals lists those the clause's conditions use, each once.
func (c clause) signals() []string {
	var names []string
	for _, x := range []*expression{c.agrees, c.disagrees} {
		if x == nil {
			continue
		}
		for _, name := range x.signals {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// without keeps the names that have no value.
func (ev *evidence) without(names []string) []string {
	var missing []string
	for _, name := range names {
		if _, ok := ev.missing[name]; ok {
			missing = append(missing, name)
		}
	}
	return missing
}

// reasons says for each signal why it has no value; those that lack it for the
// same reason share a line.
func (ev *evidence) reasons(names []string) []string {
	var order []string
	by := map[string][]string{}
	for _, name := range names {
		reason := cmp.Or(ev.missing[name], "its value cannot be computed with")
		if by[reason] == nil {
			order = append(order, reason)
		}
		by[reason] = append(by[reason], name)
	}
	lines := make([]string, 0, len(order))
	for _, reason := range order {
		lines = append(lines, strings.Join(by[reason], ", ")+": "+reason)
	}
	return lines
}
