package rule

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal"
	"chokepoint/harness/strictyaml"
)

// Limits on one expression, so that a hostile rule file costs little. They are
// far above what a rule that a person can read needs.
const (
	maxExpression = 4 << 10 // bytes
	maxNesting    = 64
)

// language is CEL over one catalogue of signals.
type language struct {
	env       *cel.Env
	catalogue map[string]signal.Definition
	names     []string // sorted
}

// placeType is the CEL type of place signals. It has no fields: a place can be
// tested for presence and compared, which is all a rule may ask of one.
var placeType = cel.OpaqueType("place")

// newLanguage declares every signal of the catalogue as a typed variable.
func newLanguage(catalogue []signal.Definition) (*language, error) {
	l := &language{catalogue: make(map[string]signal.Definition, len(catalogue))}
	opts := []cel.EnvOption{
		cel.ClearMacros(), // signals are scalars: there is nothing to iterate over
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ParserRecursionLimit(maxNesting),
		cel.Function("known",
			cel.Overload("known_number", []*cel.Type{cel.DoubleType}, cel.BoolType,
				cel.OverloadIsNonStrict(), cel.UnaryBinding(isKnown)),
			cel.Overload("known_place", []*cel.Type{placeType}, cel.BoolType,
				cel.OverloadIsNonStrict(), cel.UnaryBinding(isKnown))),
		cel.Function("same_function",
			cel.Overload("same_function_place_place", []*cel.Type{placeType, placeType}, cel.BoolType,
				cel.BinaryBinding(sameFunction))),
		cel.Function("first",
			cel.Overload("first_number", []*cel.Type{cel.DoubleType, cel.DoubleType}, cel.DoubleType,
				cel.OverloadIsNonStrict(), cel.BinaryBinding(firstKnown)),
			cel.Overload("first_place", []*cel.Type{placeType, placeType}, placeType,
				cel.OverloadIsNonStrict(), cel.BinaryBinding(firstKnown))),
		cel.Function("least",
			cel.Overload("least_double_double", []*cel.Type{cel.DoubleType, cel.DoubleType}, cel.DoubleType,
				cel.BinaryBinding(pick(math.Min)))),
		cel.Function("greatest",
			cel.Overload("greatest_double_double", []*cel.Type{cel.DoubleType, cel.DoubleType}, cel.DoubleType,
				cel.BinaryBinding(pick(math.Max)))),
	}
	for _, d := range catalogue {
		if _, twice := l.catalogue[d.Name]; twice {
			return nil, fmt.Errorf("catalogue of signals: %s is defined twice", d.Name)
		}
		kind := cel.DoubleType
		switch d.Kind {
		case signal.Number:
		case signal.Place:
			kind = placeType
		default:
			return nil, fmt.Errorf("catalogue of signals: %s has kind %q; it must be %s or %s", d.Name, d.Kind, signal.Number, signal.Place)
		}
		l.catalogue[d.Name] = d
		l.names = append(l.names, d.Name)
		opts = append(opts, cel.VariableWithDoc(d.Name, kind, d.Meaning))
	}
	slices.Sort(l.names)
	env, err := cel.NewEnv(opts...)
	if err != nil {
		return nil, fmt.Errorf("declare the signals to CEL: %w", err)
	}
	l.env = env
	return l, nil
}

// expression is one compiled CEL expression.
type expression struct {
	program cel.Program
	signals []string // those it uses, in the order of the text, each once
	ast     *cel.Ast
}

// fault is what is wrong with one expression or template.
type fault struct {
	line    int // of the text, counted from 0
	message string
	hint    string // the known name that was probably meant
}

func faultf(format string, args ...any) *fault { return &fault{message: fmt.Sprintf(format, args...)} }

// compile checks that text is an expression of one of the wanted types over
// signals the catalogue knows.
func (l *language) compile(text string, want ...*cel.Type) (*expression, *fault) {
	if strings.TrimSpace(text) == "" {
		return nil, faultf("is empty; it takes a CEL expression over signals")
	}
	parsed, issues := l.env.Parse(text)
	if f := firstIssue(issues); f != nil {
		return nil, f
	}
	used, f := l.signalsOf(parsed)
	if f != nil {
		return nil, f
	}
	checked, issues := l.env.Check(parsed)
	if f := firstIssue(issues); f != nil {
		return nil, f
	}
	got := checked.OutputType()
	if !slices.ContainsFunc(want, got.IsExactType) {
		return nil, faultf("is a %s and must be a %s", typeName(got), typeName(want[0]))
	}
	program, err := l.env.Program(checked, cel.EvalOptions(cel.OptPartialEval))
	if err != nil {
		return nil, faultf("%v", err)
	}
	return &expression{program: program, signals: used, ast: checked}, nil
}

// signalsOf lists the signals a parsed expression uses. Names are checked here
// rather than by CEL, whose message would leave out the nearest signal.
func (l *language) signalsOf(parsed *cel.Ast) ([]string, *fault) {
	native := parsed.NativeRep()
	var used []string
	var found *fault
	var walk func(e celast.Expr)
	walk = func(e celast.Expr) {
		if found != nil {
			return
		}
		switch e.Kind() {
		case celast.IdentKind, celast.SelectKind:
			name, root, ok := dotted(e)
			if !ok {
				walk(e.AsSelect().Operand())
				return
			}
			if _, known := l.catalogue[name]; !known {
				found = l.noSignal(name)
				found.line = max(native.SourceInfo().GetStartLocation(root.ID()).Line()-1, 0)
				return
			}
			if !slices.Contains(used, name) {
				used = append(used, name)
			}
		case celast.CallKind:
			call := e.AsCall()
			if call.IsMemberFunction() {
				walk(call.Target())
			}
			for _, arg := range call.Args() {
				walk(arg)
			}
		case celast.ListKind:
			for _, element := range e.AsList().Elements() {
				walk(element)
			}
		case celast.MapKind, celast.StructKind, celast.ComprehensionKind:
			found = faultf("maps, messages and loops have no use over signals; compare numbers")
		}
	}
	walk(native.Expr())
	return used, found
}

func (l *language) noSignal(name string) *fault {
	return &fault{message: fmt.Sprintf("there is no signal %q", name), hint: strictyaml.Nearest(name, l.names)}
}

// dotted reads a chain of selections as one name, and gives the identifier it
// begins with.
func dotted(e celast.Expr) (name string, root celast.Expr, ok bool) {
	switch e.Kind() {
	case celast.IdentKind:
		return e.AsIdent(), e, true
	case celast.SelectKind:
		s := e.AsSelect()
		name, root, ok = dotted(s.Operand())
		return name + "." + s.FieldName(), root, ok && !s.IsTestOnly()
	}
	return "", nil, false
}

func firstIssue(issues *cel.Issues) *fault {
	if issues == nil || issues.Err() == nil {
		return nil
	}
	if len(issues.Errors()) == 0 {
		return faultf("%v", issues.Err())
	}
	first := issues.Errors()[0]
	f := &fault{line: max(first.Location.Line()-1, 0), message: first.Message}
	if strings.Contains(f.message, "'(double, int)'") || strings.Contains(f.message, "'(int, double)'") {
		f.message += "; in arithmetic write whole numbers with a point, 2.0"
	}
	return f
}

func typeName(t *cel.Type) string {
	switch {
	case t.IsExactType(cel.BoolType):
		return "condition (true or false)"
	case t.IsExactType(cel.DoubleType):
		return "number"
	case t.IsExactType(cel.IntType):
		return "whole number"
	}
	return t.String()
}

// evidence is the set of signals as CEL sees it: those without a value are
// unknown, which CEL carries through && and || as three-valued logic does. It
// is a cel.PartialActivation.
type evidence struct {
	lang    *language
	signals signal.Set
	missing map[string]string // by name of signal: why it has no value
	vars    map[string]any
	unknown []*cel.AttributePatternType
}

// newEvidence makes signals ready for expressions. A value that is no finite
// number measures nothing and counts as missing.
func (l *language) newEvidence(signals signal.Set) *evidence {
	ev := &evidence{lang: l, signals: signals, missing: map[string]string{}, vars: make(map[string]any, len(l.names))}
	for _, name := range l.names {
		s, ok := signals.Signals[name]
		isPlace := l.catalogue[name].Kind == signal.Place
		switch {
		case !ok:
			ev.missing[name] = cmp.Or(signals.Missing[name], "not measured")
		case isPlace && s.Where.IsZero():
			ev.missing[name] = "no place in the program's own code was found"
		case !isPlace && (math.IsNaN(s.Value) || math.IsInf(s.Value, 0)):
			ev.missing[name] = "its value is not a finite number"
		case isPlace:
			ev.vars[name] = place(s.Where)
		default:
			ev.vars[name] = s.Value
		}
		if _, missing := ev.missing[name]; missing {
			ev.unknown = append(ev.unknown, cel.AttributePattern(name))
		}
	}
	return ev
}

// ResolveName gives CEL the value of a signal.
func (ev *evidence) ResolveName(name string) (any, bool) { v, ok := ev.vars[name]; return v, ok }

// Parent says that there is no outer scope.
func (ev *evidence) Parent() cel.Activation { return nil }

