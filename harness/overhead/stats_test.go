package overhead

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	assert.True(t, math.IsNaN(median(nil)))
	assert.Equal(t, 3.0, median([]float64{3}))
	assert.Equal(t, 2.5, median([]float64{4, 1, 2, 3}))
	values := []float64{9, 1, 5}
	assert.Equal(t, 5.0, median(values))
	assert.Equal(t, []float64{9, 1, 5}, values, "the order is the caller's")
}

// The probabilities are those of tables of the sign test.
func TestCoverage(t *testing.T) {
	for _, c := range []struct {
		n, k int
		want float64
	}{
		{1, 1, 0}, {2, 1, 0.5}, {5, 1, 0.9375}, {6, 1, 0.96875}, {8, 1, 0.9921875}, {8, 2, 0.9296875},
		{10, 2, 0.978515625}, {15, 4, 0.96484375}, {20, 6, 0.9586105346679688}, {100, 40, 0.9647997997822952},
	} {
		assert.InDelta(t, c.want, coverage(c.n, c.k), 1e-9, "n %d, k %d", c.n, c.k)
	}
}

func TestRatio(t *testing.T) {
	assert.Nil(t, ratioOf(nil))
	up := func(n int) []float64 {
		values := make([]float64, n)
		for i := range values {
			values[i] = float64(n - i)
		}
		return values
	}
	for _, c := range []struct {
		n                 int
		median, low, high float64
		leastConfidence   float64
	}{
		{1, 1, 1, 1, 0}, {2, 1.5, 1, 2, 0.5}, {5, 3, 1, 5, 0.93}, {6, 3.5, 1, 6, 0.95},
		{8, 4.5, 1, 8, 0.95}, {9, 5, 2, 8, 0.95}, {10, 5.5, 2, 9, 0.95}, {15, 8, 4, 12, 0.95}, {20, 10.5, 6, 15, 0.95},
	} {
		r := ratioOf(up(c.n))
		require.NotNil(t, r)
		assert.Equal(t, []float64{c.median, c.low, c.high}, []float64{r.Median, r.Low, r.High}, "n %d", c.n)
		assert.GreaterOrEqual(t, r.Confidence, c.leastConfidence, "n %d", c.n)
		assert.Equal(t, c.n, r.N)
	}
}

// The interval holds the true median as often as it says, whatever the distribution.
func TestIntervalHoldsTheMedian(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	const trials = 4000
	for name, draw := range map[string]func() float64{
		"exponential": func() float64 { return random.ExpFloat64() / math.Ln2 }, // its median is 1
		"uniform":     func() float64 { return 2 * random.Float64() },
	} {
		for _, n := range []int{6, 9, 20} {
			held, want := 0, 0.0
			for range trials {
				values := make([]float64, n)
				for i := range values {
					values[i] = draw()
				}
				r := ratioOf(values)
				want = r.Confidence
				if r.Low <= 1 && 1 <= r.High {
					held++
				}
			}
			// Four standard deviations of a share.
			assert.InDelta(t, want, float64(held)/trials, 4*math.Sqrt(want*(1-want)/trials), "%s, n %d", name, n)
		}
	}
}
