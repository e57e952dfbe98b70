package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"chokepoint/harness/strictyaml"
)

// Defaults of what a scenario leaves out.
const (
	DefaultStartTimeout = Duration(15 * time.Second)
	DefaultReady        = "/"
	DefaultDebug        = "http://{debug}/debug/pprof"   // of a package target
	DefaultMetrics      = "http://{debug}/debug/metrics" // of a package target
	DefaultRamp         = Duration(5 * time.Second)
	DefaultTimeout      = Duration(2 * time.Minute) // far above what a flawed target takes: slowness must not show as errors
	DefaultWindow       = Duration(10 * time.Second)
	DefaultSlow         = Duration(10 * time.Millisecond)
	DefaultTraceFor     = Duration(5 * time.Second)
	DefaultTraceAtMost  = Size(64 << 20)
)

// ResolvedSchema is the version of the Resolved document. A reader refuses a
// newer one. Version 1 had no stages and one engine.
const ResolvedSchema = 2

// Resolved is scenario.json in a bundle: what was run and what is true of it.
// It is ground truth: a verdict and the header of a report may read it, signals
// and rules may not.
type Resolved struct {
	Schema   int      `json:"schema"`
	Scenario Scenario `json:"scenario"`
	// Variant that ran; empty for a target without variants.
	Variant Variant `json:"variant,omitempty"`
	// Truth has one entry for each expected finding, in their order. It is the
	// same for both variants: it says what the scenario is about.
	Truth []Truth `json:"truth"`
}

// Judged reports whether the scenario expects anything that findings can be held
// against.
func (r Resolved) Judged() bool {
	return r.Variant != "" || len(r.Scenario.Expect.Findings) > 0 || r.Scenario.Expect.NothingElse
}

// Overrides are what a command line may change. The zero value changes nothing.
type Overrides struct {
	Variant  Variant  // for a target that has a twin
	InFlight int      // requests in flight in the captured stage; others keep their ratio to it
	Window   Duration // of the capture; the trace shrinks with it
}

// Resolve fills in the defaults, sees that the files it names are there, and
// finds the ground truth.
func (s *Scenario) Resolve(o Overrides) (Resolved, error) {
	r := *s
	r.Target = s.Target.resolve()
	if o.Variant != "" {
		switch {
		case o.Variant != Flawed && o.Variant != Fixed:
			return Resolved{}, fmt.Errorf("unknown variant %q: it is %s or %s", o.Variant, Flawed, Fixed)
		case !s.Target.HasTwin():
			return Resolved{}, fmt.Errorf("scenario %s: variant %s was asked for, and the target has no variants", s.Name, o.Variant)
		case !slices.Contains(s.Variants(), o.Variant):
			return Resolved{}, fmt.Errorf("scenario %s: variant %s was asked for, and a near miss is %s alone", s.Name, o.Variant, Fixed)
		}
		r.Target.Variant = o.Variant
	}

	r.Capture = s.Capture.resolve(o.Window)
	if r.Capture.Window < minWindow || r.Capture.Window > maxWindow {
		return Resolved{}, fmt.Errorf("scenario %s: the capture window is %s; it must be between %s and %s", s.Name, r.Capture.Window, minWindow, maxWindow)
	}
	r.Load = s.Load.resolve(r.Capture.Window, r.Target.UsesTLS())
	if total := span(r.Load.Stages); total > maxPlan {
		return Resolved{}, fmt.Errorf("scenario %s: with a capture window of %s the load takes %s; it must be at most %s", s.Name, r.Capture.Window, total, maxPlan)
	}
	if o.InFlight != 0 {
		scaled, err := r.Load.scale(o.InFlight)
		if err != nil {
			return Resolved{}, fmt.Errorf("scenario %s: %w", s.Name, err)
		}
		r.Load = scaled
	}

	if err := s.checkFiles(); err != nil {
		return Resolved{}, err
	}
	truth, err := s.GroundTruth()
	if err != nil {
		return Resolved{}, err
	}
	return Resolved{Schema: ResolvedSchema, Scenario: r, Variant: r.Target.Variant, Truth: truth}, nil
}

func (t Target) resolve() Target {
	if t.HasTwin() {
		t.Variant = or(t.Variant, Flawed)
	}
	if t.Package != "" {
		t.Debug = or(t.Debug, DefaultDebug)
		t.Metrics = or(t.Metrics, DefaultMetrics)
	}
	for _, u := range []*string{&t.Debug, &t.Metrics} {
		if *u == none {
			*u = ""
		}
		*u = strings.TrimSuffix(withScheme(*u), "/")
	}
	t.Ready = or(t.Ready, DefaultReady)
	if t.TLS == nil && t.UsesTLS() {
		t.TLS = &TLS{Verify: true}
	}
	if t.Package != "" || len(t.Command) > 0 {
		t.StartTimeout = or(t.StartTimeout, DefaultStartTimeout)
	}
	return t
}

