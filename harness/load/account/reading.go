package account

import "time"

// Reading is what well behaved requests have come to until a moment, since the
// beginning of the attack. Two of them make a Span.
type Reading struct {
	MonoNS int64 `json:"mono_ns"` // the moment, CLOCK_MONOTONIC
	CPUNS  int64 `json:"cpu_ns"`  // CPU time of the process until then
	Ended  int64 `json:"ended"`
	Errors int64 `json:"errors"` // failures, and statuses outside 200 to 399
	// InFlight at the moment; InFlightNS is its integral, of which differences
	// alone mean something, in requests x ns.
	InFlight   int       `json:"in_flight"`
	InFlightNS int64     `json:"in_flight_ns"`
	Service    Histogram `json:"service_us"`
}

// Read reads what stands now. It costs the attack some ten microseconds.
func (r *Recorder) Read() Reading {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.elapsed()
	r.advance(t)
	out := Reading{
		MonoNS: r.baseMono + t, CPUNS: cpuNS(), Ended: r.ok + r.errors, Errors: r.errors,
		InFlight: r.inFlight, InFlightNS: r.integral(t),
	}
	for _, s := range r.stages {
		if s.times != nil {
			out.Service = out.Service.plus(s.times.service.histogram())
		}
	}
	return out
}

// Span is what came to pass between two readings, of one process or of several.
type Span struct {
	// Length of it; of several processes, the mean.
	Length time.Duration
	// RateHz is how many requests ended a second.
	RateHz float64
	Ended  int64
	Errors int64
	CPU    time.Duration // of the processes
	// InFlight is the mean number of requests in flight.
	InFlight float64
	Service  Histogram // µs
}

// Since is what came to pass from an earlier reading of the same process on.
func (r Reading) Since(from Reading) Span {
	s := Span{
		Length: time.Duration(r.MonoNS - from.MonoNS), Ended: r.Ended - from.Ended, Errors: r.Errors - from.Errors,
		CPU: time.Duration(r.CPUNS - from.CPUNS), Service: r.Service.minus(from.Service),
	}
	if s.Length > 0 {
		s.RateHz = float64(s.Ended) / s.Length.Seconds()
		s.InFlight = float64(r.InFlightNS-from.InFlightNS) / float64(s.Length)
	}
	return s
}

// Join is the spans of several processes as one. They may begin and end a few
// milliseconds apart: rates add up, as do counts.
func Join(spans []Span) Span {
	var all Span
	for _, s := range spans {
		all.Length += s.Length / time.Duration(len(spans))
		all.RateHz += s.RateHz
		all.Ended += s.Ended
		all.Errors += s.Errors
		all.CPU += s.CPU
		all.InFlight += s.InFlight
		all.Service = all.Service.plus(s.Service)
	}
	return all
}

// minus is what h has beyond earlier, which must be a part of it. Its maximum is
// known to its bucket alone.
func (h Histogram) minus(earlier Histogram) Histogram {
	out := Histogram{Count: h.Count - earlier.Count, Sum: h.Sum - earlier.Sum}
	a, b := unpacker{in: h.packed}, unpacker{in: earlier.packed}
	i, ci, moreA := a.more()
	j, cj, moreB := b.more()
	var w packer
	for moreA {
		for moreB && j < i {
			j, cj, moreB = b.more()
		}
		n := ci
		if moreB && j == i {
			n -= cj
		}
		if n > 0 {
			w.put(i, n)
			out.Max = min(topOf(i), h.Max)
		}
		i, ci, moreA = a.more()
	}
	out.packed = w.out
	return out
}
