package heatmap

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// Series is something that was recorded over time beside the requests: a mean over
// each slot.
type Series struct {
	Kind   string // "collection"
	What   string // "the collector marked"
	Unit   string // "share of the time"
	Source string // the artifact
	// StartNS is where the first slot begins. A value that is NaN is not known.
	StartNS, SlotNS int64
	Values          []float64
	// Fewer says that less of it is what holds requests up, or shows that they are.
	Fewer bool
}

// Track is a series by the columns of a map; what is not known is null.
type Track struct {
	Kind   string     `json:"kind"`
	What   string     `json:"what"`
	Unit   string     `json:"unit"`
	Source string     `json:"source"`
	Values []*float64 `json:"values"`
}

// Cause is a series held against a spell.
type Cause struct {
	Kind   string  `json:"kind"`
	What   string  `json:"what"`
	Unit   string  `json:"unit"`
	Source string  `json:"source"`
	During float64 `json:"during"`    // its mean in the spell
	Else   float64 `json:"elsewhere"` // its mean in the rest of the time
	// Chance is how probable it is that a spell of this length, put anywhere in the
	// window, finds as much of it; corrected for the number of comparisons, and
	// never above 1.
	Chance float64 `json:"chance"`
	// FromNS to ToNS is when there was most of it: at least half as much more as at
	// its height, which lies in there.
	FromNS int64 `json:"from_ns"`
	ToNS   int64 `json:"to_ns"`
}

const (
	// claimed is the largest Chance at which a series is named as a cause.
	claimed = 0.05
	// more is how many times as much of it there must be in the spell, which is
	// longer than what caused it.
	more = 1.25
	// fifth is how improbable a spell of several must be by itself, and what share of
	// the risk is taken with several.
	fifth = 0.2
	// draws is how often all spells are put at random places.
	draws = 2000
	// places is at how many places one spell is put, evenly over the window.
	places = 1000
)

// explain looks for what explains each spell. From a spell's SinceNS to its UntilNS
// the mean of a series is taken, and held against chance in two ways:
//
//   - the spell is put at each of many places in the window, from its start to its
//     end, as if the window were a ring; the share of places with as much of the
//     series is the probability. This needs no assumption about the series, which is
//     moved as a whole, however its values hang together;
//   - all spells are put at random places, each by itself; the share of draws with as
//     much in them together is the probability. Spells may have different causes, so
//     what is summed is the squares of how much more than usual there is: it takes
//     much of the series in some of them, and not a little in all. If that is
//     improbable, those spells are explained that by the first way, and taken each for
//     itself, have as much in at most a fifth of places.
//
// Where there are both, four fifths of what may be risked go to the first and one to
// the second; the smaller probability counts, and is multiplied by the number of
// series compared (Bonferroni). A collection that ran once and was in the only spell is thus named
// if both are short against the window, and not if it ran half of the time.
func explain(spells []Spell, all []Series, startNS, endNS int64) []Spell {
	var tried []*sums
	for _, s := range all {
		if p := newSums(s, startNS, endNS); p != nil {
			tried = append(tried, p)
		}
	}
	out := slices.Clone(spells)
	for _, p := range tried {
		all := p.together(spells)
		for i := range out {
			s := &out[i]
			during, ok := p.mean(s.SinceNS, s.UntilNS)
			if !ok {
				continue
			}
			elsewhere := p.outside(s.SinceNS, s.UntilNS)
			chance := p.alone(s.SinceNS, s.UntilNS)
			if all < 1 { // a second look, which costs its price
				one := chance / (1 - fifth)
				if s.Kind != Faster && chance <= fifth {
					one = min(one, all/fifth)
				}
				chance = one
			}
			chance *= float64(len(tried))
			c := Cause{
				Kind: p.Kind, What: p.What, Unit: p.Unit, Source: p.Source,
				During: during, Else: elsewhere, Chance: min(1, chance),
			}
			c.FromNS, c.ToNS = p.height(s.SinceNS, s.UntilNS, elsewhere)
			high, low := during, elsewhere
			if p.Fewer {
				high, low = low, high
			}
			if c.Chance <= claimed && high > 0 && high >= more*low {
				s.Causes = append(s.Causes, c)
			} else {
				s.Tried = append(s.Tried, c)
			}
		}
	}
	for i := range out {
		for _, list := range [][]Cause{out[i].Causes, out[i].Tried} {
			slices.SortStableFunc(list, surest)
		}
	}
	return out
}

