package heatmap

import (
	"fmt"
	"math"
	"slices"
)

const (
	// chance is how probable it may be that pure noise has a spell anywhere in the
	// map, by either test alone. It is small because requests that hang together
	// have heavier tails than the correction for them takes away.
	chance = 0.0001
	// outlier is the modified z-score from which a column stands out (Iglewicz and
	// Hoaglin propose 3.5).
	outlier = 3.5
	// medianK is the median of Kolmogorov's distribution. Dividing by how far the
	// observed median is above it is what geneticists call genomic control (Devlin
	// and Roeder, Biometrics 55, 1999).
	medianK = 0.8276
	// moved is the least distance: a fifth of the requests took another time.
	moved = 0.2
	// tested is how many requests a column must have, and compared how many columns
	// there must be for a median one.
	tested, compared = 8, 6
)

// spells finds them, by time. The text says why none could be looked for.
func (g *grid) spells(endNS int64) ([]Spell, string) {
	whole := g.columns
	if g.startNS+int64(whole)*g.columnNS > endNS {
		whole-- // the last is cut by the end
	}
	var use []int
	for c := range whole {
		if g.sums[c] >= tested {
			use = append(use, c)
		}
	}
	if len(use) < compared {
		return nil, fmt.Sprintf("too few requests to look for spells: %d columns of time have %d or more, and %d are needed", len(use), tested, compared)
	}
	usual := g.usual(use)
	kinds, distance := make([]string, whole), make([]float64, whole)
	g.apart(use, usual, kinds, distance)
	g.silent(whole, kinds)

	var out []Spell
	for c := 0; c < whole; c++ {
		if kinds[c] == "" {
			continue
		}
		end := spellEnd(kinds, c)
		out = append(out, g.spell(c, end, kinds, distance, usual))
		c = end - 1
	}
	return out, ""
}

// spellEnd is the column after the last of the spell that begins at from; one usual
// column does not end it. Answers that come late and none at all have one reason;
// answers that come early have another, and stand beside a stall by chance.
func spellEnd(kinds []string, from int) int {
	end := from + 1
	for c := end; c < len(kinds) && c <= end+1; c++ {
		if kinds[c] == "" {
			continue
		}
		if (kinds[c] == Faster) != (kinds[from] == Faster) {
			break
		}
		end = c + 1
	}
	return end
}

// usual is the cumulative distribution of the median column: at each bin the
// median over the columns.
func (g *grid) usual(use []int) []float64 {
	cums := make([][]float64, len(use))
	for i, c := range use {
		cums[i] = g.cumulative(c)
	}
	out, at := make([]float64, binCount), make([]float64, len(use))
	for b := range binCount {
		for i := range cums {
			at[i] = cums[i][b]
		}
		out[b] = medianOf(at)
	}
	return out
}

func (g *grid) cumulative(c int) []float64 {
	out := make([]float64, binCount)
	var sum int64
	for b, n := range g.bins[c] {
		sum += n
		out[b] = float64(sum) / float64(g.sums[c])
	}
	return out
}

// apart marks the columns that are distributed unlike the usual.
func (g *grid) apart(use []int, usual []float64, kinds []string, distance []float64) {
	var all int64
	for _, c := range use {
		all += g.sums[c]
	}
	k := make([]float64, len(use))
	slower, faster := make([]float64, len(use)), make([]float64, len(use))
	for i, c := range use {
		for b, f := range g.cumulative(c) {
			slower[i] = max(slower[i], usual[b]-f)
			faster[i] = max(faster[i], f-usual[b])
		}
		d := max(slower[i], faster[i])
		distance[c] = d
		// The median of n values has about 2/pi of the weight of their mean.
		n, m := float64(g.sums[c]), float64(all-g.sums[c])*2/math.Pi
		k[i] = d * math.Sqrt(n*m/(n+m))
	}
	// Requests that hang together count for fewer than they are. By how much shows
	// in the median column, of which independent requests would make medianK.
	together := max(1, medianOf(slices.Clone(k))/medianK)
	for i := range k {
		k[i] /= together
	}
	z := modifiedZ(k, 0.17)
	for i, c := range use {
		if distance[c] < moved || z[i] < outlier || kolmogorov(k[i])*float64(len(use)) > chance {
			continue
		}
		switch {
		case min(slower[i], faster[i]) >= moved && min(slower[i], faster[i]) > max(slower[i], faster[i])/2:
			kinds[c] = Spread
		case slower[i] >= faster[i]:
			kinds[c] = Slower
		default:
			kinds[c] = Faster
		}
	}
}

// silent marks the columns in which far fewer requests ended than in the median one.
func (g *grid) silent(whole int, kinds []string) {
	counts, roots := make([]float64, whole), make([]float64, whole)
	for c := range whole {
		counts[c] = float64(g.sums[c])
		roots[c] = -2 * math.Sqrt(counts[c]+3.0/8)
	}
	median := medianOf(slices.Clone(counts))
	// On this scale counts of independent requests deviate by 1; those of requests
	// that hang together by more.
	z := modifiedZ(roots, 0.67)
	for c := range whole {
		tail := max(poissonAtMost(counts[c], median), math.Erfc(z[c]/math.Sqrt2)/2)
		if kinds[c] == "" && counts[c] < median/4 && z[c] >= outlier && tail*float64(whole) <= chance {
			kinds[c] = Silent
		}
	}
}

