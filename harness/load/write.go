package load

import (
	"errors"
	"fmt"
	"time"

	"chokepoint/harness/bundle"
	"chokepoint/harness/load/account"
)

// Write puts the account of the load into w, after Stop. What is lost costs its
// own probe and not the others.
func (g *Generator) Write(w *bundle.Writer) (bundle.Dimension, error) {
	dim := bundle.Dimension{Name: bundle.DimLoad}
	g.mu.Lock()
	members, stopped, begun, win, reason := g.workers, g.stopped, g.begun, g.window, g.reason
	g.mu.Unlock()
	switch {
	case members == nil:
		dim.Reason = "the load was never started"
		return dim, nil
	case !stopped:
		return dim, errors.New("load: write: the load has not been stopped")
	}
	defer func() {
		for _, m := range members {
			m.results.close()
		}
	}()
	if !begun {
		dim.Reason = "the load ended before a window began"
		if reason != "" {
			dim.Reason += ": " + reason
		}
	}
	whole, err := merged(g.accounts)
	if err != nil {
		return dim, fmt.Errorf("load: %w", err)
	}
	// Without a window the series of seconds is worth having all the same.
	if err := w.WriteJSON(bundle.LoadSummary, g.summary(whole)); err != nil {
		return dim, fmt.Errorf("load: %w", err)
	}
	summary := bundle.Probe{Name: "summary", Captured: begun, Reason: dim.Reason, Window: win, Artifacts: []string{bundle.LoadSummary}}
	latency, err := writeLatency(w, whole, win)
	if err != nil {
		return dim, err
	}
	results, err := g.writeResults(w, members, win)
	dim.Captured = begun
	dim.Probes = []bundle.Probe{summary, latency, results}
	return dim, err
}

func writeLatency(w *bundle.Writer, whole account.Account, win bundle.Window) (bundle.Probe, error) {
	probe := bundle.Probe{Name: "latency", Window: win}
	if len(whole.Seconds) == 0 {
		probe.Reason = "the load ended within its first second"
		return probe, nil
	}
	out, err := w.Create(bundle.LoadLatency)
	if err != nil {
		return probe, fmt.Errorf("load: %w", err)
	}
	if err := errors.Join(whole.WriteLog(out), out.Close()); err != nil {
		return probe, fmt.Errorf("load: histograms of each second: %w", err)
	}
	probe.Captured = true
	probe.Artifacts = []string{bundle.LoadLatency}
	return probe, nil
}

func (g *Generator) writeResults(w *bundle.Writer, members []*member, win bundle.Window) (bundle.Probe, error) {
	probe := bundle.Probe{Name: "results", Window: win}
	var written, dropped int64
	var failures []error
	for _, a := range g.accounts {
		written += a.ResultsWritten
		dropped += a.ResultsDropped
		if a.ResultsError != "" {
			failures = append(failures, errors.New(a.ResultsError))
		}
	}
	files := make([]*resultFile, len(members))
	for i, m := range members {
		files[i] = m.results
		failures = append(failures, m.results.failure())
	}
	if dropped > 0 {
		probe.Lost = map[string]int64{"results_dropped": dropped}
	}
	err := errors.Join(failures...)
	switch {
	case err != nil:
		probe.Reason = err.Error()
		return probe, nil
	case g.cfg.Results == account.ResultsNone:
		probe.Reason = "the scenario switches it off"
		return probe, nil
	case written == 0:
		probe.Reason = "no request that is kept ended inside the window"
		return probe, nil
	}
	out, err := w.Create(bundle.LoadResults)
	if err != nil {
		return probe, fmt.Errorf("load: %w", err)
	}
	if err := errors.Join(writeResults(out, files), out.Close()); err != nil {
		return probe, fmt.Errorf("load: %w", err)
	}
	probe.Captured = true
	probe.Artifacts = []string{bundle.LoadResults}
	return probe, nil
}

// Summary is the account of the load: load/summary.json. It is whole after Stop.
func (g *Generator) Summary() (bundle.Load, error) {
	g.mu.Lock()
	accounts := g.accounts
	g.mu.Unlock()
	whole, err := merged(accounts)
	if err != nil {
		return bundle.Load{}, fmt.Errorf("load: %w", err)
	}
	return g.summary(whole), nil
}

func (g *Generator) summary(whole account.Account) bundle.Load {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out bundle.Load
	whole.Fill(&out)
	captured := g.schedule.Captured()
	out.Asked = bundle.LoadAsked{
		InFlight: g.cfg.InFlight, Connections: g.cfg.Client.Connections, Protocol: protocol(g.cfg.Client.HTTP2),
	}
	if g.cfg.Open {
		out.Asked.RateHz = g.cfg.Stages[captured].Level
		out.Asked.AtMost = g.cfg.AtMost
	}
	for i := range out.Stages {
		s := &out.Stages[i]
		if g.cfg.Open {
			s.RateHz = g.cfg.Stages[i].Level
		} else {
			s.InFlight = int(g.cfg.Stages[i].Level)
		}
		s.Captured = i == captured
		if len(g.accounts) > 0 { // all have the same bounds, but for the last moment
			s.StartNS, s.EndNS = g.accounts[0].Stages[i].StartNS, g.accounts[0].Stages[i].EndNS
		}
	}
	for i := range out.Clients {
		b := g.cfg.Client.Behaviours[i]
		out.Clients[i].Behaviour, out.Clients[i].Share = b.String(), b.Share
	}
	for i, m := range g.workers {
		out.Asked.Engine, out.Asked.EngineWhy = m.ready.Engine, m.ready.EngineWhy
		out.Generator.OpenFilesLimit = m.ready.OpenFilesLimit
		if i < len(g.accounts) {
			a := g.accounts[i]
			out.Generator.ResultsDropped += a.ResultsDropped // beside those that the account knows of
			out.Generator.Workers = append(out.Generator.Workers, bundle.LoadWorker{
				CPUSeconds: time.Duration(a.Account.Window.CPUNS).Seconds(), GOMAXPROCS: m.ready.GOMAXPROCS, PeakRSSBytes: a.PeakRSSBytes, Ended: a.Account.Window.Ended,
			})
		}
	}
	out.Generator.ReachedInFlight = g.reached
	out.Generator.Reason = g.reason
	if !g.waitDone {
		out.Generator.Reason = "nobody waited for the load to stand"
	}
	return out
}

func protocol(http2 bool) string {
	if http2 {
		return "http/2"
	}
	return "http/1.1"
}
