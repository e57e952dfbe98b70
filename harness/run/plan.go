package run

import (
	"time"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
	"chokepoint/harness/capture/ebpf"
	"chokepoint/harness/capture/pprof"
	"chokepoint/harness/capture/proc"
	"chokepoint/harness/capture/trace"
	"chokepoint/harness/scenario"
)

// recorders are those the scenario asks for, and what the manifest says of the
// dimensions it switched off.
func (r *run) recorders(procs *proc.Recorder) (on []capture.Recorder, off []bundle.Dimension) {
	plan := r.plan.Capture
	window := time.Duration(plan.Window)
	without := func(name string) {
		off = append(off, bundle.Dimension{Name: name, Reason: "the scenario switches it off"})
	}
	if len(plan.EBPF) > 0 {
		on = append(on, ebpf.New(ebpf.Config{Probes: plan.EBPF, Slow: time.Duration(plan.Slow), Custom: customProbes(plan.Custom)}))
	} else {
		without(bundle.DimEBPF)
	}
	if len(plan.Pprof) > 0 {
		on = append(on, pprof.New(pprof.Config{Profiles: plan.Pprof, Window: window}))
	} else {
		without(bundle.DimPprof)
	}
	if plan.Trace != nil {
		on = append(on, trace.New(trace.Config{For: time.Duration(plan.Trace.For), AtMost: plan.Trace.AtMost.Bytes(), Window: window}))
	} else {
		without(bundle.DimTrace)
	}
	return append(on, procs), off
}

// customProbes is what the scenario declares, as the recorder takes it.
func customProbes(declared []scenario.CustomProbe) []ebpf.CustomProbe {
	var out []ebpf.CustomProbe
	for _, p := range declared {
		probe := ebpf.CustomProbe{Name: p.Name, Function: p.Function, Tracepoint: p.Tracepoint, Time: p.Time,
			SlowerThan: time.Duration(p.SlowerThan), Stacks: p.Stacks, Everywhere: p.Everywhere}
		if p.Argument != nil {
			probe.Argument, probe.Keep = p.Argument.Name, ebpf.Comparison(p.Argument.Keep)
		}
		out = append(out, probe)
	}
	return out
}
