package rule

import "chokepoint/harness/signal"

// Stance is what one dimension says of a finding.
type Stance string

// The stances. A dimension that was not captured is never counted as agreement.
const (
	Agrees      Stance = "agrees"
	Disagrees   Stance = "disagrees"
	Silent      Stance = "silent"
	NotCaptured Stance = "not captured"
)

// Confidence is how sure a finding is; docs/rules.md states how it follows
// from the stances.
type Confidence string

// The confidences, by the three dimensions' stances.
const (
	High   Confidence = "high"   // two or three agree, none disagrees
	Medium Confidence = "medium" // one agrees, none disagrees; or two agree and one disagrees
	Low    Confidence = "low"    // anything else
)

// Finding is one diagnosed cause.
type Finding struct {
	Cause      string             `json:"cause"`
	Rule       string             `json:"rule"`
	Title      string             `json:"title"`
	Rank       int                `json:"rank"`      // 1 is first
	Impact     float64            `json:"impact"`    // share that it costs, 0 to 1
	ImpactOf   string             `json:"impact_of"` // what it is a share of: "of request time"
	Confidence Confidence         `json:"confidence"`
	Where      signal.Location    `json:"where"`
	Related    []Related          `json:"related,omitempty"`
	Because    string             `json:"because"`
	Fix        string             `json:"fix"`
	Dimensions []DimensionFinding `json:"dimensions"` // ebpf, pprof, trace, in this order
	Confused   []string           `json:"confused_with,omitempty"`
	Also       []string           `json:"also,omitempty"` // rules of the same cause that fired at the same function

	resource bool // what it loses is no time
}

// Related is another location that helps to understand a finding.
type Related struct {
	Role  string          `json:"role"` // "the holder sleeps here"
	Where signal.Location `json:"where"`
}

// DimensionFinding is what one dimension says of a finding.
type DimensionFinding struct {
	Dimension string   `json:"dimension"`
	Stance    Stance   `json:"stance"`
	Says      string   `json:"says"` // a sentence with figures and units, or why it could not be told
	Figures   []Figure `json:"figures,omitempty"`
}

// Figure is one signal that a dimension's stance rests on.
type Figure struct {
	Signal string      `json:"signal"`
	Value  float64     `json:"value"`
	Unit   signal.Unit `json:"unit,omitempty"`
}

// Unknown is a rule that could not be decided, and why.
type Unknown struct {
	Cause   string   `json:"cause"`
	Rule    string   `json:"rule"`
	Missing []string `json:"missing"` // signals, each with the reason it has no value
}
