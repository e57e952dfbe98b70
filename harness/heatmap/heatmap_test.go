package heatmap_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/heatmap"
)

const (
	ms     = int64(1e6)
	second = int64(1e9)
	start  = 5 * second
	length = 10 * second
)

// noise are requests that come at random and take a lognormal time of 20 ms.
func noise(r *rand.Rand, perSecond int) []heatmap.Point {
	var out []heatmap.Point
	for range perSecond * int(length/second) {
		end := start + r.Int64N(length)
		out = append(out, heatmap.Point{EndNS: end, LatencyNS: int64(20e6 * math.Exp(0.4*r.NormFloat64())), Count: 1})
	}
	return out
}

func input(points []heatmap.Point, series ...heatmap.Series) heatmap.Input {
	return heatmap.Input{Source: "synthetic", StartNS: start, EndNS: start + length, Points: points, Series: series}
}

// pulses is a series that is 1 in spans of 120 ms, and else 0.
func pulses(kind string, at ...int64) heatmap.Series {
	s := heatmap.Series{Kind: kind, What: kind, Unit: "share", Source: "synthetic", StartNS: start, SlotNS: 10 * ms, Values: make([]float64, length/(10*ms))}
	for _, from := range at {
		for i := range int64(12) {
			if slot := (from-start)/s.SlotNS + i; slot < int64(len(s.Values)) {
				s.Values[slot] = 1
			}
		}
	}
	return s
}

// wander is a series that changes slowly and at random, as a gauge does.
func wander(r *rand.Rand) heatmap.Series {
	s := heatmap.Series{Kind: "wander", What: "wander", Unit: "threads", Source: "synthetic", StartNS: start, SlotNS: 50 * ms, Values: make([]float64, length/(50*ms))}
	v := 10.0
	for i := range s.Values {
		v = max(0, v+r.NormFloat64())
		s.Values[i] = v
	}
	return s
}

func anywhere(r *rand.Rand, n int) []int64 {
	var at []int64
	for range n {
		at = append(at, start+second+r.Int64N(length-2*second))
	}
	return at
}

// stall holds up all requests that would end in a pause of 120 ms until after it.
func stall(r *rand.Rand, points []heatmap.Point, at ...int64) {
	for i := range points {
		for _, from := range at {
			if p := &points[i]; p.EndNS >= from && p.EndNS < from+120*ms {
				late := from + 120*ms + r.Int64N(20*ms) - p.EndNS
				p.EndNS += late
				p.LatencyNS += late
			}
		}
	}
}

// spaced are times at least a second apart.
func spaced(r *rand.Rand, n int) []int64 {
	var at []int64
	for i := range int64(n) {
		at = append(at, start+second+i*8*second/int64(n)+r.Int64N(second))
	}
	return at
}

func TestNothingIsFoundInNoise(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		rate := []int{30, 300, 2000}[seed%3]
		m := heatmap.New(input(noise(r, rate), pulses("collection", anywhere(r, 4)...), wander(r)))
		assert.Empty(t, m.Spells, "seed %d", seed)
		assert.Len(t, m.Bands, 1, "seed %d", seed)
		assert.Nil(t, m.Trend, "seed %d", seed)
	}
}

func TestATrendIsSaid(t *testing.T) {
	for _, factor := range []float64{1.15, 2, 0.4} {
		r := rand.New(rand.NewPCG(1, 10))
		points := noise(r, 300)
		for i := range points {
			points[i].LatencyNS = int64(float64(points[i].LatencyNS) * math.Pow(factor, float64(points[i].EndNS-start)/float64(length)))
		}
		m := heatmap.New(input(points))
		if factor == 1.15 {
			assert.Nil(t, m.Trend, "too little to be worth a word")
			continue
		}
		require.NotNil(t, m.Trend)
		assert.InEpsilon(t, 20e6, m.Trend.FromNS, 0.1)
		assert.InEpsilon(t, 20e6*factor, m.Trend.ToNS, 0.1)
		assert.Equal(t, factor > 1, m.Trend.Tau > 0)
	}
}

// Requests of one server are not independent: here they end in bursts of ten that
// took much the same time.
func TestNothingIsFoundInClumpedNoise(t *testing.T) {
	found := 0
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 2))
		var points []heatmap.Point
		for range 3000 {
			end, took := start+r.Int64N(length), 20e6*math.Exp(0.4*r.NormFloat64())
			for range 10 {
				points = append(points, heatmap.Point{EndNS: min(end+r.Int64N(5*ms), start+length-1), LatencyNS: int64(took * math.Exp(0.02*r.NormFloat64())), Count: 1})
			}
		}
		found += len(heatmap.New(input(points)).Spells)
	}
	assert.Zero(t, found)
}

