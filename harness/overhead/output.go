package overhead

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Table writes the result for a person: a table with a row for each mode, and what
// is to know beside it.
func Table(w io.Writer, r Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: what recording costs its target\n", r.subject())
	fmt.Fprintf(&b, "%s, %d in flight, windows of %s%s\n\n", plural(r.Rounds, "round"), r.InFlight, r.Window, r.pinned())

	t := table.NewWriter()
	style := table.StyleLight
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	t.AppendHeader(table.Row{"mode", "windows", "CPU/request", "ratio", "interval", "p99", "ratio", "interval", "requests/s"})
	var right []table.ColumnConfig
	for n := 2; n <= 9; n++ {
		right = append(right, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(right)
	for _, m := range r.Modes {
		if m.Windows == 0 {
			t.AppendRow(table.Row{m.Mode, "0"})
			continue
		}
		t.AppendRow(table.Row{
			m.Mode, m.Windows, micros(m.TargetNSPerRequest), m.CPU.median(), m.CPU.interval(),
			time.Duration(m.P99NS).Round(latencyStep(m.P99NS)).String(), m.P99.median(), m.P99.interval(), fmt.Sprintf("%.0f", m.RequestsPerSecond),
		})
	}
	b.WriteString(t.Render())
	b.WriteString("\n\n")
	for _, line := range r.remarks() {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

func (r Result) subject() string {
	if r.Variant == "" {
		return r.Scenario
	}
	return fmt.Sprintf("%s (%s)", r.Scenario, r.Variant)
}

func (r Result) pinned() string {
	if len(r.TargetCPUs) == 0 {
		return ""
	}
	return fmt.Sprintf(", target on CPU %v, load on CPU %v", r.TargetCPUs[0], r.LoadCPUs[0])
}

// remarks are what must be known beside the table, a line each.
func (r Result) remarks() []string {
	lines := []string{
		"CPU/request is the target's CPU time; ratios are to the windows of " + Off + " beside each window, medians with an interval of at least " +
			fmt.Sprintf("%.0f%%", 100*confidence) + " where there are 6 windows.",
	}
	if c := r.mode(Control); c != nil && c.CPU.interval() != "" {
		lines = append(lines, fmt.Sprintf("%s is nothing against nothing: a ratio within its interval, %s, cannot be told from noise.", Control, c.CPU.interval()))
	}
	least := 1.0
	for _, m := range r.Modes {
		if m.CPU != nil {
			least = min(least, m.CPU.Confidence)
		}
	}
	if least < confidence {
		lines = append(lines, fmt.Sprintf("Intervals of few windows hold less: the least certain has %.3g%%. More rounds make them 95%%.", 100*least))
	}
	if text := r.leftOut(); text != "" {
		lines = append(lines, text+".")
	}
	for _, m := range r.Modes {
		switch {
		case m.Missing != "":
			lines = append(lines, fmt.Sprintf("%s was not measured: %s", m.Mode, m.Missing))
		case m.Unpaired > 0:
			lines = append(lines, fmt.Sprintf("%s: %s had no window of %s beside it that counts, and no ratio", m.Mode, plural(m.Unpaired, "window"), Off))
		}
	}
	lines = append(append(lines, r.failures()...), r.Notes...)
	if r.Interrupted != "" {
		lines = append(lines, "This is what was found until it ended early: "+r.Interrupted)
	}
	return lines
}

// failures tells each reason for which windows failed once for each mode.
func (r Result) failures() []string {
	var lines []string
	told := map[string]bool{}
	for _, w := range r.Windows {
		line := fmt.Sprintf("%s, round %d: %s", w.Mode, w.Round, w.LeftOut)
		if w.LeftOut == "" || w.Disturbed || told[w.Mode+w.LeftOut] {
			continue
		}
		told[w.Mode+w.LeftOut] = true
		lines = append(lines, line)
	}
	return lines
}

func (r Result) mode(name string) *ModeResult {
	for i := range r.Modes {
		if r.Modes[i].Mode == name {
			return &r.Modes[i]
		}
	}
	return nil
}

func (r *Ratio) median() string {
	if r == nil {
		return ""
	}
	return fmt.Sprintf("%.3f", r.Median)
}

func (r *Ratio) interval() string {
	if r == nil || r.Confidence < 0.5 { // of one ratio there is none
		return ""
	}
	return fmt.Sprintf("%.3f-%.3f", r.Low, r.High)
}

// micros writes nanoseconds as microseconds in three digits.
func micros(ns float64) string {
	us := ns / 1000
	digits := 0
	if us > 0 {
		digits = max(0, 2-int(math.Floor(math.Log10(us))))
	}
	return fmt.Sprintf("%.*f µs", digits, us)
}

// latencyStep leaves a latency three digits.
func latencyStep(ns float64) time.Duration {
	if ns <= 0 {
		return 1
	}
	return max(1, time.Duration(math.Pow(10, math.Floor(math.Log10(ns))-2)))
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// Benchstat writes every window that counts in the format of Go benchmarks, in the
// order in which they were measured, for benchstat to compare:
//
//	benchstat -col /mode overhead.txt
//
// benchstat compares all windows of two modes and knows nothing of which lay beside
// which, so that its intervals are wider than those of the table.
func Benchstat(w io.Writer, r Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "goos: %s\ngoarch: %s\npkg: chokepoint/overhead\nkernel: %s\nscenario: %s\n", r.Host.OS, r.Host.Arch, r.Host.Kernel, r.subject())
	b.WriteString("Unit target-ns/req better=lower\nUnit p99-ns better=lower\nUnit req/s better=higher\n")
	for _, m := range r.Modes {
		if m.Missing != "" {
			fmt.Fprintf(&b, "# mode %s was not measured: %s\n", m.Mode, oneLine(m.Missing))
		}
	}
	if text := r.leftOut(); text != "" {
		fmt.Fprintf(&b, "# %s\n", text)
	}
	b.WriteByte('\n')
	for _, v := range r.Windows {
		if v.LeftOut != "" {
			continue
		}
		fmt.Fprintf(&b, "BenchmarkOverhead/mode=%s-%d %d %.1f target-ns/req %d p99-ns %.1f req/s\n",
			v.Mode, max(1, r.Host.CPUs), v.Requests, v.TargetNSPerRequest, v.P99NS, v.RequestsPerSecond)
	}
	if r.Interrupted != "" {
		fmt.Fprintf(&b, "# ended early: %s\n", oneLine(r.Interrupted))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write benchmark lines: %w", err)
	}
	return nil
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }
