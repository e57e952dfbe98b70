package strictyaml

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

type decoder struct {
	file     string
	problems []*Error
	nodes    int
	depth    int
	aliases  map[*yaml.Node]bool // being followed
	stopped  bool                // a bound was exceeded: say so once
}

func (d *decoder) err() error { return Join(d.problems) }

func (d *decoder) problem(n *yaml.Node, field, format string, args ...any) *Error {
	e := &Error{File: d.file, Line: n.Line, Column: n.Column, Field: field, Message: fmt.Sprintf(format, args...)}
	d.problems = append(d.problems, e)
	return e
}

func (d *decoder) stop(n *yaml.Node, field, format string, args ...any) {
	if !d.stopped {
		d.problem(n, field, format, args...)
	}
	d.stopped = true
}

func (d *decoder) value(n *yaml.Node, v reflect.Value, field string) {
	d.nodes++
	d.depth++
	defer func() { d.depth-- }()
	switch {
	case d.stopped:
		return
	case d.nodes > MaxNodes:
		d.stop(n, field, "the document expands to more than %d values; use fewer aliases", MaxNodes)
		return
	case d.depth > MaxDepth:
		d.stop(n, field, "is nested deeper than %d levels", MaxDepth)
		return
	}
	if n.Kind == yaml.AliasNode {
		if d.aliases[n.Alias] {
			d.problem(n, field, "the alias *%s contains itself", n.Value)
			return
		}
		d.aliases[n.Alias] = true
		defer delete(d.aliases, n.Alias)
		n = n.Alias
	}
	if tag := n.ShortTag(); !knownTag(tag) {
		d.problem(n, field, "the tag %s has no meaning here; remove it", tag)
		return
	}
	if isNull(n) {
		if v.Kind() == reflect.Interface {
			v.SetZero()
			return
		}
		d.problem(n, field, "has no value; give it one or remove it")
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	if d.custom(n, v, field) {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v, field)
	case reflect.Map:
		d.mapping(n, v, field)
	case reflect.Slice:
		d.list(n, v, field)
	case reflect.Interface:
		d.anything(n, v, field)
	default:
		d.scalar(n, v, field)
	}
}

// custom lets a type read itself, and reports whether it did.
func (d *decoder) custom(n *yaml.Node, v reflect.Value, field string) bool {
	if !v.CanAddr() {
		return false
	}
	switch u := v.Addr().Interface().(type) {
	case yaml.Unmarshaler:
		d.adopt(n, field, u.UnmarshalYAML(n))
	case encoding.TextUnmarshaler:
		if n.Kind != yaml.ScalarNode {
			d.problem(n, field, "must be a single value, is %s", describe(n))
			return true
		}
		d.adopt(n, field, u.UnmarshalText([]byte(n.Value)))
	default:
		return false
	}
	return true
}

// adopt makes the error of a type that read itself this document's.
func (d *decoder) adopt(n *yaml.Node, field string, err error) {
	if err == nil {
		return
	}
	own := All(err)
	if len(own) == 0 {
		d.problem(n, field, "%s", err)
		return
	}
	for _, e := range own {
		adopted := *e
		adopted.File = d.file
		switch {
		case adopted.Field == "":
			adopted.Field = field
		case field != "" && adopted.Field[0] != '[':
			adopted.Field = field + "." + adopted.Field
		default:
			adopted.Field = field + adopted.Field
		}
		if adopted.Line == 0 {
			adopted.Line, adopted.Column = n.Line, n.Column
		}
		d.problems = append(d.problems, &adopted)
	}
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, field string) {
	fields := map[string]reflect.Value{}
	var names []string
	if err := structFields(v, fields, &names); err != nil {
		d.stop(n, field, "%s", err)
		return
	}
	d.pairs(n, field, func(key, value *yaml.Node) {
		into, ok := fields[key.Value]
		if ok {
			d.value(value, into, join(field, key.Value))
			return
		}
		e := d.problem(key, join(field, key.Value), "unknown field")
		if e.Hint = Nearest(key.Value, names); e.Hint == "" {
			e.Message += "; known here: " + strings.Join(names, ", ")
		}
	})
}

// structFields collects the settable fields of v by their YAML name.
func structFields(v reflect.Value, fields map[string]reflect.Value, names *[]string) error {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		inline := strings.Contains(options, "inline")
		switch {
		case name == "-" || !f.IsExported():
			continue
		case inline && f.Type.Kind() == reflect.Struct:
			if err := structFields(v.Field(i), fields, names); err != nil {
				return err
			}
			continue
		case inline:
			return fmt.Errorf("strictyaml: %s.%s: only a struct can be inline", t, f.Name)
		case name == "":
			name = strings.ToLower(f.Name)
		}
		if _, twice := fields[name]; twice {
			return fmt.Errorf("strictyaml: %s has two fields named %q", t, name)
		}
		fields[name] = v.Field(i)
		*names = append(*names, name)
	}
	return nil
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, field string) {
	t := v.Type()
	if t.Key().Kind() != reflect.String {
		d.stop(n, field, "strictyaml: cannot decode into %s: keys must be strings", t)
		return
	}
	m := reflect.MakeMap(t)
	d.pairs(n, field, func(key, value *yaml.Node) {
		element := reflect.New(t.Elem()).Elem()
		d.value(value, element, join(field, key.Value))
		m.SetMapIndex(reflect.ValueOf(key.Value).Convert(t.Key()), element)
	})
	v.Set(m)
}

// pairs calls each for every key of a mapping that is a plain name and stands
// there once, and reports the others.
func (d *decoder) pairs(n *yaml.Node, field string, each func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.problem(n, field, "must be a mapping of names to values, is %s", describe(n))
		return
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content) && !d.stopped; i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode || isNull(key) {
			d.problem(n.Content[i], field, "a key must be a name, is %s", describe(key))
			continue
		}
		if key.ShortTag() == "!!merge" {
			d.problem(key, field, "merge keys (<<) are not read here; write the fields out")
			continue
		}
		if line, twice := first[key.Value]; twice {
			d.problem(key, join(field, key.Value), "stands here a second time; the first is on line %d", line)
			continue
		}
		first[key.Value] = key.Line
		each(key, value)
	}
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, field string) {
	if n.Kind != yaml.SequenceNode {
		d.problem(n, field, "must be a list, is %s", describe(n))
		return
	}
	list := reflect.MakeSlice(v.Type(), 0, len(n.Content))
	for i, item := range n.Content {
		if d.stopped {
			break
		}
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(item, element, fmt.Sprintf("%s[%d]", field, i))
		list = reflect.Append(list, element)
	}
	v.Set(list)
}

// anything decodes into an empty interface: map[string]any, []any, string,
// bool, int64 or float64.
func (d *decoder) anything(n *yaml.Node, v reflect.Value, field string) {
	if v.NumMethod() > 0 {
		d.stop(n, field, "strictyaml: cannot decode into %s", v.Type())
		return
	}
	var into reflect.Value
	switch n.Kind {
	case yaml.MappingNode:
		into = reflect.New(reflect.TypeFor[map[string]any]()).Elem()
		d.mapping(n, into, field)
	case yaml.SequenceNode:
		into = reflect.New(reflect.TypeFor[[]any]()).Elem()
		d.list(n, into, field)
	default:
		t := reflect.TypeFor[string]()
		switch n.ShortTag() {
		case "!!bool":
			t = reflect.TypeFor[bool]()
		case "!!int":
			t = reflect.TypeFor[int64]()
		case "!!float":
			t = reflect.TypeFor[float64]()
		}
		into = reflect.New(t).Elem()
		d.scalar(n, into, field)
	}
	v.Set(into)
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, field string) {
	wrong := func(want string) { d.problem(n, field, "must be %s, is %s", want, describe(n)) }
	tag := n.ShortTag()
	plain := n.Kind == yaml.ScalarNode
	digits := strings.ReplaceAll(n.Value, "_", "")
	switch {
	case v.Kind() == reflect.String:
		if !plain {
			wrong("text")
			return
		}
		v.SetString(n.Value)
	case v.Kind() == reflect.Bool:
		if !plain || tag != "!!bool" {
			wrong("true or false")
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case v.CanInt():
		if !plain || tag != "!!int" {
			wrong("a whole number")
			return
		}
		i, err := strconv.ParseInt(digits, 0, 64)
		if err != nil || v.OverflowInt(i) {
			d.problem(n, field, "the number %s is out of range", n.Value)
			return
		}
		v.SetInt(i)
	case v.CanUint():
		if !plain || tag != "!!int" {
			wrong("a whole number")
			return
		}
		u, err := strconv.ParseUint(digits, 0, 64)
		if err != nil || v.OverflowUint(u) {
			d.problem(n, field, "the number %s is out of range; it must be 0 or more", n.Value)
			return
		}
		v.SetUint(u)
	case v.CanFloat():
		if !plain || tag != "!!int" && tag != "!!float" {
			wrong("a number")
			return
		}
		f, err := parseFloat(tag, digits)
		if err != nil || math.IsInf(f, 0) || math.IsNaN(f) || v.OverflowFloat(f) {
			d.problem(n, field, "the number %s is out of range", n.Value)
			return
		}
		v.SetFloat(f)
	default:
		d.stop(n, field, "strictyaml: cannot decode into %s", v.Type())
	}
}

// parseFloat also reads the whole numbers that YAML writes in base 16, 8 and 2.
func parseFloat(tag, digits string) (float64, error) {
	if tag == "!!int" {
		if i, err := strconv.ParseInt(digits, 0, 64); err == nil {
			return float64(i), nil
		}
	}
	return strconv.ParseFloat(digits, 64)
}

func knownTag(tag string) bool {
	switch tag {
	case "!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq", "!!timestamp", "!!merge":
		return true
	}
	return false
}

// describe says what a node is, for the end of "must be a list, is ...".
func describe(n *yaml.Node) string {
	const longest = 40
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	if isNull(n) {
		return "empty"
	}
	text := []rune(n.Value)
	if len(text) > longest {
		text = append(text[:longest], []rune("...")...)
	}
	return strconv.Quote(string(text))
}

func join(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}
