package heatmap

import (
	"cmp"
	"math"
	"slices"
)

const (
	// deep is how much lower than the lesser peak a valley must be, in standard
	// deviations of an unsmoothed count. Smoothing over five bins leaves about half
	// of the noise, so that the highest and the lowest of a hundred bins of one
	// level lie about 2.6 apart; 5 leaves room.
	deep = 5.0
	// A band is worth naming from one request in a hundred on, and if the valley
	// beside it has at most half the requests of its peak.
	leastBand, mostValley = 0.01, 0.5
	bandBins              = 100
	seenFrom              = 0.05
)

// bands finds the modes of all latencies together, lowest first.
func (g *grid) bands() []Band {
	const fold = binCount / bandBins
	counts := make([]float64, bandBins)
	for _, bins := range g.bins {
		for b, n := range bins {
			counts[b/fold] += float64(n)
		}
	}
	smooth := smoothed(counts)
	height := make([]float64, bandBins)
	for b, n := range smooth {
		height[b] = 2 * math.Sqrt(n+3.0/8)
	}
	var out []Band
	for _, p := range peaks(height, smooth) {
		var n float64
		for b := p.from; b < p.to; b++ {
			n += counts[b]
		}
		share := n / float64(g.requests)
		if share < leastBand {
			continue
		}
		from, to := p.from, p.to
		for from < to && counts[from] == 0 {
			from++
		}
		for to > from && counts[to-1] == 0 {
			to--
		}
		band := Band{
			LowNS: g.at(float64(from*fold) - 0.5), HighNS: g.at(float64(to*fold) - 0.5), PeakNS: g.at(float64(p.top*fold) + (fold-1)/2.0),
			Count: int64(n), Share: share,
		}
		var with, columns float64
		for c, bins := range g.bins {
			if g.sums[c] == 0 {
				continue
			}
			columns++
			var in int64
			for b := p.from * fold; b < p.to*fold; b++ {
				in += bins[b]
			}
			if float64(in) >= seenFrom*float64(g.sums[c]) {
				with++
			}
		}
		band.Seen = with / columns
		out = append(out, band)
	}
	return out
}

// smoothed is counts under binomial weights over five bins. What would be taken
// from beyond the ends is taken from the end.
func smoothed(counts []float64) []float64 {
	weights := []float64{1, 4, 6, 4, 1}
	out := make([]float64, len(counts))
	for i := range counts {
		for k, w := range weights {
			j := i + k - 2
			if j >= 0 && j < len(counts) {
				out[i] += w / 16 * counts[j]
			}
		}
	}
	return out
}

type peak struct{ from, top, to int } // from <= top < to

// peaks cuts bins into those that belong to peaks which stand out, in order. It
// lets the level sink from the highest bin: a bin with no neighbour above the level
// begins a peak, one with two joins two, and the lower of these stays a peak of its
// own if it rises deep above the place where they meet.
func peaks(height, counts []float64) []peak {
	order := make([]int, len(height))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(height[b], height[a]) })
	root := make([]int, len(height)) // by bin: the top of its peak, -1 while below the level
	for i := range root {
		root[i] = -1
	}
	of := func(i int) int {
		if i < 0 || i >= len(root) {
			return -1
		}
		return root[i]
	}
	kept := map[int]bool{}
	relabel := func(from, to int) {
		for i := range root {
			if root[i] == from {
				root[i] = to
			}
		}
	}
	for _, i := range order {
		a, b := of(i-1), of(i+1)
		switch {
		case a < 0 && b < 0:
			root[i] = i
			kept[i] = true
		case a < 0:
			root[i] = b
		case b < 0 || a == b:
			root[i] = a
		default:
			high, low := a, b
			if height[b] > height[a] {
				high, low = b, a
			}
			root[i] = high
			if height[low]-height[i] < deep || counts[i] > mostValley*counts[low] {
				relabel(low, high)
				delete(kept, low)
			}
		}
	}
	var out []peak
	for i := 0; i < len(root); {
		j := i
		for j < len(root) && root[j] == root[i] {
			j++
		}
		out = append(out, peak{i, root[i], j})
		i = j
	}
	return out
}
