package reports

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/invopop/jsonschema"

	"chokepoint/harness/score"
)

// TestSchema is the JSON Schema of what `chokepoint test --json` prints, indented.
func TestSchema() ([]byte, error) {
	r := &jsonschema.Reflector{
		Anonymous: true, ExpandedStruct: true, LookupComment: describeTest,
		Mapper: func(t reflect.Type) *jsonschema.Schema {
			if t != reflect.TypeFor[score.Share]() {
				return nil
			}
			s := &jsonschema.Schema{
				Type: "object", Properties: jsonschema.NewProperties(), Required: []string{"share", "part", "of"},
				Description: "A part of a whole.",
			}
			s.Properties.Set("share", &jsonschema.Schema{
				OneOf:       []*jsonschema.Schema{{Type: "number", Minimum: "0", Maximum: "1"}, {Type: "null"}},
				Description: "part / of; null where of is 0 and there is no share.",
			})
			s.Properties.Set("part", &jsonschema.Schema{Type: "number", Description: "How many; a fraction for an expectation, and for AC@k of a recording with several flaws."})
			s.Properties.Set("of", &jsonschema.Schema{Type: "integer", Description: "Of how many."})
			return s
		},
	}
	schema := r.Reflect(&TestReport{})
	schema.Title = "Chokepoint test"
	schema.Description = "How rules, or another detector, do on a corpus of recordings. docs/benchmark.md defines the measures."
	data, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode JSON Schema: %w", err)
	}
	return append(data, '\n'), nil
}

