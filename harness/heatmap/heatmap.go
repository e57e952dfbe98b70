// Package heatmap lays requests out by time and latency, finds the bands and the
// spells in which they stand apart, and says what else happened then. It is pure:
// the same bundle gives the same map.
//
// A heat map shows what percentiles hide: that latency has several modes, that a
// tail is made of bursts, that a second without answers was paid back in the next
// (Brendan Gregg, Visualizing System Latency, ACM Queue 8(5), 2010).
//
// # Bands
//
// A band is a mode of all latencies. They are counted in bins of equal width of
// their logarithm, smoothed, and taken to a scale on which a count's noise is the
// same whatever its size, 2*sqrt(n+3/8) (Anscombe, Biometrika 35, 1948). Two peaks
// are two bands if the valley between them is deeper than noise makes it, as
// measured from the lower peak: persistence, as in Chazal, Guibas, Oudot and
// Skraba (Persistence-based clustering in Riemannian manifolds, J. ACM 60(6), 2013).
//
// # Spells
//
// A spell is a run of columns whose latencies are distributed unlike those of the
// median column, or in which far fewer requests ended. The distance is that of
// Kolmogorov and Smirnov, held against their distribution for the numbers of
// requests at hand, corrected for as many tests as there are columns. That takes
// requests to be independent, and those of one server are not: so a column must
// also stand out from how far apart the other columns are, by the modified z-score
// of Iglewicz and Hoaglin (How to Detect and Handle Outliers, 1993).
//
// # Trend
//
// Where latency rises or falls throughout, no column stands out and yet none is
// like the first; see trend.go. Where requests end in bursts, silence is the rule;
// see bursts.go.
//
// # Causes
//
// What was recorded beside the requests is looked through for each spell. A series
// (a collection running, threads waiting for a CPU) is named only if it was higher
// in the spell than in almost any other place of the window where the spell could
// as well have been; see explain.go.
package heatmap

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Point is a number of requests that ended at one time and took equally long.
type Point struct {
	EndNS     int64 // CLOCK_MONOTONIC
	LatencyNS int64
	Count     int64
	Failed    bool
}

// Input is what a map is made from.
type Input struct {
	// Source says where the requests are from, for people.
	Source string
	// StartNS to EndNS is the time they are of. Points outside it are left out.
	StartNS, EndNS int64
	// SeriesNS is from when on the series are held against each other, where that is
	// before StartNS; 0: from there.
	SeriesNS int64
	// ColumnNS is the least width of a column, where times are known no better; 0
	// where they are exact.
	ColumnNS int64
	Points   []Point
	Series   []Series
	// Notes is what could not be read.
	Notes []string
}

// Map is a latency heat map. Times are CLOCK_MONOTONIC in ns, latencies in ns.
type Map struct {
	SchemaVersion int    `json:"schema_version"`
	Source        string `json:"source"`
	StartNS       int64  `json:"start_ns"`
	EndNS         int64  `json:"end_ns"`
	// ColumnNS is the width of a column. A column holds the requests that ended in
	// it; the last may reach beyond EndNS.
	ColumnNS int64 `json:"column_ns"`
	// EdgesNS are the bounds of the rows, lowest first, one more than there are rows.
	EdgesNS []int64 `json:"edges_ns"`
	// Counts are requests by column, then row.
	Counts   [][]int64 `json:"counts"`
	Requests int64     `json:"requests"` // sum of Counts
	Failed   int64     `json:"failed"`   // of these
	// Below is how many of them are quicker than the lowest row, which they are in.
	Below int64 `json:"below"`
	// MedianNS and P99NS are by column; -1 where no request ended.
	MedianNS []int64 `json:"median_ns"`
	P99NS    []int64 `json:"p99_ns"`
	Bands    []Band  `json:"bands"`
	Spells   []Spell `json:"spells"`
	// SpellsUnknown says why no spells could be looked for; empty where they were.
	SpellsUnknown string  `json:"spells_unknown,omitempty"`
	Trend         *Trend  `json:"trend"`  // null: none
	Bursts        *Bursts `json:"bursts"` // null: requests end evenly
	// Tracks are the series that were looked through for causes.
	Tracks []Track `json:"tracks"`
	// Notes is what a reader must know.
	Notes []string `json:"notes,omitempty"`
}

// Band is a mode of the latencies.
type Band struct {
	LowNS  int64   `json:"low_ns"`
	HighNS int64   `json:"high_ns"`
	PeakNS int64   `json:"peak_ns"`
	Count  int64   `json:"count"`
	Share  float64 `json:"share"`    // of all requests
	Seen   float64 `json:"presence"` // share of the columns with requests that have one in twenty or more of theirs in it
}

// Kinds of spells.
const (
	Slower = "slower"
	Faster = "faster"
	Spread = "spread" // slower and faster at once
	Silent = "silent" // far fewer requests ended
)

