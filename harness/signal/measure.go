package signal

import (
	"errors"
	"fmt"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// definition is a signal and how it is measured: exactly one of number and
// place is set. A measurement that has no value returns an error that says why.
type definition struct {
	Definition
	number func(*evidence) (float64, error)
	place  func(*evidence) (stack.Frame, error)
	// of may go with number, and says what the number is of.
	of func(*evidence) (string, error)
}

// definitions is the one list of signals. A new signal is a function in the
// file of its dimension and an entry in that file's list.
func definitions() []definition {
	var all []definition
	for _, list := range [][]definition{
		traceSignals(), holderSignals(), requestSignals(), queueSignals(), slotSignals(), untakenSignals(), turnSignals(), pathSignals(), waitSignals(),
		callSignals(), heldSignals(), besideSignals(), threadsLeftSignals(), goroutineSignals(), sleeperSignals(),
		stalledSignals(), orphanSignals(), behindSignals(), unreadSignals(), againSignals(), endedSignals(), descriptorSignals(), poolMadeSignals(),
		cpuSignals(), busyWaitSignals(), heapSignals(), collectorSignals(), timerSignals(),
		pprofSignals(), ebpfSignals(), procSignals(), loadSignals(),
	} {
		all = append(all, list...)
	}
	return all
}

// Catalogue lists every signal there is, in a stable order.
func Catalogue() []Definition {
	defs := definitions()
	out := make([]Definition, len(defs))
	for i, d := range defs {
		out[i] = d.Definition
	}
	return out
}

// errNone says that there was nothing to measure, though what it would be
// measured from was captured.
var errNone = errors.New("nothing of the kind in the recording")

// Reading is a bundle's evidence that is read once for all that is asked of it: the
// trace takes longest of all.
type Reading struct{ e *evidence }

// Read begins a reading. Nothing is read before it is asked for.
func Read(b bundle.Evidence) *Reading { return &Reading{newEvidence(b)} }

// Measure takes every signal. A damaged or missing artifact costs the signals that
// rest on it, and Missing says so.
func (r *Reading) Measure() Set { return r.e.measure() }

// Trace is the execution trace, reduced.
func (r *Reading) Trace() (*gotrace.Summary, error) { return r.e.trace() }

// Where says where the time of the requests went; with an endpoint, of those alone
// that the function of that name handles. It is an error only where there is no trace
// that could be read.
func (r *Reading) Where(endpoint string) (*Where, error) { return r.e.where(endpoint) }

// Measure takes every signal from a bundle's evidence: see Reading.
func Measure(b bundle.Evidence) Set { return Read(b).Measure() }

// Sources says for each signal which artifacts of the bundle it was taken from,
// by path. What it has none of, it had no need of or could not read.
func Sources(b bundle.Evidence) map[string][]string {
	e := newEvidence(b)
	from := map[string][]string{}
	for _, d := range definitions() {
		_, err := e.take(d)
		from[d.Name] = e.sources()
		if err == nil && len(from[d.Name]) == 0 { // it is known of the target itself
			from[d.Name] = []string{bundle.ManifestFile}
		}
	}
	return from
}

func (e *evidence) measure() Set {
	set := Set{Signals: map[string]Signal{}, Missing: map[string]string{}, Libraries: map[Location]Location{}}
	for _, d := range definitions() {
		s, err := e.take(d)
		if err != nil {
			set.Missing[d.Name] = err.Error()
			continue
		}
		set.Signals[d.Name] = s
		if _, known := set.Libraries[s.Where]; d.Kind == Place && !known {
			w := s.Where
			if l := e.library(d.Dimension, stack.Frame{Function: w.Function, File: w.File, Line: w.Line}); !l.IsZero() {
				set.Libraries[w] = Location{Function: l.Function, File: l.File, Line: l.Line}
			}
		}
	}
	return set
}

// take measures one signal.
func (e *evidence) take(d definition) (Signal, error) {
	s := Signal{Definition: d.Definition}
	var err error
	if d.number != nil {
		s.Value, err = d.number(e)
		if err == nil && d.of != nil {
			s.Of, err = d.of(e)
		}
		return s, err
	}
	f, err := d.place(e)
	if err == nil && f.IsZero() {
		err = errNone
	}
	s.Where = Location{Function: f.Function, File: f.File, Line: f.Line}
	return s, err
}

func number(name, dimension string, unit Unit, measure func(*evidence) (float64, error), meaning string) definition {
	return definition{Definition: Definition{Name: name, Dimension: dimension, Kind: Number, Unit: unit, Meaning: meaning}, number: measure}
}

// naming adds what says what the number is of.
func (d definition) naming(of func(*evidence) (string, error)) definition {
	d.of = of
	return d
}

func place(name, dimension string, measure func(*evidence) (stack.Frame, error), meaning string) definition {
	return definition{Definition: Definition{Name: name, Dimension: dimension, Kind: Place, Meaning: meaning}, place: measure}
}

// share is part of whole, and 0 of nothing.
func share(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// missing explains the absence of an artifact by what the manifest says of the
// probe and the dimension that should have written it.
func missing(m bundle.Manifest, dimension, artifact string, err error) error {
	if !errors.Is(err, bundle.ErrNoArtifact) {
		return err
	}
	if p, ok := m.Probe(artifact); ok && p.Reason != "" {
		return fmt.Errorf("%s: the %s probe was not captured: %s", dimension, p.Name, p.Reason)
	}
	if d, ok := m.Dimension(dimension); ok && !d.Captured {
		// Why not stands in the manifest, and once in a report: it would be
		// the same for every signal of the dimension.
		return fmt.Errorf("%s was not captured", dimension)
	}
	return fmt.Errorf("%s: %s was not captured", dimension, artifact)
}
