package reports

import (
	"fmt"
	"strings"

	"chokepoint/harness/signal"
)

// beforeRow is the row of the bands' table that stands before the server's time,
// and is no part of it.
const beforeRow = "before it saw it, median"

// apart is a time between the two ends. That after the server wrote is below zero where
// the client had the last of it before the server was back from its call to write.
func apart(v int64) string { return show(float64(v), signal.Nanosecond) }

// beforeText is that of one band; "?" where no request of it is known at the client.
func beforeText(b signal.BothEnds, band string) string {
	for _, x := range b.Bands {
		if x.Name == band && x.Count > 0 {
			return apart(x.P50NS)
		}
	}
	return "?"
}

// bothEnds says what single requests lost between the client and the server.
func (p *printer) bothEnds(b signal.BothEnds) {
	fact := func(name, value string) { p.column("  ", faint, name, 11, value) }
	if b.Missing != "" {
		fact("both ends", "single requests were not compared with the client's: "+b.Missing)
		return
	}
	var how []string
	if b.ByConnection > 0 {
		how = append(how, count(int64(b.ByConnection))+" by their connection")
	}
	if b.ByTime > 0 {
		how = append(how, fmt.Sprintf("%s by time, of which %s can be no other", count(int64(b.ByTime)), percent(int64(b.Sure), int64(b.ByTime))))
	}
	if len(how) == 0 {
		how = []string{"none"}
	}
	kept := ""
	if b.OneIn > 1 {
		kept = fmt.Sprintf(" and of which one in %.0f was kept,", b.OneIn)
	}
	fact("both ends", fmt.Sprintf("of %s that the client sent or had answered meanwhile%s %s are found in the trace: %s",
		plural(b.Client.Requests, "request"), kept, percent(int64(b.Client.Paired), int64(b.Client.Requests)), strings.Join(how, ", ")))
	var left []string
	for _, x := range []struct {
		n    int
		what string
	}{
		{b.Client.BeganBefore, "began before the trace"},
		{b.Client.Outlasted, "outlasted it"},
		{b.Client.NoResponse, "had no response"},
		{b.Client.NoneFits, "without a counterpart"},
	} {
		if x.n > 0 {
			left = append(left, count(int64(x.n))+" "+x.what)
		}
	}
	if len(left) > 0 {
		fact("", "not found: "+strings.Join(left, ", "))
	}
	quantiles := func(t signal.Times) string {
		if t.Count == 0 {
			return "not known: no request with this end in the trace"
		}
		return fmt.Sprintf("p50 %s, p90 %s, p99 %s, longest %s (%s)", apart(t.P50NS), apart(t.P90NS), apart(t.P99NS), apart(t.MaxNS), plural(t.Count, "request"))
	}
	fact("before", "the server saw it, from sending on, in the client, on the way and in the socket's queue: "+quantiles(b.Before))
	fact("after", "the server wrote the last of it, until the client had it: "+quantiles(b.After))
	if b.Longer.Count > 0 {
		fact("", "longer at the client than at the server: "+quantiles(b.Longer))
	}
}
