package rule

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"

	"chokepoint/harness/bundle"
	"chokepoint/harness/cause"
	"chokepoint/harness/signal"
	"chokepoint/harness/strictyaml"
)

// Rule is one checked rule, ready to be evaluated. It is safe for use by
// several goroutines.
type Rule struct {
	ID         string
	Cause      string
	Title      string
	Confused   []string // causes that look alike
	References []string
	File       string // it was read from

	lang   *language
	when   *expression
	unless []exception
	impact *expression
	of     string // what the impact is a share of
	// resource says that the impact is no share of time.
	resource bool
	because  templates
	fix      templates
	where    []string // place signals, best first
	related  []relatedPlace
	clauses  []clause // ebpf, pprof, trace, in this order
	cases    []testCase
}

// defaultImpactOf is what an impact is a share of when the rule does not say.
const defaultImpactOf = "of request time"

type relatedPlace struct {
	role  string
	where string // a place signal
}

// clause is what a rule asks of one dimension. All but dimension may be absent.
type clause struct {
	dimension string
	agrees    *expression
	disagrees *expression
	says      templates
	blind     templates
}

// Parse reads and checks one rule. file is used in errors; each names file,
// line and field, and all of them are reported, joined.
func Parse(file string, data []byte, catalogue []signal.Definition) (*Rule, error) {
	lang, err := newLanguage(catalogue)
	if err != nil {
		return nil, err
	}
	return lang.parse(file, data)
}

func (l *language) parse(file string, data []byte) (*Rule, error) {
	parsed, err := strictyaml.Parse(file, data)
	if err != nil {
		return nil, err
	}
	var doc document
	if err := parsed.Decode(&doc); err != nil {
		return nil, err
	}
	p := &parser{lang: l, yaml: parsed, lines: bytes.Split(data, []byte("\n"))}
	r := p.rule(doc)
	r.File = file
	if err := strictyaml.Join(p.problems); err != nil {
		return nil, err
	}
	return r, nil
}

// parser turns a document into a rule and gathers what is wrong with it.
type parser struct {
	lang     *language
	yaml     *strictyaml.Document
	lines    [][]byte // of the file
	problems []*strictyaml.Error
}

func (p *parser) problem(field, format string, args ...any) *strictyaml.Error {
	e := p.yaml.Errorf(field, format, args...)
	p.problems = append(p.problems, e)
	return e
}

// fault reports what is wrong with the text of a field, at its line even when
// the text is a YAML block.
func (p *parser) fault(field string, f *fault) {
	if f == nil {
		return
	}
	e := p.problem(field, "%s", f.message)
	e.Hint = f.hint
	if e.Line < 1 || e.Line > len(p.lines) || e.Column < 1 || e.Column > len(p.lines[e.Line-1]) {
		return
	}
	switch p.lines[e.Line-1][e.Column-1] {
	case '|', '>':
		e.Line, e.Column = e.Line+1+f.line, 0
	default:
		e.Line += f.line
	}
}

func (p *parser) rule(doc document) *Rule {
	r := &Rule{
		ID: doc.Rule, Cause: doc.Cause, Title: doc.Title,
		Confused: doc.ConfusedWith, References: doc.References, lang: p.lang,
		of: cmp.Or(strings.TrimSpace(doc.ImpactOf), defaultImpactOf),
	}
	switch doc.Loses {
	case "", "time":
	case "resource":
		r.resource = true
	default:
		p.problem("loses", "%q is neither time nor resource", doc.Loses)
	}
	if doc.Because.empty() {
		p.problem("because", "is required: because is missing or empty")
	}
	if doc.Fix.empty() {
		p.problem("fix", "is required: fix is missing or empty")
	}
	for _, required := range []struct{ field, value string }{
		{"rule", doc.Rule}, {"cause", doc.Cause}, {"title", doc.Title},
	} {
		if strings.TrimSpace(required.value) == "" {
			p.problem(required.field, "is required: %s is missing or empty", required.field)
		}
	}
	if doc.Cause != "" {
		p.cause("cause", doc.Cause)
		if doc.Rule != "" && doc.Rule != doc.Cause && !strings.HasPrefix(doc.Rule, doc.Cause+"/") {
			p.problem("rule", "%q must be the rule's cause, or begin with it: %q", doc.Rule, doc.Cause+"/...")
		}
	}
	for i, c := range doc.ConfusedWith {
		field := fmt.Sprintf("confused_with[%d]", i)
		p.cause(field, c)
		if c == doc.Cause {
			p.problem(field, "names the rule's own cause")
		}
	}

	r.when = p.condition("when", doc.When)
	for i, doc := range doc.Unless {
		field := fmt.Sprintf("unless[%d]", i)
		because := strings.TrimSpace(doc.Because)
		if because == "" {
			p.problem(field+".because", "is required: say what it is instead, or why it is no flaw")
		}
		r.unless = append(r.unless, p.exception(field, doc, because))
	}
	r.impact = p.expression("impact", doc.Impact, cel.DoubleType, cel.IntType)
	r.because = p.templates("because", doc.Because)
	r.fix = p.templates("fix", doc.Fix)

	if len(doc.Where) == 0 {
		p.problem("where", "is required: name at least one place signal, best first")
	}
	for i, name := range doc.Where {
		p.place(fmt.Sprintf("where[%d]", i), name)
	}
	r.where = doc.Where
	for i, rel := range doc.Related {
		if strings.TrimSpace(rel.Role) == "" {
			p.problem(fmt.Sprintf("related[%d].role", i), "is required: say what happens there")
		}
		p.place(fmt.Sprintf("related[%d].where", i), rel.Where)
		r.related = append(r.related, relatedPlace{rel.Role, rel.Where})
	}

	written := 0
	for _, d := range []struct {
		name string
		doc  *clauseDocument
	}{
		{bundle.DimEBPF, doc.Dimensions.EBPF}, {bundle.DimPprof, doc.Dimensions.Pprof}, {bundle.DimTrace, doc.Dimensions.Trace},
	} {
		c := clause{dimension: d.name}
		if d.doc != nil {
			c = p.clause(d.name, *d.doc)
			written++
		}
		r.clauses = append(r.clauses, c)
	}
	if written == 0 {
		p.problem("dimensions", "is required: say what at least one of ebpf, pprof and trace shows")
	}

	r.cases = p.cases(doc.Cases)
	return r
}

