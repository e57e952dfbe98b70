package schedule

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// integral is C(t) of doc.go in exact fractions, straight from the stages.
func integral(stages []Stage, release, t time.Duration) *big.Rat {
	sum, from, now := new(big.Rat), new(big.Rat), time.Duration(0)
	for i, s := range stages {
		to, _ := new(big.Rat).SetString(fmt.Sprint(s.Level))
		if s.Ramp > 0 && t > now {
			in := min(t-now, s.Ramp)
			// from + (to - from) · in/ramp is the level there; its mean with from counts.
			moved := new(big.Rat).Mul(new(big.Rat).Sub(to, from), big.NewRat(int64(in), 2*int64(s.Ramp)))
			moved.Add(moved, from)
			sum.Add(sum, moved.Mul(moved, big.NewRat(int64(in), 1e9)))
		}
		now += s.Ramp
		end := now + s.Hold
		if s.Captured {
			end = max(now, release)
		}
		if i == len(stages)-1 {
			end = Never
		}
		if t > now {
			sum.Add(sum, new(big.Rat).Mul(to, big.NewRat(int64(min(t, end)-now), 1e9)))
		}
		if end >= t {
			break
		}
		now, from = end, to
	}
	return sum
}

// randomStages has pauses, steps, spikes, remainders and levels of all sizes.
func randomStages(r *rand.Rand, longest time.Duration) []Stage {
	length := func() time.Duration {
		if r.IntN(4) == 0 {
			return 0
		}
		return time.Duration(math.Exp(r.Float64() * math.Log(float64(longest))))
	}
	stages := make([]Stage, 1+r.IntN(6))
	for i := range stages {
		s := &stages[i]
		switch r.IntN(5) {
		case 0: // a pause
		case 1:
			s.Level = float64(r.IntN(10)) / 10
		case 2:
			s.Level = math.Pow(10, 12*r.Float64()-6)
		default:
			s.Level = float64(r.IntN(1_000_000))
		}
		s.Ramp, s.Hold = length(), 1+length()
	}
	stages[r.IntN(len(stages))].Captured = true
	return stages
}

// TestDueIsTheInverseOfTheIntegral compares with exact fractions: request n is due
// within a nanosecond of where the integral grows beyond n, for schedules of hours.
func TestDueIsTheInverseOfTheIntegral(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	compared := 0
	for range 200 {
		stages := randomStages(r, 3*time.Hour)
		s := mustNew(t, stages...)
		release := Never
		if r.IntN(2) == 0 {
			release = time.Duration(r.Int64N(int64(10 * time.Hour)))
			s.Release(release)
		}
		span := time.Duration(r.Int64N(int64(24 * time.Hour)))
		total := s.DueBefore(span)
		if total == 0 {
			continue
		}
		for range 20 {
			n := r.Uint64N(total)
			due, ok := s.Due(n)
			require.True(t, ok)
			whole := new(big.Rat).SetUint64(n)
			late, early := integral(stages, release, due+1), integral(stages, release, due-1)
			if assert.Positive(t, late.Cmp(whole), "request %d at %s is early: %v", n, due, stages) &&
				assert.LessOrEqual(t, early.Cmp(whole), 0, "request %d at %s is late: %v", n, due, stages) {
				compared++
			}
			if t.Failed() {
				t.FailNow()
			}
		}
		// As many are due as the integral says, to within the same nanosecond.
		count := new(big.Rat).SetUint64(total)
		less, more := integral(stages, release, span-1), integral(stages, release, span+1)
		require.Negative(t, new(big.Rat).Sub(less, big.NewRat(1, 1)).Cmp(count))
		require.Negative(t, new(big.Rat).Sub(count, big.NewRat(1, 1)).Cmp(more))
	}
	assert.Greater(t, compared, 2000, "too few schedules had requests")
}

func TestDueIsMonotone(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		s := mustNew(t, randomStages(r, time.Minute)...)
		if r.IntN(2) == 0 {
			s.Release(time.Duration(r.Int64N(int64(5 * time.Minute))))
		}
		// Around each border between segments, and somewhere.
		starts := []uint64{0, r.Uint64N(1 << 40)}
		for _, g := range s.plan.Load().segments {
			starts = append(starts, g.until-min(g.until, 100))
		}
		for _, n := range starts {
			last := time.Duration(0)
			for k := n; k < n+200 && k >= n; k++ {
				due, ok := s.Due(k)
				if !ok {
					break
				}
				if due < last { // asked a hundred thousand times: testify would take seconds
					t.Fatalf("request %d is due at %s, the one before at %s: %v", k, due, last, s.Stages())
				}
				last = due
			}
		}
	}
}

