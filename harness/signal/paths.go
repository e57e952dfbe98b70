package signal

import (
	"cmp"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// pathSignals measure what the program itself marked: regions of runtime/trace,
// by package mark or otherwise. They have no value where it marks nothing.
func pathSignals() []definition {
	const dim = bundle.DimTrace
	return []definition{
		number("trace.path_top_share", dim, Share, func(e *evidence) (float64, error) {
			p, err := e.topPath()
			return share(p.self, p.whole), err
		}, "Share of request time, of goroutines since their first mark in the trace, spent in the marked region that takes most, without regions inside it; of all their time in a program without a known server.").naming(func(e *evidence) (string, error) {
			p, err := e.topPath()
			return p.Name, err
		}),
		place("trace.path_top_site", dim, func(e *evidence) (stack.Frame, error) {
			p, err := e.topPath()
			if err != nil || len(p.Sites) == 0 {
				return stack.Frame{}, err
			}
			return baseFrame(p.Sites[0].Where), nil
		}, "The program's line that marks that region."),
		number("trace.path_top_running_share", dim, Share, pathDoing("running", "runnable"),
			"Share of that region's time in which it was running, or could have run and had no P."),
		number("trace.path_top_conn_wait_share", dim, Share, pathDoing(string(stack.DBConn)),
			"Share of that region's time spent waiting for a free database connection."),
		number("trace.path_share", dim, Share, func(e *evidence) (float64, error) {
			s, err := e.trace()
			if err != nil {
				return 0, err
			}
			whole, requests, err := markedBase(s)
			if err != nil {
				return 0, err
			}
			var marked int64
			none := true
			for _, p := range s.Paths {
				if p.Kind == gotrace.RegionPath {
					marked += selfNS(p, requests)
					none = false
				}
			}
			if none {
				return 0, errNone
			}
			return min(1, share(marked, whole)), nil
		}, "Share of request time, of goroutines since their first mark in the trace, inside any region that the program marked; of all their time in a program without a known server."),
		number("trace.path_known_share", dim, Share, func(e *evidence) (float64, error) {
			s, err := e.trace()
			if err != nil {
				return 0, err
			}
			account, _, err := base(s)
			if err != nil {
				return 0, err
			}
			whole, _, err := markedBase(s)
			return min(1, share(whole, account.TotalNS)), err
		}, "Share of request time for which marks are known: that of goroutines since their first mark in the trace. Marks made before it are not."),
	}
}

// topPath is the region with most time of its own, in requests where there are
// any.
type topPath struct {
	gotrace.Path
	self, whole int64
}

func (e *evidence) topPath() (topPath, error) {
	return once(e, "top path", func() (topPath, error) {
		s, err := e.trace()
		if err != nil {
			return topPath{}, err
		}
		whole, requests, err := markedBase(s)
		if err != nil {
			return topPath{}, err
		}
		top := topPath{whole: whole}
		for _, p := range s.Paths {
			if self := selfNS(p, requests); p.Kind == gotrace.RegionPath && self > top.self {
				top.Path, top.self = p, self
			}
		}
		if top.self == 0 {
			return topPath{}, errNone
		}
		return top, nil
	})
}

// markedBase is the time that shares of marks refer to.
func markedBase(s *gotrace.Summary) (ns int64, requests bool, err error) {
	_, requests, err = base(s)
	switch {
	case err != nil:
		return 0, false, err
	case requests && s.MarkedRequestNS > 0:
		return s.MarkedRequestNS, true, nil
	case !requests && s.MarkedNS > 0:
		return s.MarkedNS, false, nil
	}
	return 0, false, errNone
}

func selfNS(p gotrace.Path, requests bool) int64 {
	if requests {
		return p.RequestSelfNS
	}
	return p.SelfNS
}

func pathDoing(what ...string) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		p, err := e.topPath()
		if err != nil {
			return 0, err
		}
		var ns int64
		for _, d := range p.Doing {
			for _, w := range what {
				if d.What == w {
					ns += d.NS
				}
			}
		}
		return share(ns, p.SelfNS), nil
	}
}

// Marked is what a program marked under one name, for people.
type Marked struct {
	Kind string `json:"kind"` // "region", "task" or "event"
	Name string `json:"name"`
	// Share is, of a region, that of request time without regions inside it, as
	// trace.path_top_share has it; 0 for tasks and events.
	Share float64 `json:"share,omitempty"`
	Count int64   `json:"count"`
	// MeanNS is the time from begin to end of those that ended; 0 for events.
	MeanNS int64    `json:"mean_ns,omitempty"`
	Doing  string   `json:"doing,omitempty"` // what most of a region's own time went into
	Where  Location `json:"where,omitzero"`
	// Attrs are those with most time, at most three, as "key=value".
	Attrs []string `json:"attributes,omitempty"`
}

// MarkedOf lists what the program marked: regions by request time, then tasks and
// events. It is empty where it marks nothing.
func MarkedOf(s *gotrace.Summary) []Marked {
	whole, requests, err := markedBase(s)
	if err != nil {
		return nil
	}
	var out []Marked
	for _, p := range s.Paths {
		m := Marked{Kind: p.Kind, Name: p.Name, Count: p.Count}
		if p.Kind == gotrace.RegionPath {
			m.Share = min(1, share(selfNS(p, requests), whole))
			if len(p.Doing) > 0 {
				m.Doing = p.Doing[0].What
			}
		}
		if ended := p.Count - p.Open; ended > 0 && p.Kind != gotrace.EventPath {
			m.MeanNS = p.EndedNS / ended
		}
		if len(p.Sites) > 0 {
			at := baseFrame(p.Sites[0].Where)
			m.Where = Location{Function: at.Function, File: at.File, Line: at.Line}
		}
		for _, a := range p.Attrs[:min(3, len(p.Attrs))] {
			m.Attrs = append(m.Attrs, a.Key+"="+a.Value)
		}
		out = append(out, m)
	}
	rank := map[string]int{gotrace.RegionPath: 0, gotrace.TaskPath: 1, gotrace.EventPath: 2}
	slices.SortStableFunc(out, func(a, b Marked) int {
		return cmp.Or(cmp.Compare(rank[a.Kind], rank[b.Kind]), cmp.Compare(b.Share, a.Share))
	})
	return out
}
