package kernel

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
)

// goRuntime writes what probes on the Go runtime's functions saw.
func (p *printer) goRuntime(v *View) {
	if p.missing("Go runtime", v.GoRuntime != nil, v.Missing["go_runtime"]) {
		return
	}
	g := v.GoRuntime
	p.title("Go runtime", "what its functions did")
	for _, name := range slices.Sorted(maps.Keys(g.Counts)) {
		p.count(strings.ReplaceAll(name, "_", " "), g.Counts[name])
	}
	if l := g.LockSlow; l != nil && l.Count > 0 {
		p.say("waits for a sync.Mutex", fmt.Sprintf("%d, %s in all", l.Count, duration(l.TotalNS)))
	}
	var rows []table.Row
	for _, park := range g.Parks {
		row := table.Row{park.Reason, park.Parks, duration(park.ParkedNS), "", "", ""}
		if d := park.Delay; d.Count > 0 {
			row[3], row[4], row[5] = duration(d.TotalNS/d.Count), "< "+duration(quantile(d.Log2NS, 0.99)), d.Over100US
		}
		rows = append(rows, row)
	}
	if len(rows) > 0 {
		p.table(table.Row{"parked for", "times", "time", "mean delay after", "p99", "over 100 µs"}, []int{0}, rows)
	}
	if d := g.Delay; d != nil && d.Count > 0 {
		p.title("Scheduling delay", fmt.Sprintf("from ready to running, of goroutines that had parked: %d, %s on average, %d longer than 100 µs",
			d.Count, duration(d.TotalNS/d.Count), d.Over100US))
		p.histogram(d.Log2NS)
	}
	for _, name := range slices.Sorted(maps.Keys(g.Missing)) {
		p.say(strings.ReplaceAll(name, "_", " "), "capability missing: "+g.Missing[name])
	}
}

// custom writes what the probes saw that the user declared.
func (p *printer) custom(v *View) {
	if p.missing("Probes of your own", v.Custom != nil, v.Missing["custom"]) {
		return
	}
	for _, c := range v.Custom {
		p.title(c.Name, "calls of "+c.Function+c.Tracepoint)
		if c.Missing != "" {
			p.say("not captured", c.Missing)
			continue
		}
		if n := c.Counts; n != nil && c.Number == nil {
			p.say("calls", fmt.Sprint(n.Calls))
		} else if n != nil {
			p.say("calls", fmt.Sprintf("%d; %d left out by the number, %d whose number could not be read", n.Calls, n.LeftOut, n.Unread))
		}
		if t := c.Timed; t != nil && t.Ended > 0 {
			p.say("time", fmt.Sprintf("%s in all, %s on average", duration(t.TotalNS), duration(t.TotalNS/t.Ended)))
			p.histogram(t.Log2NS)
		}
		if n := c.Number; n != nil {
			p.say("number", fmt.Sprintf("%s (%s), %d below 0; by powers of two from 1:", n.Name, n.Type, n.Negative))
			for i, times := range n.Log2 {
				p.count(fmt.Sprintf("  %d to %d", uint64(1)<<i, uint64(1)<<(i+1)-1), times)
			}
		}
		for _, note := range c.Notes {
			p.say("note", note)
		}
	}
}
