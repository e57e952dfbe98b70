package rule

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"chokepoint/harness/signal"
)

// Explanation says of one rule and one set of signals what each term came to,
// and why the rule fired or did not.
type Explanation struct {
	Rule  string `json:"rule"`
	Cause string `json:"cause"`
	Title string `json:"title"`
	File  string `json:"file"`
	// Outcome is fire, silent or unknown, as in a rule's cases.
	Outcome string `json:"outcome"`
	// Because are the terms of when that decided it, each a sentence without
	// its full stop; for unknown, what is missing.
	Because []string `json:"because"`
	When    Term     `json:"when"`
	// Unless are the rule's exceptions: the first that is true made it silent.
	Unless []ExceptionExplanation `json:"unless,omitempty"`
	Impact Term                   `json:"impact"`
	// Where are the places that the finding may point to, best first; the first
	// that has a value is taken.
	Where      []SignalUse         `json:"where"`
	Dimensions []ClauseExplanation `json:"dimensions"` // ebpf, pprof, trace, in this order
	// Confidence is that of the finding, or the one it would have.
	Confidence Confidence `json:"confidence"`
	// Signals are all that the rule uses, by name.
	Signals []SignalUse `json:"signals"`
	Finding *Finding    `json:"finding,omitempty"` // when it fired
}

// ExceptionExplanation is what would rule the cause out, and whether it does.
type ExceptionExplanation struct {
	When    Term   `json:"when"`
	Because string `json:"because"` // what it is instead, or why it is no flaw
}

// ClauseExplanation is what a rule asks of one dimension, and the answer.
type ClauseExplanation struct {
	Dimension string `json:"dimension"`
	Captured  bool   `json:"captured"`
	Agrees    *Term  `json:"agrees,omitempty"`    // absent: the rule does not ask
	Disagrees *Term  `json:"disagrees,omitempty"` // absent: the rule does not ask
	Stance    Stance `json:"stance"`
	Says      string `json:"says"`
}

// The ways in which a term is made of others.
const (
	AllOf   = "all of"
	AnyOf   = "any of"
	Not     = "not"
	If      = "if"      // three terms: the condition, then, else
	Compare = "compare" // two terms
	Compute = "compute" // arithmetic and functions
)

// Term is one expression of a rule, with what it came to.
type Term struct {
	Text string `json:"text"` // as the rule's language writes it
	// Value is true, false or unknown of a condition, and the value with its
	// unit of a number or a place.
	Value string `json:"value"`
	// Made says how it is made of Terms; empty for a signal and for a constant.
	Made  string `json:"made,omitempty"`
	Terms []Term `json:"terms,omitempty"`
	// Signal is the name of the signal it is, if it is one.
	Signal string `json:"signal,omitempty"`
	// Rule is the id of the rule that it asks about, if it asks whether one fires.
	Rule string `json:"rule,omitempty"`
	// Missing are the signals whose absence leaves it unknown.
	Missing []string `json:"missing,omitempty"`
	// NotTaken marks the branch of an if that its condition ruled out, and with
	// it all terms below: their values took no part.
	NotTaken bool `json:"not_taken,omitempty"`
}

// Values of a term that is a condition, and of any that is unknown.
const (
	True      = "true"
	False     = "false"
	Undecided = "unknown"
)

// SignalUse is a signal as a rule finds it.
type SignalUse struct {
	Name      string      `json:"name"`
	Dimension string      `json:"dimension"`
	Kind      signal.Kind `json:"kind"`
	Unit      signal.Unit `json:"unit,omitempty"`
	Meaning   string      `json:"meaning"`
	// Known says whether it has a value.
	Known bool            `json:"known"`
	Value *float64        `json:"value,omitempty"` // of a number
	Where signal.Location `json:"where,omitzero"`  // of a place
	Of    string          `json:"of,omitempty"`    // what a number is of, in the program's own words
	// Text is the value with its unit, for a person.
	Text string `json:"text"`
	// Missing says why it has no value.
	Missing string `json:"missing,omitempty"`
	// From are the artifacts of the bundle it was taken from.
	From []string `json:"from,omitempty"`
}

