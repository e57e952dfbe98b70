package schedule

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Schedule says how much load is asked for at each moment: all of it, or one
// worker's shard. Its methods may be called from several goroutines, Release too.
type Schedule struct {
	*whole
	index, of uint64 // shard index of of; 0 of 1 is all
}

// whole is what the shards of a schedule share.
type whole struct {
	stages   []Stage
	captured int
	plan     atomic.Pointer[plan]
	once     sync.Once // of Release
	released chan struct{}
}

// New makes a schedule. Exactly one stage must be captured. An error names the
// field that is wrong, as stages[2].hold.
func New(stages []Stage) (*Schedule, error) {
	captured, err := validate(stages)
	if err != nil {
		return nil, fmt.Errorf("schedule: %w", err)
	}
	w := &whole{stages: slices.Clone(stages), captured: captured, released: make(chan struct{})}
	w.plan.Store(newPlan(w.stages, captured, Never))
	return &Schedule{whole: w, of: 1}, nil
}

// Shard is the part of worker i of n, with i counted from 0. It shares s's stages:
// a Release of one is a Release of all. A shard may be sharded again.
func (s *Schedule) Shard(i, n int) (*Schedule, error) {
	if n < 1 || i < 0 || i >= n {
		return nil, fmt.Errorf("schedule: shard %d of %d: the number of shards must be 1 or more, and the index from 0 to below it", i, n)
	}
	high, of := bits.Mul64(s.of, uint64(n))
	if high != 0 || of > math.MaxInt32 {
		return nil, fmt.Errorf("schedule: shard %d of %d of a shard of %d: more than %d in all", i, n, s.of, math.MaxInt32)
	}
	return &Schedule{whole: s.whole, index: s.index + uint64(i)*s.of, of: of}, nil
}

// Stages is a copy of what New was given.
func (s *Schedule) Stages() []Stage { return slices.Clone(s.stages) }

// Captured is the index of the captured stage.
func (s *Schedule) Captured() int { return s.captured }

// HoldFrom is when the captured stage has ended its ramp and its hold begins. That
// is known from the beginning.
func (s *Schedule) HoldFrom() time.Duration { return s.plan.Load().holdFrom }

// LevelAt is the level asked for at t: in requests a second in an open loop, in
// requests in flight in a closed one. A shard's is its part of that, as a fraction;
// see InFlightAt. It is 0 before the beginning.
func (s *Schedule) LevelAt(t time.Duration) float64 {
	return s.plan.Load().level(t) / float64(s.of)
}

// InFlightAt is how many requests a closed loop may have in flight at t: the level,
// rounded down, or the shard's part of that.
func (s *Schedule) InFlightAt(t time.Duration) int {
	return s.share(s.plan.Load().level(t))
}

// share is how many of slots 0, 1, 2, … below level are this shard's.
func (s *Schedule) share(level float64) int {
	slots := uint64(level)
	if slots <= s.index {
		return 0
	}
	return int((slots - s.index + s.of - 1) / s.of)
}

// NextChange is when InFlightAt is next different from what it is at t. Between the
// two there is no need to look. False: it stays as it is for ever, unless Release
// comes; Released tells.
func (s *Schedule) NextChange(t time.Duration) (time.Duration, bool) {
	p := s.plan.Load()
	now := s.share(p.level(t))
	segments := p.segments[p.at(t):]
	for i := range segments {
		g := &segments[i]
		from := max(t, g.start)
		if s.share(g.level(from)) != now {
			return from, true
		}
		if g.from == g.to {
			continue
		}
		// Inside a ramp the level moves one way, so that the first moment of another
		// share is found by halving, and agrees with InFlightAt to the nanosecond.
		low, high := from, g.end
		if s.share(g.level(high)) == now {
			continue
		}
		for high-low > 1 {
			if mid := low + (high-low)/2; s.share(g.level(mid)) == now {
				low = mid
			} else {
				high = mid
			}
		}
		// At its end the next segment's level counts, which may be a step back.
		if high < g.end {
			return high, true
		}
	}
	return Never, false
}

// StageAt is the index of the stage at t; before the beginning, of that at 0.
func (s *Schedule) StageAt(t time.Duration) int {
	p := s.plan.Load()
	return p.segments[p.at(t)].stage
}

// Bounds are when a stage begins and ends; its end is Never as long as it has none.
// False: when it begins is not known before Release, or there is no such stage.
func (s *Schedule) Bounds(stage int) (start, end time.Duration, known bool) {
	p := s.plan.Load()
	if stage < 0 || stage >= len(p.stages) {
		return 0, 0, false
	}
	b := p.stages[stage]
	return b.start, b.end, b.known
}

// Number is the number, in the whole schedule, of the shard's request k; both count
// from 0. False: there is no such number.
func (s *Schedule) Number(k uint64) (uint64, bool) {
	high, low := bits.Mul64(k, s.of)
	n, carry := bits.Add64(low, s.index, 0)
	return n, high == 0 && carry == 0
}

// Due is when request k of an open loop is due, counted from 0; for a shard, when
// the request that is its own k-th is due. False: never, as things stand; Release
// may change that.
func (s *Schedule) Due(k uint64) (time.Duration, bool) {
	n, ok := s.Number(k)
	if !ok {
		return Never, false
	}
	return s.plan.Load().due(n)
}

// DueBefore is how many requests of an open loop are due before t: what a generator
// that keeps up has sent by then. It asks Due some sixty times, and so agrees with
// it exactly.
func (s *Schedule) DueBefore(t time.Duration) uint64 {
	p := s.plan.Load()
	before := func(k uint64) bool {
		n, ok := s.Number(k)
		if !ok {
			return false
		}
		due, ok := p.due(n)
		return ok && due < t
	}
	var low, high uint64 = 0, math.MaxUint64
	for low < high {
		if mid := low + (high-low)/2; before(mid) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// Release ends the captured stage's hold at the given time, or when it begins if
// that is later; the stages behind it follow from there. Only the first call counts:
// due times that have been recorded must stay as they are. For the same reason the
// time should not be in the past. If the captured stage is the last, nothing changes.
func (s *Schedule) Release(at time.Duration) {
	s.once.Do(func() {
		// The stages behind must begin before the clock ends.
		s.plan.Store(newPlan(s.stages, s.captured, min(at, Never-MaxLength-1)))
		close(s.released)
	})
}

// Released is closed once Release has taken effect. Whoever waits for a time that a
// schedule gave should wait for this as well, and then ask again.
func (s *Schedule) Released() <-chan struct{} { return s.released }
