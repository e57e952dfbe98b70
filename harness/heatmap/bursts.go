package heatmap

import (
	"cmp"
	"slices"
)

// Bursts says that requests end in bursts with silence between them, as behind a
// lock or a stop that holds all of them up and lets them go together. Then silence
// is no exception, and no column stands out.
type Bursts struct {
	Count int `json:"count"`
	// BusyShare is the share of the columns that are in bursts.
	BusyShare float64 `json:"busy_share"`
	// EveryNS is the median time from one burst's begin to the next's; 0 for one burst.
	EveryNS int64 `json:"every_ns"`
	// Causes are what is named for most of the silences, as for spells.
	Causes []Cause `json:"causes"`
	// Tried is what was compared with the first silence and is not named.
	Tried []Cause `json:"tried"`
	// Silences are the times between.
	Silences []Spell `json:"-"`
}

const (
	// Requests end in bursts if at least half of the columns have under a quarter of
	// the mean, which is ten or more: among independent requests one in 300 has.
	burstMean, burstLow, burstSilent = 10, 0.25, 0.5
	burstColumns                     = 16
)

// bursts is nil where requests end evenly.
func (g *grid) bursts(endNS int64) *Bursts {
	whole := g.columns
	if g.startNS+int64(whole)*g.columnNS > endNS {
		whole--
	}
	if whole < burstColumns {
		return nil
	}
	var all int64
	for _, n := range g.sums[:whole] {
		all += n
	}
	mean := float64(all) / float64(whole)
	low := func(c int) bool { return float64(g.sums[c]) < burstLow*mean }
	silent := 0
	for c := range whole {
		if low(c) {
			silent++
		}
	}
	if mean < burstMean || float64(silent) < burstSilent*float64(whole) {
		return nil
	}
	b := &Bursts{BusyShare: 1 - float64(silent)/float64(whole), Causes: []Cause{}, Tried: []Cause{}}
	var starts []float64
	for c := 0; c < whole; {
		end := c + 1
		for end < whole && low(end) == low(c) {
			end++
		}
		at := g.startNS + int64(c)*g.columnNS
		if low(c) {
			b.Silences = append(b.Silences, Spell{Kind: Silent, StartNS: at, SinceNS: at, EndNS: g.startNS + int64(end)*g.columnNS, UntilNS: g.startNS + int64(end)*g.columnNS})
		} else {
			starts = append(starts, float64(at))
		}
		c = end
	}
	b.Count = len(starts)
	var gaps []float64
	for i := 1; i < len(starts); i++ {
		gaps = append(gaps, starts[i]-starts[i-1])
	}
	b.EveryNS = int64(medianOf(gaps))
	return b
}

// explain names what is a cause of most of the silences that it could be held
// against.
func (b *Bursts) explain(series []Series, startNS, endNS int64) {
	type key struct{ kind, source string }
	named, compared := map[key][]Cause{}, map[key]int{}
	tried := map[key]bool{}
	for _, s := range explain(b.Silences, series, startNS, endNS) {
		for _, c := range s.Causes {
			k := key{c.Kind, c.Source}
			named[k] = append(named[k], c)
			compared[k]++
		}
		for _, c := range s.Tried {
			k := key{c.Kind, c.Source}
			compared[k]++
			if !tried[k] {
				tried[k] = true
				b.Tried = append(b.Tried, c)
			}
		}
	}
	for k, list := range named {
		if 2*len(list) <= compared[k] {
			continue
		}
		mean := list[0]
		mean.During, mean.Else, mean.Chance = 0, 0, 0
		for _, c := range list {
			mean.During += c.During / float64(len(list))
			mean.Else += c.Else / float64(len(list))
			mean.Chance = max(mean.Chance, c.Chance)
		}
		b.Causes = append(b.Causes, mean)
	}
	b.Tried = slices.DeleteFunc(b.Tried, func(c Cause) bool {
		return slices.ContainsFunc(b.Causes, func(o Cause) bool { return o.Kind == c.Kind && o.Source == c.Source })
	})
	slices.SortStableFunc(b.Tried, surest)
	slices.SortFunc(b.Causes, func(x, y Cause) int {
		return cmp.Or(cmp.Compare(x.Chance, y.Chance), cmp.Compare(contrast(y), contrast(x)), cmp.Compare(x.Kind, y.Kind))
	})
}