// Explain says why the rule fires, is silent or cannot tell. captured is as for
// Set.Evaluate; from gives the artifacts of each signal, and may be nil.
func (r *Rule) Explain(signals signal.Set, captured func(dimension string) (bool, string), from map[string][]string) Explanation {
	ev := r.lang.newEvidence(signals)
	x := Explanation{
		Rule: r.ID, Cause: r.Cause, Title: r.Title, File: r.File,
		Because: []string{}, When: ev.explain(r.when), Impact: ev.explain(r.impact),
	}
	for _, e := range r.unless {
		x.Unless = append(x.Unless, ExceptionExplanation{ev.exception(e), e.because})
	}
	switch fires, missing := r.fires(ev); fires {
	case yes:
		x.Outcome = ExpectFire
		f := r.finding(ev, captured)
		f.Rank = 1 // among those of this rule
		x.Finding = &f
		x.Because = x.When.deciding()
	case unknown:
		x.Outcome = ExpectUnknown
		x.Because = ev.reasons(missing)
	default:
		x.Outcome = ExpectSilent
		x.Because = x.whySilent()
	}
	where := ev.firstPlace(r.where)
	var stances []DimensionFinding
	for _, c := range r.clauses {
		d := c.stance(ev, where, captured)
		stances = append(stances, d)
		e := ClauseExplanation{Dimension: c.dimension, Stance: d.Stance, Says: d.Says}
		e.Captured, _ = captured(c.dimension)
		if c.agrees != nil {
			t := ev.explain(c.agrees)
			e.Agrees = &t
		}
		if c.disagrees != nil {
			t := ev.explain(c.disagrees)
			e.Disagrees = &t
		}
		x.Dimensions = append(x.Dimensions, e)
	}
	x.Confidence = confidence(stances)
	for _, name := range r.where {
		x.Where = append(x.Where, ev.use(name, from))
	}
	for _, name := range r.Signals() {
		x.Signals = append(x.Signals, ev.use(name, from))
	}
	return x
}

// whySilent names the exception that rules the cause out, or the terms of when that
// do not hold.
func (x Explanation) whySilent() []string {
	for _, e := range x.Unless {
		if e.When.Value == True {
			return append([]string{e.Because}, e.When.deciding()...)
		}
	}
	return x.When.deciding()
}

// use is a signal as the evidence has it.
func (ev *evidence) use(name string, from map[string][]string) SignalUse {
	d := ev.lang.catalogue[name]
	u := SignalUse{Name: name, Dimension: d.Dimension, Kind: d.Kind, Unit: d.Unit, Meaning: d.Meaning, From: from[name]}
	if reason, missing := ev.missing[name]; missing {
		u.Missing, u.Text = reason, Undecided
		return u
	}
	u.Known = true
	s := ev.signals.Signals[name]
	if d.Kind == signal.Place {
		u.Where, u.Text = s.Where, placeText(s.Where)
		return u
	}
	u.Value, u.Of = &s.Value, s.Of
	u.Text = Figure{Value: s.Value, Unit: d.Unit}.String()
	return u
}

// explain evaluates an expression and each expression it is made of. Every one
// is compiled from its own text and evaluated as the whole is, so that no second
// reading of the language can differ from the first.
func (ev *evidence) explain(x *expression) Term {
	if x == nil {
		return Term{}
	}
	native := x.ast.NativeRep()
	return ev.term(native.Expr(), native.SourceInfo())
}

