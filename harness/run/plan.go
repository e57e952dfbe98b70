package run

import (
	"fmt"
	"time"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
	"chokepoint/harness/capture/ebpf"
	"chokepoint/harness/capture/pprof"
	"chokepoint/harness/capture/proc"
	"chokepoint/harness/capture/trace"
	"chokepoint/harness/scenario"
	"chokepoint/harness/target"
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
		on = append(on, ebpf.New(ebpf.Config{Probes: plan.EBPF, Custom: customProbes(plan.Custom)}))
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

func (r *run) targetConfig() (target.Config, error) {
	t := r.plan.Target
	ours, err := r.tls()
	if err != nil {
		return target.Config{}, err
	}
	trust, err := ours.Trust()
	if err != nil {
		return target.Config{}, fmt.Errorf("target.tls: %w", err)
	}
	return target.Config{
		Package: t.Package, Command: t.Command, PID: t.PID, URL: t.URL, Dir: r.Dir,
		Address: t.Address, Variant: string(r.Scenario.Variant), Knobs: t.Knobs, Args: t.Args, Env: t.Env,
		GOMAXPROCS: t.GOMAXPROCS, Debug: t.Debug, Metrics: t.Metrics, Ready: "{address}" + t.Ready,
		StartTimeout: time.Duration(t.StartTimeout), TLS: trust, CPUs: t.CPUs.List(),
	}, nil
}