// surest orders causes.
func surest(a, b Cause) int {
	return cmp.Or(cmp.Compare(a.Chance, b.Chance), cmp.Compare(contrast(b), contrast(a)))
}

// contrast is how many times more of it there is, or less.
func contrast(c Cause) float64 {
	return math.Abs(math.Log((c.During + 1e-9) / (c.Else + 1e-9)))
}

// sums is a series with running sums, over the known part of it.
type sums struct {
	Series
	fromNS, toNS int64
	sum          []float64 // sum[i] of the slots before i
}

// newSums is nil for a series that says nothing: unknown over more than half of the
// time, or without change.
func newSums(s Series, startNS, endNS int64) *sums {
	if s.SlotNS <= 0 || len(s.Values) == 0 {
		return nil
	}
	first, last := 0, len(s.Values)
	for first < last && math.IsNaN(s.Values[first]) {
		first++
	}
	for last > first && math.IsNaN(s.Values[last-1]) {
		last--
	}
	if first == last {
		return nil
	}
	p := &sums{Series: s, fromNS: max(startNS, s.StartNS+int64(first)*s.SlotNS), toNS: min(endNS, s.StartNS+int64(last)*s.SlotNS)}
	p.sum = make([]float64, len(s.Values)+1)
	lo, hi := math.Inf(1), math.Inf(-1)
	for i, v := range s.Values {
		if math.IsNaN(v) {
			v = 0 // a hole in the middle; nothing is known to have happened
		}
		if at := s.StartNS + int64(i)*s.SlotNS; at+s.SlotNS > p.fromNS && at < p.toNS {
			lo, hi = min(lo, v), max(hi, v)
		}
		p.sum[i+1] = p.sum[i] + v
	}
	if p.toNS-p.fromNS < (endNS-startNS)/4 || !(hi > lo) {
		return nil
	}
	return p
}

// until is the integral of the series up to a time, in slots.
func (p *sums) until(ns int64) float64 {
	x := float64(ns-p.StartNS) / float64(p.SlotNS)
	i := min(max(int(math.Floor(x)), 0), len(p.Values))
	sum := p.sum[i]
	if i < len(p.Values) {
		sum += (p.sum[i+1] - p.sum[i]) * max(0, x-float64(i))
	}
	return sum
}

// over is the integral from one time to another, in slots.
func (p *sums) over(from, to int64) float64 { return p.until(to) - p.until(from) }

// mean is over the part of the span that the series knows, which must be half.
func (p *sums) mean(from, to int64) (float64, bool) {
	a, b := max(from, p.fromNS), min(to, p.toNS)
	if b <= a || 2*(b-a) < to-from {
		return 0, false
	}
	return p.over(a, b) * float64(p.SlotNS) / float64(b-a), true
}

func (p *sums) outside(from, to int64) float64 {
	a, b := max(from, p.fromNS), min(to, p.toNS)
	rest := (p.toNS - p.fromNS) - (b - a)
	if rest <= 0 {
		return 0
	}
	return (p.over(p.fromNS, p.toNS) - p.over(a, b)) * float64(p.SlotNS) / float64(rest)
}