// UnknownAttributePatterns names the signals without a value.
func (ev *evidence) UnknownAttributePatterns() []*cel.AttributePatternType { return ev.unknown }

// AsPartialActivation makes CEL honour UnknownAttributePatterns.
func (ev *evidence) AsPartialActivation() (cel.PartialActivation, bool) { return ev, true }

// unit is the unit of a number signal, as the catalogue gives it.
func (ev *evidence) unit(name string) signal.Unit { return ev.lang.catalogue[name].Unit }

// number is the value of a number signal, if it has one.
func (ev *evidence) number(name string) (float64, bool) {
	if _, missing := ev.missing[name]; missing {
		return 0, false
	}
	return ev.signals.Signals[name].Value, true
}

// place is the location of a place signal, if it has one.
func (ev *evidence) place(name string) (signal.Location, bool) {
	if _, missing := ev.missing[name]; missing {
		return signal.Location{}, false
	}
	return ev.signals.Signals[name].Where, true
}

// firstPlace is the first of the named places that has a value.
func (ev *evidence) firstPlace(names []string) signal.Location {
	for _, name := range names {
		if at, ok := ev.place(name); ok {
			return at
		}
	}
	return signal.Location{}
}

// truth is the value of a condition.
type truth int

const (
	no truth = iota
	yes
	unknown
)

// condition evaluates a boolean expression. For unknown it names the signals
// whose absence left it undecided, in the order of the text.
func (x *expression) condition(ev *evidence) (truth, []string) {
	value, missing := x.eval(ev)
	if b, ok := value.(types.Bool); ok {
		if b {
			return yes, nil
		}
		return no, nil
	}
	return unknown, missing
}

// share evaluates a number, held between 0 and 1; ok is false when it is unknown.
func (x *expression) share(ev *evidence) (value float64, ok bool) {
	got, _ := x.eval(ev)
	switch n := got.(type) {
	case types.Double:
		value = float64(n)
	case types.Int:
		value = float64(n)
	default:
		return 0, false
	}
	if math.IsNaN(value) {
		return 0, false
	}
	return min(max(value, 0), 1), true
}

func (x *expression) eval(ev *evidence) (ref.Val, []string) {
	value, _, err := x.program.Eval(ev)
	if err != nil {
		// Only arithmetic that has no answer ends here (a conversion out of
		// range): the evidence does not decide, and all of it is named.
		return nil, x.signals
	}
	u, ok := value.(*types.Unknown)
	if !ok {
		return value, nil
	}
	mattered := map[string]bool{}
	for _, id := range u.IDs() {
		trails, _ := u.GetAttributeTrails(id)
		for _, t := range trails {
			mattered[t.Variable()] = true
		}
	}
	var missing []string
	for _, name := range x.signals {
		if mattered[name] {
			missing = append(missing, name)
		}
	}
	return value, missing
}

// place is a location as a CEL value.
type place signal.Location

func (p place) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a place is no %v", t)
}

func (p place) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("a place is no %s", t.TypeName())
}

// Equal says whether both are the same function, file and line.
func (p place) Equal(other ref.Val) ref.Val {
	q, ok := other.(place)
	return types.Bool(ok && p == q)
}

func (p place) Type() ref.Type { return placeType }
func (p place) Value() any     { return signal.Location(p) }

func isKnown(v ref.Val) ref.Val { return types.Bool(!types.IsUnknownOrError(v)) }

// firstKnown is a, or b where a is unknown. Where neither is known both are missing.
func firstKnown(a, b ref.Val) ref.Val {
	switch {
	case !types.IsUnknownOrError(a):
		return a
	case !types.IsUnknownOrError(b):
		return b
	}
	u, _ := types.MaybeMergeUnknowns(a, nil)
	if both, ok := types.MaybeMergeUnknowns(b, u); ok {
		return both
	}
	return a // both are errors
}

// sameFunction compares two places. Some signals name the function that a literal is written in,
// and others the literal: the two are the same, while two literals of one function are not.
func sameFunction(a, b ref.Val) ref.Val {
	p, ok1 := a.(place)
	q, ok2 := b.(place)
	return types.Bool(ok1 && ok2 && (p.Function == q.Function || gofunc.Base(p.Function) == q.Function || p.Function == gofunc.Base(q.Function)))
}

func pick(f func(a, b float64) float64) func(a, b ref.Val) ref.Val {
	return func(a, b ref.Val) ref.Val {
		x, ok1 := a.(types.Double)
		y, ok2 := b.(types.Double)
		if !ok1 || !ok2 {
			return types.MaybeNoSuchOverloadErr(a)
		}
		return types.Double(f(float64(x), float64(y)))
	}
}
