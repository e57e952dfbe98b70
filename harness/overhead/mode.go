package overhead

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"chokepoint/harness/capture"
	"chokepoint/harness/capture/ebpf"
	"chokepoint/harness/capture/pprof"
	"chokepoint/harness/capture/trace"
	"chokepoint/harness/scenario"
)

// The modes that are no probe of the ebpf dimension, which go by their own names.
const (
	Off     = "off"     // nothing; what the others are compared with
	Control = "control" // nothing again
	Floor   = "floor"   // empty programs on every system call
	EBPF    = "ebpf"    // the scenario's eBPF probes together
	Pprof   = "pprof"
	Trace   = "trace"
	All     = "all" // all that a run of the scenario records
)

// Mode is one thing whose cost is measured.
type Mode struct {
	Name  string
	About string // in a few words

	recorders func(window time.Duration) []capture.Recorder // nil: none
	lead      time.Duration                                 // from its start to when it is all on
	tool      *tool                                         // run beside the target; nil: none
}

const (
	// settle is how long a mode that is on, or off again, is left alone before it is
	// measured.
	settle = 300 * time.Millisecond
	// traceLead is when a trace has begun at the latest: it waits up to a second for
	// the CPU profile.
	traceLead = time.Second + settle
	// tail is for how much longer than the window recorders are told that it lasts:
	// what they do near its end must not fall into it, nor a profile of whole
	// seconds end before it. They are stopped before that.
	tail = 2500 * time.Millisecond
)

// Modes lists what can be measured of a scenario: nothing, each eBPF probe there
// is alone, the dimensions, and everything. With beside, outside tools as well.
func Modes(s scenario.Scenario, beside bool) []Mode {
	plan := s.Capture
	probes := plan.EBPF
	if len(probes) == 0 {
		probes = ebpf.Defaults()
	}
	hooks := ebpf.HookCosts{} // what programs cost is measured here as a whole
	kernel := func(names ...string) func(time.Duration) []capture.Recorder {
		return func(time.Duration) []capture.Recorder {
			return []capture.Recorder{ebpf.New(ebpf.Config{Probes: names, Hooks: hooks})}
		}
	}
	profiles := func(window time.Duration) []capture.Recorder {
		return []capture.Recorder{pprof.New(pprof.Config{Profiles: plan.Pprof, Window: window})}
	}
	atMost := scenario.DefaultTraceAtMost
	if plan.Trace != nil {
		atMost = plan.Trace.AtMost
	}
	tracing := func(window time.Duration) []capture.Recorder {
		return []capture.Recorder{trace.New(trace.Config{For: window, AtMost: atMost.Bytes(), Window: window})}
	}

	modes := []Mode{
		{Name: Off, About: "nothing: the baseline", lead: settle},
		{Name: Control, About: "nothing again: how far noise goes", lead: settle},
		{Name: Floor, About: "empty eBPF programs on every system call: the least that a probe of them can cost", lead: settle,
			recorders: func(time.Duration) []capture.Recorder { return []capture.Recorder{&ebpf.Floor{}} }},
	}
	for _, k := range ebpf.Kinds() {
		modes = append(modes, Mode{Name: k.Name, About: "the eBPF probe " + k.Name + " alone", recorders: kernel(k.Name), lead: settle})
	}
	modes = append(modes,
		Mode{Name: EBPF, About: "eBPF: " + strings.Join(probes, ", "), recorders: kernel(probes...), lead: settle},
		Mode{Name: Pprof, About: "the profiles of net/http/pprof", recorders: profiles, lead: traceLead},
		Mode{Name: Trace, About: "the execution trace", recorders: tracing, lead: traceLead},
		Mode{Name: All, About: "eBPF, pprof and the execution trace together", lead: traceLead,
			recorders: func(window time.Duration) []capture.Recorder {
				return slices.Concat(kernel(probes...)(window), profiles(window), tracing(window))
			}},
	)
	if beside {
		for _, t := range tools() {
			modes = append(modes, Mode{Name: t.name, About: t.about, lead: settle, tool: t})
		}
	}
	return modes
}

// Select picks modes by name, in their order. Off is always among them: there is
// nothing to compare with otherwise.
func Select(all []Mode, names []string) ([]Mode, error) {
	var known []string
	for _, m := range all {
		known = append(known, m.Name)
	}
	for i, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("no mode is called %q; the modes are %s", name, strings.Join(known, ", "))
		}
		if slices.Contains(names[:i], name) {
			return nil, fmt.Errorf("mode %s is named twice", name)
		}
	}
	if len(names) == 0 {
		return all, nil
	}
	var picked []Mode
	for _, m := range all {
		if m.Name == Off || slices.Contains(names, m.Name) {
			picked = append(picked, m)
		}
	}
	if len(picked) == 1 {
		return nil, fmt.Errorf("mode %s alone is compared with nothing; name another, such as %s", Off, Control)
	}
	return picked, nil
}

// orderOf is the order of the windows in one round: every mode but Off so many times, each
// time round in another random order, each window between two of Off.
func orderOf(random *rand.Rand, modes []Mode, times int) []Mode {
	var off Mode
	var others []Mode
	for _, m := range modes {
		if m.Name == Off {
			off = m
		} else {
			others = append(others, m)
		}
	}
	order := []Mode{off}
	for range times {
		random.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
		for _, m := range others {
			order = append(order, m, off)
		}
	}
	return order
}
