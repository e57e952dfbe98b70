package reports

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"chokepoint/harness/signal"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/requests"
	"chokepoint/harness/signal/stack"
)

// spentView is where the requests' time went, for a page.
type spentView struct {
	Source  string // "requests" or "tasks"
	Bands   []spentBand
	Legend  []spentPart // kinds, by time
	Lines   []spentLine // of the p99 band, by time
	LinesOf string      // the band that Lines are of
	More    string      // what Lines leaves out
	States  []stateRow
	TraceNS int64
	Notes   []string
}

// spentBand is one bar.
type spentBand struct {
	Name, Requests, Median, Explained string
	Parts                             []spentPart
}

// spentPart is a piece of a bar: what the time went to, and how much of it.
type spentPart struct {
	Kind, Share, Tone string
	Width             float64 // percent of the bar
}

type spentLine struct {
	Share, Kind, Where, File string
	Place                    string
	Unexplained              bool
}

// stateRow is a state of goroutines, Ps or threads over time.
type stateRow struct {
	Of, Name, Mean, Most string
	Area                 string // points of a polygon in a box of stateWidth by stateHeight; empty for not captured
	Width, Height        float64
}

// shownBands are those of a report; `chokepoint where` has all.
func shownBands() []string {
	return []string{requests.P50, requests.P90, requests.P99, requests.Slowest}
}

// leastPart is the least share of a bar that is drawn by itself.
const leastPart = 0.005

// kindTone is the colour class of a kind of time: what is alike has one colour, and
// what no scenario would show together may share one.
func kindTone(k requests.Kind) string {
	switch k {
	case requests.Running:
		return "run"
	case requests.Runnable, requests.RunQueue, requests.ThreadAsleep:
		return "queue"
	case requests.Stopped, requests.Assisting:
		return "gc"
	case requests.Syscall:
		return "sys"
	}
	switch stack.Wait(k) {
	case stack.Lock, stack.Cond, stack.WaitGroup:
		return "lock"
	case stack.ChanRecv, stack.ChanSend, stack.Select:
		return "chan"
	case stack.Sleep:
		return "sleep"
	case stack.NetRead, stack.NetWrite, stack.NetAccept, stack.NetConnect, stack.HTTPClient:
		return "net"
	case stack.DBConn:
		return "pool"
	}
	return "other"
}

// newSpent is nil where no trace tells of requests, or of anything else.
func newSpent(x *signal.Where) *spentView {
	if x == nil {
		return nil
	}
	v := &spentView{Source: x.Source, TraceNS: x.Table.TraceNS, States: stateRows(x)}
	total := map[requests.Kind]int64{}
	for _, name := range shownBands() {
		b, ok := x.Table.Band(name)
		if !ok || b.TotalNS <= 0 {
			continue
		}
		bar := spentBand{Name: name, Requests: count(b.Requests), Median: ns(b.MedianNS), Explained: percent(b.ExplainedNS, b.TotalNS)}
		rest := 0.0
		for _, k := range b.Kinds {
			if share := b.Share(k.Kind); share >= leastPart {
				total[k.Kind] += k.NS
				bar.Parts = append(bar.Parts, spentPart{string(k.Kind), show(share, signal.Share), kindTone(k.Kind), 100 * share})
			} else {
				rest += share
			}
		}
		if rest > 0 {
			bar.Parts = append(bar.Parts, spentPart{"all else", show(rest, signal.Share), "other", 100 * rest})
		}
		v.Bands = append(v.Bands, bar)
	}
	for _, k := range slices.SortedFunc(maps.Keys(total), func(a, b requests.Kind) int {
		return cmp.Or(-cmp.Compare(total[a], total[b]), cmp.Compare(a, b))
	}) {
		v.Legend = append(v.Legend, spentPart{Kind: string(k), Tone: kindTone(k)})
	}
	if b, ok := x.Table.Band(requests.P99); ok && b.TotalNS > 0 {
		v.LinesOf = b.Name
		const shown = 8
		for _, part := range b.Parts[:min(shown, len(b.Parts))] {
			line := spentLine{Share: percent(part.NS, b.TotalNS), Kind: string(part.Kind), Where: part.Cause, Unexplained: !part.Explained}
			if part.Where.Function != "" {
				at := signal.Location{Function: part.Where.Function, File: part.Where.File, Line: part.Where.Line}
				line.Where, line.File, line.Place = at.Function, at.File, fileLine(at)
			}
			v.Lines = append(v.Lines, line)
		}
		if n := len(b.Parts) - shown; n > 0 {
			v.More = plural(n, "more line")
		}
	}
	if len(v.Bands) > 0 && !x.Table.OffCPU {
		v.Notes = append(v.Notes, "When threads had no CPU was not captured: \u201crunning\u201d holds the time in the kernel's run queue.")
	}
	if len(v.Bands) == 0 && len(v.States) == 0 {
		return nil
	}
	return v
}

const (
	stateWidth  = 480
	stateHeight = 26
)

func stateRows(x *signal.Where) []stateRow {
	s, t := x.Scheduler.States, x.Threads
	if len(s.Running) == 0 {
		return nil
	}
	var rows []stateRow
	for _, r := range []struct {
		of, name string
		series   []float64
	}{
		{"goroutines", "running", s.Running},
		{"", "waiting for a P", s.Runnable},
		{"", "blocked", s.Waiting},
		{"", "in a system call", s.Syscall},
		{"Ps", "in use", s.PUsed},
		{"", "idle", s.PIdle},
		{"threads", "all", t.Count},
		{"", "in the run queue", t.RunQueue},
		{"", "put to sleep", t.Asleep},
	} {
		row := stateRow{Of: r.of, Name: r.name, Width: stateWidth, Height: stateHeight}
		if r.series != nil {
			most := slices.Max(r.series)
			row.Mean, row.Most, row.Area = few(gotrace.Mean(r.series)), few(most), area(r.series, most)
		}
		rows = append(rows, row)
	}
	return rows
}

// area is the polygon under a series on its own scale, in steps, from zero to its most.
func area(series []float64, most float64) string {
	var b strings.Builder
	step := float64(stateWidth) / float64(len(series))
	fmt.Fprintf(&b, "0,%d ", stateHeight)
	for i, v := range series {
		y := float64(stateHeight)
		if most > 0 {
			y -= v / most * (stateHeight - 1)
		}
		fmt.Fprintf(&b, "%.1f,%.1f %.1f,%.1f ", float64(i)*step, y, float64(i+1)*step, y)
	}
	fmt.Fprintf(&b, "%d,%d", stateWidth, stateHeight)
	return b.String()
}

// spent says in a line a band where the requests' time went.
func (p *printer) spent(x *signal.Where) {
	v := newSpent(x)
	if v == nil || len(v.Bands) == 0 {
		return
	}
	title := "Where the time of requests went"
	if v.Source != "requests" {
		title = "Where the time of the program's tasks went"
	}
	p.title(title)
	for _, b := range v.Bands {
		const shown = 4
		var parts []string
		for _, part := range b.Parts[:min(shown, len(b.Parts))] {
			parts = append(parts, part.Share+" "+part.Kind)
		}
		p.column("  ", faint, b.Name, 9, b.Median+": "+strings.Join(parts, ", "))
	}
	if len(v.Lines) > 0 {
		l := v.Lines[0]
		text := fmt.Sprintf("%s of %s is %s", l.Share, v.LinesOf, l.Kind)
		if l.Where != "" {
			text += ": " + strings.TrimSpace(l.Where+" "+l.Place)
		}
		p.column("  ", faint, "mostly", 9, text)
	}
}
