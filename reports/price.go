package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal"
)

// Price is what the eBPF probes cost the target, from the costs in the manifest.
// Shares are of the target's CPU time over the window, 0 to 1.
type Price struct {
	Share  float64      `json:"share_of_target_cpu"`
	Probes []ProbePrice `json:"probes"` // the dearest first
	// Unknown are the probes that were captured and whose cost was not measured,
	// with the reason; what they cost comes on top of Share.
	Unknown []string `json:"unknown,omitempty"`
	// Notes say what is not in the figures.
	Notes []string `json:"notes,omitempty"`
	// Budget is what the scenario allows; 0: it says nothing. Over says what to do
	// when Share is more.
	Budget float64 `json:"budget,omitempty"`
	Over   string  `json:"over,omitempty"`
}

// ProbePrice is the price of one probe.
type ProbePrice struct {
	Name  string  `json:"name"`
	Share float64 `json:"share_of_target_cpu"`
}

// NewPrice adds up what eBPF cost; nil when no probe was captured, or the
// recording is of a chokepoint that did not measure it and there is no budget either.
func NewPrice(dimensions []bundle.Dimension, budget float64) *Price {
	p := Price{Probes: []ProbePrice{}, Budget: budget}
	for _, d := range dimensions {
		if d.Name != bundle.DimEBPF {
			continue
		}
		for _, probe := range d.Probes {
			p.add(probe)
		}
	}
	if len(p.Probes) == 0 && len(p.Unknown) == 0 {
		return nil
	}
	slices.SortStableFunc(p.Probes, func(a, b ProbePrice) int { return cmp.Compare(b.Share, a.Share) })
	p.Over = p.over()
	return &p
}

func (p *Price) add(probe bundle.Probe) {
	switch {
	case !probe.Captured:
	case probe.Cost == nil:
		// A recording from before costs were measured says neither; only whoever
		// set a budget must hear of it.
		if reason := probe.CostReason; reason != "" {
			p.Unknown = append(p.Unknown, probe.Name+": "+reason)
		} else if p.Budget > 0 {
			p.Unknown = append(p.Unknown, probe.Name+": the recording does not say")
		}
	case probe.Cost.TargetCPUNS <= 0:
		p.Unknown = append(p.Unknown, probe.Name+": the target used no CPU time to compare with")
	default:
		p.Share += probe.Cost.TargetShare
		p.Probes = append(p.Probes, ProbePrice{probe.Name, probe.Cost.TargetShare})
		for _, note := range probe.Cost.Notes {
			p.Notes = append(p.Notes, probe.Name+": "+note)
		}
	}
}

// over says which probe took most and what would be left without it; empty
// within the budget.
func (p *Price) over() string {
	if p.Budget == 0 || p.Share <= p.Budget {
		return ""
	}
	text := fmt.Sprintf("over the budget of %s", show(p.Budget, signal.Share))
	dearest := p.Probes[0]
	if len(p.Probes) == 1 {
		return text + fmt.Sprintf(": leave out %s with capture.ebpf: [], or raise capture.budget", dearest.Name)
	}
	rest := make([]string, 0, len(p.Probes)-1)
	for _, probe := range p.Probes[1:] {
		rest = append(rest, probe.Name)
	}
	slices.Sort(rest)
	return text + fmt.Sprintf(": %s took most; without it, by capture.ebpf: [%s], it would be %s",
		dearest.Name, strings.Join(rest, ", "), show(p.Share-dearest.Share, signal.Share))
}

// line is the price in one line.
func (p *Price) line() string {
	if len(p.Probes) == 0 {
		return "what the probes took of the target's CPU is not known"
	}
	parts := make([]string, len(p.Probes))
	for i, probe := range p.Probes {
		parts[i] = probe.Name + " " + show(probe.Share, signal.Share)
	}
	return fmt.Sprintf("probes took %s of the target's CPU: %s", show(p.Share, signal.Share), strings.Join(parts, ", "))
}

// remarks are what must be known beside the line.
func (p *Price) remarks() []string {
	var lines []string
	for _, u := range p.Unknown {
		lines = append(lines, "price not known of "+u)
	}
	for _, n := range p.Notes {
		lines = append(lines, "price of "+n)
	}
	return lines
}