func TestDueIsMonotoneInAYearLongRamp(t *testing.T) {
	for _, stages := range [][]Stage{
		{{Level: MaxLevel, Ramp: MaxLength, Captured: true}},
		{{Level: MaxLevel, Hold: 1}, {Level: 0, Ramp: MaxLength - 1, Captured: true}},
	} {
		s := mustNew(t, stages...)
		all := s.DueBefore(MaxLength)
		require.Greater(t, all, uint64(MaxLevel/2*(365*24*3600-1)))
		for _, n := range []uint64{0, all / 2, all - 1000} {
			last := time.Duration(-1)
			for k := n; k < n+1000; k++ {
				due, ok := s.Due(k)
				require.True(t, ok)
				require.Greater(t, due, last, "request %d", k)
				last = due
			}
		}
	}
}

func TestShardsInterleaveExactly(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 50 {
		s := mustNew(t, randomStages(r, time.Minute)...)
		n := 1 + r.IntN(9)
		shards := make([]*Schedule, n)
		for i := range shards {
			shards[i] = mustShard(t, s, i, n)
		}
		shards[n/2].Release(time.Duration(r.Int64N(int64(time.Minute)))) // one for all
		for k := range uint64(500) {
			want, wantOK := s.Due(k)
			got, ok := shards[k%uint64(n)].Due(k / uint64(n))
			require.Equal(t, []any{want, wantOK}, []any{got, ok}, "request %d over %d shards", k, n)
		}
		for range 50 {
			at := time.Duration(r.Int64N(int64(10 * time.Minute)))
			var level float64
			var inFlight int
			var due uint64
			low, high := math.MaxInt, 0
			for _, shard := range shards {
				level += shard.LevelAt(at)
				due += shard.DueBefore(at)
				inFlight += shard.InFlightAt(at)
				low, high = min(low, shard.InFlightAt(at)), max(high, shard.InFlightAt(at))
			}
			require.InEpsilon(t, 1+s.LevelAt(at), 1+level, 1e-12)
			require.Equal(t, s.DueBefore(at), due)
			require.Equal(t, s.InFlightAt(at), inFlight)
			require.Equal(t, int(s.LevelAt(at)), inFlight)
			require.LessOrEqual(t, high-low, 1)
		}
	}
}

func TestShardOfAShard(t *testing.T) {
	s := mustNew(t, Stage{Level: 100, Ramp: sec, Captured: true})
	var numbers []uint64
	inFlight := 0
	for i := range 2 {
		half := mustShard(t, s, i, 2)
		for j := range 3 {
			shard := mustShard(t, half, j, 3)
			due, _ := half.Due(uint64(15 + j))
			got, _ := shard.Due(5)
			require.Equal(t, due, got, "its requests are those of the shard it is part of")
			n, ok := shard.Number(5)
			require.True(t, ok)
			numbers = append(numbers, n)
			inFlight += shard.InFlightAt(770 * ms)
		}
	}
	assert.ElementsMatch(t, []uint64{30, 31, 32, 33, 34, 35}, numbers)
	assert.Equal(t, 77, inFlight)
}

// TestNextChangeFindsEachOne looks at every nanosecond of schedules that last some
// hundreds of them.
func TestNextChangeFindsEachOne(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	changes := 0
	for range 200 {
		stages := make([]Stage, 1+r.IntN(5))
		for i := range stages {
			stages[i] = Stage{Level: float64(r.IntN(80)) / 4, Ramp: time.Duration(r.IntN(60)), Hold: time.Duration(r.IntN(20))}
			if stages[i].Ramp == 0 {
				stages[i].Hold++ // a stage must take time
			}
			if i > 0 && r.IntN(3) == 0 { // a ramp whose end is taken back at once
				stages[i-1].Ramp, stages[i-1].Hold = 20, 0
				stages[i] = Stage{Level: math.Ceil(stages[i-1].Level) - 1, Hold: 5}
				stages[i].Level = max(0, stages[i].Level)
			}
		}
		stages[r.IntN(len(stages))].Captured = true
		s := mustNew(t, stages...)
		n := 1 + r.IntN(3)
		s = mustShard(t, s, r.IntN(n), n)
		if r.IntN(3) > 0 {
			s.Release(time.Duration(r.IntN(300)))
		}
		const end = 1000
		want, found := Never, false
		for at := time.Duration(end); at >= -2; at-- {
			got, ok := s.NextChange(at)
			if got != want || ok != found {
				t.Fatalf("next change after %d ns is at %d ns (%t), want %d ns (%t): %v", at, got, ok, want, found, stages)
			}
			if s.InFlightAt(at) != s.InFlightAt(at-1) {
				want, found = at, true
				changes++
			}
		}
	}
	assert.Greater(t, changes, 1000)
}

