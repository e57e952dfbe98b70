package strictyaml

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

type shop struct {
	Name    string            `yaml:"name"`
	Open    bool              `yaml:"open"`
	Count   int               `yaml:"count"`
	Small   int8              `yaml:"small"`
	Size    uint16            `yaml:"size"`
	Price   float64           `yaml:"price"`
	Tags    []string          `yaml:"tags"`
	Prices  map[string]int    `yaml:"prices"`
	Labels  map[string]string `yaml:"labels"`
	Owner   *person           `yaml:"owner"`
	Staff   []person          `yaml:"staff"`
	Colour  colour            `yaml:"colour"`
	Spread  spread            `yaml:"spread"`
	Any     any               `yaml:"any"`
	address `yaml:",inline"`
	Where   address2 `yaml:",inline"`
	Secret  string   `yaml:"-"`
	Plain   string
}

type address struct{ Hidden string }

type address2 struct {
	Street string `yaml:"street"`
}

type person struct {
	Name string `yaml:"name"`
	Age  int    `yaml:"age"`
}

// colour reads itself from text.
type colour string

func (c *colour) UnmarshalText(text []byte) error {
	if string(text) != "red" {
		return fmt.Errorf("%q is no colour; write red", text)
	}
	*c = "RED"
	return nil
}

// spread reads itself from a mapping or a word.
type spread struct {
	Low  int `yaml:"low"`
	High int `yaml:"high"`
	None bool
}

func (s *spread) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.Value == "none" {
		s.None = true
		return nil
	}
	type plain spread
	return Node(n, (*plain)(s))
}

func TestDecodeGood(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want shop
	}{
		"scalars":             {"name: a\nopen: true\ncount: -3\nsmall: -128\nsize: 65535\nprice: 1.5", shop{Name: "a", Open: true, Count: -3, Small: -128, Size: 65535, Price: 1.5}},
		"number bases":        {"count: 0x1F\nsize: 1_000\nprice: 0x10", shop{Count: 31, Size: 1000, Price: 16}},
		"whole price":         {"price: 2", shop{Price: 2}},
		"text as written":     {"name: 1.10\ntags: [8080, true, 2026-01-02, a]", shop{Name: "1.10", Tags: []string{"8080", "true", "2026-01-02", "a"}}},
		"quoted":              {"name: 'null'\nstreet: \"x: y\"", shop{Name: "null", Where: address2{"x: y"}}},
		"empty list":          {"tags: []", shop{Tags: []string{}}},
		"maps":                {"prices: {a: 1, b: 2}\nlabels: {x: 10ms, y: 3}", shop{Prices: map[string]int{"a": 1, "b": 2}, Labels: map[string]string{"x": "10ms", "y": "3"}}},
		"nested":              {"owner: {name: n, age: 3}\nstaff:\n- name: a\n- name: b", shop{Owner: &person{"n", 3}, Staff: []person{{"a", 0}, {"b", 0}}}},
		"text unmarshaler":    {"colour: red", shop{Colour: "RED"}},
		"yaml unmarshaler":    {"spread: {low: 1, high: 2}", shop{Spread: spread{Low: 1, High: 2}}},
		"its other form":      {"spread: none", shop{Spread: spread{None: true}}},
		"alias":               {"owner: &o {name: n}\nstaff: [*o, *o]", shop{Owner: &person{Name: "n"}, Staff: []person{{Name: "n"}, {Name: "n"}}}},
		"any":                 {"any: {a: [1, 1.5, true, x, null], b: {}}", shop{Any: map[string]any{"a": []any{int64(1), 1.5, true, "x", nil}, "b": map[string]any{}}}},
		"field without tag":   {"plain: x", shop{Plain: "x"}},
		"comments and marker": {"# hello\n---\nname: x # end\n...\n", shop{Name: "x"}},
		"byte order mark":     {"\ufeffname: x", shop{Name: "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got shop
			require.NoError(t, Decode("f.yaml", []byte(c.in), &got))
			assert.Equal(t, c.want, got)
		})
	}
}

