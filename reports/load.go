package reports

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal"
)

// loadFacts says what the client saw.
func (r Report) loadFacts() []fact {
	l := r.Load
	if l == nil {
		return []fact{{"load", "the client's side was not recorded"}}
	}
	facts := []fact{{"asked", asked(l.Asked)}}
	if !r.hasWindow() {
		// Of a window that never was there are no figures, not even zeros.
		return append(facts, fact{"requests", withoutWindow(l.Stages)}, fact{"generator", r.generator()})
	}
	facts = append(facts, []fact{
		{"in flight", fmt.Sprintf("%s to %s over the window, %s on average, %s when capture began",
			count(int64(l.Reached.InFlightMin)), count(int64(l.Reached.InFlightMax)),
			show(l.Reached.InFlightMean, signal.NoUnit), count(int64(l.Reached.InFlightAtCapture)))},
		{"sockets", fmt.Sprintf("%s to %s open over the window, %s when capture began",
			count(int64(l.Reached.OpenSocketsMin)), count(int64(l.Reached.OpenSocketsMax)), count(int64(l.Reached.SocketsAtCapture)))},
		{"requests", ended(l)},
	}...)
	if failed := failures(l.Requests); failed != "" {
		facts = append(facts, fact{"failures", failed})
	}
	if l.LatencySeconds.Count > 0 {
		facts = append(facts, fact{"latency", percentiles(l.LatencySeconds) + ", from when a request was sent"})
	} else {
		facts = append(facts, fact{"latency", "none: no request ended with a response or by its timeout"})
	}
	if l.CorrectedSeconds.Count > 0 {
		facts = append(facts, fact{"corrected", percentiles(l.CorrectedSeconds) + ", from when it was due"})
	}
	if len(l.Stages) > 1 {
		for i, s := range l.Stages {
			facts = append(facts, fact{fmt.Sprintf("stage %d", i+1), stage(s)})
		}
	}
	for _, c := range l.Clients {
		facts = append(facts, fact{show(c.Share, signal.Share) + " badly behaved", badClient(c)})
	}
	if l.Checks.Checked > 0 {
		facts = append(facts, fact{"responses", fmt.Sprintf("%s checked: %s without their own token, %s with another request's",
			count(l.Checks.Checked), count(l.Checks.Missing), count(l.Checks.Foreign))})
	}
	return append(facts, fact{"generator", r.generator()})
}

// withoutWindow says what became of the requests of a load that never stood: all
// that is known of them is what was counted in its stages.
func withoutWindow(stages []bundle.LoadStage) string {
	var sent, ended, failed int64
	for _, s := range stages {
		sent, ended, failed = sent+s.Sent, ended+s.Ended, failed+s.Errors
	}
	return fmt.Sprintf("%s sent, %s ended, %s of them not ok; there was no window to measure them in", count(sent), count(ended), count(failed))
}

func ended(l *bundle.Load) string {
	text := fmt.Sprintf("%s ended, %s per second; %s ok, %s not",
		count(l.Requests.Ended), show(l.Reached.RateHz, signal.NoUnit), count(l.Requests.OK), count(l.Requests.Ended-l.Requests.OK))
	if l.Asked.RateHz > 0 {
		text += fmt.Sprintf("; %s sent per second", show(l.Reached.SentRateHz, signal.NoUnit))
	}
	return text
}

func asked(a bundle.LoadAsked) string {
	var parts []string
	if a.RateHz > 0 {
		parts = append(parts, show(a.RateHz, signal.Hertz))
	}
	if a.InFlight > 0 {
		parts = append(parts, count(int64(a.InFlight))+" in flight")
	}
	if a.AtMost > 0 {
		parts = append(parts, "at most "+count(int64(a.AtMost))+" in flight")
	}
	if a.Connections > 0 {
		parts = append(parts, count(int64(a.Connections))+" connections")
	}
	text := strings.Join(parts, ", ")
	if a.Protocol != "" {
		text += ", over " + strings.ToUpper(a.Protocol)
	}
	return text
}

