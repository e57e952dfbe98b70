package account

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMinusUndoesPlus(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		early, late := newDense(), newDense()
		for range random.IntN(200) {
			early.record(random.Int64N(1 << random.IntN(40)))
		}
		for range random.IntN(200) {
			late.record(random.Int64N(1 << random.IntN(40)))
		}
		a, b := early.histogram(), late.histogram()
		got := a.plus(b).minus(a)
		assert.Equal(t, b.Count, got.Count)
		assert.Equal(t, b.Sum, got.Sum)
		assert.Equal(t, b.packed, got.packed)
		if b.Count > 0 {
			assert.Equal(t, bucketOf(b.Max), bucketOf(got.Max), "the maximum is known to its bucket")
		}
	}
	assert.Equal(t, Histogram{}, Histogram{}.minus(Histogram{}))
}

func TestReadingsMakeASpan(t *testing.T) {
	r := New(Config{Stages: 2})
	now := int64(0)
	r.elapsed = func() int64 { return now }
	r.Begin(r.baseMono)
	request := func(from, to int64, failure string) {
		now = from
		x := Exchange{}
		r.Send(&x)
		now = to
		x.Code, x.Failure = 200, failure
		r.End(&x)
	}
	ms := time.Millisecond.Nanoseconds()
	request(0, 5*ms, "")
	now = 10 * ms
	first := r.Read()
	assert.Equal(t, r.baseMono+10*ms, first.MonoNS)
	request(10*ms, 20*ms, "")
	request(20*ms, 40*ms, "refused")
	now = 110 * ms
	s := r.Read().Since(first)
	assert.Equal(t, 100*time.Millisecond, s.Length)
	assert.EqualValues(t, 2, s.Ended)
	assert.EqualValues(t, 1, s.Errors)
	assert.InDelta(t, 20, s.RateHz, 1e-9)
	assert.InDelta(t, 0.3, s.InFlight, 1e-9, "30 of 100 ms")
	assert.EqualValues(t, 1, s.Service.Count, "one that failed took no time that counts")
	require.Len(t, s.Service.At(99), 1)
	assert.InDelta(t, 10_000, s.Service.At(99)[0], 10)

	joined := Join([]Span{s, s})
	assert.Equal(t, s.Length, joined.Length)
	assert.EqualValues(t, 4, joined.Ended)
	assert.InDelta(t, 40, joined.RateHz, 1e-9)
	assert.EqualValues(t, 2, joined.Service.Count)
	assert.Zero(t, Join(nil))
}