func TestDecodeKeepsWhatIsNotNamed(t *testing.T) {
	got := shop{Name: "before", Count: 7}
	require.NoError(t, Decode("f.yaml", []byte("count: 8"), &got))
	assert.Equal(t, shop{Name: "before", Count: 8}, got)
}

func TestDecodeBad(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want []string // one for each problem, in order
	}{
		"empty":                {"", []string{"f.yaml:1: is empty"}},
		"only a comment":       {"# nothing", []string{"f.yaml:1: is empty"}},
		"null":                 {"null", []string{"f.yaml:1: is empty"}},
		"syntax":               {"name: a\ntags: [", []string{"f.yaml:2: is not valid YAML: did not find expected node content"}},
		"tab":                  {"name: a\n\tb: c", []string{"f.yaml:2: is not valid YAML: found a tab character that violates indentation"}},
		"undefined alias":      {"name: *x", []string{"f.yaml: is not valid YAML: unknown anchor 'x' referenced"}},
		"not UTF-8":            {"name: \xff\xfe", []string{"f.yaml: is not valid YAML: invalid leading UTF-8 octet"}},
		"two documents":        {"name: a\n---\nname: b", []string{"f.yaml:2: a second document begins here; a file holds one"}},
		"second is broken":     {"name: a\n---\n[", []string{"f.yaml:3: is not valid YAML: did not find expected node content"}},
		"list at the top":      {"- a", []string{`f.yaml:1:1: must be a mapping of names to values, is a list`}},
		"text at the top":      {"hello", []string{`f.yaml:1:1: must be a mapping of names to values, is "hello"`}},
		"unknown field, near":  {"nmae: a", []string{`f.yaml:1:1: nmae: unknown field; did you mean "name"?`}},
		"wrong case":           {"NAME: a", []string{`f.yaml:1:1: NAME: unknown field; did you mean "name"?`}},
		"unknown field, far":   {"owner: {zzz: 1}", []string{`f.yaml:1:9: owner.zzz: unknown field; known here: name, age`}},
		"hidden field":         {"secret: a", []string{`f.yaml:1:1: secret: unknown field; did you mean "street"?`}},
		"duplicate":            {"name: a\nopen: true\nname: b", []string{"f.yaml:3:1: name: stands here a second time; the first is on line 1"}},
		"duplicate in a map":   {"prices: {a: 1, a: 2}", []string{"f.yaml:1:16: prices.a: stands here a second time; the first is on line 1"}},
		"bool":                 {"open: yes", []string{`f.yaml:1:7: open: must be true or false, is "yes"`}},
		"int from text":        {"count: ten", []string{`f.yaml:1:8: count: must be a whole number, is "ten"`}},
		"int from quoted":      {"count: '10'", []string{`f.yaml:1:8: count: must be a whole number, is "10"`}},
		"int from float":       {"count: 1.5", []string{`f.yaml:1:8: count: must be a whole number, is "1.5"`}},
		"int from list":        {"count: [1]", []string{`f.yaml:1:8: count: must be a whole number, is a list`}},
		"int too large":        {"small: 128", []string{"f.yaml:1:8: small: the number 128 is out of range"}},
		"negative uint":        {"size: -1", []string{"f.yaml:1:7: size: the number -1 is out of range; it must be 0 or more"}},
		"float from text":      {"price: cheap", []string{`f.yaml:1:8: price: must be a number, is "cheap"`}},
		"infinite":             {"price: .inf", []string{"f.yaml:1:8: price: the number .inf is out of range"}},
		"not a number":         {"price: .nan", []string{"f.yaml:1:8: price: the number .nan is out of range"}},
		"text from mapping":    {"name: {a: b}", []string{"f.yaml:1:7: name: must be text, is a mapping"}},
		"list from text":       {"tags: a", []string{`f.yaml:1:7: tags: must be a list, is "a"`}},
		"mapping from list":    {"owner: []", []string{"f.yaml:1:8: owner: must be a mapping of names to values, is a list"}},
		"no value":             {"name:\nopen: true", []string{"f.yaml:1:6: name: has no value; give it one or remove it"}},
		"no value in a list":   {"tags: [a, ]\nstaff: [~]", []string{"f.yaml:2:9: staff[0]: has no value; give it one or remove it"}},
		"own tag":              {"name: !secret x", []string{"f.yaml:1:7: name: the tag !secret has no meaning here; remove it"}},
		"merge key":            {"staff: [&p {name: x}]\nowner:\n  <<: *p", []string{"f.yaml:3:3: owner: merge keys (<<) are not read here; write the fields out"}},
		"list as a key":        {"? [a]\n: b", []string{"f.yaml:1:3: a key must be a name, is a list"}},
		"null as a key":        {"~: b", []string{"f.yaml:1:1: a key must be a name, is empty"}},
		"text unmarshaler":     {"colour: blue", []string{`f.yaml:1:9: colour: "blue" is no colour; write red`}},
		"the same from a list": {"colour: [red]", []string{"f.yaml:1:9: colour: must be a single value, is a list"}},
		"yaml unmarshaler":     {"spread:\n  low: x\n  hihg: 3", []string{`f.yaml:2:8: spread.low: must be a whole number, is "x"`, `f.yaml:3:3: spread.hihg: unknown field; did you mean "high"?`}},
		"alias in itself":      {"any: &a [*a]", []string{"f.yaml:1:10: any[0][0]: the alias *a contains itself"}},
		"long value":           {"open: " + strings.Repeat("x", 100), []string{`f.yaml:1:7: open: must be true or false, is "` + strings.Repeat("x", 40) + `..."`}},
		"several, by line": {"count: x\nnam: y\nstaff:\n- {age: old}\n- {aeg: 3}\nopen: 3", []string{
			`f.yaml:1:8: count: must be a whole number, is "x"`,
			`f.yaml:2:1: nam: unknown field; did you mean "name"?`,
			`f.yaml:4:9: staff[0].age: must be a whole number, is "old"`,
			`f.yaml:5:4: staff[1].aeg: unknown field; did you mean "age"?`,
			`f.yaml:6:7: open: must be true or false, is "3"`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var got shop
			err := Decode("f.yaml", []byte(c.in), &got)
			require.Error(t, err)
			assert.Equal(t, c.want, strings.Split(err.Error(), "\n"))
			var one *Error
			require.ErrorAs(t, err, &one)
			assert.Equal(t, "f.yaml", one.File)
			assert.Len(t, All(fmt.Errorf("while reading: %w", err)), len(c.want))
		})
	}
}

