package reports

import (
	"fmt"
	"io"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal"
	"chokepoint/harness/signal/requests"
)

// WhereSummary is where the time of requests went, of one bundle among several.
type WhereSummary struct {
	Bundle string `json:"bundle"`
	// Missing says why it is not known; everything below is absent then.
	Missing  string        `json:"missing,omitempty"`
	Source   string        `json:"source,omitempty"` // as signal.Where has it
	Cut      string        `json:"cut,omitempty"`
	Requests int64         `json:"requests,omitempty"`
	CutShare float64       `json:"cut_share,omitempty"` // of the requests, with an end outside the trace
	Ranked   string        `json:"ranked,omitempty"`    // as requests.Table has it
	Bands    []SummaryBand `json:"bands,omitempty"`     // p50 and p99
	// Before and After are as in signal.BothEnds, and BothEndsMissing why they are not known.
	Before          signal.Times `json:"before"`
	After           signal.Times `json:"after"`
	BothEndsMissing string       `json:"both_ends_missing,omitempty"`
}

// SummaryBand is one band of it.
type SummaryBand struct {
	Name           string        `json:"name"`
	Requests       int64         `json:"requests"`
	MedianNS       int64         `json:"median_ns"`
	ExplainedShare float64       `json:"explained_share"`
	Parts          []SummaryPart `json:"parts"` // by share, at most three
}

// SummaryPart is what took most of the time, whatever tells its line.
type SummaryPart struct {
	Kind  requests.Kind `json:"kind"`
	Where bundle.Frame  `json:"where,omitzero"`
	Cause string        `json:"cause,omitempty"`
	Share float64       `json:"share"`
}

// summaryParts is how many parts of a band are told.
const summaryParts = 3

// SummarizeWhere is the summary of one bundle.
func SummarizeWhere(name string, w *signal.Where) WhereSummary {
	s := WhereSummary{
		Bundle: name, Source: w.Source, Cut: w.Cut, Ranked: w.Table.Ranked,
		Before: w.BothEnds.Before, After: w.BothEnds.After, BothEndsMissing: w.BothEnds.Missing,
	}
	all, ok := w.Table.Band(requests.All)
	if !ok {
		s.Missing = "no requests in the trace"
		return s
	}
	s.Requests, s.CutShare = all.Requests, float64(all.Cut)/float64(max(1, all.Requests))
	for _, name := range []string{requests.P50, requests.P99} {
		b, ok := w.Table.Band(name)
		if !ok || b.TotalNS == 0 {
			continue
		}
		s.Bands = append(s.Bands, SummaryBand{
			Name: name, Requests: b.Requests, MedianNS: b.MedianNS, ExplainedShare: b.ExplainedShare(), Parts: topParts(b),
		})
	}
	return s
}

// topParts are the largest parts of a band; those that differ by nothing but how
// their line is known are one.
func topParts(b requests.Band) []SummaryPart {
	var parts []SummaryPart
	for _, x := range b.Parts {
		share := float64(x.NS) / float64(b.TotalNS)
		same := func(p SummaryPart) bool { return p.Kind == x.Kind && p.Where == x.Where && p.Cause == x.Cause }
		if i := slices.IndexFunc(parts, same); i >= 0 {
			parts[i].Share += share
			continue
		}
		parts = append(parts, SummaryPart{Kind: x.Kind, Where: x.Where, Cause: x.Cause, Share: share})
	}
	slices.SortStableFunc(parts, func(a, b SummaryPart) int {
		switch {
		case a.Share > b.Share:
			return -1
		case a.Share < b.Share:
			return 1
		}
		return 0
	})
	return parts[:min(summaryParts, len(parts))]
}

// WhereSummaries writes for a person one table of several bundles, and which of
// their bands is explained least.
func WhereSummaries(w io.Writer, list []WhereSummary, o TextOptions) error {
	p := &printer{color: o.Color, width: max(o.Width, minimumWidth)}
	p.line(fmt.Sprintf("%-5s %9s %10s  %s", "band", "length", "explained", "where the time went"))
	least, leastOf := 2.0, ""
	for _, s := range list {
		p.line("")
		p.line(p.paint(bold, inline(s.Bundle)))
		if s.Missing != "" {
			p.wrapped("      ", "      ", "not known: "+inline(s.Missing))
			continue
		}
		how := ""
		if s.Ranked == requests.BySeen {
			how = "; most request time is in those, and lengths are the least that they took"
		}
		p.wrapped("      ", "      ", fmt.Sprintf("%s, %s cut by the trace%s", plural(int(s.Requests), "request"), show(s.CutShare, signal.Share), how))
		if s.Cut != "" {
			p.wrapped("      ", "      ", "reading the trace ended early, "+inline(s.Cut))
		}
		for _, b := range s.Bands {
			if b.ExplainedShare < least {
				least, leastOf = b.ExplainedShare, s.Bundle+", "+b.Name
			}
			head := fmt.Sprintf("%-5s %9s %10s", b.Name, ns(b.MedianNS), show(b.ExplainedShare, signal.Share))
			for i, x := range b.Parts {
				if i > 0 {
					head = fmt.Sprintf("%26s", "")
				}
				where := x.Cause
				if x.Where != (bundle.Frame{}) {
					where = frameText(x.Where)
					if x.Cause != "" {
						where += ", " + x.Cause
					}
				}
				if where == "" {
					where = "no stack tells where"
				}
				p.line(fmt.Sprintf("%s  %6s %s  %s", head, show(x.Share, signal.Share), inline(string(x.Kind)), inline(where)))
			}
		}
		switch {
		case s.BothEndsMissing != "":
			p.wrapped("      ", "      ", "before the server saw it: not known: "+inline(s.BothEndsMissing))
		case s.Before.Count > 0:
			p.line(fmt.Sprintf("      before the server saw it p50 %s, p99 %s (%s); after it wrote p50 %s, p99 %s (%s)",
				apart(s.Before.P50NS), apart(s.Before.P99NS), plural(s.Before.Count, "request"), apart(s.After.P50NS), apart(s.After.P99NS), plural(s.After.Count, "request")))
		case s.After.Count > 0:
			p.line(fmt.Sprintf("      before the server saw it: no request began in the trace and is known at the client; after it wrote p50 %s, p99 %s (%s)",
				apart(s.After.P50NS), apart(s.After.P99NS), plural(s.After.Count, "request")))
		}
	}
	if leastOf != "" {
		p.line("")
		p.line(fmt.Sprintf("least explained: %s, %s", inline(leastOf), show(least, signal.Share)))
	}
	if _, err := io.WriteString(w, p.b.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
