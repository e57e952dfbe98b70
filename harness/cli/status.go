package cli

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"chokepoint/harness/capture"
	"chokepoint/harness/run"
)

// barWidth is the length of the bar, in columns.
const barWidth = 20

// painting is a status as lines of at most so many columns: the run and its
// phase; the load; and what each dimension has recorded, on as many lines as
// that takes.
func painting(s run.Status, now time.Time, columns int) []string {
	head := join([]string{runName(s.Scenario, s.Variant), string(s.Phase), spent(s, now)})
	if s.For > 0 && textWidth(head)+2+len(bar(0, 1)) <= columns {
		head += "  " + bar(now.Sub(s.Since), s.For)
	}
	lines := []string{head}
	if load := loadText(s); load != "" {
		lines = append(lines, "  load   "+load)
	}
	lines = append(lines, rows("  seen   ", dimensionTexts(s), columns)...)
	for i := range lines {
		lines[i] = cut(lines[i], columns)
	}
	return lines
}

// rows sets parts side by side below a label, as many to a row as fit.
func rows(label string, parts []string, columns int) []string {
	var all []string
	for i, part := range parts {
		last := len(all) - 1
		switch {
		case i == 0:
			all = append(all, label+part)
		case textWidth(all[last])+2+textWidth(part) <= columns:
			all[last] += "  " + part
		default:
			all = append(all, strings.Repeat(" ", len(label))+part)
		}
	}
	return all
}

// plainLine is a status as one line of any width.
func plainLine(s run.Status, now time.Time) string {
	parts := []string{runName(s.Scenario, s.Variant), string(s.Phase), spent(s, now), loadText(s)}
	return join(append(parts, dimensionTexts(s)...))
}

// join puts parts side by side and leaves out the empty ones.
func join(parts []string) string {
	var b strings.Builder
	for _, p := range parts {
		if p == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("  ")
		}
		b.WriteString(p)
	}
	return b.String()
}

func bar(elapsed, whole time.Duration) string {
	n := int(barWidth * min(max(elapsed, 0), whole) / whole)
	return "[" + strings.Repeat("#", n) + strings.Repeat("-", barWidth-n) + "]"
}

// spent is how long the phase has taken; nothing at its beginning when nobody
// knows how long it will.
func spent(s run.Status, now time.Time) string {
	elapsed := max(now.Sub(s.Since), 0)
	switch {
	case s.For > 0 && elapsed > s.For+time.Second:
		return fmt.Sprintf("%.0f s, planned were %s s", elapsed.Seconds(), seconds(s.For))
	case s.For > 0:
		return fmt.Sprintf("%.0f of %s s", min(elapsed, s.For).Seconds(), seconds(s.For))
	case elapsed > 2*time.Second:
		return fmt.Sprintf("%.0f s", elapsed.Seconds())
	}
	return ""
}

// seconds gives tenths where they are most of it.
func seconds(d time.Duration) string {
	if d < 2*time.Second {
		return fmt.Sprintf("%.1f", d.Seconds())
	}
	return fmt.Sprintf("%.0f", d.Seconds())
}

func loadText(s run.Status) string {
	if s.Phase != run.Ramping && s.Phase != run.Capturing {
		return ""
	}
	l := s.Load
	latency := "no response in the last second"
	if l.RateHz > 0 {
		latency = fmt.Sprintf("p50 %s, p99 %s (corrected %s)", brief(l.P50), brief(l.P99), brief(l.CorrectedP99))
	}
	inFlight, rate := fmt.Sprintf("%d of %.0f in flight", l.InFlight, l.Asked), fmt.Sprintf("%.0f/s", l.RateHz)
	if l.Open {
		inFlight, rate = fmt.Sprintf("%d in flight", l.InFlight), fmt.Sprintf("%.0f of %.0f/s", l.RateHz, l.Asked)
	}
	text := fmt.Sprintf("%s, %s, %s, %d errors", inFlight, rate, latency, l.Errors)
	if l.Stages > 1 {
		text = fmt.Sprintf("stage %d of %d: %s", l.Stage+1, l.Stages, text)
	}
	return text
}

// dimensionTexts say what each dimension records, and has recorded in the end.
// Why one is lost is long, and stands in the report.
func dimensionTexts(s run.Status) []string {
	var all []string
	for _, d := range s.Dimensions {
		switch {
		case s.Phase == run.Capturing && d.Phase == capture.PhaseLost:
			all = append(all, d.Dimension+": not captured")
		case s.Phase == run.Capturing, s.Phase == run.Stopping && d.Phase == capture.PhaseStopped:
			all = append(all, d.Dimension+": "+oneLine(d.Text))
		}
	}
	return all
}

// oneLine keeps what comes from elsewhere from moving the cursor.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// brief is a duration to three figures or so.
func brief(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}
