package signal

import (
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
		}, "Share of request time, of goroutines since their first mark in the trace, spent in the marked region that takes most, without regions inside it; of all their time in a program without net/http.").naming(func(e *evidence) (string, error) {
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
		}, "Share of request time, of goroutines since their first mark in the trace, inside any region that the program marked; of all their time in a program without net/http."),
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