func (p Capture) resolve(window Duration) Capture {
	p.Window = or(window, or(p.Window, DefaultWindow))
	if p.EBPF == nil {
		p.EBPF = DefaultEBPFProbes()
		if len(p.Custom) > 0 {
			p.EBPF = append(p.EBPF, ProbeCustom)
		}
	}
	p.Slow = or(p.Slow, DefaultSlow)
	if p.Pprof == nil {
		p.Pprof = PprofProbes()
	}
	switch {
	case p.Trace == nil:
		p.Trace = &Trace{For: DefaultTraceFor, AtMost: DefaultTraceAtMost}
	case p.Trace.off:
		p.Trace = nil
	default:
		p.Trace = &Trace{For: or(p.Trace.For, DefaultTraceFor), AtMost: or(p.Trace.AtMost, DefaultTraceAtMost)}
	}
	if p.Trace != nil {
		p.Trace.For = min(p.Trace.For, p.Window)
	}
	return p
}

// or is value, or otherwise when there is none.
func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// ReadResolved reads scenario.json out of a bundle, which may have been
// damaged or made by hand: what it says is checked as a scenario file is.
func ReadResolved(data []byte) (Resolved, error) {
	var version struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return Resolved{}, fmt.Errorf("read resolved scenario: %w", err)
	}
	if version.Schema < 1 || version.Schema > ResolvedSchema {
		return Resolved{}, fmt.Errorf("read resolved scenario: its version is %d, and this chokepoint reads up to %d; use a newer one", version.Schema, ResolvedSchema)
	}
	var r Resolved
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return Resolved{}, fmt.Errorf("read resolved scenario: %w", err)
	}
	if err := r.check(); err != nil {
		return Resolved{}, fmt.Errorf("read resolved scenario: %w", err)
	}
	r.upgrade()
	return r, nil
}

// upgrade brings what an older chokepoint resolved to today's version.
func (r *Resolved) upgrade() {
	if r.Schema == 1 {
		t := &r.Scenario.Target
		if t.TLS == nil && t.UsesTLS() {
			t.TLS = &TLS{Verify: true}
		}
		r.Scenario.Load = r.Scenario.Load.upgrade(r.window(), t.UsesTLS())
	}
	r.Schema = ResolvedSchema
}

func (r Resolved) window() Duration { return or(r.Scenario.Capture.Window, DefaultWindow) }

// noDocument is where a scenario stands that no person wrote.
type noDocument struct{}

func (noDocument) Errorf(field, format string, args ...any) *strictyaml.Error {
	return &strictyaml.Error{Field: field, Message: fmt.Sprintf(format, args...)}
}

func (noDocument) Has(string) bool { return false }

// checkLoad checks a load plan's levels against its stages. Those of version 1
// have none yet.
func (r Resolved) checkLoad() error {
	l := r.Scenario.Load
	switch {
	case r.Schema == 1 && len(l.Stages) > 0:
		return fmt.Errorf("load.stages: version 1 has none")
	case r.Schema == 1:
		return nil
	case len(l.Stages) == 0:
		return fmt.Errorf("load.stages: is missing")
	}
	return l.checkResolved(r.window(), r.Scenario.Target.UsesTLS())
}

func (r Resolved) check() error {
	written := r.Scenario
	if len(written.Load.Stages) > 0 {
		written.Load = written.Load.written()
	}
	if err := written.validate(noDocument{}); err != nil {
		return err
	}
	if err := r.checkLoad(); err != nil {
		return err
	}
	switch {
	case r.Variant != r.Scenario.Target.Variant:
		return fmt.Errorf("variant %q ran, and the target names %q", r.Variant, r.Scenario.Target.Variant)
	case r.Variant == "" && r.Scenario.Target.HasTwin():
		return fmt.Errorf("the target has variants, and none is named")
	case len(r.Truth) != len(r.Scenario.Expect.Findings):
		return fmt.Errorf("%d findings are expected, and the truth has %d", len(r.Scenario.Expect.Findings), len(r.Truth))
	}
	for i, f := range r.Scenario.Expect.Findings {
		if r.Truth[i].Cause != f.Cause {
			return fmt.Errorf("finding %d is expected to be %s, and the truth is %s", i+1, f.Cause, r.Truth[i].Cause)
		}
	}
	return nil
}