// FuzzSchedule takes whatever bits make a schedule: refused, or without a panic, a
// level out of bounds or a step back in time.
func FuzzSchedule(f *testing.F) {
	stage := func(level float64, ramp, hold int64) []byte {
		b := binary.LittleEndian.AppendUint64(nil, math.Float64bits(level))
		b = binary.LittleEndian.AppendUint64(b, uint64(ramp))
		return binary.LittleEndian.AppendUint64(b, uint64(hold))
	}
	f.Add(stage(100, 1e9, 1e9), byte(0), int64(3e9), uint64(50), int64(5e8))
	f.Add(append(stage(100, 0, 0), stage(100, 0, 0)...), byte(0), int64(0), uint64(50), int64(-5))
	f.Add(append(stage(5e-324, 1, 1), stage(1e7, math.MaxInt64, 0)...), byte(1), int64(-1), uint64(math.MaxUint64), int64(math.MinInt64))
	f.Add(append(stage(1e7, int64(MaxLength), 0), stage(0, 0, 0)...), byte(0), int64(math.MaxInt64), uint64(1<<53), int64(math.MaxInt64))
	f.Add(append(stage(math.NaN(), 0, 1), stage(math.Inf(-1), 0, 0)...), byte(1), int64(0), uint64(0), int64(0))
	f.Add(append(stage(1e-300, int64(MaxLength)-5, 1), stage(2e-300, 3, 1)...), byte(1), int64(0), uint64(0), int64(7))
	f.Fuzz(func(t *testing.T, raw []byte, captured byte, release int64, n uint64, at int64) {
		var stages []Stage
		for ; len(raw) >= 24 && len(stages) < 8; raw = raw[24:] {
			stages = append(stages, Stage{
				Level:    math.Float64frombits(binary.LittleEndian.Uint64(raw)),
				Ramp:     time.Duration(binary.LittleEndian.Uint64(raw[8:])),
				Hold:     time.Duration(binary.LittleEndian.Uint64(raw[16:])),
				Captured: len(stages) == int(captured),
			})
		}
		s, err := New(stages)
		if err != nil {
			return
		}
		highest := 0.0
		for _, stage := range stages {
			highest = max(highest, stage.Level)
		}
		moment := time.Duration(at)
		for range 2 {
			level := s.LevelAt(moment)
			require.True(t, level >= 0 && level <= highest, "level %g at %s", level, moment)
			require.LessOrEqual(t, s.InFlightAt(moment), int(level))
			stage := s.StageAt(moment)
			start, end, known := s.Bounds(stage)
			require.True(t, known)
			// Before the beginning it is the stage at 0; a stage released at once is empty.
			require.True(t, start <= max(0, moment) && (max(0, moment) < end || end == Never), "%s in stage %d", moment, stage)
			if next, ok := s.NextChange(moment); ok {
				require.Greater(t, next, moment)
				require.NotEqual(t, s.InFlightAt(moment), s.InFlightAt(next))
				require.Equal(t, s.InFlightAt(moment), s.InFlightAt(next-1))
			}
			due, ok := s.Due(n)
			require.Equal(t, ok, due != Never)
			require.GreaterOrEqual(t, due, time.Duration(0))
			if ok && n > 0 {
				before, ok := s.Due(n - 1)
				require.True(t, ok)
				require.LessOrEqual(t, before, due)
			}
			if ok {
				require.LessOrEqual(t, s.DueBefore(due), n)
			}
			s.Release(time.Duration(release))
		}
	})
}
