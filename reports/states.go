package reports

import (
	"fmt"
	"math"
	"strings"

	"chokepoint/harness/signal"
	"chokepoint/harness/signal/gotrace"
)

// states shows what goroutines, Ps and threads did over the trace, a row a state:
// its mean, its most, and its course.
func (p *printer) states(x *signal.Where) {
	s, t := x.Scheduler.States, x.Threads
	if len(s.Running) == 0 {
		return
	}
	const course = 48
	p.line("")
	p.line(fmt.Sprintf("  %-26s %10s %10s  over the trace, %s a column", "states, how many", "mean", "most", ns(columnNS(s, course))))
	row := func(name string, series []float64) {
		if series == nil {
			p.line(fmt.Sprintf("  %-26s %10s %10s  not captured", name, "?", "?"))
			return
		}
		most := 0.0
		for _, v := range series {
			most = max(most, v)
		}
		p.line(fmt.Sprintf("  %-26s %10s %10s  %s", name, few(gotrace.Mean(series)), few(most), sparkline(series, course)))
	}
	row("goroutines running", s.Running)
	row("  waiting for a P", s.Runnable)
	row("  blocked", s.Waiting)
	row("  in a system call", s.Syscall)
	row("Ps in use", s.PUsed)
	row("  idle", s.PIdle)
	row("threads", t.Count)
	row("  in the run queue", t.RunQueue)
	row("  put to sleep", t.Asleep)
	p.line("")
}

// few is a mean number of things.
func few(v float64) string {
	switch {
	case v > 0 && v < 0.01:
		return "<0.01"
	case v < 100 && v != math.Trunc(v):
		return fmt.Sprintf("%.2f", v)
	}
	return count(int64(math.Round(v)))
}

// perColumn is how many slots make a column where there is room for so many.
func perColumn(slots, columns int) int { return (slots + columns - 1) / columns }

func columnNS(s gotrace.States, columns int) int64 {
	return int64(perColumn(len(s.Running), columns)) * s.SlotNS
}

// sparkline draws a series on its own scale, from zero to its most. A column is
// the most of its slots, so that what was short is not lost.
func sparkline(series []float64, columns int) string {
	levels := []rune("▁▂▃▄▅▆▇█")
	each := perColumn(len(series), columns)
	var shown []float64
	top := 0.0
	for i := 0; i < len(series); i += each {
		most := 0.0
		for _, v := range series[i:min(i+each, len(series))] {
			most = max(most, v)
		}
		shown, top = append(shown, most), max(top, most)
	}
	var b strings.Builder
	for _, v := range shown {
		switch {
		case v <= 0:
			b.WriteByte(' ')
		default:
			b.WriteRune(levels[min(len(levels)-1, int(v/top*float64(len(levels))))])
		}
	}
	return b.String()
}