// Spell is a time in which latencies are unlike the rest.
type Spell struct {
	Kind        string  `json:"kind"`
	StartNS     int64   `json:"start_ns"`
	EndNS       int64   `json:"end_ns"`
	FirstColumn int     `json:"first_column"`
	Columns     int     `json:"columns"`
	Requests    int64   `json:"requests"`
	MedianNS    int64   `json:"median_ns"` // -1: no request ended
	P90NS       int64   `json:"p90_ns"`    // -1: no request ended
	UsualNS     int64   `json:"usual_median_ns"`
	UsualP90NS  int64   `json:"usual_p90_ns"`
	Distance    float64 `json:"distance"` // of Kolmogorov and Smirnov, 0 to 1, the largest of its columns
	// SinceNS is when what held the requests up must have begun: StartNS less what
	// they took longer than usual.
	SinceNS int64 `json:"since_ns"`
	// UntilNS is when it must have ended: EndNS, or where no request ended for most of
	// the spell, the end of that silence; SinceNS is then its beginning.
	UntilNS int64 `json:"until_ns"`
	// Causes are the series that explain it, the surest first. Where there is none,
	// nothing that was recorded explains it.
	Causes []Cause `json:"causes"`
	// Tried is what was compared and did not.
	Tried []Cause `json:"tried"`
}

const (
	schemaVersion = 1

	mostColumns = 100
	perColumn   = 30 // requests that a column should have on average, at the least
	leastNS     = int64(1e6)
	mostRows    = 72
	fewestRows  = 24
)

// New makes the map. It is empty, with a note, where there are no points.
func New(in Input) Map {
	m := Map{
		SchemaVersion: schemaVersion, Source: in.Source, StartNS: in.StartNS, EndNS: in.EndNS,
		EdgesNS: []int64{}, Counts: [][]int64{}, MedianNS: []int64{}, P99NS: []int64{},
		Bands: []Band{}, Spells: []Spell{}, Tracks: []Track{}, Notes: slices.Clone(in.Notes),
	}
	points := within(in)
	if len(points) == 0 {
		m.Notes = append(m.Notes, "no request ended in the time that was recorded")
		return m
	}
	g := newGrid(in, points)
	m.ColumnNS, m.EdgesNS, m.Counts = g.columnNS, g.edges, g.counts
	m.Requests, m.Below = g.requests, g.below
	if g.below > 0 {
		m.Notes = append(m.Notes, fmt.Sprintf("requests far quicker than all others are in the lowest row: %d", g.below))
	}
	for _, p := range points {
		if p.Failed {
			m.Failed += p.Count
		}
	}
	for c := range g.columns {
		m.MedianNS = append(m.MedianNS, g.quantile(c, c+1, 0.5))
		m.P99NS = append(m.P99NS, g.quantile(c, c+1, 0.99))
	}
	m.Bands = append(m.Bands, g.bands()...)
	var spells []Spell
	spells, m.SpellsUnknown = g.spells(in.EndNS)
	if in.ColumnNS == 0 {
		silences(spells, points, in.EndNS-in.StartNS)
	}
	m.Trend = g.trend(in, points)
	series := slices.Clone(in.Series)
	known := slices.ContainsFunc(series, func(s Series) bool { return s.Kind == "errors" })
	if failures, ok := g.failures(points); ok && !known {
		series = append(series, failures)
	}
	if m.Bursts = g.bursts(in.EndNS); m.Bursts != nil {
		m.Bursts.explain(series, in.StartNS, in.EndNS)
	}
	from := in.StartNS
	if in.SeriesNS != 0 {
		from = min(from, in.SeriesNS)
	}
	m.Spells = append(m.Spells, explain(spells, series, from, in.EndNS)...)
	for _, s := range series {
		m.Tracks = append(m.Tracks, s.track(g))
	}
	return m
}

func within(in Input) []Point {
	var out []Point
	for _, p := range in.Points {
		if p.EndNS >= in.StartNS && p.EndNS < in.EndNS && p.Count > 0 && p.LatencyNS >= 0 {
			p.LatencyNS = max(p.LatencyNS, 1000) // a microsecond: 0 has no logarithm
			out = append(out, p)
		}
	}
	return out
}

// grid holds the points twice: in the rows that are shown, and in bins fine enough
// to compare distributions by.
type grid struct {
	startNS, columnNS int64
	columns           int
	edges             []int64
	counts            [][]int64
	requests          int64
	below             int64 // of them, quicker than the lowest edge

	low, step float64   // of the bins: logarithms of ns
	bins      [][]int64 // by column
	sums      []int64   // by column
}

const binCount = 400

// stray is the share of requests that may be quicker than the map's lowest row, and
// apart how many times as long as they the others must then take.
const stray, apart = 0.005, 3

