// Package reports renders what was found in one bundle: for a person at a
// terminal, for a person in a browser, and for a machine. It decides nothing:
// findings, their order and the verdict come as they are.
package reports

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"chokepoint/harness/bundle"
	"chokepoint/harness/health"
	"chokepoint/harness/heatmap"
	"chokepoint/harness/rule"
	"chokepoint/harness/signal"
	"chokepoint/harness/verdict"
)

// Report is everything a renderer shows of one bundle.
type Report struct {
	Bundle     string             // path of the bundle, as the user named it
	Scenario   Scenario           // empty when the bundle was recorded without one
	Host       bundle.Host        // the machine the target ran on
	Target     bundle.Target      // the build of the server under test
	Window     bundle.Window      // that was recorded
	Load       *bundle.Load       // nil when the client's side was not recorded
	Health     *health.Report     // whether the load generator can be trusted; nil where Load is
	Result     rule.Result        // what the rules made of it
	Verdict    *verdict.Verdict   // nil when nothing was expected
	CPU        *CPUUse            // of the CPU that the target may use, what it used; nil where that is not known
	FellShort  string             // why nothing can be concluded from the recording; empty where something can
	Dimensions []bundle.Dimension // what was captured, and what not
	Price      *Price             // what the eBPF probes cost the target; nil where no recording says
	Notes      []string           // anything else the reader must know
	Marked     []signal.Marked    // what the program itself marked
	Where      *signal.Where      // where the requests' time went; nil where no trace tells
	Heatmap    *heatmap.Map       // requests by time and latency; nil where there are none
}

// CPUUse is how much of the CPU that it may use the target used.
type CPUUse struct {
	Share float64 `json:"share"`
	// Bound says that it used nearly all.
	Bound bool `json:"bound"`
	// Profile is the artifact that says what took it; empty where there is none.
	Profile string `json:"profile,omitempty"`
	// Top is the program's function that has most of that profile, be it for what it calls; nil
	// where no one has much of it.
	Top *CPUTop `json:"top,omitempty"`
}

// CPUTop is a function's part of the CPU profile.
type CPUTop struct {
	Where signal.Location `json:"where"`
	Share float64         `json:"share"`
}

// boundByCPU is the share of the CPU that a target may use from which it is bound by
// CPU. It is what the rule cpu-hot-path/function takes for that: what is left goes to
// switching and to the moments when nobody asks.
const boundByCPU = 0.85

// NewCPUUse takes it from the signals of a bundle: by /proc, else by the scheduler, by
// whose account it is a share of the whole machine. Nil where neither says.
func NewCPUUse(set signal.Set, dimensions []bundle.Dimension) *CPUUse {
	s, ok := set.Signals["proc.allowed_used_share"]
	if !ok {
		s, ok = set.Signals["ebpf.target_cpu_share"]
	}
	if !ok {
		return nil
	}
	u := &CPUUse{Share: s.Value, Bound: s.Value > boundByCPU}
	if t, ok := set.Signals["pprof.cpu_top_share"]; ok && t.Value > 0 {
		u.Top = &CPUTop{set.Signals["pprof.cpu_top_site"].Where, t.Value}
	}
	for _, artifact := range []string{bundle.CPUProfile, bundle.EBPFOnCPUProfile} {
		for _, d := range dimensions {
			for _, p := range d.Probes {
				if u.Profile == "" && p.Captured && slices.Contains(p.Artifacts, artifact) {
					u.Profile = artifact
				}
			}
		}
	}
	return u
}

// sentence says that the target is bound by CPU; empty where it is not.
func (u *CPUUse) sentence() string {
	if u == nil || !u.Bound {
		return ""
	}
	text := "The target used " + show(u.Share, signal.Share) + " of the CPU that it may use: it is bound by CPU, and no single cause of that was found"
	if u.Top != nil {
		text += "; " + show(u.Top.Share, signal.Share) + " of the CPU profile is at " + u.Top.Where.Function + " (" + fileLine(u.Top.Where) + ") and in what that calls"
	}
	if u.Profile == "" {
		return text + "."
	}
	return text + "; `go tool pprof` of " + u.Profile + " shows what takes it."
}

// Scenario is the header of a report.
type Scenario struct {
	Name    string `json:"name,omitempty"`
	Variant string `json:"variant,omitempty"`
	About   string `json:"about,omitempty"`
}

// fact is one line of facts about the run.
type fact struct {
	Name  string
	Value string
}

func count(n int64) string { return show(float64(n), signal.Count) }

// show renders a number with its unit, the way findings do.
func show(value float64, unit signal.Unit) string {
	return rule.Figure{Value: value, Unit: unit}.String()
}

// plural counts things: "1 finding", "2 findings".
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(int64(n)) + " " + one + "s"
}

// place renders a location for reading: the file without its directories.
func place(at signal.Location) string {
	switch {
	case at.IsZero():
		return "the place was not captured"
	case at.File == "":
		return at.Function
	}
	return at.Function + "  " + fileLine(at)
}

func fileLine(at signal.Location) string {
	if at.File == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", path.Base(at.File), at.Line)
}

// outcome is the first words of a report: the verdict, or how much was found.
func (r Report) outcome() string {
	if r.Verdict != nil {
		return strings.ToUpper(string(r.Verdict.Outcome))
	}
	switch {
	case r.FellShort != "":
		return strings.ToUpper(string(verdict.CouldNotTell))
	case len(r.Result.Findings) > 0:
		return strings.ToUpper(plural(len(r.Result.Findings), "finding"))
	case len(r.Result.Silent) > 0:
		return "NOTHING FOUND"
	}
	return strings.ToUpper(string(verdict.CouldNotTell)) // no rule was decided
}

// subject is what the report is about.
func (r Report) subject() string {
	name := r.Scenario.Name
	if name == "" {
		name = r.Bundle
	}
	if r.Scenario.Variant != "" {
		name += " (" + r.Scenario.Variant + ")"
	}
	return name
}

// emptiness says what it means that there is no finding.
func (r Report) emptiness() string {
	silent, unknown := len(r.Result.Silent), len(r.Result.Unknown)
	var text string
	switch {
	case r.FellShort != "":
		text = "Nothing can be concluded: " + r.FellShort + "."
	case silent == 0 && unknown == 0:
		return "No rule was applied."
	case r.stopped():
		inFlight := count(int64(r.Load.Reached.InFlightMin))
		if most := r.Load.Reached.InFlightMax; most > r.Load.Reached.InFlightMin {
			inFlight += " to " + count(int64(most))
		}
		text = fmt.Sprintf("Not one request ended in the window, with %s in flight all the while, and no rule found out why: %s had the evidence they need",
			inFlight, plural(silent, "rule"))
		if unknown > 0 {
			text += fmt.Sprintf("; %s could not be decided", count(int64(unknown)))
		}
		text += "."
	case unknown == 0:
		text = fmt.Sprintf("No bottleneck found: %s had the evidence they need and stayed silent.", plural(silent, "rule"))
	case silent == 0:
		text = fmt.Sprintf("No rule could be decided: %s lacked evidence.", plural(unknown, "rule"))
	default:
		text = fmt.Sprintf("No bottleneck found by the %s that had the evidence they need; %s could not be decided.", plural(silent, "rule"), count(int64(unknown)))
	}
	if len(r.Result.Findings) > 0 {
		return text
	}
	for _, more := range []string{r.CPU.sentence(), waits(r.Where, r.stopped()), r.stillSentence()} {
		if more != "" {
			text += " " + more
		}
	}
	return text
}

// stopped reports whether requests were in flight throughout the window and none ended in it: the
// server may be as quick as it likes, it has served nobody.
func (r Report) stopped() bool {
	return r.Load != nil && r.hasWindow() && r.Load.Requests.Ended == 0 && r.Load.Reached.InFlightMin > 0
}

// hasWindow reports whether anything was measured: a load that never stood leaves a
// bundle without a window.
func (r Report) hasWindow() bool { return r.Window.EndNS > r.Window.StartNS }

// runFacts says what was recorded, and where.
func (r Report) runFacts() []fact {
	var facts []fact
	if r.Bundle != "" {
		facts = append(facts, fact{"bundle", r.Bundle})
	}
	window := "none"
	if r.hasWindow() {
		window = show(float64(r.Window.EndNS-r.Window.StartNS), signal.Nanosecond)
	}
	facts = append(facts, fact{"window", window})

	target := r.Target.GoVersion
	if target == "" {
		target = "the build did not say that it is a Go program"
	}
	if r.Target.MainModule != "" {
		target = r.Target.MainModule + ", " + target
	}
	if r.Target.GOMAXPROCS > 0 {
		target += fmt.Sprintf(", GOMAXPROCS %d", r.Target.GOMAXPROCS)
	}
	if r.Target.CPUsAllowed > 0 {
		target += ", may use " + plural(r.Target.CPUsAllowed, "CPU")
	}
	facts = append(facts, fact{"target", target})

	var host []string
	if r.Host.OS != "" {
		host = append(host, r.Host.OS+"/"+r.Host.Arch)
	}
	if r.Host.Kernel != "" {
		host = append(host, "kernel "+r.Host.Kernel)
	}
	if r.Host.CPUs > 0 {
		host = append(host, plural(r.Host.CPUs, "CPU"))
	}
	if r.Host.MemoryBytes > 0 {
		host = append(host, show(float64(r.Host.MemoryBytes), signal.Byte))
	}
	if len(host) > 0 {
		facts = append(facts, fact{"host", strings.Join(host, ", ")})
	}
	return facts
}

// capture says in a few words what a dimension recorded.
func capture(d bundle.Dimension) string {
	if !d.Captured {
		if d.Reason == "" {
			return "not captured"
		}
		return "not captured: " + d.Reason
	}
	var got []string
	for _, p := range d.Probes {
		if p.Captured {
			got = append(got, p.Name)
		}
	}
	if len(got) == 0 {
		return "captured"
	}
	return strings.Join(got, ", ")
}

// gaps lists what a captured dimension lacks or lost, a line each.
func gaps(d bundle.Dimension) []string {
	if !d.Captured {
		return nil
	}
	var lines []string
	for _, p := range d.Probes {
		if !p.Captured {
			reason := p.Reason
			if reason == "" {
				reason = "no reason was recorded"
			}
			lines = append(lines, p.Name+" not captured: "+reason)
		} else if p.Reason != "" {
			lines = append(lines, p.Name+": "+p.Reason)
		}
		for _, kind := range sortedKeys(p.Lost) {
			if p.Lost[kind] > 0 {
				lines = append(lines, fmt.Sprintf("%s: %s %s", p.Name, count(p.Lost[kind]), strings.ReplaceAll(kind, "_", " ")))
			}
		}
	}
	return lines
}

// opener is the command that opens an artifact, run in the bundle's directory;
// empty for files that any editor reads.
func opener(artifact string) string {
	switch {
	case strings.HasSuffix(artifact, ".pb.gz"):
		return "go tool pprof -http=localhost:0 " + artifact
	case artifact == bundle.TraceOut:
		return "go tool trace " + artifact
	case artifact == bundle.LoadResults:
		return "vegeta report " + artifact
	}
	return ""
}
