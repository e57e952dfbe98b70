package kernel

import (
	"fmt"
	"maps"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"

	"chokepoint/harness/bundle"
)

// network writes what TCP did, leaving out what did not happen: a person looks for
// what went wrong.
func (p *printer) network(v *View) {
	if p.missing("Network", v.Net != nil, v.Missing["net"]) {
		return
	}
	n := v.Net
	p.title("Network", "what TCP did with the target's connections")
	if a := n.Accepts; a != nil {
		p.say("accepted", fmt.Sprintf("%d%s%s", a.Accepted, after("; failed with ", counts(a.Errors)), waited(a.Wait)))
		p.count("established, not accepted", a.Waiting)
		p.count("closed before accepted", a.ClosedUnaccepted)
	}
	if c := n.Connections; c != nil {
		p.say("incoming", fmt.Sprintf("%d established, %d failed before", c.Incoming, c.IncomingFailed))
		if c.Connects > 0 {
			p.say("outgoing", fmt.Sprintf("%d connects, %d established, %d failed%s", c.Connects, c.Connected, c.ConnectsFailed, waited(&c.ConnectTime)))
		}
		if len(c.Closed) > 0 {
			p.say("closed from", counts(c.Closed))
		}
	}
	if s := n.Sends; s != nil {
		p.say("sends", fmt.Sprintf("%d, %d bytes%s", s.Count, s.Bytes, after("; failed with ", counts(s.Errors))))
		if s.Blocked > 0 {
			p.say("sends without room", fmt.Sprintf("%d%s; %d connections at the end", s.Blocked, waited(&s.BlockedTime), s.BlockedAtEnd))
		}
	}
	p.both("sent again", n.Retransmits)
	p.both("SYN-ACKs sent again", n.SynAckRetransmits)
	p.reasons("resets sent", n.ResetsSent)
	p.both("resets received", n.ResetsReceived)
	p.reasons("dropped", n.Drops)
	p.listeners(n.Listeners)
	for _, name := range slices.Sorted(maps.Keys(n.Absent)) {
		p.say(name, "not known: "+n.Absent[name])
	}
}

func (p *printer) say(what, text string) { fmt.Fprintf(&p.b, " %-26s %s\n", what, text) }

func (p *printer) count(what string, n int64) {
	if n > 0 {
		p.say(what, fmt.Sprint(n))
	}
}

func (p *printer) both(what string, n *bundle.NetCount) {
	if n != nil && (n.Target > 0 || n.Elsewhere > 0) {
		p.say(what, fmt.Sprintf("%d, and %d elsewhere in its network namespace", n.Target, n.Elsewhere))
	}
}

func (p *printer) reasons(what string, n *bundle.NetReasons) {
	if n == nil {
		return
	}
	p.both(what, &n.NetCount)
	if len(n.Reasons) > 0 {
		p.say("", counts(n.Reasons))
	}
}

func (p *printer) listeners(all []bundle.NetListener) {
	if len(all) == 0 {
		return
	}
	var rows []table.Row
	for _, l := range all {
		drops := "not known"
		if l.Drops != nil {
			drops = fmt.Sprint(*l.Drops)
		}
		rows = append(rows, table.Row{l.Address, l.QueueAtStart, l.QueueAtEnd, l.Limit, drops})
	}
	p.table(table.Row{"listener", "queue at start", "at end", "limit", "dropped"}, []int{0}, rows)
}

// after is text with what leads to it; nothing when there is none.
func after(lead, text string) string {
	if text == "" {
		return ""
	}
	return lead + text
}

func waited(t *bundle.NetTimes) string {
	if t == nil || t.Count == 0 {
		return ""
	}
	return fmt.Sprintf("; after %s on average, p99 < %s", duration(t.TotalNS/t.Count), duration(quantile(t.Log2NS, 0.99)))
}
