package reports

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"chokepoint/harness/bundle"
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
	var bands []requests.Band
	total := map[requests.Kind]int64{}
	for _, name := range shownBands() {
		b, ok := x.Table.Band(name)
		if !ok || b.TotalNS <= 0 {
			continue
		}
		bands = append(bands, b)
		for _, k := range b.Kinds {
			if b.Share(k.Kind) >= leastPart {
				total[k.Kind] += k.NS
			}
		}
	}
	// All bars have the kinds in one order, so that they can be compared.
	kinds := slices.SortedFunc(maps.Keys(total), func(a, b requests.Kind) int {
		return cmp.Or(-cmp.Compare(total[a], total[b]), cmp.Compare(a, b))
	})
	for _, k := range kinds {
		v.Legend = append(v.Legend, spentPart{Kind: string(k), Tone: kindTone(k)})
	}
	atLeast := ""
	if x.Table.Ranked == requests.BySeen {
		atLeast = "at least "
	}
	for i, b := range bands {
		one := spentBand{
			Name: b.Name, Requests: count(b.Requests), Median: atLeast + ns(b.MedianNS), Explained: percent(b.ExplainedNS, b.TotalNS), Parts: spentParts(b, kinds),
		}
		// Requests that were there all the time cannot be told apart: bands of them are one.
		if i > 0 && sameBand(b, bands[i-1]) {
			first, _, _ := strings.Cut(v.Bands[len(v.Bands)-1].Name, " to ")
			one.Name = first + " to " + b.Name
			v.Bands[len(v.Bands)-1] = one
			continue
		}
		v.Bands = append(v.Bands, one)
	}
	if b, ok := x.Table.Band(requests.P99); ok && b.TotalNS > 0 {
		v.LinesOf = b.Name
		v.Lines, v.More = spentLines(b)
	}
	if len(v.Bands) > 0 && x.Table.Ranked == requests.BySeen {
		v.Notes = append(v.Notes, "Requests take long against the trace: the bands rank them by as much as was seen, and lengths are the least that they took.")
	}
	if len(v.Bands) > 0 && !x.Table.OffCPU {
		v.Notes = append(v.Notes, "When threads had no CPU was not captured: \u201crunning\u201d holds the time in the kernel's run queue.")
	}
	if len(v.Bands) == 0 && len(v.States) == 0 {
		return nil
	}
	return v
}

// sameBand reports whether two bands are of the same requests.
func sameBand(a, b requests.Band) bool {
	return a.Requests == b.Requests && a.TotalNS == b.TotalNS && a.MedianNS == b.MedianNS
}

// spentParts are the kinds in their order, and in one part what is too little to be
// seen.
func spentParts(b requests.Band, kinds []requests.Kind) []spentPart {
	var parts []spentPart
	rest := 1.0
	for _, k := range kinds {
		if share := b.Share(k); share >= leastPart {
			parts = append(parts, spentPart{string(k), show(share, signal.Share), kindTone(k), 100 * share})
			rest -= share
		}
	}
	if rest > 1e-6 {
		parts = append(parts, spentPart{"all else", show(rest, signal.Share), "other", 100 * rest})
	}
	return parts
}

// lineTime is time of one kind at one line, or of a named cause where no line is known.
type lineTime struct {
	kind      requests.Kind
	where     bundle.Frame
	cause     string
	explained bool
	ns        int64
}

// lineTimes are the lines of a band by time.
func lineTimes(b requests.Band) []lineTime {
	sums := map[lineTime]int64{}
	for _, x := range b.Parts {
		l := lineTime{kind: x.Kind, where: x.Where, cause: x.Cause, explained: x.Explained}
		if l.where.Function != "" {
			l.cause = ""
		}
		sums[l] += x.NS
	}
	lines := make([]lineTime, 0, len(sums))
	for l, ns := range sums {
		l.ns = ns
		lines = append(lines, l)
	}
	slices.SortFunc(lines, func(a, b lineTime) int {
		return cmp.Or(-cmp.Compare(a.ns, b.ns), cmp.Compare(a.kind, b.kind), cmp.Compare(a.where.Function, b.where.Function), cmp.Compare(a.where.Line, b.where.Line), cmp.Compare(a.cause, b.cause))
	})
	return lines
}

// spentLines are the lines of a band, however each is known, and what is left out.
func spentLines(b requests.Band) (list []spentLine, more string) {
	lines := lineTimes(b)
	const shown, least = 8, 0.001
	for _, l := range lines {
		if len(list) == shown || float64(l.ns) < least*float64(b.TotalNS) {
			break
		}
		x := spentLine{Share: percent(l.ns, b.TotalNS), Kind: string(l.kind), Where: l.cause, Unexplained: !l.explained}
		if l.where.Function != "" {
			x.Where, x.File = l.where.Function, l.where.File
			x.Place = fileLine(signal.Location{File: l.where.File, Line: l.where.Line})
		}
		list = append(list, x)
	}
	if n := len(lines) - len(list); n > 0 {
		more = plural(n, "line") + " more"
	}
	return list, more
}

// mostlyWaits is the share of all request time from which a wait at one line is what
// requests do.
const mostlyWaits = 0.5

// waits says where requests wait, if that is at one line for most of their time: where
// no rule has found anything, it is what there is to be looked at. Stopped says that no
// request ended in the window.
func waits(x *signal.Where, stopped bool) string {
	if x == nil || x.Source != "requests" {
		return ""
	}
	b, ok := x.Table.Band(requests.All)
	if !ok {
		return ""
	}
	for _, l := range lineTimes(b) {
		if float64(l.ns) < mostlyWaits*float64(b.TotalNS) {
			break
		}
		switch l.kind {
		case requests.Running, requests.Runnable, requests.RunQueue, requests.ThreadAsleep:
			continue // that is for want of CPU
		}
		if l.where.Function == "" {
			continue
		}
		may := "it may be what they are there for, such as the answer of another service; if it is not, look there."
		switch stack.Wait(l.kind) {
		case stack.Lock, stack.WaitGroup, stack.ChanSend:
			// Nobody from outside ends these.
			may = "another goroutine of the program has to end such a wait; look for the one that should, and for what keeps it."
		}
		if stopped {
			may += " No request got past it to its end while it was recorded, and nothing in the recording shows who should end the wait."
		}
		return fmt.Sprintf("Requests spend %s of their time in %s, at %s %s. No rule takes that for a flaw: %s",
			percent(l.ns, b.TotalNS), l.kind, l.where.Function, fileLine(signal.Location{File: l.where.File, Line: l.where.Line}), may)
	}
	return ""
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
	width := 9
	for _, b := range v.Bands {
		width = max(width, len(b.Name)+2)
	}
	for _, b := range v.Bands {
		const shown = 4
		var parts []string
		slices.SortStableFunc(b.Parts, func(a, b spentPart) int { return -cmp.Compare(a.Width, b.Width) })
		for _, part := range b.Parts[:min(shown, len(b.Parts))] {
			parts = append(parts, part.Kind+" "+part.Share)
		}
		p.column("  ", faint, b.Name, width, b.Median+": "+strings.Join(parts, ", "))
	}
	if len(v.Lines) > 0 {
		l := v.Lines[0]
		at := cmp.Or(strings.TrimSpace(l.Where+"  "+l.Place), "no stack tells where")
		p.column("  ", faint, "", width, fmt.Sprintf("%s of %s: %s, at %s", l.Share, v.LinesOf, l.Kind, at))
	}
	for _, n := range v.Notes {
		p.wrapped("  ", "  ", n)
	}
}