func (ev *evidence) term(e celast.Expr, info *celast.SourceInfo) Term {
	text, err := cel.ExprToString(e, info)
	if err != nil { // what was compiled can be written down
		return Term{Text: fmt.Sprintf("(%v)", err), Value: Undecided}
	}
	t := Term{Text: strings.Join(strings.Fields(text), " ")}
	if name, _, ok := dotted(e); ok {
		t.Signal = name
		u := ev.use(name, nil)
		t.Value = u.Text
		if !u.Known {
			t.Missing = []string{name}
		}
		return t
	}
	t.Value, t.Missing = ev.value(t.Text)
	if e.Kind() != celast.CallKind {
		return t // a constant
	}
	call := e.AsCall()
	args := call.Args()
	switch call.FunctionName() {
	case operators.LogicalAnd:
		t.Made, args = AllOf, flatten(e, operators.LogicalAnd)
	case operators.LogicalOr:
		t.Made, args = AnyOf, flatten(e, operators.LogicalOr)
	case operators.LogicalNot:
		t.Made = Not
	case operators.Conditional:
		t.Made = If
	case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		t.Made = Compare
	default:
		t.Made = Compute
	}
	for _, arg := range args {
		t.Terms = append(t.Terms, ev.term(arg, info))
	}
	if t.Made == If {
		t.Terms[1].take(t.Terms[0].Value == True)
		t.Terms[2].take(t.Terms[0].Value == False)
		for _, branch := range t.Terms[1:] {
			if !branch.NotTaken {
				t.Value = branch.Value // with the unit of a signal
			}
		}
	}
	return t
}

// take marks a term and all below as taken or not.
func (t *Term) take(taken bool) {
	if taken {
		return
	}
	t.NotTaken = true
	for i := range t.Terms {
		t.Terms[i].take(false)
	}
}

// flatten lists the operands of a chain of one operator.
func flatten(e celast.Expr, operator string) []celast.Expr {
	if e.Kind() != celast.CallKind || e.AsCall().FunctionName() != operator {
		return []celast.Expr{e}
	}
	var all []celast.Expr
	for _, arg := range e.AsCall().Args() {
		all = append(all, flatten(arg, operator)...)
	}
	return all
}

// value evaluates the text of an expression.
func (ev *evidence) value(text string) (value string, missing []string) {
	x, f := ev.lang.compile(text, cel.BoolType, cel.DoubleType, cel.IntType, placeType)
	if f != nil { // a part of what was compiled compiles
		return f.message, nil
	}
	got, missing := x.eval(ev)
	switch v := got.(type) {
	case types.Bool:
		return strconv.FormatBool(bool(v)), nil
	case types.Double:
		return count(float64(v), signal.NoUnit), nil
	case types.Int:
		return strconv.FormatInt(int64(v), 10), nil
	case place:
		return placeText(signal.Location(v)), nil
	}
	return Undecided, missing
}

// deciding lists the innermost conditions that made a condition what it is.
func (t Term) deciding() []string {
	var said []string
	switch {
	case t.Rule != "":
		return []string{t.asksRule()}
	case t.Made == If:
		for _, branch := range t.Terms[1:] {
			if !branch.NotTaken {
				said = append(said, branch.deciding()...)
			}
		}
	case t.Made == AllOf || t.Made == AnyOf:
		for _, part := range t.Terms {
			if part.Value == t.Value {
				said = append(said, part.deciding()...)
			}
		}
	case t.Made == Not && t.Terms[0].Made != "":
		return t.Terms[0].deciding()
	default:
		said = append(said, fmt.Sprintf("%s is %s%s", t.Text, t.Value, t.figures()))
	}
	return said
}

// figures are the values of the signals in a term, as an addition to its text.
func (t Term) figures() string {
	values := t.Values()
	if len(values) == 0 {
		return ""
	}
	return ": " + strings.Join(values, ", ")
}

// Values are the signals in a term with their values, each once: "a is 97.7%".
func (t Term) Values() []string {
	var values []string
	seen := map[string]bool{}
	var walk func(Term)
	walk = func(t Term) {
		if t.Signal != "" && !seen[t.Signal] {
			seen[t.Signal] = true
			values = append(values, t.Signal+" is "+cmp.Or(t.Value, Undecided))
		}
		for _, part := range t.Terms {
			walk(part)
		}
	}
	walk(t)
	return values
}
