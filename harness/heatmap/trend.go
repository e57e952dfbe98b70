package heatmap

import (
	"cmp"
	"math"
	"slices"
)

// Trend says that latency rose or fell through the whole time, so that the load had
// not settled: its percentiles are of no one state.
type Trend struct {
	FromNS int64 `json:"from_ns"` // the median at the beginning, by the line through all
	ToNS   int64 `json:"to_ns"`   // and at the end
	// Tau is Kendall's rank correlation of the medians with time, -1 to 1.
	Tau float64 `json:"tau"`
}

const (
	// A trend is named where the test of Mann and Kendall (Mann, Econometrica 13,
	// 1945) would answer so by chance in one case of 16,000, for requests of one
	// server hang together; where most pairs of times agree; and where it makes a
	// quarter of difference.
	trendZ, trendTau, trendRatio = 4.0, 0.6, 1.25
	trendColumns                 = 8
	trendGroups                  = 24
)

// trend takes the medians of the columns or, where the times of requests are exact,
// of groups of as many requests each, which tell more where there are few.
func (g *grid) trend(in Input, points []Point) *Trend {
	var at, y []float64
	if in.ColumnNS > 0 {
		for c := range g.columns {
			if g.sums[c] >= tested {
				at = append(at, float64(c))
				y = append(y, math.Log(float64(g.quantile(c, c+1, 0.5))))
			}
		}
		return line(at, y)
	}
	points = slices.Clone(points)
	slices.SortStableFunc(points, func(a, b Point) int { return cmp.Compare(a.EndNS, b.EndNS) })
	groups := min(trendGroups, len(points)/tested)
	for i := range groups {
		group := points[i*len(points)/groups : (i+1)*len(points)/groups]
		times, logs := make([]float64, len(group)), make([]float64, len(group))
		for j, p := range group {
			times[j], logs[j] = float64(p.EndNS-g.startNS), math.Log(float64(p.LatencyNS))
		}
		at, y = append(at, medianOf(times)), append(y, medianOf(logs))
	}
	return line(at, y)
}

// line is nil where values show no trend over their times, which rise.
func line(at, y []float64) *Trend {
	n := len(y)
	if n < trendColumns {
		return nil
	}
	var s float64
	var slopes []float64
	for i := range y {
		for j := i + 1; j < n; j++ {
			switch {
			case y[j] > y[i]:
				s++
			case y[j] < y[i]:
				s--
			}
			if at[j] > at[i] {
				slopes = append(slopes, (y[j]-y[i])/(at[j]-at[i]))
			}
		}
	}
	pairs := float64(n*(n-1)) / 2
	z := math.Abs(s) / math.Sqrt(float64(n*(n-1)*(2*n+5))/18)
	// The line of Theil and Sen: the median slope, through the median point.
	slope := medianOf(slopes)
	rest := make([]float64, n)
	for i := range y {
		rest[i] = y[i] - slope*at[i]
	}
	base := medianOf(slices.Clone(rest))
	from, to := base+slope*at[0], base+slope*at[n-1]
	if z < trendZ || math.Abs(s)/pairs < trendTau || math.Abs(to-from) < math.Log(trendRatio) {
		return nil
	}
	return &Trend{FromNS: int64(math.Exp(from)), ToNS: int64(math.Exp(to)), Tau: s / pairs}
}
