package account

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// someValues spread over every power of two that a histogram holds.
func someValues(random *rand.Rand, n int) []int64 {
	values := make([]int64, n)
	for i := range values {
		values[i] = random.Int64N(highest + 1)
		if i%7 != 0 { // the others over all magnitudes
			values[i] >>= random.IntN(41)
		}
	}
	return values
}

func histogramOf(values ...int64) Histogram {
	d := newDense()
	for _, v := range values {
		d.record(v)
	}
	return d.histogram()
}

// TestHistogramIsTheLibrarys compares with the HdrHistogram library: the same
// buckets, the same percentiles, and an encoding that it reads as its own.
func TestHistogramIsTheLibrarys(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	edges := []int64{0, 1, 2047, 2048, 2049, 4095, 4096, 1 << 20, 1<<20 - 1, highest - 1, highest}
	for _, values := range [][]int64{nil, {0}, {1}, {highest}, edges, someValues(random, 10), someValues(random, 5000)} {
		theirs := hdrhistogram.New(1, highest, digits)
		for _, v := range values {
			require.NoError(t, theirs.RecordValue(v))
		}
		ours := histogramOf(values...)
		require.Equal(t, theirs.TotalCount(), ours.Count)
		for _, p := range []float64{0, 0.1, 25, 50, 90, 99, 99.9, 100} {
			want := min(theirs.ValueAtPercentile(p), ours.Max)
			if p == 0 { // theirs is then the lowest value of the bucket, not the highest
				continue
			}
			require.Equal(t, []int64{want}, ours.At(p), "percentile %g of %d values", p, len(values))
		}
		text, err := new(encoder).encode(ours)
		require.NoError(t, err)
		read, err := hdrhistogram.Decode([]byte(text))
		require.NoError(t, err)
		require.True(t, read.Equals(theirs), "the library reads other counts than it would have made of %d values", len(values))

		encoded, err := theirs.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
		require.NoError(t, err)
		back, err := decode(string(encoded))
		require.NoError(t, err)
		require.Equal(t, ours.packed, back.packed)
	}
}

func TestHistogramSaysSumAndMaximumExactly(t *testing.T) {
	d := histogramOf(1, 1_000_001, 3_000_003, -5, highest+1).Distribution(1e-6)
	assert.Equal(t, int64(5), d.Count)
	assert.InDelta(t, float64(highest)*1e-6, d.Max, 0, "what is too large is cut to what a histogram holds")
	assert.InDelta(t, (4_000_005+float64(highest))/5*1e-6, d.Mean, 1e-9)
	one := histogramOf(1_000_001).Distribution(1)
	assert.InDelta(t, 1_000_001, one.P50, 0, "not the top of the bucket")
	assert.Zero(t, Histogram{}.Distribution(1))
}

func TestHistogramsAddUp(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 30 {
		a, b := someValues(random, random.IntN(400)), someValues(random, random.IntN(400))
		want := histogramOf(append(append([]int64(nil), a...), b...)...)
		assert.Equal(t, want, histogramOf(a...).plus(histogramOf(b...)))
		assert.Equal(t, want, histogramOf(b...).plus(histogramOf(a...)))
	}
}

func TestDenseIsUsedAgain(t *testing.T) {
	d := newDense()
	d.record(highest)
	d.record(0)
	d.reset()
	d.record(77)
	assert.Equal(t, histogramOf(77), d.histogram())
}

func TestDamagedHistograms(t *testing.T) {
	whole, err := json.Marshal(histogramOf(1, 2, 3000))
	require.NoError(t, err)
	var wire map[string]any
	require.NoError(t, json.Unmarshal(whole, &wire))
	small, err := hdrhistogram.New(1, 1000, 2).Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	require.NoError(t, err)
	for _, tc := range []struct {
		field string
		value any
		want  string
	}{
		{"count", 4, "count is 4, and the buckets hold 3"},
		{"max", 1, "max is 1, and the buckets reach to"},
		{"max", -1, "max is -1"},
		{"sum", -1, "sum is negative"},
		{"hdr", "HISTF", "histogram: "},
		{"hdr", string(small), "want 1 to 1099511627776 in 3"},
		{"hdr", 7, "histogram: "},
	} {
		changed := map[string]any{}
		for k, v := range wire {
			changed[k] = v
		}
		changed[tc.field] = tc.value
		data, err := json.Marshal(changed)
		require.NoError(t, err)
		var h Histogram
		require.ErrorContains(t, json.Unmarshal(data, &h), tc.want, tc.field)
		assert.Zero(t, h)
	}
}

func FuzzHistogramJSON(f *testing.F) {
	for _, h := range []Histogram{{}, histogramOf(0), histogramOf(1, 2, 3, 5000), histogramOf(highest)} {
		data, err := json.Marshal(h)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var h Histogram
		if json.Unmarshal(data, &h) != nil {
			return
		}
		again, err := json.Marshal(h)
		require.NoError(t, err)
		var back Histogram
		require.NoError(t, json.Unmarshal(again, &back))
		require.Equal(t, h, back)
		require.LessOrEqual(t, h.At(100)[0], h.Max)
	})
}

// FuzzDecode feeds any counts into an otherwise sound encoding: they are refused,
// or read as the library reads them.
func FuzzDecode(f *testing.F) {
	f.Add(histogramOf(1, 2, 3, 5000).packed)
	f.Add(histogramOf(highest).packed)
	f.Add([]byte{0, 0, 0})
	f.Add(binary.AppendVarint(binary.AppendVarint(nil, math.MaxInt64), -5))
	f.Add(binary.AppendVarint(nil, math.MinInt64))
	f.Fuzz(func(t *testing.T, counts []byte) {
		text, err := new(encoder).encode(Histogram{packed: counts})
		require.NoError(t, err)
		h, err := decode(text)
		if err != nil {
			return
		}
		theirs, err := hdrhistogram.Decode([]byte(text))
		require.NoError(t, err)
		require.Equal(t, theirs.TotalCount(), h.Count)
		if h.Count == 0 {
			require.Equal(t, Histogram{}, h)
			return
		}
		require.Equal(t, min(theirs.Max(), highest), h.Max)
		for _, p := range []float64{1, 50, 99, 100} {
			require.Equal(t, []int64{min(theirs.ValueAtPercentile(p), highest)}, h.At(p), "percentile %g", p)
		}
		again, err := new(encoder).encode(h)
		require.NoError(t, err)
		back, err := decode(again)
		require.NoError(t, err)
		require.Equal(t, h, back)
	})
}
