package signal

import (
	"errors"
	"sort"

	"chokepoint/harness/bundle"
)

func loadSignals() []definition {
	const dim = bundle.DimLoad
	of := func(f func(*bundle.Load) (float64, error)) func(*evidence) (float64, error) {
		return func(e *evidence) (float64, error) {
			l, err := e.load()
			if err != nil {
				return 0, err
			}
			return f(l)
		}
	}
	return []definition{
		number("load.foreign_share", dim, Share, of(func(l *bundle.Load) (float64, error) {
			if l.Checks.Checked == 0 {
				return 0, errors.New("load: the scenario does not check responses")
			}
			return share(l.Checks.Foreign, l.Checks.Checked), nil
		}), "Share of the checked responses that held another request's token."),
		number("load.error_share", dim, Share, of(func(l *bundle.Load) (float64, error) {
			if l.Requests.Ended == 0 {
				return 0, errNone
			}
			return 1 - share(l.Requests.OK, l.Requests.Ended), nil
		}), "Share of the requests ended in the window that failed or were answered with an error status."),
		number("load.response_spread", dim, Ratio, of(func(l *bundle.Load) (float64, error) {
			if l.ResponseBytes.P50 <= 0 {
				return 0, errors.New("load: responses have no body")
			}
			return l.ResponseBytes.Max / l.ResponseBytes.P50, nil
		}), "Largest response body in relation to the median one."),
		number("load.in_flight", dim, Count, of(func(l *bundle.Load) (float64, error) {
			return l.Reached.InFlightMean, nil
		}), "Mean number of requests in flight over the window."),
		number("load.latency_p50", dim, Second, of(func(l *bundle.Load) (float64, error) {
			if l.LatencySeconds.Count == 0 {
				return 0, errNone
			}
			return l.LatencySeconds.P50, nil
		}), "Median time from sending a request to the end of its response."),
		number("load.latency_p99", dim, Second, of(func(l *bundle.Load) (float64, error) {
			if l.LatencySeconds.Count == 0 {
				return 0, errNone
			}
			return l.LatencySeconds.P99, nil
		}), "99th percentile of that time."),
	}
}

// weighted is a value that stands for a weight of a whole.
type weighted struct {
	value  float64
	weight int64
}

// median is the smallest value at or below which half of the weight lies; 0 of nothing.
func median(ws []weighted) float64 {
	sort.Slice(ws, func(i, j int) bool { return ws[i].value < ws[j].value })
	var all, sum int64
	for _, w := range ws {
		all += w.weight
	}
	for _, w := range ws {
		if sum += w.weight; 2*sum >= all {
			return w.value
		}
	}
	return 0
}