func TestSpellsAreExplainedByWhatHappenedThen(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 3))
		points, at := noise(r, 2000), spaced(r, 4)
		stall(r, points, at...)
		m := heatmap.New(input(points, pulses("collection", at...), pulses("decoy", anywhere(r, 4)...), wander(r)))
		require.NotEmpty(t, m.Spells, "seed %d", seed)
		hit := 0
		for _, s := range m.Spells {
			assert.Contains(t, []string{heatmap.Slower, heatmap.Silent}, s.Kind)
			near := false
			for _, from := range at {
				if s.SinceNS < from+140*ms+m.ColumnNS && s.EndNS > from-m.ColumnNS {
					near = true
				}
			}
			assert.True(t, near, "seed %d: a spell where nothing happened: %+v", seed, s)
			if s.Kind != heatmap.Slower {
				continue
			}
			hit++
			if assert.NotEmpty(t, s.Causes, "seed %d: %+v", seed, s) {
				assert.Equal(t, "collection", s.Causes[0].Kind, "seed %d: %+v", seed, s.Causes)
			}
		}
		assert.GreaterOrEqual(t, hit, 4, "seed %d", seed)
	}
}

// One pause and one spell are enough where both are short.
func TestOneSpellIsExplained(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 4))
	points, at := noise(r, 2000), start+4*second+30*ms
	stall(r, points, at)
	m := heatmap.New(input(points, pulses("collection", at), wander(r)))
	require.Len(t, m.Spells, 1)
	require.Len(t, m.Spells[0].Causes, 1)
	assert.Equal(t, "collection", m.Spells[0].Causes[0].Kind)
	assert.InDelta(t, 0, m.Spells[0].Causes[0].Else, 0.02)
}

// What happened at other times is no cause, and what is there all the time is none.
func TestSpellsAreNotExplainedByWhatHappenedElsewhere(t *testing.T) {
	wrong, spells := 0, 0
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 5))
		points := noise(r, 2000)
		stall(r, points, spaced(r, 3)...)
		busy := pulses("busy")
		for i := range busy.Values {
			busy.Values[i] = float64((i / 5) % 2) // on for half of the time
		}
		m := heatmap.New(input(points, pulses("collection", anywhere(r, 3)...), wander(r), busy))
		for _, s := range m.Spells {
			spells++
			wrong += len(s.Causes)
		}
	}
	assert.Greater(t, spells, 250)
	// The chance that a map names a cause wrongly is held to a twentieth.
	assert.LessOrEqual(t, wrong, spells/20, "of %d spells", spells)
}

func TestFewerIsACauseWhereItMatters(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 6))
	points, at := noise(r, 2000), spaced(r, 3)
	stall(r, points, at...)
	s := pulses("in flight", at...)
	for i := range s.Values {
		s.Values[i] = 100 - 60*s.Values[i]
	}
	s.Fewer = true
	m := heatmap.New(input(points, s))
	require.NotEmpty(t, m.Spells)
	require.NotEmpty(t, m.Spells[0].Causes)
	s.Fewer = false
	for _, spell := range heatmap.New(input(points, s)).Spells {
		assert.Empty(t, spell.Causes)
	}
}

func TestBandsAreTheModes(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 7))
		points := noise(r, 1000)
		for i := range points {
			if r.IntN(5) == 0 {
				points[i].LatencyNS = int64(300e6 * math.Exp(0.2*r.NormFloat64()))
			}
		}
		m := heatmap.New(input(points))
		require.Len(t, m.Bands, 2, "seed %d", seed)
		assert.InEpsilon(t, 20e6, m.Bands[0].PeakNS, 0.25)
		assert.InEpsilon(t, 300e6, m.Bands[1].PeakNS, 0.15)
		assert.InDelta(t, 0.2, m.Bands[1].Share, 0.02)
		assert.Greater(t, m.Bands[1].Seen, 0.9)
		assert.Empty(t, m.Spells, "seed %d: two bands all the time are no spell", seed)
	}
}

// A band that comes for a while is a spell too.
func TestASlowHalfSecondIsASpell(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 8))
	points := noise(r, 500)
	for i := range points {
		if e := points[i].EndNS - start; e > 3*second && e < 3*second+500*ms {
			points[i].LatencyNS *= 3
			points[i].Failed = true
		}
	}
	m := heatmap.New(input(points))
	require.Len(t, m.Spells, 1)
	s := m.Spells[0]
	assert.Equal(t, heatmap.Slower, s.Kind)
	assert.InDelta(t, start+3*second, s.StartNS, float64(m.ColumnNS))
	assert.InDelta(t, start+3*second+500*ms, s.EndNS, float64(m.ColumnNS))
	assert.InEpsilon(t, 60e6, s.MedianNS, 0.15)
	assert.InEpsilon(t, 20e6, s.UsualNS, 0.1)
	require.Len(t, s.Causes, 1, "the failed requests come from the points themselves")
	assert.Equal(t, "errors", s.Causes[0].Kind)
	assert.Positive(t, m.Failed)
}

