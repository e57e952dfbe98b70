package run

import (
	"fmt"
	"time"

	"chokepoint/harness/scenario"
	"chokepoint/harness/target"
)

// Setup turns what a scenario says of its target and its load into what package
// target and package load take, for a run and for whatever else puts the same
// target under the same load.
type Setup struct {
	Scenario scenario.Resolved
	// Dir is the directory of the scenario's module, where a package target is built
	// and where any target runs.
	Dir string
}

// Target is the target that the scenario asks for. It reads the certificates that
// the scenario names.
func (s Setup) Target() (target.Config, error) {
	t := s.Scenario.Scenario.Target
	ours, err := s.tls()
	if err != nil {
		return target.Config{}, err
	}
	trust, err := ours.Trust()
	if err != nil {
		return target.Config{}, fmt.Errorf("target.tls: %w", err)
	}
	build := scenario.Build{}
	if t.Build != nil {
		build = *t.Build
	}
	return target.Config{
		GoRelease: build.Go, Strip: build.Strip,
		Package: t.Package, Command: t.Command, PID: t.PID, URL: t.URL, Dir: s.Dir,
		Address: t.Address, Variant: string(s.Scenario.Variant), Knobs: t.Knobs, Args: t.Args, Env: t.Env,
		GOMAXPROCS: t.GOMAXPROCS, Debug: t.Debug, Metrics: t.Metrics, Ready: "{address}" + t.Ready,
		StartTimeout: time.Duration(t.StartTimeout), TLS: trust, CPUs: t.CPUs.List(),
		HTTP2: s.Scenario.Scenario.Load.Protocol == scenario.HTTP2,
	}, nil
}
