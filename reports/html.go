package reports

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"

	"chokepoint/harness/bundle"
	"chokepoint/harness/rule"
	"chokepoint/harness/signal"
	"chokepoint/harness/verdict"
)

//go:embed templates/report.html
var page string

// HTML writes the report as one file that asks nothing of the network. Its
// links to artifacts are relative: it belongs at the top of its bundle.
func HTML(w io.Writer, r Report) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"figure":   rule.Figure.String,
		"fileLine": fileLine,
		"percent":  func(v float64) string { return show(v, signal.Share) },
		"join":     func(list []string) string { return strings.Join(list, ", ") },
		"slug":     slug,
		"ns":       func(v int64) string { return show(float64(v), signal.Nanosecond) },
		"mul100":   func(v float64) float64 { return v * 100 },
	}).Parse(page)
	if err != nil {
		return fmt.Errorf("render report as HTML: %w", err)
	}
	// Rendered whole before the first byte is written, so that a failure
	// leaves no half a page.
	var b bytes.Buffer
	v := newView(r)
	if r.Heatmap != nil && r.Heatmap.Requests > 0 {
		var picture bytes.Buffer
		if err := HeatmapSVG(&picture, *r.Heatmap); err != nil {
			return err
		}
		v.Heat = template.HTML(picture.String()) // rendered by html/template itself
	}
	if err := t.Execute(&b, v); err != nil {
		return fmt.Errorf("render report as HTML: %w", err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// view is what the template shows.
type view struct {
	Report
	Subject, Outcome, Tone, Empty string
	Tiles                         []fact
	LoadFacts, RunFacts           []fact
	Captured                      []capturedView
	Artifacts                     []artifactView
	Chart                         *chart
	Spent                         *spentView
	Heat                          template.HTML // an SVG image; empty for none
}

type capturedView struct {
	Name, What string
	Captured   bool
	Gaps       []string
	Price      string   // in one line
	Over       string   // the budget
	Remarks    []string // on the price
}

type artifactView struct {
	Dimension, Probe, Path, Command string
}

func newView(r Report) view {
	v := view{
		Report: r, Subject: r.subject(), Outcome: r.outcome(), Tone: tone(r),
		Empty: r.emptiness(), LoadFacts: r.loadFacts(), RunFacts: r.runFacts(),
		Chart: newChart(r.Load, r.Window), Spent: newSpent(r.Where),
	}
	for _, d := range r.Dimensions {
		what := capture(d)
		if !d.Captured {
			what = d.Reason // the page marks it as not captured by itself
		}
		shown := capturedView{Name: d.Name, What: what, Captured: d.Captured, Gaps: gaps(d)}
		if d.Name == bundle.DimEBPF && r.Price != nil {
			shown.Price, shown.Over, shown.Remarks = r.Price.line(), r.Price.Over, r.Price.remarks()
		}
		v.Captured = append(v.Captured, shown)
		for _, p := range d.Probes {
			for _, a := range p.Artifacts {
				v.Artifacts = append(v.Artifacts, artifactView{d.Name, p.Name, a, opener(a)})
			}
		}
	}
	if l := r.Load; l != nil && r.hasWindow() {
		failed := l.Requests.Ended - l.Requests.OK
		share := 0.0
		if l.Requests.Ended > 0 {
			share = float64(failed) / float64(l.Requests.Ended)
		}
		v.Tiles = []fact{
			{"in flight, mean", show(math.Round(l.Reached.InFlightMean), signal.Count)},
			{"requests per second", show(l.Reached.RateHz, signal.NoUnit)},
			{"latency, p50", show(l.LatencySeconds.P50, signal.Second)},
			{"latency, p99", show(l.LatencySeconds.P99, signal.Second)},
			{"corrected, p99", corrected(l.CorrectedSeconds)},
			{"requests that failed", show(share, signal.Share)},
		}
	}
	return v
}

// corrected is the p99 of corrected latency, which old recordings of closed
// loops do not have.
func corrected(d bundle.Distribution) string {
	if d.Count == 0 {
		return "–"
	}
	return show(d.P99, signal.Second)
}

// tone is the colour class of the headline.
func tone(r Report) string {
	if r.Verdict == nil {
		if r.FellShort != "" || len(r.Result.Findings) == 0 && len(r.Result.Silent) == 0 {
			return "unsure"
		}
		return "plain"
	}
	switch r.Verdict.Outcome {
	case verdict.Pass:
		return "good"
	case verdict.Fail:
		return "bad"
	}
	return "unsure"
}

// slug makes a class name of a stance, an outcome or a confidence.
func slug(v any) string { return strings.ReplaceAll(fmt.Sprint(v), " ", "-") }

// chart is requests in flight, and open sockets, over the seconds of the attack.
type chart struct {
	Line        string  // points of a polyline
	Area        string  // points of the polygon under it
	Sockets     string  // points of the polyline of open sockets
	WindowX     float64 // where the recorded window begins
	WindowWidth float64
	Top         string // the largest value
	Seconds     string // how long the attack lasted
	Width       float64
	Height      float64
}

// newChart is nil when there is too little to draw.
func newChart(l *bundle.Load, w bundle.Window) *chart {
	if l == nil || len(l.Seconds) < 3 {
		return nil
	}
	c := &chart{Width: 1000, Height: 120}
	begin := l.Seconds[0].StartNS
	length := float64(l.Seconds[len(l.Seconds)-1].StartNS-begin) + 1e9
	if length <= 0 {
		return nil
	}
	top := 1
	for _, s := range l.Seconds {
		top = max(top, s.InFlight, s.OpenSockets)
	}
	x := func(ns int64) float64 {
		return min(max(float64(ns-begin)/length, 0), 1) * c.Width
	}
	var line, sockets strings.Builder
	y := func(n int) float64 { return c.Height - float64(n)/float64(top)*(c.Height-8) }
	for _, s := range l.Seconds {
		fmt.Fprintf(&line, "%.1f,%.1f ", x(s.StartNS+5e8), y(s.InFlight))
		fmt.Fprintf(&sockets, "%.1f,%.1f ", x(s.StartNS+1e9), y(s.OpenSockets)) // as of its end
	}
	c.Line, c.Sockets = strings.TrimSpace(line.String()), strings.TrimSpace(sockets.String())
	c.Area = fmt.Sprintf("%.1f,%.0f %s %.1f,%.0f", x(begin+5e8), c.Height, c.Line,
		x(l.Seconds[len(l.Seconds)-1].StartNS+5e8), c.Height)
	c.WindowX = x(w.StartNS)
	c.WindowWidth = x(w.EndNS) - c.WindowX
	c.Top = count(int64(top))
	c.Seconds = show(length, signal.Nanosecond)
	return c
}
