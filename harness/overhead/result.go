package overhead

import (
	"fmt"
	"time"

	"chokepoint/harness/bundle"
)

// Window is what was measured in one window. Times are in nanoseconds; CPU time is
// summed over CPUs.
type Window struct {
	Round int    `json:"round"` // from 1
	Order int    `json:"order"` // in its round, from 1
	Mode  string `json:"mode"`
	// StartNS is CLOCK_MONOTONIC.
	StartNS  int64 `json:"start_ns"`
	LengthNS int64 `json:"length_ns"`

	Requests int64   `json:"requests"` // that ended
	Failed   int64   `json:"failed"`
	InFlight float64 `json:"in_flight"` // on average

	TargetNSPerRequest float64 `json:"target_ns_per_request"` // CPU time
	RequestsPerSecond  float64 `json:"requests_per_second"`
	P99NS              int64   `json:"p99_ns"` // of latency as the client saw it

	TargetCPUNS    int64 `json:"target_cpu_ns"`
	GeneratorCPUNS int64 `json:"generator_cpu_ns"`
	HarnessCPUNS   int64 `json:"harness_cpu_ns"`
	ToolCPUNS      int64 `json:"tool_cpu_ns,omitempty"`
	// OthersShare is the CPU time that none of these used, as a share of all there
	// was, 0 to 1.
	OthersShare float64 `json:"others_share"`
	// Recorded is what the mode says it had recorded by the end.
	Recorded string `json:"recorded,omitempty"`
	// LeftOut says why the window counts for nothing; empty when it counts.
	LeftOut string `json:"left_out,omitempty"`
	// Disturbed is true when it is left out because of other processes.
	Disturbed bool `json:"disturbed,omitempty"`
}

// ModeResult is what all windows of one mode say.
type ModeResult struct {
	Mode  string `json:"mode"`
	About string `json:"about"`
	// Missing says why there are no windows: the machine, or the target, lacks something.
	Missing string `json:"missing,omitempty"`

	Windows   int `json:"windows"` // that count
	Disturbed int `json:"disturbed"`
	Failed    int `json:"failed"`   // left out for another reason
	Unpaired  int `json:"unpaired"` // count, and have no window of nothing beside them that does

	// Medians over the windows that count.
	TargetNSPerRequest float64 `json:"target_ns_per_request"`
	RequestsPerSecond  float64 `json:"requests_per_second"`
	P99NS              float64 `json:"p99_ns"`
	// CPU and P99 are ratios to the windows of nothing beside each; nil for Off,
	// and where no window has one.
	CPU *Ratio `json:"target_cpu_per_request_ratio,omitempty"`
	P99 *Ratio `json:"p99_ratio,omitempty"`
}

// Result is what a measurement found.
type Result struct {
	Scenario string        `json:"scenario"`
	Variant  string        `json:"variant,omitempty"`
	InFlight int           `json:"in_flight"` // asked for
	Rounds   int           `json:"rounds"`    // begun
	Window   time.Duration `json:"window_ns"`
	Seed     uint64        `json:"seed"` // of the order of modes
	// TargetCPUs and LoadCPUs are what each was bound to; none: to nothing.
	TargetCPUs  []int        `json:"target_cpus,omitempty"`
	LoadCPUs    []int        `json:"load_cpus,omitempty"`
	MostOthers  float64      `json:"most_others_share"` // above it a window is disturbed
	Host        bundle.Host  `json:"host"`
	Modes       []ModeResult `json:"modes"`
	Windows     []Window     `json:"windows"`
	Notes       []string     `json:"notes"`
	Interrupted string       `json:"interrupted,omitempty"` // why it ended early
}

// Told reports whether any mode but the control could be compared with nothing.
func (r Result) Told() bool {
	for _, m := range r.Modes {
		if m.Mode != Control && m.CPU != nil {
			return true
		}
	}
	return r.onlyControl()
}

// onlyControl is true when nothing but the control was asked for, and was measured.
func (r Result) onlyControl() bool {
	measured := false
	for _, m := range r.Modes {
		if m.Mode != Off && m.Mode != Control {
			return false
		}
		measured = measured || m.CPU != nil
	}
	return measured
}

// summarise makes the results of modes of their windows.
func summarise(modes []Mode, missing map[string]string, windows []Window) []ModeResult {
	out := make([]ModeResult, 0, len(modes))
	for _, m := range modes {
		r := ModeResult{Mode: m.Name, About: m.About, Missing: missing[m.Name]}
		var cost, rate, p99, costs, p99s []float64
		for i, w := range windows {
			if w.Mode != m.Name {
				continue
			}
			switch {
			case w.Disturbed:
				r.Disturbed++
				continue
			case w.LeftOut != "":
				r.Failed++
				continue
			}
			r.Windows++
			cost, rate, p99 = append(cost, w.TargetNSPerRequest), append(rate, w.RequestsPerSecond), append(p99, float64(w.P99NS))
			if m.Name == Off {
				continue
			}
			base, ok := beside(windows, i)
			if !ok {
				r.Unpaired++
				continue
			}
			costs = append(costs, w.TargetNSPerRequest/base.cost)
			if base.p99 > 0 {
				p99s = append(p99s, float64(w.P99NS)/base.p99)
			}
		}
		if r.Windows > 0 {
			r.TargetNSPerRequest, r.RequestsPerSecond, r.P99NS = median(cost), median(rate), median(p99)
		}
		r.CPU, r.P99 = ratioOf(costs), ratioOf(p99s)
		out = append(out, r)
	}
	return out
}

// baseline is what a window is compared with.
type baseline struct{ cost, p99 float64 }

// beside is the mean of the windows of nothing just before and after window i in its
// round, of those that count; false when none does.
func beside(windows []Window, i int) (baseline, bool) {
	var sum baseline
	n := 0.0
	for _, j := range []int{i - 1, i + 1} {
		if j < 0 || j >= len(windows) {
			continue
		}
		w := windows[j]
		if w.Mode != Off || w.Round != windows[i].Round || w.LeftOut != "" {
			continue
		}
		sum.cost += w.TargetNSPerRequest
		sum.p99 += float64(w.P99NS)
		n++
	}
	if n == 0 {
		return baseline{}, false
	}
	return baseline{sum.cost / n, sum.p99 / n}, true
}

// leftOut says how many windows count for nothing, by reason; empty when all count.
func (r Result) leftOut() string {
	disturbed, failed := 0, 0
	for _, w := range r.Windows {
		switch {
		case w.Disturbed:
			disturbed++
		case w.LeftOut != "":
			failed++
		}
	}
	if disturbed+failed == 0 {
		return ""
	}
	text := fmt.Sprintf("%d of %d windows are left out:", disturbed+failed, len(r.Windows))
	if disturbed > 0 {
		text += fmt.Sprintf(" %d in which other processes used more than %.3g%% of the CPUs", disturbed, 100*r.MostOthers)
	}
	if failed > 0 {
		if disturbed > 0 {
			text += " and"
		}
		text += fmt.Sprintf(" %d that failed", failed)
	}
	return text
}
