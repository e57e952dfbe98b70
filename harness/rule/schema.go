package rule

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/invopop/jsonschema"

	"chokepoint/harness/cause"
	"chokepoint/harness/signal"
)

// Schema is the JSON Schema of a rule file, indented. Editors complete and
// check rules by it; names of signals are checked when a rule is loaded.
func Schema() ([]byte, error) {
	r := &jsonschema.Reflector{FieldNameTag: "yaml", Anonymous: true, ExpandedStruct: true}
	schema := r.Reflect(&document{})
	schema.Title = "Chokepoint rule"
	schema.Description = "How one cause of slowness is recognised from signals."
	var causes []any
	for _, id := range cause.IDs() {
		causes = append(causes, id)
	}
	if names, ok := schema.Properties.Get("cause"); ok {
		names.Enum = causes
	}
	if confused, ok := schema.Properties.Get("confused_with"); ok && confused.Items != nil {
		confused.Items.Enum = causes
	}
	return indented(schema)
}

// FindingSchema is the JSON Schema of a finding, indented.
func FindingSchema() ([]byte, error) {
	r := &jsonschema.Reflector{Anonymous: true, ExpandedStruct: true, LookupComment: describe}
	schema := r.Reflect(&Finding{})
	schema.Title = "Chokepoint finding"
	return indented(schema)
}

func indented(schema *jsonschema.Schema) ([]byte, error) {
	data, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode JSON Schema: %w", err)
	}
	return append(data, '\n'), nil
}

// describe gives the meaning of the parts of a finding to readers of the schema.
func describe(t reflect.Type, field string) string {
	type part struct {
		of    reflect.Type
		field string
	}
	return map[part]string{
		{reflect.TypeFor[Finding](), ""}:           "One diagnosed cause.",
		{reflect.TypeFor[Finding](), "Cause"}:      "Id of the cause.",
		{reflect.TypeFor[Finding](), "Rule"}:       "Id of the rule that found it.",
		{reflect.TypeFor[Finding](), "Title"}:      "What is wrong, in a few words.",
		{reflect.TypeFor[Finding](), "Rank"}:       "1 is first.",
		{reflect.TypeFor[Finding](), "Impact"}:     "Share that it costs, 0 to 1.",
		{reflect.TypeFor[Finding](), "ImpactOf"}:   "What the impact is a share of: of request time.",
		{reflect.TypeFor[Finding](), "Confidence"}: "high, medium or low, by the stances of the dimensions.",
		{reflect.TypeFor[Finding](), "Where"}:      "The program's own line that can be changed; empty when no place was captured.",
		{reflect.TypeFor[Finding](), "Related"}:    "Other places that help to understand it.",
		{reflect.TypeFor[Finding](), "Because"}:    "One sentence with the figures that prove it.",
		{reflect.TypeFor[Finding](), "Fix"}:        "What to change.",
		{reflect.TypeFor[Finding](), "Dimensions"}: "What ebpf, pprof and trace say, in this order.",
		{reflect.TypeFor[Finding](), "Confused"}:   "Causes that look alike.",
		{reflect.TypeFor[Finding](), "Also"}:       "Rules of the same cause that fired at the same function.",

		{reflect.TypeFor[Related](), ""}:      "Another place that helps to understand a finding.",
		{reflect.TypeFor[Related](), "Role"}:  "What happens there.",
		{reflect.TypeFor[Related](), "Where"}: "The place.",

		{reflect.TypeFor[DimensionFinding](), ""}:          "What one dimension says of a finding.",
		{reflect.TypeFor[DimensionFinding](), "Dimension"}: "ebpf, pprof or trace.",
		{reflect.TypeFor[DimensionFinding](), "Stance"}:    "agrees, disagrees, silent or not captured.",
		{reflect.TypeFor[DimensionFinding](), "Says"}:      "A sentence with figures and units, or why it could not be told.",
		{reflect.TypeFor[DimensionFinding](), "Figures"}:   "The signals the stance rests on.",

		{reflect.TypeFor[Figure](), ""}:       "One number the stance rests on.",
		{reflect.TypeFor[Figure](), "Signal"}: "Name of the signal.",
		{reflect.TypeFor[Figure](), "Value"}:  "Its value, in its unit.",
		{reflect.TypeFor[Figure](), "Unit"}:   "share, ratio, count, ns, s, bytes or per second; absent for a bare number.",

		{reflect.TypeFor[signal.Location](), ""}:         "A line of the target's code.",
		{reflect.TypeFor[signal.Location](), "Function"}: "As the Go runtime names it.",
		{reflect.TypeFor[signal.Location](), "File"}:     "Path of the source file.",
		{reflect.TypeFor[signal.Location](), "Line"}:     "Line in the file, from 1.",
	}[part{t, field}]
}