func TestBounds(t *testing.T) {
	bomb := "any:\n- &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'i'; c++ {
		bomb += fmt.Sprintf("- &%c [%s]\n", c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 10), ", "))
	}
	var many strings.Builder
	for i := range MaxErrors + 5 {
		fmt.Fprintf(&many, "zzzzzzzzzz%d: 1\n", i)
	}
	for name, c := range map[string]struct{ in, want string }{
		"size":   {"name: " + strings.Repeat("x", MaxBytes), "f.yaml: is 1048582 bytes long; at most 1048576 are read"},
		"bomb":   {bomb, "expands to more than 100000 values; use fewer aliases"},
		"depth":  {"any: " + strings.Repeat("[", 100) + strings.Repeat("]", 100), "is nested deeper than 64 levels"},
		"errors": {many.String(), "and 5 more problems"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Decode("f.yaml", []byte(c.in), &shop{})
			require.ErrorContains(t, err, c.want)
			assert.LessOrEqual(t, len(All(err)), MaxErrors+1)
		})
	}
}

func TestMisuseIsToldAndDoesNotPanic(t *testing.T) {
	assert.Error(t, Decode("f.yaml", []byte("a: 1"), shop{}))
	assert.Error(t, Decode("f.yaml", []byte("a: 1"), (*shop)(nil)))
	assert.Error(t, Decode("f.yaml", []byte("a: 1"), &struct{ A chan int }{}))
	assert.Error(t, Decode("f.yaml", []byte("a: {1: 2}"), &struct{ A map[int]int }{}))
	assert.Error(t, Decode("f.yaml", []byte("a: 1"), &struct{ A fmt.Stringer }{}))
	assert.Error(t, Decode("f.yaml", []byte("a: 1"), &struct {
		A int `yaml:"a"`
		B int `yaml:"a"`
	}{}))
}

