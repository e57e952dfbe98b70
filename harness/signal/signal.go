// Package signal turns the artifacts of a bundle into signals: named
// measurements with a unit, a dimension and, where there is one, the line of
// the program they belong to. It is pure: the same bundle gives the same
// signals on any machine.
//
// Signals are ratios wherever a ratio exists (a share of request time, of CPU,
// of calls), so that what is concluded from them holds on a slower machine and
// at a tenth of the load.
package signal

// Kind says what a signal's value is.
type Kind string

// The kinds of signal.
const (
	Number Kind = "number"
	Place  Kind = "place" // a location in the program's own code
)

// Unit is the unit of a number.
type Unit string

// The units in use. A share is between 0 and 1 unless its meaning says otherwise.
const (
	Share      Unit = "share"
	Ratio      Unit = "ratio" // may exceed 1
	Count      Unit = "count"
	Nanosecond Unit = "ns"
	Second     Unit = "s"
	Byte       Unit = "bytes"
	Hertz      Unit = "per second"
	NoUnit     Unit = ""

	PerRequest    Unit = "per request"    // that ended in the window
	PerEvent      Unit = "per event"      // that a poll returned
	PerCollection Unit = "per collection" // of the garbage collector
	PerCPUMilli   Unit = "per ms of CPU"
)

// Definition describes a signal to authors of rules.
type Definition struct {
	Name      string `json:"name"` // "trace.lock_wait_share"; its first part is the dimension
	Dimension string `json:"dimension"`
	Kind      Kind   `json:"kind"`
	Unit      Unit   `json:"unit,omitempty"`
	Meaning   string `json:"meaning"` // one sentence, with the denominator of a share
}

// Location is a line of the target's code.
type Location struct {
	Function string `json:"function"` // as the Go runtime names it: "main.(*store).get"
	File     string `json:"file"`
	Line     int    `json:"line"`
}

// IsZero reports whether there is no location.
func (l Location) IsZero() bool { return l == Location{} }

// Signal is one measurement.
type Signal struct {
	Definition
	Value float64  `json:"value"`          // of a Number
	Of    string   `json:"of,omitempty"`   // what a Number is of, in the program's own words
	Where Location `json:"where,omitzero"` // of a Place
}

// Set is what was measured in one bundle, and what could not be.
type Set struct {
	Signals map[string]Signal `json:"signals"`
	// Missing says for each signal that has no value why not.
	Missing map[string]string `json:"missing"`
	// Libraries is, for places that are lines of the program which call somebody's
	// library, the library's line that they most often have below them.
	Libraries map[Location]Location `json:"-"`
}