// lowest is where the rows begin: at the quickest request, but that a few which are
// far quicker than all others (a look at a server's health among its work) must not
// take the room of these. The slowest are never left out.
func lowest(points []Point, requests int64) int64 {
	sorted := slices.Clone(points)
	slices.SortFunc(sorted, func(a, b Point) int { return cmp.Compare(a.LatencyNS, b.LatencyNS) })
	lo := sorted[0].LatencyNS
	var seen int64
	for i := 1; i < len(sorted); i++ {
		seen += sorted[i-1].Count
		if float64(seen) > stray*float64(requests) {
			break
		}
		if sorted[i].LatencyNS >= apart*sorted[i-1].LatencyNS {
			lo = sorted[i].LatencyNS
		}
	}
	return lo
}

func newGrid(in Input, points []Point) *grid {
	g := &grid{startNS: in.StartNS}
	hi := int64(0)
	for _, p := range points {
		hi = max(hi, p.LatencyNS)
		g.requests += p.Count
	}
	lo := lowest(points, g.requests)
	span := in.EndNS - in.StartNS
	columns := min(mostColumns, max(1, g.requests/perColumn))
	g.columnNS = nice(max(span/columns, in.ColumnNS, leastNS), in.ColumnNS)
	g.columns = int((span + g.columnNS - 1) / g.columnNS)

	g.edges = edges(lo, hi)
	rows := len(g.edges) - 1
	g.counts = make([][]int64, g.columns)
	g.bins = make([][]int64, g.columns)
	g.sums = make([]int64, g.columns)
	for c := range g.columns {
		g.counts[c], g.bins[c] = make([]int64, rows), make([]int64, binCount)
	}
	g.low = math.Log(float64(g.edges[0]))
	g.step = (math.Log(float64(g.edges[rows])) - g.low) / binCount
	for _, p := range points {
		c := int((p.EndNS - g.startNS) / g.columnNS)
		if p.LatencyNS < g.edges[0] {
			g.below += p.Count
		}
		row, exact := slices.BinarySearch(g.edges, p.LatencyNS)
		if !exact {
			row--
		}
		g.counts[c][min(max(row, 0), rows-1)] += p.Count
		g.bins[c][g.bin(p.LatencyNS)] += p.Count
		g.sums[c] += p.Count
	}
	return g
}

func (g *grid) bin(ns int64) int {
	return min(max(int((math.Log(float64(ns))-g.low)/g.step), 0), binCount-1)
}

// at is the middle of a bin, in ns.
func (g *grid) at(bin float64) int64 { return int64(math.Exp(g.low + (bin+0.5)*g.step)) }

// nice is the least of 1, 2 and 5 times a power of ten that is no less than ns; a
// multiple of unit, where there is one.
func nice(ns, unit int64) int64 {
	if unit > 0 {
		for _, n := range []int64{1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600} {
			if n*unit >= ns {
				return n * unit
			}
		}
		return (ns + unit - 1) / unit * unit
	}
	for p := int64(1); ; p *= 10 {
		for _, f := range []int64{1, 2, 5} {
			if f*p >= ns {
				return f * p
			}
		}
	}
}

// edges are bounds of rows of equal height on a logarithmic scale, so that lo to
// hi lies within them. How many rows there are to a factor of ten depends on how
// far apart these are: a row is at most 10% high where that is possible.
func edges(lo, hi int64) []int64 {
	perDecade := 0.0
	for _, n := range []float64{12, 24, 48, 96, 192, 384} {
		rows := (math.Log10(float64(hi))-math.Log10(float64(lo)))*n + 1
		if perDecade == 0 || rows <= mostRows {
			perDecade = n
		}
		if rows >= fewestRows {
			break
		}
	}
	first := math.Floor(math.Log10(float64(lo)) * perDecade)
	var out []int64
	for i := first; ; i++ {
		e := int64(math.Round(math.Pow(10, i/perDecade)))
		if n := len(out); n == 0 || e > out[n-1] {
			out = append(out, e)
		}
		if e > hi && len(out) > 1 {
			return out
		}
	}
}

// quantile is by bins, of columns from to to; -1 where they are empty.
func (g *grid) quantile(from, to int, q float64) int64 {
	var all int64
	for c := from; c < to; c++ {
		all += g.sums[c]
	}
	if all == 0 {
		return -1
	}
	rank := int64(math.Ceil(q * float64(all)))
	var seen int64
	for b := range binCount {
		for c := from; c < to; c++ {
			seen += g.bins[c][b]
		}
		if seen >= rank {
			return g.at(float64(b))
		}
	}
	return -1
}

// failures is how many of the requests failed, a second.
func (g *grid) failures(points []Point) (Series, bool) {
	s := Series{Kind: "errors", What: "requests that failed", Unit: "per second", Source: "load", StartNS: g.startNS, SlotNS: g.columnNS, Values: make([]float64, g.columns)}
	any := false
	for _, p := range points {
		if p.Failed {
			any = true
			s.Values[(p.EndNS-g.startNS)/g.columnNS] += float64(p.Count) / (float64(g.columnNS) / 1e9)
		}
	}
	return s, any
}