// Answers that come early before a stall are another thing than the stall.
func TestAStallAfterFastAnswersIsASpellOfItsOwn(t *testing.T) {
	for _, hastened := range []int64{100 * ms, 300 * ms} {
		r := rand.New(rand.NewPCG(1, 12))
		points := noise(r, 2000)
		at := start + 3*second
		for i := range points {
			if p := &points[i]; p.EndNS >= at-hastened && p.EndNS < at {
				p.LatencyNS /= 3
			}
		}
		stall(r, points, at)
		m := heatmap.New(input(points, pulses("stop-the-world", at)))
		require.Len(t, m.Spells, 2, "hastened for %d ns", hastened)
		assert.Equal(t, heatmap.Faster, m.Spells[0].Kind)
		assert.LessOrEqual(t, m.Spells[0].EndNS, at)
		s := m.Spells[1]
		assert.NotEqual(t, heatmap.Faster, s.Kind)
		assert.InDelta(t, at, s.SinceNS, float64(10*ms))
		require.Len(t, s.Causes, 1)
		assert.Equal(t, "stop-the-world", s.Causes[0].Kind)
	}
}

// All requests wait for a lock that is let go of once a second.
func TestBurstsAreSaidAndExplained(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 11))
		points := noise(r, 400)
		held := pulses("lock-convoy")
		for i := range points {
			late := (points[i].EndNS-start)/second*second + start + 800*ms + r.Int64N(200*ms) - points[i].EndNS
			points[i].EndNS += late
			points[i].LatencyNS += max(0, late)
		}
		for i := range held.Values {
			if (int64(i)*held.SlotNS)%second < 800*ms {
				held.Values[i] = 400
			}
		}
		m := heatmap.New(input(points, held, wander(r)))
		require.NotNil(t, m.Bursts, "seed %d", seed)
		assert.Equal(t, 10, m.Bursts.Count)
		assert.Equal(t, second, m.Bursts.EveryNS)
		assert.InDelta(t, 0.2, m.Bursts.BusyShare, 0.05)
		require.Len(t, m.Bursts.Causes, 1, "seed %d", seed)
		assert.Equal(t, "lock-convoy", m.Bursts.Causes[0].Kind)
		assert.Nil(t, heatmap.New(input(noise(r, 400), held)).Bursts)
	}
}

func TestFewOrNoRequests(t *testing.T) {
	m := heatmap.New(input(nil))
	assert.Zero(t, m.Requests)
	assert.Equal(t, []string{"no request ended in the time that was recorded"}, m.Notes)
	m = heatmap.New(input([]heatmap.Point{{EndNS: start, LatencyNS: 0, Count: 1}}))
	assert.EqualValues(t, 1, m.Requests)
	assert.Contains(t, m.SpellsUnknown, "too few requests")
}

// Whatever the points, each that is in the window is in one cell, the rows hold
// their latencies, and the same input gives the same map.
func FuzzGrid(f *testing.F) {
	f.Add(uint64(1), 100, int64(20e6), int64(0))
	f.Add(uint64(2), 3, int64(1), int64(1e9))
	f.Add(uint64(3), 5000, int64(3e12), int64(0))
	f.Fuzz(func(t *testing.T, seed uint64, n int, scale, column int64) {
		if n < 0 || n > 20000 || scale < 1 || scale > int64(1e15) || column < 0 || column > int64(1e12) {
			return
		}
		r := rand.New(rand.NewPCG(seed, 9))
		var points []heatmap.Point
		var want, failed int64
		for range n {
			p := heatmap.Point{EndNS: start - second + r.Int64N(length+2*second), LatencyNS: int64(float64(scale) * math.Exp(r.NormFloat64())), Count: r.Int64N(4), Failed: r.IntN(9) == 0}
			if p.EndNS >= start && p.EndNS < start+length {
				want += p.Count
				if p.Failed {
					failed += p.Count
				}
			}
			points = append(points, p)
		}
		in := input(points, pulses("collection", anywhere(r, 2)...))
		in.ColumnNS = column
		m := heatmap.New(in)
		var sum int64
		for _, column := range m.Counts {
			require.Len(t, column, len(m.EdgesNS)-1)
			for _, n := range column {
				sum += n
			}
		}
		require.Equal(t, want, sum)
		require.Equal(t, want, m.Requests)
		require.Equal(t, failed, m.Failed)
		for i := 1; i < len(m.EdgesNS); i++ {
			require.Less(t, m.EdgesNS[i-1], m.EdgesNS[i])
		}
		require.Len(t, m.MedianNS, len(m.Counts))
		require.Equal(t, fmt.Sprint(m.Counts, m.Spells, m.Bands), fmt.Sprint(func() (any, any, any) { m := heatmap.New(in); return m.Counts, m.Spells, m.Bands }()))
	})
}

func BenchmarkNew(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	in := input(noise(r, 10000), pulses("collection", anywhere(r, 4)...), wander(r))
	for b.Loop() {
		heatmap.New(in)
	}
}
