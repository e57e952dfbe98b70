package reports

import (
	"fmt"
	"strings"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal"
)

const (
	// leastTurn is the share of request time from which on it is told what requests
	// wait for each other for, and leastDoing the share of what a holder does.
	leastTurn  = 0.01
	leastDoing = 0.005
	keptTurns  = 4 // and waiters, holders, and what they do, of each
)

// turns says what requests wait for each other for, and what is done meanwhile by
// those they wait for.
func (p *printer) turns(list []signal.Turn) {
	var shown []signal.Turn
	for _, t := range list {
		if t.Share >= leastTurn && len(shown) < keptTurns {
			shown = append(shown, t)
		}
	}
	if len(shown) == 0 {
		return
	}
	p.title("What requests wait for each other for")
	for _, t := range shown {
		p.wrapped(fmt.Sprintf("  %6s  ", show(t.Share, signal.Share)), "          ", turnText(t))
		var all int64
		for _, w := range t.Waiters {
			all += w.NS
		}
		for _, w := range t.Waiters[:min(keptTurns, len(t.Waiters))] {
			p.line(fmt.Sprintf("          %6s of it  %-10s %s", percent(w.NS, all), inline(w.What), inline(frameText(w.Where))))
		}
		all = 0
		for _, h := range t.Holders {
			all += h.NS
		}
		for i, h := range t.Holders {
			if i >= keptTurns || percentOf(h.NS, all) < leastTurn {
				break
			}
			p.wrapped("          ", "            ", inline(holderText(t, h, all)))
			for j, d := range h.Doing {
				if j >= keptTurns || percentOf(d.NS, h.KnownNS) < leastDoing {
					break
				}
				what := fmt.Sprintf("            %6s  %s", percent(d.NS, h.KnownNS), inline(d.What))
				if d.Where != (bundle.Frame{}) {
					what = fmt.Sprintf("            %6s  %-8s %s", percent(d.NS, h.KnownNS), inline(d.What), inline(frameText(d.Where)))
				}
				p.line(what)
			}
		}
	}
}

func percentOf(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

func turnText(t signal.Turn) string {
	switch t.Kind {
	case "resource":
		s := "for a bounded resource, which one request passes on to the next"
		if t.Slots > 0 {
			s += fmt.Sprintf("; %s had it at a time, of those seen to get it and to pass it on", show(t.Slots, signal.Count))
		}
		return s
	case "service":
		return fmt.Sprintf("for %s that served them, at work %s of the time; for %s of a wait they served others",
			plural(t.Servers, "goroutine"), show(t.BusyShare, signal.Share), show(t.QueuedShare, signal.Share))
	}
	return "for a " + t.Kind
}

func holderText(t signal.Turn, h signal.TurnHolder, all int64) string {
	at := h.Where
	verb := "taken at"
	if at == (bundle.Frame{}) {
		at, verb = h.Release, "let go at"
	}
	var b strings.Builder
	switch t.Kind {
	case "service":
		if at == (bundle.Frame{}) {
			return "served"
		}
		fmt.Fprintf(&b, "served at %s", frameText(at))
	case "resource":
		fmt.Fprintf(&b, "taken at %s", frameText(at))
		if h.Release != (bundle.Frame{}) {
			fmt.Fprintf(&b, ", passed on at %s", frameText(h.Release))
		}
	default:
		who := "held"
		switch {
		case h.Reads:
			who = "held by a reader"
		case t.Kind == "read-write lock":
			who = "held by a writer"
		}
		fmt.Fprintf(&b, "%s %s, %s %s", who, percent(h.NS, all), verb, frameText(at))
	}
	if h.KnownNS == 0 {
		b.WriteString("; what it did meanwhile was not seen")
	} else {
		b.WriteString("; meanwhile:")
	}
	return b.String()
}
