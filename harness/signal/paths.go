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
		}, "Share of request time that goroutines spend in the marked region that takes most, without regions inside it; of all the program's goroutine time in a program without net/http.").naming(func(e *evidence) (string, error) {
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
			account, requests, err := base(s)
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
			return min(1, share(marked, account.TotalNS)), nil
		}, "Share of request time inside any region that the program marked; of all the program's goroutine time in a program without net/http."),
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
		account, requests, err := base(s)
		if err != nil {
			return topPath{}, err
		}
		top := topPath{whole: account.TotalNS}
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