// height is when there was most of the series between two times, to the slot.
func (p *sums) height(from, to int64, elsewhere float64) (int64, int64) {
	from, to = max(from, p.fromNS), min(to, p.toNS)
	// Differences from elsewhere, so that of a series of which less matters it is the
	// same.
	above := func(i int64) float64 {
		v := p.Values[i]
		if math.IsNaN(v) {
			return math.Inf(-1)
		}
		if p.Fewer {
			return elsewhere - v
		}
		return v - elsewhere
	}
	first, last := (from-p.StartNS)/p.SlotNS, (to-1-p.StartNS)/p.SlotNS
	first, last = max(first, 0), min(last, int64(len(p.Values))-1)
	if first > last {
		return from, to
	}
	top := first
	for i := first; i <= last; i++ {
		if above(i) > above(top) {
			top = i
		}
	}
	half := above(top) / 2
	if half <= 0 {
		return from, to
	}
	a, b := top, top
	for i := first; i <= last; i++ {
		if above(i) >= half {
			a, b = min(a, i), max(b, i)
		}
	}
	return max(from, p.StartNS+a*p.SlotNS), min(to, p.StartNS+(b+1)*p.SlotNS)
}

// placed is the mean of a span of a length that begins at a place of the ring.
func (p *sums) placed(at, length int64) float64 {
	end := at + length
	sum := p.over(at, min(end, p.toNS))
	if end > p.toNS {
		sum += p.over(p.fromNS, p.fromNS+end-p.toNS)
	}
	return sum * float64(p.SlotNS) / float64(length)
}

func (p *sums) asMuch(got, want float64) bool {
	slack := 1e-9 * (math.Abs(want) + 1e-12)
	if p.Fewer {
		return got <= want+slack
	}
	return got >= want-slack
}

// known cuts a spell to what the series knows.
func (p *sums) known(from, to int64) (at, length int64) {
	a, b := max(from, p.fromNS), min(to, p.toNS)
	return a, b - a
}

// alone is the share of all places at which a spell finds as much.
func (p *sums) alone(from, to int64) float64 {
	at, length := p.known(from, to)
	want := p.placed(at, length)
	hits := 1
	ring := p.toNS - p.fromNS
	for i := range int64(places) {
		if p.asMuch(p.placed(p.fromNS+ring*i/places, length), want) {
			hits++
		}
	}
	return float64(hits) / (places + 1)
}

// together is the share of random draws in which the spells together find as much.
// The draws are the same for the same input.
func (p *sums) together(spells []Spell) float64 {
	var lengths []int64
	var want float64
	for _, s := range spells {
		if s.Kind == Faster {
			continue
		}
		if _, ok := p.mean(s.SinceNS, s.UntilNS); ok {
			at, length := p.known(s.SinceNS, s.UntilNS)
			lengths = append(lengths, length)
			x := p.beyond(p.placed(at, length))
			want += x * x
		}
	}
	if len(lengths) < 2 || want == 0 {
		return 1 // nothing but what alone says
	}
	random := rand.New(rand.NewPCG(1, 2))
	hits := 1
	for range draws {
		var got float64
		for _, length := range lengths {
			x := p.beyond(p.placed(p.fromNS+random.Int64N(p.toNS-p.fromNS), length))
			got += x * x
		}
		if got >= want*(1-1e-9) {
			hits++
		}
	}
	return float64(hits) / (draws + 1)
}

// beyond is how much more than the series' mean this is; or less, where that matters.
func (p *sums) beyond(v float64) float64 {
	mean := p.over(p.fromNS, p.toNS) * float64(p.SlotNS) / float64(p.toNS-p.fromNS)
	if p.Fewer {
		return max(0, mean-v)
	}
	return max(0, v-mean)
}

// track is the series by columns.
func (s Series) track(g *grid) Track {
	t := Track{Kind: s.Kind, What: s.What, Unit: s.Unit, Source: s.Source, Values: make([]*float64, g.columns)}
	for c := range g.columns {
		from := g.startNS + int64(c)*g.columnNS
		var sum, weight float64
		for i := max(0, (from-s.StartNS)/s.SlotNS); i < int64(len(s.Values)); i++ {
			a, b := s.StartNS+i*s.SlotNS, s.StartNS+(i+1)*s.SlotNS
			if a >= from+g.columnNS {
				break
			}
			if part := min(b, from+g.columnNS) - max(a, from); part > 0 && !math.IsNaN(s.Values[i]) {
				sum += s.Values[i] * float64(part)
				weight += float64(part)
			}
		}
		if weight > 0 {
			mean := sum / weight
			t.Values[c] = &mean
		}
	}
	return t
}