func TestDocumentPlaces(t *testing.T) {
	doc, err := Parse("f.yaml", []byte("a:\n  - b: 1\n    c: &x {d: 2}\n  - *x\n"))
	require.NoError(t, err)
	for field, want := range map[string]struct {
		line, column int
		has          bool
	}{
		"":          {1, 1, true},
		"a":         {2, 3, true},
		"a[0].b":    {2, 8, true},
		"a[0].c.d":  {3, 15, true},
		"a[1].d":    {3, 15, true},
		"a[0].gone": {2, 5, false},
		"a[7]":      {2, 3, false},
		"gone.more": {1, 1, false},
		"a[-1]":     {2, 3, false},
	} {
		line, column := doc.Position(field)
		assert.Equal(t, []int{want.line, want.column}, []int{line, column}, field)
		assert.Equal(t, want.has, doc.Has(field), field)
	}
	assert.EqualError(t, doc.Errorf("a[0].b", "is %d", 1), "f.yaml:2:8: a[0].b: is 1")
}

func TestAllSkipsOtherErrors(t *testing.T) {
	assert.Empty(t, All(nil))
	assert.Empty(t, All(errors.New("x")))
	assert.Len(t, All(errors.Join(errors.New("x"), &Error{}, fmt.Errorf("w: %w", &Error{}))), 2)
	assert.NoError(t, Join(nil))
}

func TestNearest(t *testing.T) {
	known := []string{"in_flight", "rate", "ramp", "requests", "timeout"}
	for word, want := range map[string]string{
		"inflight": "in_flight", "rmap": "ramp", "rates": "rate", "time_out": "timeout", "Rate": "rate",
		"request": "requests", "zebra": "", "": "", "x": "",
	} {
		assert.Equal(t, want, Nearest(word, known), word)
	}
	assert.Empty(t, Nearest("x", nil))
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"ab", "ab", 0}, {"ab", "ba", 1}, {"kitten", "sitting", 3}, {"µs", "us", 1}} {
		assert.Equal(t, c.want, distance(c.a, c.b), "%s to %s", c.a, c.b)
		assert.Equal(t, c.want, distance(c.b, c.a), "%s to %s", c.b, c.a)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"", "name: a", "tags: [a, b]", "owner: &o {name: n}\nstaff: [*o]", "any: &a [*a]", "a: b\n---\nc: d",
		"spread: none", "<<: {a: b}", "? [a]\n: b", "name: !!binary aGk=", "any: {a: 0x1f, b: .inf, c: 1_0}", "name: |\n  x\n #c",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got shop
		err := Decode("f.yaml", data, &got)
		if err == nil {
			return
		}
		problems := All(err)
		if len(problems) == 0 || len(problems) > MaxErrors+1 {
			t.Fatalf("%d problems in %q", len(problems), err)
		}
		for _, p := range problems {
			if p.File != "f.yaml" || p.Message == "" || p.Line < 0 {
				t.Fatalf("incomplete problem %+v", p)
			}
			if strings.HasPrefix(p.Message, "strictyaml:") {
				t.Fatalf("input %q reached an error meant for programmers: %v", data, p)
			}
		}
	})
}