func (p *parser) cause(field, id string) {
	if !cause.Known(id) {
		p.problem(field, "there is no cause %q", id).Hint = strictyaml.Nearest(id, cause.IDs())
	}
}

func (p *parser) place(field, name string) {
	d, known := p.lang.catalogue[name]
	switch {
	case !known:
		p.fault(field, p.lang.noSignal(name))
	case d.Kind != signal.Place:
		p.problem(field, "%s is a number; this takes a place signal", name)
	}
}

func (p *parser) templates(field string, texts sentences) templates {
	var all templates
	for i, text := range texts {
		at := field
		if len(texts) > 1 {
			at = fmt.Sprintf("%s[%d]", field, i)
		}
		t, f := p.lang.template(strings.TrimSpace(text))
		p.fault(at, f)
		all = append(all, t)
	}
	return all
}

func (p *parser) expression(field, text string, want ...*cel.Type) *expression {
	x, f := p.lang.compile(text, want...)
	p.fault(field, f)
	return x
}

// condition is a boolean expression that depends on evidence.
func (p *parser) condition(field, text string) *expression {
	x := p.expression(field, text, cel.BoolType)
	if x != nil && len(x.signals) == 0 {
		p.problem(field, "uses no signal, so no evidence could change it")
	}
	return x
}

func (p *parser) clause(dimension string, doc clauseDocument) clause {
	c := clause{dimension: dimension}
	field := "dimensions." + dimension
	switch {
	case doc.Agrees == "" && doc.Disagrees == "" && doc.Blind.empty():
		p.problem(field, "needs agrees or disagrees, or blind to say why this dimension cannot see it")
	case doc.Says.empty() && (doc.Agrees != "" || doc.Disagrees != ""):
		p.problem(field, "needs says: a sentence with what was measured")
	}
	if doc.Agrees != "" {
		c.agrees = p.condition(field+".agrees", doc.Agrees)
		p.own(field+".agrees", dimension, c.agrees)
	}
	if doc.Disagrees != "" {
		c.disagrees = p.condition(field+".disagrees", doc.Disagrees)
		p.own(field+".disagrees", dimension, c.disagrees)
	}
	c.says = p.templates(field+".says", doc.Says)
	c.blind = p.templates(field+".blind", doc.Blind)
	return c
}

// own refuses a clause that lets one dimension speak for another: agreement of
// two dimensions means something only when each rests on its own evidence.
// Places may be compared across dimensions, and /proc and the load may help.
func (p *parser) own(field, dimension string, x *expression) {
	if x == nil || len(x.signals) == 0 {
		return
	}
	own := false
	for _, name := range x.signals {
		d := p.lang.catalogue[name]
		own = own || d.Dimension == dimension
		evidence := d.Dimension == bundle.DimEBPF || d.Dimension == bundle.DimPprof || d.Dimension == bundle.DimTrace
		if evidence && d.Dimension != dimension && d.Kind == signal.Number {
			p.problem(field, "%s is evidence of %s; a clause of %s may use its own signals, and those of proc and load", name, d.Dimension, dimension)
			return
		}
	}
	if !own {
		p.problem(field, "uses no signal of %s, whose stance it decides", dimension)
	}
}

// Signals lists the signals the rule uses, sorted.
func (r *Rule) Signals() []string {
	var names []string
	add := func(x *expression) {
		if x != nil {
			names = append(names, x.signals...)
		}
	}
	addTemplates := func(all templates) {
		for _, t := range all {
			names = append(names, t.signals()...)
		}
	}
	add(r.when)
	for _, e := range r.unless {
		names = append(names, e.signals()...)
	}
	add(r.impact)
	addTemplates(r.because)
	addTemplates(r.fix)
	names = append(names, r.where...)
	for _, rel := range r.related {
		names = append(names, rel.where)
	}
	for _, c := range r.clauses {
		add(c.agrees)
		add(c.disagrees)
		addTemplates(c.says)
		addTemplates(c.blind)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
