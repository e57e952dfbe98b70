package schedule

import (
	"math"
	"math/big"
	"sort"
	"strconv"
	"time"
)

// Never is a time that does not come: the end of what has no end.
const Never = time.Duration(math.MaxInt64)

// plan is a schedule as far as it is known. It is never changed.
type plan struct {
	segments []segment // without gaps from 0; the last one ends Never
	stages   []bounds
	// holdFrom is when the captured stage's hold begins.
	holdFrom time.Duration
}

// bounds are a stage's beginning and end.
type bounds struct {
	start, end time.Duration
	known      bool // else it begins some time after Release
}

// segment is a stretch of time in which the level is a straight line.
type segment struct {
	start, end time.Duration
	stage      int
	from, to   float64 // level; the same in a hold
	// Requests due before start and before end, all segments counted.
	before, after count
	// until is the first request that is due in a later segment.
	until uint64
}

// count is a number of requests: whole + part, with part in 0 to 1.
type count struct {
	whole uint64
	part  float64
}

// newPlan lays the stages out. The captured stage's hold ends at release, but not
// before it begins; with Never the stages behind it are left out.
func newPlan(stages []Stage, captured int, release time.Duration) *plan {
	b := planner{plan: &plan{stages: make([]bounds, len(stages))}, sum: new(big.Rat)}
	for i, s := range stages {
		start, rampEnd := b.now, b.now+s.Ramp
		b.add(i, rampEnd, s.Level)
		b.level = s.Level
		end := rampEnd + s.Hold
		if i == captured {
			b.holdFrom = rampEnd
			end = max(rampEnd, release)
		}
		if i == len(stages)-1 {
			end = Never
		}
		b.add(i, end, s.Level)
		b.stages[i] = bounds{start: start, end: end, known: true}
		if end == Never {
			break
		}
	}
	return b.plan
}

// planner adds up segments.
type planner struct {
	*plan
	now   time.Duration // where the last segment ended
	level float64       // of the last stage
	sum   *big.Rat      // of the requests due before now, exactly
}

// add appends the segment in which the level moves from the last stage's to to.
func (b *planner) add(stage int, end time.Duration, to float64) {
	if end == b.now {
		return
	}
	s := segment{start: b.now, end: end, stage: stage, from: b.level, to: to, before: split(b.sum)}
	if end == Never {
		s.after, s.until = s.before, ceiling(b.sum)
		if to > 0 {
			s.until = math.MaxUint64
		}
	} else {
		b.sum.Add(b.sum, area(s.from, s.to, end-b.now))
		s.after, s.until = split(b.sum), ceiling(b.sum)
	}
	b.segments = append(b.segments, s)
	b.now = end
}

// area is the number of requests that become due in d: (from + to) / 2 · d.
func area(from, to float64, d time.Duration) *big.Rat {
	sum := new(big.Rat).Add(decimal(from), decimal(to))
	return sum.Mul(sum, big.NewRat(int64(d), 2*int64(time.Second)))
}

// decimal is f as people write it: 0.1 is a tenth, not the nearest binary fraction.
func decimal(f float64) *big.Rat {
	r, ok := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
	if !ok {
		panic("schedule: a level that is not finite came past validation")
	}
	return r
}

// split rounds r's remainder to the nearest float. Levels and lengths are bounded,
// so that the whole part fits: MaxLevel for all of time.Duration is 9.3e16.
func split(r *big.Rat) count {
	whole := new(big.Int).Quo(r.Num(), r.Denom())
	part, _ := new(big.Rat).Sub(r, new(big.Rat).SetInt(whole)).Float64()
	return count{whole: whole.Uint64(), part: part}
}

// ceiling is the least whole number that is not less than r.
func ceiling(r *big.Rat) uint64 {
	whole, rest := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		return whole.Uint64() + 1
	}
	return whole.Uint64()
}

// at is the index of the segment that holds t; of the first before the beginning.
func (p *plan) at(t time.Duration) int {
	return max(0, sort.Search(len(p.segments), func(i int) bool { return p.segments[i].start > t })-1)
}

// due is when request n of the whole schedule is due.
func (p *plan) due(n uint64) (time.Duration, bool) {
	// By hand: the closure of sort.Search would take a third of the time.
	low, high := 0, len(p.segments)
	for low < high {
		if mid := int(uint(low+high) / 2); p.segments[mid].until <= n {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == len(p.segments) {
		return Never, false
	}
	return p.segments[low].due(n)
}

// due is when request n, which falls into s, is due. The formulas stand in doc.go.
func (s *segment) due(n uint64) (time.Duration, bool) {
	if s.from == s.to {
		// Multiplied first: a whole number of requests makes an exact product.
		ns := math.RoundToEven(s.before.upTo(n) * float64(time.Second) / s.to)
		if ns >= float64(s.end-s.start) {
			return s.end, s.end != Never // Never: past the clock's reach
		}
		return s.start + time.Duration(ns), true
	}
	length := float64(s.end - s.start)
	scale := length / float64(time.Second)
	if s.from < s.to {
		u := risen(s.from*scale, s.to*scale, s.before.upTo(n))
		return min(s.start+time.Duration(math.RoundToEven(u*length)), s.end), true
	}
	u := risen(s.to*scale, s.from*scale, s.after.downTo(n))
	return max(s.end-time.Duration(math.RoundToEven(u*length)), s.start), true
}

// upTo is how many requests there are from c to request n.
func (c count) upTo(n uint64) float64 {
	if n < c.whole {
		return 0 // n falls behind c: the remainder was rounded
	}
	return max(0, float64(n-c.whole)-c.part)
}

// downTo is how many requests there are from request n to c.
func (c count) downTo(n uint64) float64 {
	if n > c.whole {
		return 0
	}
	return float64(c.whole-n) + c.part
}

// risen is the share of a rising ramp's duration after which r requests have
// become due in it, where low and high are the levels at its ends times that
// duration.
func risen(low, high, r float64) float64 {
	if r <= 0 {
		return 0
	}
	return min(1, 2*r/(low+math.Sqrt(low*low+2*(high-low)*r)))
}

// level is the level at t, of the whole schedule.
func (p *plan) level(t time.Duration) float64 {
	if t < 0 {
		return 0
	}
	return p.segments[p.at(t)].level(t)
}

// level never leaves the range of from to to, and never moves back inside it.
func (s *segment) level(t time.Duration) float64 {
	switch {
	case s.from == s.to || t >= s.end:
		return s.to
	case t <= s.start:
		return s.from
	}
	// Multiplied first: whole levels are then reached exactly when they should be.
	moved := (s.to - s.from) * float64(t-s.start) / float64(s.end-s.start)
	return min(max(s.from+moved, min(s.from, s.to)), max(s.from, s.to))
}
