package kernel

import (
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"chokepoint/harness/signal/stack"
)

// Text writes the view for a person at a terminal.
func (v *View) Text(w io.Writer) error {
	p := &printer{}
	p.syscalls(v)
	p.slow(v)
	p.runQueue(v)
	p.places("Off the CPU", "asleep or waiting, by the program's line", v.OffCPU, v.Missing["off_cpu"])
	p.places("On the CPU", "by samples, by the program's line", v.OnCPU, v.Missing["on_cpu"])
	p.goroutines(v)
	p.threads(v)
	p.network(v)
	p.goRuntime(v)
	p.custom(v)
	p.lost(v)
	_, err := io.WriteString(w, strings.TrimPrefix(p.b.String(), "\n"))
	return err
}

type printer struct{ b strings.Builder }

func (p *printer) title(name, about string) {
	fmt.Fprintf(&p.b, "\n%s: %s\n", name, about)
}

// missing reports whether a part is not there, and says why if there is a reason
// beyond that nobody asked for it.
func (p *printer) missing(name string, there bool, why string) bool {
	if why != "" {
		fmt.Fprintf(&p.b, "\n%s: not captured: %s\n", name, why)
	}
	return why != "" || !there
}

// table writes rows; all columns but those in left are numbers.
func (p *printer) table(header table.Row, left []int, rows []table.Row) {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	var columns []table.ColumnConfig
	for n := range header {
		align := text.AlignRight
		if slices.Contains(left, n) {
			align = text.AlignLeft
		}
		columns = append(columns, table.ColumnConfig{Number: n + 1, Align: align, AlignHeader: align})
	}
	t.SetColumnConfigs(columns)
	t.AppendHeader(header)
	t.AppendRows(rows)
	for line := range strings.Lines(t.Render() + "\n") {
		p.b.WriteString(" " + strings.TrimRight(line, " \n") + "\n")
	}
}

func (p *printer) syscalls(v *View) {
	if p.missing("System calls", v.Syscalls != nil, v.Missing["syscalls"]) {
		return
	}
	p.title("System calls", "the most frequent, over "+duration(v.WindowNS))
	var rows []table.Row
	for _, s := range v.Syscalls {
		rows = append(rows, table.Row{
			s.Name, s.Calls, fmt.Sprintf("%.0f/s", s.RateHz), duration(s.TotalNS), duration(s.MeanNS),
			"< " + duration(s.P50NS), "< " + duration(s.P99NS), cameTo(s),
		})
	}
	p.table(table.Row{"call", "calls", "rate", "time", "mean", "p50", "p99", "errors"}, []int{0, 7}, rows)
	if e := v.Epoll; e != nil {
		fmt.Fprintf(&p.b, " epoll: %d waits returned %d events; %d asked not to block, %d came back empty; %d of the waits are the program's own\n",
			e.Waits, e.ReturnedEvents, e.ZeroTimeout, e.Empty, e.ProgramWaits)
	}
}

func (p *printer) slow(v *View) {
	if p.missing("Slow system calls", v.Slow != nil, v.Missing["slow"]) {
		return
	}
	p.title("Slow system calls", fmt.Sprintf("%d took %s or longer, by stack", v.Slow.Calls, duration(v.Slow.ThresholdNS)))
	for _, s := range v.Slow.Sites {
		fmt.Fprintf(&p.b, " %s  %d calls, %s, longest %s%s%s\n", s.Syscall, s.Calls, duration(s.TotalNS), duration(s.LongestNS), goroutine(s.GoID), failed(s.Errors))
		for _, f := range s.Stack {
			fmt.Fprintf(&p.b, "     %s\n", place(stack.Frame{Function: f.Function, File: f.File, Line: f.Line}))
		}
	}
}

// cameTo says what calls came to that did nothing.
func cameTo(s Syscall) string {
	errors := counts(s.Errors)
	if s.Ended == nil || *s.Ended == 0 {
		return errors
	}
	if errors != "" {
		errors += ", "
	}
	return fmt.Sprintf("%s%d at an end", errors, *s.Ended)
}

func failed(errors map[string]int) string {
	if len(errors) == 0 {
		return ""
	}
	all := map[string]int64{}
	for name, n := range errors {
		all[name] = int64(n)
	}
	return "; failed with " + counts(all)
}

func goroutine(id int64) string {
	if id == 0 {
		return ""
	}
	return " in goroutine " + strconv.FormatInt(id, 10)
}

