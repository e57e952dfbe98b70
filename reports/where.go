package reports

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/requests"
	"chokepoint/harness/signal/stack"
)

// Where writes for a person where the time of requests went: all bands by what
// it went to, and one band, "p99" unless another is named, by line.
func Where(w io.Writer, x *signal.Where, band string, o TextOptions) error {
	if o.Width == 0 {
		o.Width = defaultWidth
	}
	p := &printer{color: o.Color, width: max(o.Width, minimumWidth)}
	p.whereFacts(x)
	if len(x.Table.Bands) > 0 {
		p.bands(x.Table, x.BothEnds)
		p.lines(x.Table, band)
		p.endpoints(x.Table)
	}
	p.turns(x.Turns)
	p.borders(x)
	p.scheduler(x)
	if x.Tasks != nil {
		p.title("Tasks that the program marks")
		p.endpointRows(x.Tasks.Endpoints)
	}
	if _, err := io.WriteString(w, p.b.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// keptLines bounds the lines, endpoints and delays that are shown; JSON has all.
const keptLines = 12

func percent(part, whole int64) string {
	if whole <= 0 {
		return "-"
	}
	return show(float64(part)/float64(whole), signal.Share)
}

// plurals counts things whose first noun is followed by more words.
func plurals(n int64, what string) string {
	noun, more, _ := strings.Cut(what, " of ")
	if more != "" {
		more = " of " + more
	}
	return plural(int(n), noun) + more
}

// noteworthyRun is how long the runtime lets a goroutine run before it asks for
// the P back.
const noteworthyRun = gotrace.LongRunNS / 2

func (p *printer) whereFacts(x *signal.Where) {
	c := x.Table.Counts
	all, ok := x.Table.Band(requests.All)
	switch {
	case x.Source == "":
		p.line(p.paint(bold, "No requests in the trace"))
		p.wrapped("  ", "  ", "No goroutine of a server that is known (net/http, fasthttp, gRPC) was in a handler, and the program marks no tasks with runtime/trace.")
	case !ok:
		p.line(p.paint(bold, "No such requests in the trace"))
	default:
		p.line(p.paint(bold, "Where the time of "+plural(int(all.Requests), strings.TrimSuffix(x.Source, "s"))+" went"))
	}
	fact := func(name, value string) { p.column("  ", faint, name, 11, value) }
	fact("trace", ns(x.Table.TraceNS)+" long")
	if x.Cut != "" {
		fact("", "reading it ended early, "+x.Cut)
	}
	if ok {
		whole := all.Requests - all.Cut
		fact("requests", fmt.Sprintf("%s whole, %s with a beginning or an end outside the trace", count(whole), count(all.Cut)))
		if x.Table.Ranked == requests.BySeen {
			fact("", "Most request time is in those: requests take long against the trace. The bands therefore rank all of them, by as much as was seen, and lengths are the least that they took. Those that were there all the time are one group.")
		}
	}
	var left []string
	for _, l := range []struct {
		n    int64
		what string
	}{
		{c.Hijacked, "hijacked connection"},
		{c.Diagnostic, "request of the recording itself"},
	} {
		if l.n > 0 {
			left = append(left, plurals(l.n, l.what))
		}
	}
	if len(left) > 0 {
		fact("left out", strings.Join(left, ", "))
	}
	if c.KeptOneIn > 1 {
		fact("kept", fmt.Sprintf("one request in %d, for the bands; sums over all and by endpoint are of every request", c.KeptOneIn))
	}
	switch out := x.Outside; {
	case out.Missing != "":
		fact("outside", "not known: "+out.Missing)
	default:
		fact("outside", fmt.Sprintf("an estimate over the whole: %s of the client's request time passed outside the server's handlers and reading, in sockets' queues, on the way or in the client (%s in flight at the client, %s served)",
			show(out.Share, signal.Share), show(out.InFlight, signal.Count), show(out.Served, signal.Count)))
		if out.ClientP50 > 0 {
			fact("client", fmt.Sprintf("p50 %s, p99 %s", show(out.ClientP50, signal.Second), show(out.ClientP99, signal.Second)))
		}
	}
	p.bothEnds(x.BothEnds)
	p.kernelFact(x)
}

func (p *printer) kernelFact(x *signal.Where) {
	k := x.Kernel
	switch {
	case k.CutsMissing != "":
		p.column("  ", faint, "kernel", 11, "when threads had no CPU was not captured ("+k.CutsMissing+"): \"running\" is what the runtime takes for it, and holds run queue time")
	case k.Covered >= 0.99:
		p.column("  ", faint, "kernel", 11, "when threads had no CPU is known for all of the trace")
	default:
		p.column("  ", faint, "kernel", 11, "when threads had no CPU is known for "+show(k.Covered, signal.Share)+" of the trace; elsewhere \"running\" is what the runtime takes for it")
	}
	if j := x.Table.Join; k.CutsMissing == "" && j.AgreedNS+j.StrayNS > 0 {
		p.column("  ", faint, "", 11, "of the time for which it had requests' goroutines on a thread without a CPU, the runtime had them running or in a system call for "+percent(j.AgreedNS, j.AgreedNS+j.StrayNS))
	}
	for _, kind := range slices.Sorted(maps.Keys(k.Lost)) {
		p.column("  ", faint, "", 11, fmt.Sprintf("lost: %s %s", count(k.Lost[kind]), kind))
	}
}

// bands is the table of all bands by kind.
func (p *printer) bands(t requests.Table, ends signal.BothEnds) {
	const label, width = 24, 12
	row := func(name string, cell func(requests.Band) string) {
		var b strings.Builder
		fmt.Fprintf(&b, "  %-*s", label, inline(name))
		for _, band := range t.Bands {
			fmt.Fprintf(&b, "%*s", width, cell(band))
		}
		p.line(b.String())
	}
	p.line("")
	row("", func(b requests.Band) string { return b.Name })
	row("requests", func(b requests.Band) string { return count(b.Requests) })
	if t.Ranked == requests.BySeen {
		row("  cut by the trace", func(b requests.Band) string { return percent(b.Cut, b.Requests) })
	}
	row(beforeRow, func(b requests.Band) string { return beforeText(ends, b.Name) })
	row("length, median", func(b requests.Band) string { return ns(b.MedianNS) })
	most := map[requests.Kind]float64{}
	for _, b := range t.Bands {
		for _, k := range b.Kinds {
			most[k.Kind] = max(most[k.Kind], b.Share(k.Kind))
		}
	}
	kinds := slices.SortedFunc(maps.Keys(most), func(a, b requests.Kind) int {
		return cmp.Or(-cmp.Compare(most[a], most[b]), cmp.Compare(a, b))
	})
	for _, k := range kinds {
		row(string(k), func(b requests.Band) string { return percent(b.NS(k), b.TotalNS) })
	}
	if !t.OffCPU {
		row(string(requests.RunQueue), func(requests.Band) string { return "?" })
	}
	row("explained", func(b requests.Band) string { return percent(b.ExplainedNS, b.TotalNS) })
	row("not explained", func(b requests.Band) string { return percent(b.UnexplainedNS, b.TotalNS) })
}

// lines is one band by line.
func (p *printer) lines(t requests.Table, name string) {
	if name == "" {
		name = requests.P99
	}
	b, ok := t.Band(name)
	if !ok || b.TotalNS == 0 {
		return
	}
	p.title(name + ", by line")
	p.parts(b.Parts, b.TotalNS)
	if s := b.Started; s.TotalNS > 0 {
		p.title(fmt.Sprintf("%s, what %s did that they started, beside their own time", name, plural(int(s.Goroutines), "goroutine")))
		p.parts(s.Parts, b.TotalNS)
	}
}

func (p *printer) parts(parts []requests.PartTime, whole int64) {
	var rest int64
	var more int
	for i, x := range parts {
		if i >= keptLines {
			rest += x.NS
			more++
			continue
		}
		p.line(fmt.Sprintf("  %6s  %-16s %s", percent(x.NS, whole), inline(string(x.Kind)), inline(partWhere(x))))
	}
	if more > 0 {
		p.line(fmt.Sprintf("  %6s  %s", percent(rest, whole), plural(more, "more line")))
	}
}

func partWhere(x requests.PartTime) string {
	s := x.Cause
	if x.Where != (bundle.Frame{}) {
		s = frameText(x.Where)
		if x.Cause != "" {
			s += ", " + x.Cause
		}
	}
	if s == "" {
		s = "no stack tells where"
	}
	if !x.Explained {
		return s + " (not explained)"
	}
	switch x.Basis {
	case requests.ByPattern:
		return s + " (as all waits with the same sequel)"
	case requests.ByProfile:
		return s + " (as all goroutines in the profile)"
	}
	return s
}

func frameText(f bundle.Frame) string {
	return place(signal.Location{Function: f.Function, File: f.File, Line: f.Line})
}

func (p *printer) endpoints(t requests.Table) {
	if len(t.Endpoints) < 2 {
		return
	}
	p.title("Endpoints")
	p.endpointRows(t.Endpoints)
}

func (p *printer) endpointRows(list []requests.Endpoint) {
	p.line(fmt.Sprintf("  %9s %10s %10s %10s %10s  %s", "requests", "p50", "p99", "longest", "explained", "function"))
	for i, e := range list {
		if i >= keptLines {
			p.line("  and " + plural(len(list)-i, "more"))
			break
		}
		p.line(fmt.Sprintf("  %9s %10s %10s %10s %10s  %s", count(e.Requests), ns(e.P50NS), ns(e.P99NS), ns(e.MaxNS), percent(e.ExplainedNS, e.TotalNS), inline(e.Name)))
	}
}

func (p *printer) borders(x *signal.Where) {
	p.title("Longest delays across the border to the kernel")
	switch {
	case x.Kernel.CutsMissing != "" && x.Kernel.SlowMissing != "":
		p.wrapped("  ", "  ", "not captured: "+x.Kernel.CutsMissing)
		return
	case len(x.Table.Borders) == 0:
		p.line("  none in a request")
		return
	}
	p.line(fmt.Sprintf("  %10s %10s %10s %10s  %-10s %-14s %s", "runtime", "call", "asleep", "run queue", "state", "syscall", "where"))
	for i, b := range x.Table.Borders {
		if i >= keptLines {
			break
		}
		call, name := "-", "-"
		if b.SyscallNS > 0 {
			call = ns(b.SyscallNS)
		}
		switch {
		case b.Syscall != "":
			name = b.Syscall
		case b.State == "syscall" && b.Cause != "":
			name = b.Cause
		}
		where := b.Cause
		if b.Where != (bundle.Frame{}) {
			where = frameText(b.Where)
		} else if f, ok := library(b.Stack); ok {
			where = frameText(f)
		}
		asleep, queue := ns(b.AsleepNS), ns(b.RunQueueNS)
		if x.Kernel.CutsMissing != "" {
			asleep, queue = "?", "?"
		}
		p.line(fmt.Sprintf("  %10s %10s %10s %10s  %-10s %-14s %s", ns(b.RuntimeNS), call, asleep, queue, b.State, inline(name), inline(where)))
		of := fmt.Sprintf("goroutine %d, in a request of %s to %s", b.Goroutine, ns(b.RequestNS), b.Endpoint)
		if b.Child {
			of = fmt.Sprintf("goroutine %d, started by a request of %s to %s", b.Goroutine, ns(b.RequestNS), b.Endpoint)
		}
		p.line("      " + inline(of))
		var outer []string
		for _, f := range b.Stack[:min(4, len(b.Stack))] {
			outer = append(outer, f.Function)
		}
		if len(outer) > 0 {
			p.wrapped("      ", "        ", inline(strings.Join(outer, " < ")))
		}
	}
}

// library is the innermost function of a stack that says what it is about.
func library(frames []bundle.Frame) (bundle.Frame, bool) {
	for _, f := range frames {
		if !stack.Plumbing(stack.Frame{Function: f.Function}) {
			return f, true
		}
	}
	return bundle.Frame{}, false
}

func (p *printer) scheduler(x *signal.Where) {
	s := x.Scheduler
	p.title("Scheduler and collector")
	fact := func(name, value string) { p.column("  ", faint, name, 11, value) }
	fact("Ps", fmt.Sprintf("%d, %s of their time in use; %s of the trace with one idle though a goroutine was runnable",
		s.Procs, percent(s.RunningNS, int64(s.Procs)*x.Table.TraceNS), percent(s.IdleWhileRunnableNS, x.Table.TraceNS)))
	switch m := x.Machine; {
	case m.Missing != "":
		fact("CPUs", "not known: "+m.Missing)
	case m.BarredShare > 0:
		fact("CPUs", fmt.Sprintf("%d, %s of their time idle, up to %s out of the process's reach: it may use %d", m.CPUs, show(m.IdleShare, signal.Share), show(m.BarredShare, signal.Share), m.MayUse))
	default:
		fact("CPUs", fmt.Sprintf("%d, %s of their time idle", m.CPUs, show(m.IdleShare, signal.Share)))
	}
	p.states(x)
	stops := "none"
	if s.StopCount > 0 {
		stops = fmt.Sprintf("the world %s times, %s in all, of it %s to get it to stop; longest %s (%s to stop): %s",
			count(s.StopCount), ns(s.StopNS), ns(s.StoppingNS), ns(s.Stops[0].NS), ns(s.Stops[0].StoppingNS), s.Stops[0].Reason)
		if s.LongestStoppingNS > s.Stops[0].StoppingNS {
			stops += fmt.Sprintf("; the longest way to a stop took %s", ns(s.LongestStoppingNS))
		}
	}
	fact("stopped", stops)
	for i, a := range s.Assists {
		if i >= 3 {
			break
		}
		at := "no code of the program"
		if !a.Where.IsZero() {
			at = place(signal.Location{Function: a.Where.Function, File: a.Where.File, Line: a.Where.Line})
		}
		fact("gc assist", ns(a.NS)+" at "+at)
	}
	if len(s.LongRuns) > 0 && s.LongRuns[0].NS < noteworthyRun {
		fact("long run", "none; the longest without a transition was "+ns(s.LongRuns[0].NS))
		return
	}
	for i, r := range s.LongRuns {
		if i >= 3 || r.NS < noteworthyRun {
			break
		}
		fact("long run", fmt.Sprintf("%s by goroutine %d without a transition, until %s", ns(r.NS), r.Goroutine,
			place(signal.Location{Function: r.Where.Function, File: r.Where.File, Line: r.Where.Line})))
	}
}
