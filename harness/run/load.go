package run

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"time"

	"chokepoint/harness/load"
	"chokepoint/harness/load/client"
	"chokepoint/harness/load/request"
	"chokepoint/harness/load/schedule"
	"chokepoint/harness/load/worker"
	"chokepoint/harness/scenario"
	"chokepoint/harness/target"
)

// Load is the load that the scenario asks for, against a target that has been
// started. It reads the files that the scenario names.
func (s Setup) Load(p *target.Process) (load.Config, error) {
	l := s.Scenario.Scenario.Load
	requests, err := s.requests()
	if err != nil {
		return load.Config{}, err
	}
	how, err := s.client(p)
	if err != nil {
		return load.Config{}, err
	}
	return load.Config{
		Open: l.Open(), Stages: stages(l), InFlight: l.InFlight, AtMost: l.AtMost,
		Request: requests, Client: how, Results: l.Results, Workers: l.Workers,
		Limits: worker.Limits{
			GOMAXPROCS: l.Process.GOMAXPROCS, GOGC: l.Process.GOGC, MemoryBytes: l.Process.Memory.Bytes(), CPUs: l.Process.CPUs.List(),
		},
	}, nil
}

func stages(l scenario.LoadPlan) []schedule.Stage {
	out := make([]schedule.Stage, len(l.Stages))
	for i, s := range l.Stages {
		out[i] = schedule.Stage{
			Level: float64(s.InFlight), Ramp: time.Duration(s.Ramp), Hold: time.Duration(s.Hold), Captured: s.Capture,
		}
		if l.Open() {
			out[i].Level = s.Rate.Hz()
		}
	}
	return out
}

func (s Setup) requests() (request.Plan, error) {
	l := s.Scenario.Scenario.Load
	var plan request.Plan
	var errs []error
	if l.Targets != "" {
		var err error
		plan.Targets, err = request.ReadTargets(s.Scenario.Scenario.Path(l.Targets))
		errs = append(errs, err)
	}
	for _, name := range slices.Sorted(maps.Keys(l.Values)) {
		values, err := request.ReadValues(name, s.Scenario.Scenario.Path(l.Values[name]))
		plan.Values, errs = append(plan.Values, values), append(errs, err)
	}
	for _, q := range l.Requests {
		plan.Templates = append(plan.Templates, request.Template{
			Method: q.Method, Path: q.Path, Header: q.Header, Body: q.Body, Weight: q.Weight, CheckToken: q.Check.Token,
		})
	}
	if err := errors.Join(errs...); err != nil {
		return request.Plan{}, err
	}
	return plan, plan.Validate()
}

func (s Setup) client(p *target.Process) (client.Plan, error) {
	l := s.Scenario.Scenario.Load
	plan := client.Plan{
		BaseURL: p.BaseURL, Engine: l.Engine, HTTP2: l.Protocol == scenario.HTTP2,
		Connections: l.Connections, Timeout: time.Duration(l.Timeout),
	}
	var err error
	if plan.TLS, err = s.tls(); err != nil {
		return plan, err
	}
	for i, text := range l.From {
		from, err := netip.ParseAddr(text)
		if err != nil {
			return plan, fmt.Errorf("load.from[%d]: %w", i, err)
		}
		plan.From = append(plan.From, from)
	}
	for _, c := range l.Clients {
		plan.Behaviours = append(plan.Behaviours, client.Behaviour{
			Share: c.Share.Fraction(), ReadsPerSecond: c.Reads.BytesPerSecond(), StopsReadingAfter: c.StopsReadingAfter.Bytes(),
			SendsPerSecond: c.Sends.BytesPerSecond(), HangsUpAfter: time.Duration(c.HangsUpAfter),
		})
	}
	return plan, nil
}

// tls is what the scenario trusts of a target that speaks TLS; nil when it does
// not, or says nothing of it.
func (s Setup) tls() (*client.TLS, error) {
	t := s.Scenario.Scenario.Target.TLS
	if t == nil {
		return nil, nil
	}
	out := &client.TLS{ServerName: t.ServerName, SkipVerify: !t.Verify}
	if t.CA != "" {
		pem, err := os.ReadFile(s.Scenario.Scenario.Path(t.CA))
		if err != nil {
			return nil, fmt.Errorf("target.tls.ca: %w", err)
		}
		out.CA = pem
	}
	return out, nil
}