// failures counts what went wrong, the most frequent first.
func failures(q bundle.LoadRequests) string {
	kinds := maps.Clone(q.ByError)
	if kinds == nil {
		kinds = map[string]int64{}
	}
	for code, n := range q.ByCode {
		if code != "" && (code[0] < '2' || code[0] > '3') {
			kinds["status "+code] = n
		}
	}
	return byCount(kinds)
}

func byCount(kinds map[string]int64) string {
	names := slices.SortedFunc(maps.Keys(kinds), func(a, b string) int {
		return cmp.Or(cmp.Compare(kinds[b], kinds[a]), cmp.Compare(a, b))
	})
	for i, name := range names {
		names[i] = count(kinds[name]) + " " + name
	}
	return strings.Join(names, ", ")
}

func percentiles(d bundle.Distribution) string {
	return fmt.Sprintf("p50 %s, p90 %s, p99 %s, longest %s",
		show(d.P50, signal.Second), show(d.P90, signal.Second), show(d.P99, signal.Second), show(d.Max, signal.Second))
}

func stage(s bundle.LoadStage) string {
	level := count(int64(s.InFlight)) + " in flight"
	if s.RateHz > 0 {
		level = show(s.RateHz, signal.Hertz)
	}
	if s.StartNS == 0 {
		return level + ": it never began"
	}
	text := fmt.Sprintf("%s, over %s: %s ended, %s not ok", level, show(float64(s.EndNS-s.StartNS), signal.Nanosecond),
		count(s.Ended), count(s.Errors))
	if s.LatencySeconds.Count > 0 {
		text += fmt.Sprintf("; p50 %s, p99 %s, corrected p99 %s", show(s.LatencySeconds.P50, signal.Second),
			show(s.LatencySeconds.P99, signal.Second), show(s.CorrectedSeconds.P99, signal.Second))
	}
	if s.Captured {
		text += "; captured"
	}
	return text
}

func badClient(c bundle.LoadClient) string {
	text := fmt.Sprintf("%s: %s ended", c.Behaviour, count(c.Ended))
	if c.Seconds.Count > 0 {
		text += ", in flight for " + show(c.Seconds.P50, signal.Second) + " (p50)"
	}
	if failed := byCount(c.ByError); failed != "" {
		text += "; " + failed
	}
	return text
}

// generator says what the load took, and whether it was as it should be.
func (r Report) generator() string {
	g := r.Load.Generator
	text := "no window to measure it in"
	if r.hasWindow() {
		window := float64(r.Window.EndNS-r.Window.StartNS) / 1e9
		text = show(g.CPUSeconds, signal.Second) + " of CPU"
		if cpus := float64(r.Host.CPUs); cpus > 0 {
			text += ", " + show(g.CPUSeconds/(window*cpus), signal.Share) + " of the machine's"
		}
	}
	if n := len(g.Workers); n > 1 {
		text += ", in " + count(int64(n)) + " processes"
	}
	var memory int64
	for _, w := range g.Workers {
		memory += w.PeakRSSBytes
	}
	if memory > 0 {
		text += ", " + show(float64(memory), signal.Byte) + " of memory at most"
	}
	if engine := r.Load.Asked.Engine; engine != "" {
		text += ", " + engine + " client"
		if why := r.Load.Asked.EngineWhy; why != "" {
			text += " (" + why + ")"
		}
	}
	if g.SendLagP99 > 0 {
		text += ", p99 of send lag " + show(g.SendLagP99, signal.Second)
		if g.OwnLagSeconds.Count > 0 {
			text += " (its own part " + show(g.OwnLagSeconds.P99, signal.Second) + ")"
		}
	}
	if g.ResultsDropped > 0 {
		text += ", " + count(g.ResultsDropped) + " results lost"
	}
	switch {
	case !g.ReachedInFlight && g.Reason != "":
		text += "; what was asked for was not reached: " + g.Reason
	case !g.ReachedInFlight:
		text += "; what was asked for was not reached"
	case r.Health != nil && !r.Health.Trusted:
		text += "; " + r.Health.Reason
	}
	return text
}
