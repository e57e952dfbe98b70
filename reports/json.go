package reports

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/health"
	"chokepoint/harness/rule"
	"chokepoint/harness/signal"
	"chokepoint/harness/verdict"
)

// SchemaVersion is the version of the document JSON writes. It rises when a
// field changes its meaning or goes away; new fields do not raise it.
const SchemaVersion = 1

// Document is the report as a machine reads it.
type Document struct {
	SchemaVersion int                `json:"schema_version"`
	Bundle        string             `json:"bundle,omitempty"`
	Scenario      *Scenario          `json:"scenario,omitempty"`
	Verdict       *verdict.Verdict   `json:"verdict,omitempty"`
	FellShort     string             `json:"fell_short,omitempty"` // why nothing can be concluded
	CPU           *CPUUse            `json:"cpu,omitempty"`        // of what the target may use
	Findings      []rule.Finding     `json:"findings"`
	Unknown       []rule.Unknown     `json:"unknown"`
	Silent        []string           `json:"silent"` // ids of rules
	Dimensions    []bundle.Dimension `json:"dimensions"`
	EBPFPrice     *Price             `json:"ebpf_price,omitempty"`
	Load          *bundle.Load       `json:"load,omitempty"`
	Health        *health.Report     `json:"health,omitempty"` // of the load generator
	Window        bundle.Window      `json:"window"`           // CLOCK_MONOTONIC, ns
	Target        bundle.Target      `json:"target"`
	Host          bundle.Host        `json:"host"`
	Notes         []string           `json:"notes"`
	Marked        []signal.Marked    `json:"marked,omitempty"`
	// Still is told where no request ended and no rule says why.
	Still []signal.Still `json:"still,omitempty"`
}

// NewDocument is the document that JSON writes, for callers that put several
// into one.
func NewDocument(r Report) Document {
	d := Document{
		SchemaVersion: SchemaVersion,
		Bundle:        r.Bundle,
		Verdict:       r.Verdict,
		FellShort:     r.FellShort,
		CPU:           r.CPU,
		Findings:      r.Result.Findings,
		Unknown:       r.Result.Unknown,
		Silent:        r.Result.Silent,
		Dimensions:    r.Dimensions,
		EBPFPrice:     r.Price,
		Load:          r.Load,
		Health:        r.Health,
		Window:        r.Window,
		Target:        r.Target,
		Host:          r.Host,
		Notes:         r.Notes,
		Marked:        r.Marked,
		Still:         r.still(),
	}
	if r.Scenario != (Scenario{}) {
		d.Scenario = &r.Scenario
	}
	// An empty list is [], never null: readers loop over it.
	d.Findings = orEmpty(d.Findings)
	d.Unknown = orEmpty(d.Unknown)
	d.Silent = orEmpty(d.Silent)
	d.Dimensions = orEmpty(d.Dimensions)
	d.Notes = orEmpty(d.Notes)
	return d
}

// JSON writes the report as one indented document.
func JSON(w io.Writer, r Report) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // for people who read it with less
	e.SetIndent("", "  ")
	if err := e.Encode(NewDocument(r)); err != nil {
		return fmt.Errorf("write report as JSON: %w", err)
	}
	return nil
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
