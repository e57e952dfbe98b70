package overhead

import (
	"math"
	"slices"
)

// confidence that an interval is to have at least.
const confidence = 0.95

// Ratio is the median of paired ratios, with an interval for it.
//
// The interval lies between two of the ratios themselves, the k-th from either
// end. It holds the true median with the probability that of N tosses of a coin
// at least k and at most N-k are heads, whatever the ratios' distribution is (the
// binomial interval of a quantile: David and Nagaraja, Order Statistics, 3rd ed.,
// section 7.1; benchstat uses the same).
type Ratio struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	// Confidence is the probability above, 0 to 1: at least 0.95 from 6 ratios on,
	// and what the extremes give with fewer.
	Confidence float64 `json:"confidence"`
	N          int     `json:"n"`
}

// ratioOf summarises ratios; nil when there are none.
func ratioOf(ratios []float64) *Ratio {
	n := len(ratios)
	if n == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(ratios))
	k := 1
	for 2*(k+1) <= n+1 && coverage(n, k+1) >= confidence {
		k++
	}
	return &Ratio{Median: median(sorted), Low: sorted[k-1], High: sorted[n-k], Confidence: coverage(n, k), N: n}
}

// coverage is the probability that the median lies between the k-th smallest and
// the k-th largest of n values: 1 - 2 P(Binomial(n, 1/2) < k).
func coverage(n, k int) float64 {
	below := 0.0
	for i := range k {
		below += math.Exp(logChoose(n, i) - float64(n)*math.Ln2)
	}
	return max(0, 1-2*below)
}

func logChoose(n, k int) float64 {
	of := func(x int) float64 { v, _ := math.Lgamma(float64(x + 1)); return v }
	return of(n) - of(k) - of(n-k)
}

// median of values; NaN of none.
func median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