func (g *grid) spell(from, to int, kinds []string, distance, usual []float64) Spell {
	s := Spell{
		FirstColumn: from, Columns: to - from,
		StartNS: g.startNS + int64(from)*g.columnNS, EndNS: g.startNS + int64(to)*g.columnNS,
		MedianNS: g.quantile(from, to, 0.5), P90NS: g.quantile(from, to, 0.9),
		UsualNS: g.usualQuantile(usual, 0.5), UsualP90NS: g.usualQuantile(usual, 0.9),
		Causes: []Cause{}, Tried: []Cause{},
	}
	votes := map[string]int{}
	for c := from; c < to; c++ {
		s.Requests += g.sums[c]
		s.Distance = max(s.Distance, distance[c])
		if kinds[c] != "" {
			votes[kinds[c]]++
		}
	}
	// Silence with slow answers at its end is one thing: they were slow because of
	// it. Otherwise the most frequent kind names the spell.
	s.Kind = Silent
	for _, kind := range []string{Slower, Spread, Faster} {
		if votes[kind] > 0 && (s.Kind == Silent || votes[kind] > votes[s.Kind]) {
			s.Kind = kind
		}
	}
	s.SinceNS, s.UntilNS = s.StartNS, s.EndNS
	if excess := s.P90NS - s.UsualP90NS; excess > 0 && s.Kind != Faster {
		s.SinceNS = max(g.startNS, s.StartNS-excess)
	}
	return s
}

// silence is how many requests must be expected in a silence for it to be one: none
// of eight come by chance in one case of three thousand.
const silence = 8

// silences finds, in spells in which requests held each other up until they ended
// together, when exactly none did. Columns say that to their width only.
func silences(spells []Spell, points []Point, wholeNS int64) {
	ends := make([]int64, 0, len(points))
	var all int64
	for _, p := range points {
		ends = append(ends, p.EndNS)
		all += p.Count
	}
	slices.Sort(ends)
	usual := float64(wholeNS) / float64(max(1, all)) // from one to the next, on average
	for i := range spells {
		s := &spells[i]
		if s.Kind == Faster {
			continue
		}
		from, to := int64(0), int64(0)
		at, _ := slices.BinarySearch(ends, s.StartNS)
		for j := max(1, at); j < len(ends) && ends[j-1] < s.EndNS; j++ {
			if ends[j]-ends[j-1] > to-from {
				from, to = ends[j-1], ends[j]
			}
		}
		gap, excess := to-from, s.StartNS-s.SinceNS
		most := 2*gap >= s.EndNS-s.SinceNS || 2*gap >= excess && 4*gap >= s.EndNS-s.StartNS
		if float64(gap) >= silence*usual && most {
			s.SinceNS, s.UntilNS = from, to
		}
	}
}

func (g *grid) usualQuantile(usual []float64, q float64) int64 {
	for b, f := range usual {
		if f >= q {
			return g.at(float64(b))
		}
	}
	return g.at(binCount - 1)
}

// kolmogorov is the chance of a distance of k or more between samples of one
// distribution, k being scaled by their sizes.
func kolmogorov(k float64) float64 {
	if k < 0.2 {
		return 1
	}
	var sum float64
	for i := 1.0; i <= 100; i++ {
		term := math.Exp(-2 * i * i * k * k)
		if int(i)%2 == 0 {
			term = -term
		}
		sum += 2 * term
	}
	return min(max(sum, 0), 1)
}

// poissonAtMost is the chance of n or fewer where mean are expected.
func poissonAtMost(n, mean float64) float64 {
	var sum float64
	for i := 0.0; i <= n; i++ {
		l, _ := math.Lgamma(i + 1)
		sum += math.Exp(i*math.Log(mean) - mean - l)
	}
	return min(sum, 1)
}

// modifiedZ is 0.6745 (x - median) / MAD. Where the deviation is below what noise
// alone makes it, that of noise is taken: of Kolmogorov's distribution it is 0.17,
// of counts on Anscombe's scale 0.67.
func modifiedZ(xs []float64, least float64) []float64 {
	med := medianOf(slices.Clone(xs))
	dev := make([]float64, len(xs))
	for i, x := range xs {
		dev[i] = math.Abs(x - med)
	}
	mad := max(medianOf(dev), least)
	out := make([]float64, len(xs))
	for i, x := range xs {
		out[i] = 0.6745 * (x - med) / mad
	}
	return out
}

// medianOf sorts xs.
func medianOf(xs []float64) float64 {
	slices.Sort(xs)
	n := len(xs)
	if n == 0 {
		return 0
	}
	return (xs[(n-1)/2] + xs[n/2]) / 2
}