// describeTest gives the meaning of the parts of a test report to readers of the
// schema. What is not in it is part of another format, which says it there.
func describeTest(t reflect.Type, field string) string {
	return map[string]string{
		"TestReport.SchemaVersion": "Rises when a field changes its meaning or goes away.",
		"TestReport.Passed":        "False when a case of a rule does not hold, or a recording is answered worse than in the baseline.",
		"TestReport.Detector":      "What was scored: rules, or the command of another program.",
		"TestReport.Notes":         "What else a reader must know: rules of one's own, a baseline written anew.",
		"TestReport.Rules":         "The rules by id; none with another detector.",
		"TestReport.Failed":        "The rules' own cases that do not hold.",
		"TestReport.Corpus":        "Where the recordings came from.",
		"TestReport.Score":         "The measures.",
		"TestReport.Baseline":      "The score held against the baseline; absent when there is none.",

		"TestedRule":        "One rule and how its own cases went.",
		"TestedRule.Rule":   "Its id.",
		"TestedRule.Cause":  "The cause it finds.",
		"TestedRule.File":   "The file it was read from.",
		"TestedRule.Cases":  "How many cases it has.",
		"TestedRule.Failed": "How many of them do not hold.",

		"CaseResult":        "One case of a rule.",
		"CaseResult.Rule":   "Id of the rule.",
		"CaseResult.File":   "The rule's file.",
		"CaseResult.Line":   "Line of the case in it.",
		"CaseResult.Case":   "Name of the case.",
		"CaseResult.Expect": "fire, silent or unknown.",
		"CaseResult.Got":    "What the rule did.",
		"CaseResult.Passed": "Whether that is right, where it points and how sure it is included.",
		"CaseResult.Why":    "What is wrong; absent when it passed.",

		"AgainstBaseline":        "A score held against a baseline file.",
		"AgainstBaseline.File":   "The file.",
		"Comparison.Worse":       "What got worse; anything here fails.",
		"Comparison.Better":      "What got better.",
		"Comparison.New":         "Recordings that the baseline does not know, all answered right.",
		"AgainstBaseline.Worse":  "What got worse; anything here fails.",
		"AgainstBaseline.Better": "What got better.",
		"AgainstBaseline.New":    "Recordings that the baseline does not know, all answered right.",
		"Change":                 "How one recording is answered otherwise than in the baseline.",
		"Change.Recording":       "Its name.",
		"Change.Text":            "A sentence without its full stop.",

		"Corpus":                 "A directory of recordings.",
		"Corpus.Dir":             "Its path.",
		"Corpus.Recordings":      "The recordings by name.",
		"Recorded":               "One recording, and the machine and versions it came from.",
		"Recorded.Name":          "Its name: the path below the corpus, without ending.",
		"Recorded.Scenario":      "The scenario that was run.",
		"Recorded.Variant":       "flawed or fixed; absent where there is no twin.",
		"Recorded.Date":          "The day it was recorded, UTC.",
		"Recorded.WindowSeconds": "Length of the recording, in seconds.",
		"Recorded.InFlight":      "Requests in flight that the scenario asked for.",
		"Recorded.Captured":      "The dimensions that were captured.",
		"Recorded.Host":          "The machine.",
		"Recorded.Tool":          "The chokepoint that recorded it.",
		"Recorded.Target":        "The build of the server.",

		"Score":            "How a detector does on a corpus.",
		"Score.Recordings": "Recordings.",
		"Score.Scenarios":  "Scenarios they are of.",
		"Score.Sick":       "Recordings with a flaw.",
		"Score.Twins":      "Healthy recordings of a scenario that has a flawed variant.",
		"Score.NearMisses": "Healthy recordings that only look sick.",
		"Score.Others":     "Healthy recordings of servers without a flawed variant.",
		"Score.Unanswered": "Recordings for which the detector failed.",
		"Score.Overall":    "The measures over all recordings.",
		"Score.Chance":     "What the chance detector can expect: exact, nothing is drawn.",
		"Score.Causes":     "The measures of each cause, by name: only its flaws and findings count.",
		"Score.ByScene":    "The measures of each scenario, by name.",
		"Score.Confusion":  "What was true against what was found first.",
		"Score.Outcomes":   "How each recording was answered, by name.",

		"Rates":                    "The measures.",
		"Rates.Precision":          "Share of the findings that name a flaw which is there.",
		"Rates.Recall":             "Share of the flaws that are found, at whatever rank.",
		"Rates.AC1":                "AC@1, the mean over recordings with a flaw.",
		"Rates.AC3":                "AC@3, the mean over recordings with a flaw.",
		"Rates.Function":           "Share of the flaws that are found at the right function.",
		"Rates.Line":               "Share of the flaws that are found at the right line.",
		"Rates.Silent":             "Share of the healthy recordings without a finding.",
		"CauseScore":               "How one cause is told.",
		"CauseScore.Cause":         "Its id.",
		"CauseScore.Chance":        "What the chance detector can expect.",
		"ScenarioScore":            "How the recordings of one scenario are answered.",
		"ScenarioScore.Scenario":   "Its name.",
		"ScenarioScore.Truth":      "The causes that its flawed recordings show.",
		"ScenarioScore.NearMissOf": "The causes that it only looks like.",
		"ScenarioScore.Recordings": "Its recordings.",

		"Matrix":         "Confusion of causes: count[i][j] recordings whose truth is rows[i] were answered with columns[j] first.",
		"Matrix.Rows":    "Causes, then none.",
		"Matrix.Columns": "The same, then no answer where there is one.",
		"Matrix.Count":   "Recordings.",

		"Outcome":            "How one recording was answered.",
		"Outcome.Recording":  "Its name.",
		"Outcome.Scenario":   "The scenario that was run.",
		"Outcome.Variant":    "flawed or fixed; absent where there is no twin.",
		"Outcome.NearMissOf": "The causes that it only looks like.",
		"Outcome.Truth":      "Cause of its first flaw; none for a healthy server.",
		"Outcome.First":      "Cause of the first finding; none; or no answer.",
		"Outcome.Flaws":      "Each flaw that is there.",
		"Outcome.False":      "The findings of what is not there.",
		"Outcome.Undecided":  "The rules that lacked the evidence to decide.",
		"Outcome.Failed":     "Why there is no answer.",
		"Flaw":               "One flaw that is there, and how it was found.",
		"Flaw.Cause":         "Its cause.",
		"Flaw.Function":      "The function it stands in.",
		"Flaw.File":          "Its file.",
		"Flaw.Line":          "Its line.",
		"Flaw.Rank":          "Rank of the finding that names it; 0: it was not found.",
		"Flaw.FunctionRight": "Whether the finding names the function.",
		"Flaw.LineRight":     "Whether the finding names the line.",
		"Flaw.Got":           "Where the finding points.",
		"False":              "A finding of what is not there.",
		"False.Cause":        "The cause it names.",
		"False.Rank":         "Its rank.",
		"False.Where":        "Where it points.",
	}[key(t, field)]
}

func key(t reflect.Type, field string) string {
	if field == "" {
		return t.Name()
	}
	return t.Name() + "." + field
}
