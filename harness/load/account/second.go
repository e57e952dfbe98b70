package account

import (
	"encoding/json"
	"math"
	"time"

	"chokepoint/harness/bundle"
)

const secondNS = int64(time.Second)

// Second is one second of the attack. Badly behaved requests count in flight alone.
type Second struct {
	StartNS int64 `json:"start_ns"` // CLOCK_MONOTONIC
	Stage   int   `json:"stage"`    // in force when it began
	// InFlightNS is the integral of in flight over the second, in requests x ns.
	InFlightNS int64     `json:"in_flight_ns"`
	Sockets    int       `json:"sockets"` // open at its end
	Sent       int64     `json:"sent"`
	Ended      int64     `json:"ended"`
	Errors     int64     `json:"errors"`
	Service    Histogram `json:"service_us"`
	Corrected  Histogram `json:"corrected_us"`
}

// Summary is the second as the bundle has it.
func (s Second) Summary() bundle.LoadSecond {
	service, corrected := s.Service.At(50, 99), s.Corrected.At(50, 99)
	return bundle.LoadSecond{
		StartNS: s.StartNS, Stage: s.Stage,
		InFlight:    int(math.Round(float64(s.InFlightNS) / float64(secondNS))),
		OpenSockets: s.Sockets,
		Sent:        s.Sent, Ended: s.Ended, Errors: s.Errors,
		LatencyP50: seconds(service[0]), LatencyP99: seconds(service[1]),
		CorrectedP50: seconds(corrected[0]), CorrectedP99: seconds(corrected[1]),
	}
}

func seconds(us int64) float64 { return float64(us) / 1e6 }

// Seconds are seconds of an attack, oldest first.
type Seconds []Second

// MarshalJSON implements json.Marshaler: as the plain slice would be, with one
// encoder for all histograms, for these are many.
func (s Seconds) MarshalJSON() ([]byte, error) {
	// The outer fields take the place of those of the same name in Second.
	type wireSecond struct {
		Second
		Service   json.RawMessage `json:"service_us"`
		Corrected json.RawMessage `json:"corrected_us"`
	}
	var e encoder
	wire := make([]wireSecond, len(s))
	for i, second := range s {
		wire[i].Second = second
		var err error
		if wire[i].Service, err = e.wire(second.Service); err != nil {
			return nil, err
		}
		if wire[i].Corrected, err = e.wire(second.Corrected); err != nil {
			return nil, err
		}
	}
	return json.Marshal(wire)
}

// second is the running second.
type second struct {
	start               int64
	area                int64 // the integral at its start
	sent, ended, errors int64
	times               *times
}

// putBy holds the histograms of seconds that have ended until they are made
// compact, so that this need not be done under the Recorder's mutex.
type putBy struct {
	waiting []endedTimes
	spare   []*times
	// done of the Recorder's seconds, from the first on, have their histograms.
	done int
}

type endedTimes struct {
	second int // index of it
	times  *times
}

// endSeconds ends the seconds that are over by t.
func (r *Recorder) endSeconds(t int64) {
	for s := &r.second; t >= s.start+secondNS; {
		end := s.start + secondNS
		area := r.integral(end)
		ended := Second{
			StartNS: r.baseMono + s.start, InFlightNS: area - s.area, Sockets: r.sockets,
			Sent: s.sent, Ended: s.ended, Errors: s.errors,
		}
		if r.cfg.StageAt != nil {
			ended.Stage = min(max(r.cfg.StageAt(s.start-r.began), 0), len(r.stages)-1)
		}
		r.seconds = append(r.seconds, ended)
		r.put.waiting = append(r.put.waiting, endedTimes{second: len(r.seconds) - 1})
		if s.times.service.n > 0 {
			r.put.waiting[len(r.put.waiting)-1].times = s.times
			s.times = r.put.takeSpare()
		}
		s.start, s.area, s.sent, s.ended, s.errors = end, area, 0, 0, 0
	}
}

func (p *putBy) takeSpare() *times {
	n := len(p.spare)
	if n == 0 {
		return newTimes()
	}
	t := p.spare[n-1]
	p.spare = p.spare[:n-1]
	return t
}

// compact puts by what waits. Called without mu held.
func (r *Recorder) compact() {
	r.compacting.Lock()
	defer r.compacting.Unlock()
	r.mu.Lock()
	waiting := r.put.waiting
	r.put.waiting = nil
	r.mu.Unlock()
	for _, e := range waiting {
		var service, corrected Histogram
		if e.times != nil {
			service, corrected = e.times.service.histogram(), e.times.corrected.histogram()
			e.times.reset()
		}
		r.mu.Lock()
		r.seconds[e.second].Service, r.seconds[e.second].Corrected = service, corrected
		if e.times != nil {
			r.put.spare = append(r.put.spare, e.times)
		}
		r.put.done = e.second + 1
		r.mu.Unlock()
	}
}
