package schedule

import (
	"math"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	ms  = time.Millisecond
	sec = time.Second
)

func mustNew(t testing.TB, stages ...Stage) *Schedule {
	t.Helper()
	s, err := New(stages)
	require.NoError(t, err)
	return s
}

func mustShard(t testing.TB, s *Schedule, i, n int) *Schedule {
	t.Helper()
	shard, err := s.Shard(i, n)
	require.NoError(t, err)
	return shard
}

func TestNewNamesWhatIsWrong(t *testing.T) {
	last := Stage{Level: 1, Captured: true}
	tests := map[string]struct {
		stages []Stage
		want   string
	}{
		"none":            {nil, "schedule: stages: there is none"},
		"no capture":      {[]Stage{{Level: 1}}, "schedule: stages: none is captured"},
		"two captured":    {[]Stage{last, last}, "schedule: stages[1].captured: stages[0] is captured already"},
		"negative level":  {[]Stage{{Level: -1, Hold: sec}, last}, "schedule: stages[0].level: -1 is not"},
		"not a number":    {[]Stage{{Level: math.NaN(), Hold: sec}, last}, "stages[0].level: NaN is not"},
		"infinite":        {[]Stage{{Level: math.Inf(1), Hold: sec}, last}, "stages[0].level: +Inf is not"},
		"too high":        {[]Stage{{Level: MaxLevel + 1, Hold: sec}, last}, "stages[0].level: 1.0000001e+07 is not"},
		"negative ramp":   {[]Stage{last, {Level: 1, Ramp: -sec}}, "stages[1].ramp: -1s is negative"},
		"negative hold":   {[]Stage{{Level: 1, Hold: -sec}, last}, "stages[0].hold: -1s is negative"},
		"too long":        {[]Stage{{Level: 1, Hold: MaxLength}, {Level: 1, Ramp: 1, Captured: true}}, "stages[1].ramp: with 1ns all stages"},
		"overflow":        {[]Stage{{Level: 1, Ramp: math.MaxInt64, Hold: math.MaxInt64}, last}, "stages[0].ramp: with"},
		"takes no time":   {[]Stage{{Level: 1}, last}, "stages[0].hold: the stage takes no time"},
		"no time, middle": {[]Stage{last, {Level: 5}, {Level: 1}}, "stages[1].hold: the stage takes no time"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := New(tc.stages)
			require.ErrorContains(t, err, tc.want)
			assert.Nil(t, s)
		})
	}
}

func TestNewKeepsItsOwnStages(t *testing.T) {
	stages := []Stage{{Level: 1, Hold: sec, Captured: true}, {Level: 2}}
	s := mustNew(t, stages...)
	stages[1].Level = 100
	s.Stages()[0].Level = 100
	s.Release(sec)
	assert.InDelta(t, 1, s.LevelAt(0), 0)
	assert.InDelta(t, 2, s.LevelAt(sec), 0)
	assert.Equal(t, 0, s.Captured())
}

