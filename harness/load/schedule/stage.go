package schedule

import (
	"errors"
	"fmt"
	"time"
)

// Stage is one stage of a schedule: the level moves in a straight line from that
// of the stage before (0 at first) to Level over Ramp, and stays for Hold.
type Stage struct {
	// Level is in requests a second in an open loop, in requests in flight in a
	// closed one.
	Level float64 `json:"level"`
	// Ramp is how long the level takes to get there; 0: a step.
	Ramp time.Duration `json:"ramp_ns"`
	// Hold is how long it stays. It has no effect in the captured stage,
	// which Release ends, and in the last, which has no end.
	Hold time.Duration `json:"hold_ns"`
	// Captured marks the one stage that is recorded.
	Captured bool `json:"captured,omitempty"`
}

const (
	// MaxLevel is the highest level of a stage, in requests a second or in flight.
	// It is far above what a machine can send, and keeps neighbouring due times
	// (100 ns apart) apart by more than the rounding error of a year-long ramp.
	MaxLevel = 10_000_000
	// MaxLength is the most that all ramps and holds may take together.
	MaxLength = 365 * 24 * time.Hour
)

// validate checks the stages and gives the index of the captured one.
func validate(stages []Stage) (captured int, err error) {
	if len(stages) == 0 {
		return 0, errors.New("stages: there is none; a schedule needs one at least")
	}
	captured = -1
	var length time.Duration
	for i, s := range stages {
		bad := func(field, format string, args ...any) error {
			return fmt.Errorf("stages[%d].%s: %s", i, field, fmt.Sprintf(format, args...))
		}
		if !(s.Level >= 0 && s.Level <= MaxLevel) { // in this form NaN is refused too
			return 0, bad("level", "%g is not a number from 0 to %d", s.Level, MaxLevel)
		}
		for _, d := range []struct {
			field string
			value time.Duration
		}{{"ramp", s.Ramp}, {"hold", s.Hold}} {
			if d.value < 0 {
				return 0, bad(d.field, "%s is negative; 0 or more is right", d.value)
			}
			// Compared in this way the sum cannot overflow.
			if d.value > MaxLength-length {
				return 0, bad(d.field, "with %s all stages take longer than %s together", d.value, MaxLength)
			}
			length += d.value
		}
		if s.Captured {
			if captured >= 0 {
				return 0, bad("captured", "stages[%d] is captured already; exactly one stage may be", captured)
			}
			captured = i
		}
		if s.Ramp == 0 && s.Hold == 0 && !s.Captured && i < len(stages)-1 {
			return 0, bad("hold", "the stage takes no time; give it a ramp or a hold")
		}
	}
	if captured < 0 {
		return 0, errors.New("stages: none is captured; mark exactly one")
	}
	return captured, nil
}
