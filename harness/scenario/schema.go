package scenario

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"

	"chokepoint/harness/bundle"
	"chokepoint/harness/cause"
)

// descriptions holds the doc comments of this package's types, by "Type" and
// "Type.Field": what editors show beside a field is what stands in the source.
// TestDescriptions keeps it current; its -update flag writes it.
//
//go:embed descriptions.json
var descriptions []byte

// Schema is the JSON Schema of a scenario file, for editors and other tools. It
// refuses what a schema can see; Parse sees more.
func Schema() ([]byte, error) {
	comments := map[string]string{}
	if err := json.Unmarshal(descriptions, &comments); err != nil {
		return nil, fmt.Errorf("schema of a scenario: read its descriptions: %w", err)
	}
	r := &jsonschema.Reflector{
		Anonymous:                  true,
		ExpandedStruct:             true,
		FieldNameTag:               "yaml",
		RequiredFromJSONSchemaTags: true,
		Mapper:                     scalarSchema,
		LookupComment: func(t reflect.Type, field string) string {
			if field == "" {
				return comments[t.Name()]
			}
			// A doc comment begins with the Go name, a reader knows the YAML one.
			f, _ := t.FieldByName(field)
			return f.Tag.Get("yaml") + strings.TrimPrefix(comments[t.Name()+"."+field], field)
		},
	}
	root := r.Reflect(Scenario{})
	root.Title = "Chokepoint scenario"
	of := func(definition, property string) *jsonschema.Schema { return propertyOf(root, definition, property) }

	target := root.Definitions["Target"]
	for _, kind := range []string{"package", "command", "pid", "url"} {
		target.OneOf = append(target.OneOf, &jsonschema.Schema{Required: []string{kind}})
	}
	of("Target", "variant").Enum = values(Flawed, Fixed)
	of("Target", "pid").Minimum = "1"
	of("Target", "gomaxprocs").Minimum = "1"
	of("Target", "package").Pattern = `^\./`
	of("Target", "command").MinItems = count(1)
	// A text may be written without quotes, whatever it looks like.
	of("Target", "command").Items = anyScalar()
	of("Target", "args").Items = anyScalar()
	of("Target", "knobs").AdditionalProperties = anyScalar()
	of("Target", "env").AdditionalProperties = anyScalar()
	of("Request", "header").AdditionalProperties = anyScalar()

	planSchema(root)
	of("Request", "path").Pattern = `^/\S*$`
	of("Request", "method").Enum = values("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
	enumList(of("Capture", "ebpf"), EBPFProbes())
	enumList(of("Capture", "pprof"), PprofProbes())
	customSchema(root)
	enumList(of("ExpectedFinding", "dimensions"), []string{bundle.DimEBPF, bundle.DimPprof, bundle.DimTrace})
	of("ExpectedFinding", "cause").Enum = values(cause.IDs()...)
	if name, ok := root.Properties.Get("scenario"); ok {
		name.Pattern = namePattern.String()
	}

	// The trace is a mapping or the word none.
	bounds := root.Definitions["Trace"]
	root.Definitions["Trace"] = &jsonschema.Schema{
		Description: bounds.Description,
		OneOf:       []*jsonschema.Schema{bounds, {Const: none}},
	}
	bounds.Description = ""

	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("schema of a scenario: %w", err)
	}
	return append(data, '\n'), nil
}

// propertyOf is one property of one of root's definitions.
func propertyOf(root *jsonschema.Schema, definition, property string) *jsonschema.Schema {
	p, _ := root.Definitions[definition].Properties.Get(property)
	return p
}

// planSchema adds to root what the tags of a load plan cannot say.
func planSchema(root *jsonschema.Schema) {
	of := func(definition, property string) *jsonschema.Schema { return propertyOf(root, definition, property) }
	anyOf := func(names ...string) (list []*jsonschema.Schema) {
		for _, name := range names {
			list = append(list, &jsonschema.Schema{Required: []string{name}})
		}
		return list
	}
	root.Definitions["LoadPlan"].AnyOf = anyOf("in_flight", "rate", "stages")
	root.Definitions["Stage"].OneOf = anyOf("in_flight", "rate")
	root.Definitions["Client"].OneOf = anyOf("reads", "stops_reading_after", "sends", "hangs_up_after")
	of("LoadPlan", "stages").MinItems = count(1)
	of("LoadPlan", "stages").MaxItems = count(maxStages)
	of("LoadPlan", "from").MinItems = count(1)
	of("LoadPlan", "from").MaxItems = count(maxFrom)
	of("LoadPlan", "from").UniqueItems = true
	of("LoadPlan", "clients").MaxItems = count(maxClients)
	of("LoadPlan", "protocol").Enum = values(HTTP1, HTTP2)
	of("LoadPlan", "engine").Enum = values(EngineLean, EngineNetHTTP)
	of("LoadPlan", "results").Enum = values(ResultsWhole, ResultsSampled, ResultsNone)
	of("LoadPlan", "values").PropertyNames = &jsonschema.Schema{Pattern: valuesPattern.String()}
}

// customSchema adds to root what the tags of custom probes cannot say.
func customSchema(root *jsonschema.Schema) {
	of := func(definition, property string) *jsonschema.Schema { return propertyOf(root, definition, property) }
	of("Capture", "custom").MaxItems = count(maxCustomProbes)
	root.Definitions["CustomProbe"].OneOf = []*jsonschema.Schema{{Required: []string{"function"}}, {Required: []string{"tracepoint"}}}
	of("CustomProbe", "name").Pattern = customNamePattern.String()
	of("CustomProbe", "tracepoint").Pattern = tracepointPattern.String()
}

func count(n uint64) *uint64 { return &n }

// scalarSchema describes the types that are written as a number with a unit.
func scalarSchema(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[Duration]():
		return &jsonschema.Schema{Type: "string", Pattern: durationPattern.String(), Examples: []any{"10s"}}
	case reflect.TypeFor[Rate]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]+(\.[0-9]+)?/(s|m)$`, Examples: []any{"5000/s"}}
	case reflect.TypeFor[Size]():
		return &jsonschema.Schema{Type: "string", Pattern: sizePattern.String(), Examples: []any{"64MiB"}}
	case reflect.TypeFor[ByteRate]():
		return &jsonschema.Schema{Type: "string", Pattern: byteRatePattern.String(), Examples: []any{"1KiB/s"}}
	case reflect.TypeFor[Share]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]+(\.[0-9]+)?%$`, Examples: []any{"2%"}}
	case reflect.TypeFor[Comparison]():
		return &jsonschema.Schema{Type: "string", Pattern: comparisonPattern.String(), Examples: []any{"> 100"}}
	case reflect.TypeFor[CPUSet](): // one CPU needs no quotes
		return &jsonschema.Schema{
			AnyOf:    []*jsonschema.Schema{{Type: "string", Pattern: cpuSetPattern.String()}, {Type: "integer", Minimum: "0", Maximum: "1023"}},
			Examples: []any{"0-2,5"},
		}
	}
	return nil
}

func anyScalar() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}}}
}

func enumList(list *jsonschema.Schema, known []string) {
	list.UniqueItems = true
	list.Items = &jsonschema.Schema{Type: "string", Enum: values(known...)}
}

func values[T any](list ...T) []any {
	var all []any
	for _, v := range list {
		all = append(all, v)
	}
	return all
}
