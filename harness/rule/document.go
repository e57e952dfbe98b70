package rule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"
	"gopkg.in/yaml.v3"

	"chokepoint/harness/signal"
	"chokepoint/harness/strictyaml"
)

// document is a rule as it is written.
type document struct {
	Rule         string             `yaml:"rule" jsonschema_description:"Unique id of the rule: its cause, or its cause, a slash and a name."`
	Cause        string             `yaml:"cause" jsonschema_description:"The cause that the rule finds."`
	Title        string             `yaml:"title" jsonschema_description:"What is wrong, in a few words."`
	When         string             `yaml:"when" jsonschema_description:"CEL condition over signals. True: the rule fires. False: it is silent. Undecided for want of evidence: unknown."`
	Unless       []unlessDocument   `yaml:"unless,omitempty" jsonschema_description:"Conditions that rule the cause out. If one of them is true the rule is silent, whatever when says; one that evidence leaves undecided counts for nothing."`
	Impact       string             `yaml:"impact" jsonschema_description:"CEL number from 0 to 1: the share of request time, of CPU or of whatever impact_of names that is lost. It ranks findings."`
	ImpactOf     string             `yaml:"impact_of,omitempty" jsonschema:"default=of request time" jsonschema_description:"What the impact is a share of, as reports say it after the percentage: of the target's CPU."`
	Loses        string             `yaml:"loses,omitempty" jsonschema:"enum=time,enum=resource,default=time" jsonschema_description:"What is lost: time, of requests or of CPUs, or a resource such as memory, which costs time only later. Findings that lose a resource rank behind those that lose time."`
	Where        []string           `yaml:"where" jsonschema_description:"Place signals, best first. The first that has a value is where the finding points."`
	Related      []relatedDocument  `yaml:"related,omitempty" jsonschema_description:"Other places that help to understand the finding. One that is not known, or is shown already, is left out; of several with one role the first that is known counts."`
	Dimensions   dimensionsDocument `yaml:"dimensions" jsonschema_description:"What each dimension says of the finding."`
	Because      sentences          `yaml:"because" jsonschema_description:"One sentence with the figures that prove it. {signal}, {signal|format} and {where} are filled in."`
	Fix          sentences          `yaml:"fix" jsonschema_description:"What to change. {signal}, {signal|format} and {where} are filled in."`
	ConfusedWith []string           `yaml:"confused_with,omitempty" jsonschema_description:"Causes that look alike."`
	References   []string           `yaml:"references,omitempty" jsonschema_description:"Where to read more."`
	Cases        []caseDocument     `yaml:"cases" jsonschema_description:"Signals and what the rule must make of them. At least one must fire and one must be silent."`
}

type unlessDocument struct {
	Fires   []string `yaml:"fires,omitempty" jsonschema_description:"Ids of rules that the finding is left to: the exception holds only where one of them fires."`
	When    string   `yaml:"when,omitempty" jsonschema_description:"CEL condition over signals; beside fires it must hold as well, and may be left out."`
	Because string   `yaml:"because" jsonschema_description:"What it is instead, or why it is no flaw: what is kept is growth, no pressure."`
}

type relatedDocument struct {
	Role  string `yaml:"role" jsonschema_description:"What happens there: the holder sleeps here."`
	Where string `yaml:"where" jsonschema_description:"A place signal."`
}

type dimensionsDocument struct {
	EBPF  *clauseDocument `yaml:"ebpf,omitempty" jsonschema_description:"What the kernel's view says."`
	Pprof *clauseDocument `yaml:"pprof,omitempty" jsonschema_description:"What the profiler's view says."`
	Trace *clauseDocument `yaml:"trace,omitempty" jsonschema_description:"What the scheduler's view says."`
}

type clauseDocument struct {
	Agrees    string    `yaml:"agrees,omitempty" jsonschema_description:"CEL condition over signals of this dimension: it supports the finding."`
	Disagrees string    `yaml:"disagrees,omitempty" jsonschema_description:"CEL condition over signals of this dimension: it speaks against the finding."`
	Says      sentences `yaml:"says,omitempty" jsonschema_description:"One sentence with what was measured. {signal}, {signal|format} and {where} are filled in."`
	Blind     sentences `yaml:"blind,omitempty" jsonschema_description:"Why the dimension cannot see this; shown when it is silent."`
}

type caseDocument struct {
	Name       string               `yaml:"name" jsonschema_description:"What the case shows."`
	Signals    map[string]caseValue `yaml:"signals" jsonschema_description:"Values by name of signal. A signal that is not listed has no value."`
	Expect     string               `yaml:"expect" jsonschema:"enum=fire,enum=silent,enum=unknown" jsonschema_description:"What the rule must do."`
	Confidence string               `yaml:"confidence,omitempty" jsonschema:"enum=high,enum=medium,enum=low" jsonschema_description:"The confidence a firing must have."`
	Where      string               `yaml:"where,omitempty" jsonschema_description:"Where a firing must point: a function, or a function and file:line."`
}

// sentences is one sentence, or several of which the first whose signals all
// have values is shown.
type sentences []string

// UnmarshalYAML reads a sentence or a list of them.
func (s *sentences) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.SequenceNode {
		var list []string
		err := strictyaml.Node(node, &list)
		*s = list
		return err
	}
	*s = make(sentences, 1)
	return strictyaml.Node(node, &(*s)[0])
}

// JSONSchema describes what UnmarshalYAML reads.
func (sentences) JSONSchema() *jsonschema.Schema {
	text := &jsonschema.Schema{Type: "string"}
	return &jsonschema.Schema{
		Description: "A sentence, or a list of them of which the first whose signals all have values is shown.",
		OneOf:       []*jsonschema.Schema{text, {Type: "array", Items: text}},
	}
}

// empty reports whether there is nothing to show.
func (s sentences) empty() bool {
	return !slices.ContainsFunc(s, func(text string) bool { return strings.TrimSpace(text) != "" })
}

// caseValue is the value of one signal in a case: a number, or a place written
// "function file:line".
type caseValue struct {
	number       float64
	isNumber     bool
	place        signal.Location
	line, column int
}

// UnmarshalYAML reads a number or a place.
func (v *caseValue) UnmarshalYAML(node *yaml.Node) error {
	v.line, v.column = node.Line, node.Column
	if tag := node.ShortTag(); tag == "!!int" || tag == "!!float" {
		v.isNumber = true
		return strictyaml.Node(node, &v.number)
	}
	var text string
	if err := strictyaml.Node(node, &text); err != nil {
		return err
	}
	var err error
	v.place, err = parsePlace(text)
	return err
}

// JSONSchema describes what UnmarshalYAML reads.
func (caseValue) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{
		Description: `A number in the signal's unit, or a place: "function file:line".`,
		OneOf:       []*jsonschema.Schema{{Type: "number"}, {Type: "string"}},
	}
}

// parsePlace reads "main.(*store).get store.go:41", or a function alone.
func parsePlace(text string) (signal.Location, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return signal.Location{}, fmt.Errorf(`is empty; write a place as "main.(*store).get store.go:41"`)
	}
	i := strings.LastIndexByte(text, ' ')
	if i < 0 {
		return signal.Location{Function: text}, nil
	}
	file, lineText, ok := strings.Cut(text[i+1:], ":")
	line, err := strconv.Atoi(lineText)
	if !ok || err != nil || line < 1 || file == "" {
		return signal.Location{}, fmt.Errorf(`%q is no place; write it as "main.(*store).get store.go:41"`, text)
	}
	return signal.Location{Function: strings.TrimSpace(text[:i]), File: file, Line: line}, nil
}