func (p *printer) runQueue(v *View) {
	if p.missing("Run queue", v.RunQueue != nil, v.Missing["run_queue"]) {
		return
	}
	q := v.RunQueue
	machine := fmt.Sprintf("CPUs stood idle %s of %s", duration(q.IdleNS), duration(v.WindowNS*int64(q.CPUs)))
	if q.UnknownNS > 0 {
		machine += fmt.Sprintf(", %s of it unaccounted for", duration(q.UnknownNS))
	}
	p.title("Run queue", fmt.Sprintf("threads waited %s for a CPU and had one for %s, in %d switches; %s",
		duration(q.TotalNS), duration(q.OnCPUNS), q.Switches, machine))
	p.histogram(q.Log2NS)
}

// histogram draws counts by powers of two of nanoseconds.
func (p *printer) histogram(log2 []int64) {
	const width = 40
	from, to, most := -1, -1, int64(0)
	for i, n := range log2 {
		if n > 0 {
			if from < 0 {
				from = i
			}
			to, most = i, max(most, n)
		}
	}
	if from < 0 {
		return
	}
	for i := from; i <= to; i++ {
		bar := strings.Repeat("#", int((log2[i]*width+most-1)/most))
		fmt.Fprintf(&p.b, " %9s to %9s %9d  %s\n", duration(1<<i), duration(1<<(i+1)), log2[i], bar)
	}
}

func (p *printer) places(name, about string, places []Place, why string) {
	if p.missing(name, places != nil, why) {
		return
	}
	p.title(name, about)
	var rows []table.Row
	for _, l := range places {
		rows = append(rows, table.Row{duration(l.NS), fmt.Sprintf("%.1f%%", 100*l.Share), l.State, place(l.Where)})
	}
	p.table(table.Row{"time", "share", "", "place"}, []int{2, 3}, rows)
}

// stacksShown is how many stacks of a goroutine are written out, and framesShown
// how much of each.
const (
	stacksShown = 2
	framesShown = 6
)

func (p *printer) goroutines(v *View) {
	if len(v.Goroutines) == 0 {
		p.missing("Goroutines", false, v.Missing["goroutines"])
		return
	}
	p.title("Goroutines", "on a CPU, waiting for one, and asleep in a system call; where they were seen on the CPU")
	for _, g := range v.Goroutines {
		fmt.Fprintf(&p.b, " goroutine %d  on %s, waiting %s, asleep %s\n", g.GoID, duration(g.OnCPUNS), duration(g.QueueNS), duration(g.OffCPUNS))
		for _, s := range first(g.Stacks, stacksShown) {
			for n, f := range first(s.Frames, framesShown) {
				lead := ""
				if n == 0 {
					lead = duration(s.NS)
				}
				fmt.Fprintf(&p.b, " %10s  %s\n", lead, place(f))
			}
			if more := len(s.Frames) - framesShown; more > 0 {
				fmt.Fprintf(&p.b, " %10s  and %d more\n", "", more)
			}
		}
	}
}

func (p *printer) threads(v *View) {
	if len(v.Threads) == 0 {
		return
	}
	p.title("Threads", "by CPU time")
	var rows []table.Row
	for _, t := range v.Threads {
		name := strconv.Itoa(t.TID)
		if t.TID == 0 {
			name = "ended"
		}
		rows = append(rows, table.Row{name, duration(t.OnCPUNS), duration(t.RunQueueNS), duration(t.OffCPUNS), t.Switches, t.Wakeups, t.Migrations})
	}
	p.table(table.Row{"thread", "on CPU", "run queue", "asleep", "switches", "wake-ups", "migrations"}, []int{0}, rows)
}

func (p *printer) lost(v *View) {
	for _, probe := range slices.Sorted(maps.Keys(v.Lost)) {
		p.title("Lost", "the "+probe+" probe missed "+counts(v.Lost[probe]))
	}
}

func counts(of map[string]int64) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		out = append(out, fmt.Sprintf("%d %s", of[name], name))
	}
	return strings.Join(out, ", ")
}

func place(f stack.Frame) string {
	if f.File == "" {
		return f.Function
	}
	return fmt.Sprintf("%s %s:%d", f.Function, path.Base(f.File), f.Line)
}

// duration writes nanoseconds with three digits and a unit.
func duration(ns int64) string {
	d := time.Duration(ns)
	switch {
	case d >= 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d >= time.Second:
		return strconv.FormatFloat(d.Seconds(), 'g', 3, 64) + " s"
	case d >= time.Millisecond:
		return strconv.FormatFloat(float64(ns)/1e6, 'g', 3, 64) + " ms"
	case d >= time.Microsecond:
		return strconv.FormatFloat(float64(ns)/1e3, 'g', 3, 64) + " µs"
	}
	return strconv.FormatInt(ns, 10) + " ns"
}