// Worked out by hand from the formulas in doc.go.
func TestDue(t *testing.T) {
	type due map[uint64]time.Duration
	tests := map[string]struct {
		stages  []Stage
		release time.Duration // 0: none
		want    due
		never   []uint64
	}{
		"step": {
			stages: []Stage{{Level: 100, Captured: true}},
			want:   due{0: 0, 1: 10 * ms, 3: 30 * ms, 360_000: time.Hour},
			never:  []uint64{math.MaxUint64, math.MaxUint64 - 1},
		},
		"rising from nothing: n = 50 t²/s²": {
			stages: []Stage{{Level: 100, Ramp: sec, Captured: true}},
			want:   due{0: 0, 2: 200 * ms, 8: 400 * ms, 32: 800 * ms, 50: sec, 51: 1010 * ms},
		},
		"rising from a level: n - 10 = 10 t + 45 t²": {
			stages: []Stage{{Level: 10, Hold: sec}, {Level: 100, Ramp: sec, Captured: true}},
			want:   due{9: 900 * ms, 10: sec, 65: 2 * sec, 66: 2010 * ms},
		},
		"falling to nothing: 150 - n = 50 (2 - t)²": {
			stages: []Stage{{Level: 100, Hold: sec}, {Level: 0, Ramp: sec, Captured: true}},
			want:   due{100: sec, 118: 1200 * ms, 142: 1600 * ms, 148: 1800 * ms},
			never:  []uint64{150, 151},
		},
		"a pause is skipped, and nothing falls on its beginning": {
			stages: []Stage{{Level: 10, Hold: sec}, {Level: 0, Hold: 5 * sec}, {Level: 10, Captured: true}},
			want:   due{9: 900 * ms, 10: 6 * sec, 11: 6100 * ms},
		},
		"nothing at first": {
			stages: []Stage{{Level: 0, Hold: 5 * sec}, {Level: 10, Captured: true}},
			want:   due{0: 5 * sec, 1: 5100 * ms},
		},
		"nothing at all": {
			stages: []Stage{{Level: 0, Captured: true}},
			never:  []uint64{0, 1, math.MaxUint64},
		},
		"a tenth is a tenth": {
			stages: []Stage{{Level: 0.1, Hold: 30 * sec}, {Level: 0, Hold: sec}, {Level: 0.1, Captured: true}},
			want:   due{0: 0, 2: 20 * sec, 3: 31 * sec, 4: 41 * sec},
		},
		"remainders carry over": {
			stages: []Stage{{Level: 10, Hold: 50 * ms}, {Level: 20, Captured: true}},
			want:   due{0: 0, 1: 75 * ms, 2: 125 * ms},
		},
		"a day at 1,000,000/s": {
			stages: []Stage{{Level: 1e6, Ramp: 2 * sec, Captured: true}},
			want:   due{86_400_000_000: 24*time.Hour + sec, 86_400_000_001: 24*time.Hour + sec + time.Microsecond},
		},
		"one request a year": {
			stages: []Stage{{Level: 1.0 / 31_536_000, Captured: true}},
			want:   due{0: 0, 1: 365 * 24 * time.Hour},
			never:  []uint64{300, 1 << 40}, // past 292 years, which is all a time.Duration holds
		},
		"before release the stages behind do not exist": {
			stages: []Stage{{Level: 10, Hold: sec, Captured: true}, {Level: 1000}},
			want:   due{10: sec, 100: 10 * sec},
		},
		"after release they do": {
			stages:  []Stage{{Level: 10, Hold: sec, Captured: true}, {Level: 1000, Hold: ms}, {Level: 10}},
			release: 2 * sec,
			want:    due{19: 1900 * ms, 20: 2 * sec, 21: 2001 * ms, 22: 2101 * ms},
		},
		"a release inside the ramp waits for its end": {
			stages:  []Stage{{Level: 100, Ramp: sec, Captured: true}, {Level: 10}},
			release: 100 * ms,
			want:    due{32: 800 * ms, 50: sec, 51: 1100 * ms},
		},
		"a release of the last stage changes nothing": {
			stages:  []Stage{{Level: 10, Captured: true}},
			release: sec,
			want:    due{100: 10 * sec},
		},
		"a release at the end of time": {
			stages:  []Stage{{Level: 10, Captured: true}, {Level: 0, Ramp: sec}},
			release: math.MaxInt64 - 1,
			want:    due{100: 10 * sec},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := mustNew(t, tc.stages...)
			if tc.release != 0 {
				s.Release(tc.release)
			}
			for n, want := range tc.want {
				got, ok := s.Due(n)
				assert.True(t, ok, "request %d", n)
				assert.Equal(t, want, got, "request %d", n)
			}
			for _, n := range tc.never {
				got, ok := s.Due(n)
				assert.False(t, ok, "request %d at %s", n, got)
			}
		})
	}
}

func TestReleaseKeepsWhatWasDueBefore(t *testing.T) {
	s := mustNew(t, Stage{Level: 1000, Ramp: sec}, Stage{Level: 333, Ramp: sec, Captured: true}, Stage{Level: 50, Ramp: sec}, Stage{Level: 0})
	const at = 5 * sec
	early := s.DueBefore(at)
	require.Equal(t, uint64(500+667+999), early, "666.5 in the ramp, and 3 s at 333/s")
	before := make([]time.Duration, early)
	for n := range early {
		before[n], _ = s.Due(n)
	}
	select {
	case <-s.Released():
		t.Fatal("released before Release")
	default:
	}
	s.Release(at)
	<-s.Released()
	s.Release(10 * sec) // too late: it has been told
	for n, want := range before {
		got, ok := s.Due(uint64(n))
		require.True(t, ok)
		require.Equal(t, want, got, "request %d", n)
	}
	next, ok := s.Due(early)
	assert.True(t, ok)
	assert.GreaterOrEqual(t, next, at)
	_, end, known := s.Bounds(1)
	assert.True(t, known)
	assert.Equal(t, at, end)
}

func TestReleaseLeavesRoomForTheStagesBehind(t *testing.T) {
	s := mustNew(t, Stage{Level: 10, Captured: true}, Stage{Level: 20, Ramp: MaxLength})
	s.Release(Never - 1)
	start, end, known := s.Bounds(1)
	assert.True(t, known)
	assert.Less(t, start, Never-MaxLength)
	assert.Equal(t, Never, end)
	assert.InDelta(t, 15, s.LevelAt(start+MaxLength/2), 1e-9)
}

func TestLevelsAndStages(t *testing.T) {
	s := mustNew(t,
		Stage{Level: 100, Ramp: 2 * sec, Hold: sec},
		Stage{Level: 400, Hold: sec}, // a spike
		Stage{Level: 50, Ramp: sec, Captured: true},
		Stage{Level: 0, Ramp: 5 * sec, Hold: sec},
		Stage{Level: 7},
	)
	type moment struct {
		at    time.Duration
		level float64
		stage int
	}
	check := func(moments ...moment) {
		t.Helper()
		for _, m := range moments {
			assert.InDelta(t, m.level, s.LevelAt(m.at), 1e-9, "level at %s", m.at)
			assert.Equal(t, m.stage, s.StageAt(m.at), "stage at %s", m.at)
		}
	}
	both := []moment{{-sec, 0, 0}, {0, 0, 0}, {sec, 50, 0}, {2 * sec, 100, 0}, {3*sec - 1, 100, 0},
		{3 * sec, 400, 1}, {4*sec - 1, 400, 1}, {4 * sec, 400, 2}, {4500 * ms, 225, 2}, {5 * sec, 50, 2}, {9 * sec, 50, 2}}
	check(both...)
	check(moment{time.Hour, 50, 2}, moment{Never, 50, 2})
	bounds := func(stage int, from, to time.Duration, want bool) {
		t.Helper()
		start, end, known := s.Bounds(stage)
		assert.Equal(t, []any{from, to, want}, []any{start, end, known}, "stage %d", stage)
	}
	bounds(0, 0, 3*sec, true)
	bounds(1, 3*sec, 4*sec, true)
	bounds(2, 4*sec, Never, true)
	bounds(3, 0, 0, false)
	bounds(4, 0, 0, false)
	bounds(5, 0, 0, false)
	bounds(-1, 0, 0, false)
	assert.Equal(t, 5*sec, s.HoldFrom())

	s.Release(10 * sec)
	check(both...)
	check(moment{10*sec - 1, 50, 2}, moment{10 * sec, 50, 3}, moment{12 * sec, 30, 3}, moment{15 * sec, 0, 3},
		moment{16 * sec, 7, 4}, moment{Never, 7, 4})
	bounds(2, 4*sec, 10*sec, true)
	bounds(3, 10*sec, 16*sec, true)
	bounds(4, 16*sec, Never, true)
	assert.Equal(t, 5*sec, s.HoldFrom())
}

func TestRampReachesWholeLevelsOnTime(t *testing.T) {
	s := mustNew(t, Stage{Level: 10_000, Ramp: 5 * sec, Captured: true})
	for n := 1; n <= 10_000; n++ {
		at := time.Duration(n) * 500 * time.Microsecond
		require.Equal(t, n, s.InFlightAt(at))
		require.Equal(t, n-1, s.InFlightAt(at-1))
	}
}

func TestClosedLoopRampHasTheStagesOfTheIssue(t *testing.T) {
	s := mustNew(t, Stage{Level: 100, Hold: sec}, Stage{Level: 1000, Ramp: sec, Hold: sec}, Stage{Level: 10_000, Ramp: sec, Captured: true})
	steps, at := 0, time.Duration(-1)
	for {
		next, ok := s.NextChange(at)
		if !ok {
			break
		}
		steps, at = steps+1, next
	}
	assert.Equal(t, 1+900+9000, steps)
	assert.Equal(t, 4*sec, at)
	assert.Equal(t, 10_000, s.InFlightAt(at))
}

func TestShardRefuses(t *testing.T) {
	s := mustNew(t, Stage{Level: 1, Captured: true})
	for _, tc := range [][2]int{{0, 0}, {0, -1}, {-1, 2}, {2, 2}} {
		_, err := s.Shard(tc[0], tc[1])
		require.ErrorContains(t, err, "the index from 0 to below it", "%v", tc)
	}
	_, err := mustShard(t, s, 0, 1<<20).Shard(0, 1<<20)
	require.ErrorContains(t, err, "more than 2147483647 in all")
}

func TestNumbersEndWhereTheyOverflow(t *testing.T) {
	s := mustShard(t, mustNew(t, Stage{Level: 1, Captured: true}), 2, 3)
	n, ok := s.Number(4)
	assert.True(t, ok)
	assert.Equal(t, uint64(14), n)
	for _, k := range []uint64{math.MaxUint64 / 3, math.MaxUint64/3 + 1, math.MaxUint64} {
		_, ok = s.Number(k)
		assert.False(t, ok, "%d", k)
		_, ok = s.Due(k)
		assert.False(t, ok, "%d", k)
	}
}

// For the race detector, and: nobody sees anything but the one plan or the other.
func TestReleaseUnderReaders(t *testing.T) {
	s := mustNew(t, Stage{Level: 100, Captured: true}, Stage{Level: 10})
	var readers sync.WaitGroup
	for i := range 4 {
		shard := mustShard(t, s, i, 4)
		readers.Go(func() {
			for last := false; !last; {
				select {
				case <-shard.Released():
					last = true
				default:
				}
				due, ok := shard.Due(100) // request 400 + i of all
				old, now := 4*sec+time.Duration(i)*10*ms, sec+30*sec+time.Duration(i)*100*ms
				if !assert.True(t, ok) || !assert.Contains(t, []time.Duration{old, now}, due) {
					return
				}
				if last {
					assert.Equal(t, now, due)
				}
				shard.LevelAt(2 * sec)
				shard.NextChange(0)
				shard.Bounds(1)
			}
		})
	}
	for range 3 {
		readers.Go(func() { s.Release(sec) })
	}
	readers.Wait()
}

func BenchmarkDue(b *testing.B) {
	ramps := []Stage{{Level: 1e5, Ramp: time.Hour, Captured: true}}
	many := make([]Stage, 64)
	for i := range many {
		many[i] = Stage{Level: float64(1000 + i%7), Ramp: sec, Hold: sec, Captured: i == 63}
	}
	for name, stages := range map[string][]Stage{"hold": {{Level: 1e5, Captured: true}}, "ramp": ramps, "128segments": many} {
		b.Run(name, func(b *testing.B) {
			s := mustNew(b, stages...)
			n := uint64(0)
			for b.Loop() {
				s.Due(n % 100_000)
				n++
			}
		})
	}
}
