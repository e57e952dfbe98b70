package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"
)

// result is all runs of one contender.
type result struct {
	Name string    `json:"name"`
	Runs []figures `json:"runs"`
}

// good are the runs to judge by: those that have figures and were not disturbed,
// or, where each was disturbed, all that have figures.
func (r result) good() []figures {
	var good, calm []figures
	for _, f := range r.Runs {
		if f.Fault != "" {
			continue
		}
		good = append(good, f)
		if !f.Disturbed {
			calm = append(calm, f)
		}
	}
	if len(calm) > 0 {
		return calm
	}
	return good
}

// disturbance says what was done about disturbed runs, if there were any.
func (r result) disturbance() string {
	disturbed, have := 0, 0
	for _, f := range r.Runs {
		if f.Fault == "" {
			have++
			if f.Disturbed {
				disturbed++
			}
		}
	}
	switch disturbed {
	case 0:
		return ""
	case have:
		return fmt.Sprintf("%s: other processes disturbed each of its %d runs; its figures are too high.", r.Name, have)
	}
	return fmt.Sprintf("%s: other processes disturbed %d of its %d runs, which are left out.", r.Name, disturbed, have)
}

// spread of one figure over the good runs.
func (r result) spread(of func(figures) float64) spread {
	var values []float64
	for _, f := range r.good() {
		values = append(values, of(f))
	}
	return spreadOf(values)
}

// report is what a whole comparison found.
type report struct {
	Connections int      `json:"connections"`
	LengthNS    int64    `json:"length_ns"`
	Rounds      int      `json:"rounds"`
	CPUs        int      `json:"cpus"`
	Results     []result `json:"results"`
	Absent      []absent `json:"absent,omitempty"`
}

// absent is a contender that is not installed.
type absent struct {
	Name string `json:"name"`
	How  string `json:"how_to_get_it"`
}

func (r report) writeJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("write the figures as JSON: %w", err)
	}
	return nil
}

// columns of the table after the name.
var columns = [...]struct {
	head string
	cell func(result) string
}{
	{"CPU-s per million requests", func(r result) string {
		return r.spread(func(f figures) float64 { return f.CPUSecondsPerMillion }).text(1)
	}},
	{"the same once connected", func(r result) string {
		// A tool that never held all connections has no such figure.
		var values []float64
		for _, f := range r.good() {
			if f.SteadyPerMillion > 0 {
				values = append(values, f.SteadyPerMillion)
			}
		}
		if len(values) == 0 {
			return "–"
		}
		return spreadOf(values).text(1)
	}},
	{"peak memory, MiB", func(r result) string {
		return r.spread(func(f figures) float64 { return f.PeakMiB }).text(0)
	}},
	{"requests/s", func(r result) string {
		return r.spread(func(f figures) float64 { return f.RequestsPerSecond }).text(0)
	}},
	{"connections at once (made)", func(r result) string {
		return fmt.Sprintf("%s (%s)",
			grouped(r.spread(func(f figures) float64 { return float64(f.Connections) }).Median, 0),
			grouped(r.spread(func(f figures) float64 { return float64(f.Made) }).Median, 0))
	}},
	{"requests answered / own count", func(r result) string {
		return fmt.Sprintf("%s / %s",
			grouped(r.spread(func(f figures) float64 { return float64(f.Answered) }).Median, 0),
			grouped(r.spread(func(f figures) float64 { return float64(f.ToolRequests) }).Median, 0))
	}},
	{"p99 it tells, ms", func(r result) string {
		return r.spread(func(f figures) float64 { return f.P99MS }).text(0)
	}},
	{"errors it tells", func(r result) string {
		return grouped(r.spread(func(f figures) float64 { return float64(f.Errors) }).Median, 0)
	}},
}

// writeMarkdown writes the table and what must be known to read it.
func (r report) writeMarkdown(w io.Writer) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%s keep-alive connections, closed loop, %s a run, %d rounds in rotating order, %d CPUs (%s/%s), loopback.\n",
		grouped(float64(r.Connections), 0), time.Duration(r.LengthNS), r.Rounds, r.CPUs, runtime.GOOS, runtime.GOARCH)
	fmt.Fprintf(&out, "Medians, with the interquartile range.\n\n")
	out.WriteString("| generator |")
	for _, c := range columns {
		fmt.Fprintf(&out, " %s |", c.head)
	}
	out.WriteString("\n| --- |" + strings.Repeat(" ---: |", len(columns)) + "\n")
	for _, res := range r.Results {
		if len(res.Runs) == 0 {
			continue // interrupted before
		}
		if len(res.good()) == 0 {
			fmt.Fprintf(&out, "| %s |%s\n", res.Name, strings.Repeat(" failed |", len(columns)))
			continue
		}
		fmt.Fprintf(&out, "| %s |", res.Name)
		for _, c := range columns {
			fmt.Fprintf(&out, " %s |", c.cell(res))
		}
		out.WriteString("\n")
	}
	var others []float64
	var notes []string
	for _, res := range r.Results {
		for _, f := range res.good() {
			others = append(others, 100*f.OthersShare)
		}
		for _, f := range res.Runs {
			if f.Fault != "" {
				notes = append(notes, fmt.Sprintf("%s failed in round %d: %s", res.Name, f.Round, f.Fault))
			}
		}
	}
	if len(others) > 0 {
		s := spreadOf(others)
		notes = append(notes, fmt.Sprintf("Processes beside the generator and the server used %s %% of the CPUs in these runs.", s.text(0)))
	}
	for _, res := range r.Results {
		if text := res.disturbance(); text != "" {
			notes = append(notes, text)
		}
	}
	for _, m := range r.Absent {
		notes = append(notes, fmt.Sprintf("%s is not installed; to get it: %s", m.Name, m.How))
	}
	if len(notes) > 0 {
		out.WriteString("\n")
	}
	for _, n := range notes {
		fmt.Fprintf(&out, "- %s\n", strings.ReplaceAll(n, "\n", " "))
	}
	if _, err := io.WriteString(w, out.String()); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

// text is "median (Q1–Q3)", or the one value there is.
func (s spread) text(decimals int) string {
	if s.N == 1 {
		return grouped(s.Median, decimals)
	}
	return fmt.Sprintf("%s (%s–%s)", grouped(s.Median, decimals), grouped(s.Q1, decimals), grouped(s.Q3, decimals))
}

// grouped writes 12345.6 as 12,346 or 12,345.6.
func grouped(v float64, decimals int) string {
	whole, rest, _ := strings.Cut(fmt.Sprintf("%.*f", decimals, v), ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest != "" {
		return whole + "." + rest
	}
	return whole
}
