// Package strictyaml reads YAML that people write by hand into Go structs, and
// says everything that is wrong with it at once: each problem with file, line,
// column and field, and the nearest known name where a name is unknown.
//
// It is stricter than YAML. Unknown fields, duplicate keys, values of the wrong
// type, fields without a value, merge keys, tags of one's own and more than one
// document are errors. Names come from yaml struct tags. A string field takes any
// scalar as it is written, so that `port: 8080` and `version: 1.10` need no quotes.
// Types that implement yaml.Unmarshaler or encoding.TextUnmarshaler read themselves.
//
// Input is not trusted: its size, its depth and what its aliases expand to are
// bounded.
package strictyaml

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Bounds of what is read. A scenario or a rule written by hand is a few
// kilobytes; the bounds leave a factor of a hundred.
const (
	MaxBytes  = 1 << 20 // of one file
	MaxNodes  = 100_000 // values visited, aliases followed
	MaxDepth  = 64      // of nesting
	MaxErrors = 20      // problems reported; the rest are counted
)

// Decode reads the YAML document in data into the struct that into points to.
// Fields that the document does not name keep their value. file is used in
// errors only. The error joins one *Error for each problem; All lists them.
func Decode(file string, data []byte, into any) error {
	d, err := Parse(file, data)
	if err != nil {
		return err
	}
	return d.Decode(into)
}

// A Document is YAML that was parsed and not yet given a meaning. It remembers
// where each field stands.
type Document struct {
	file string
	root *yaml.Node
}

// Parse reads one YAML document. Its error is as Decode's.
func Parse(file string, data []byte) (*Document, error) {
	if len(data) > MaxBytes {
		return nil, &Error{File: file, Message: fmt.Sprintf("is %d bytes long; at most %d are read", len(data), MaxBytes)}
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := parseNext(dec, &doc); errors.Is(err, io.EOF) {
		return nil, &Error{File: file, Line: 1, Message: "is empty"}
	} else if err != nil {
		return nil, syntaxError(file, err)
	}
	if len(doc.Content) != 1 || isNull(doc.Content[0]) {
		return nil, &Error{File: file, Line: 1, Message: "is empty"}
	}
	var next yaml.Node
	switch err := parseNext(dec, &next); {
	case err == nil:
		return nil, &Error{File: file, Line: next.Line, Message: "a second document begins here; a file holds one"}
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(file, err)
	}
	return &Document{file: file, root: doc.Content[0]}, nil
}

// parseNext turns a panic of the YAML parser, which some malformed inputs have
// caused in its past, into an error.
func parseNext(dec *yaml.Decoder, into *yaml.Node) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the parser gave up: %v", p)
		}
	}()
	return dec.Decode(into)
}

var syntaxLine = regexp.MustCompile(`^line (\d+): `)

func syntaxError(file string, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	e := &Error{File: file}
	if m := syntaxLine.FindStringSubmatch(text); m != nil {
		e.Line, _ = strconv.Atoi(m[1]) // the pattern holds digits; one too large leaves 0, not known
		text = text[len(m[0]):]
	}
	e.Message = "is not valid YAML: " + text
	return e
}

// Decode reads the document into the struct that into points to.
func (d *Document) Decode(into any) error {
	return decode(d.file, d.root, into)
}

// Node is Decode for the UnmarshalYAML method of a type that reads one of its
// forms by itself and the other strictly. Its errors have no file name and
// fields relative to node; the Decode that called the method completes them.
func Node(node *yaml.Node, into any) error {
	return decode("", node, into)
}

func decode(file string, node *yaml.Node, into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("strictyaml: cannot decode into %T, want a pointer", into)
	}
	dec := &decoder{file: file, aliases: map[*yaml.Node]bool{}}
	dec.value(node, v.Elem(), "")
	return dec.err()
}

// Errorf is a problem with the value of field, a path such as
// "load.requests[0].path", placed where that value stands, or where the nearest
// field above it does when the document does not hold it.
func (d *Document) Errorf(field, format string, args ...any) *Error {
	line, column := d.Position(field)
	return &Error{File: d.file, Line: line, Column: column, Field: field, Message: fmt.Sprintf(format, args...)}
}

// Has reports whether the document itself holds field.
func (d *Document) Has(field string) bool {
	_, found := d.find(field)
	return found
}

// Position is the line and column of the value of field, from 1.
func (d *Document) Position(field string) (line, column int) {
	n, _ := d.find(field)
	return n.Line, n.Column
}

func (d *Document) find(field string) (nearest *yaml.Node, found bool) {
	n := d.root
	for _, step := range steps(field) {
		n = follow(n)
		var next *yaml.Node
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == step {
					next = n.Content[i+1]
				}
			}
		case yaml.SequenceNode:
			if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.Content) {
				next = n.Content[i]
			}
		}
		if next == nil {
			return n, false
		}
		n = next
	}
	return n, true
}

// steps splits "load.requests[0].path" into load, requests, 0, path.
func steps(field string) []string {
	return strings.FieldsFunc(field, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}

func follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// Join makes one error of problems, by file and place, or nil of none.
func Join(problems []*Error) error {
	slices.SortStableFunc(problems, func(a, b *Error) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column)
	})
	var all []error
	for i, e := range problems {
		if i == MaxErrors {
			all = append(all, &Error{File: e.File, Message: fmt.Sprintf("and %d more problems", len(problems)-i)})
			break
		}
		all = append(all, e)
	}
	return errors.Join(all...)
}
