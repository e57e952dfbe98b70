package scenario

import (
	"fmt"
	"reflect"
	"slices"
)

// Defaults of a load plan that only some plans have.
const (
	DefaultAtMost  = 10_000 // requests in flight in an open loop
	DefaultWorkers = 1
)

// resolve fills in the defaults. It changes nothing of a plan that was resolved.
func (l LoadPlan) resolve(window Duration, tls bool) LoadPlan {
	l.Stages = l.resolveStages(window)
	at := l.Captured()
	captured := l.Stages[at]
	if l.Open() {
		l.Rate = captured.Rate
		l.AtMost = or(l.AtMost, or(l.InFlight, DefaultAtMost))
	} else {
		l.InFlight = captured.InFlight
	}
	l.Ramp = span(l.Stages[:at]) + captured.Ramp
	l.Hold = captured.Hold

	l.Workers = or(l.Workers, DefaultWorkers)
	l.Timeout = or(l.Timeout, DefaultTimeout)
	l.Protocol = or(l.Protocol, HTTP1)
	if l.Engine == "" {
		l.Engine = EngineLean
		if tls || l.Protocol != HTTP1 {
			l.Engine = EngineNetHTTP
		}
	}
	l.Results = or(l.Results, ResultsSampled)
	l.Requests = slices.Clone(l.Requests)
	if len(l.Requests) == 0 && l.Targets == "" {
		l.Requests = []Request{{Path: "/"}}
	}
	for i := range l.Requests {
		l.Requests[i].Method = or(l.Requests[i].Method, "GET")
		l.Requests[i].Weight = or(l.Requests[i].Weight, 1)
	}
	return l
}

// resolveStages makes ramp and hold one stage, and gives the stages, of which
// one is captured, the time that the window needs.
func (l LoadPlan) resolveStages(window Duration) []Stage {
	stages := slices.Clone(l.Stages)
	if len(stages) == 0 {
		only := Stage{Rate: l.Rate, Ramp: l.Ramp, Hold: l.Hold}
		if l.Rate == 0 {
			only.InFlight = l.InFlight
		}
		stages = []Stage{only}
	}
	at := LoadPlan{Stages: stages}.Captured()
	stages[at].Capture = true
	stages[at].Hold = or(stages[at].Hold, window)
	if open := stages[at].Hold + span(stages[at+1:]); open < window {
		stages[len(stages)-1].Hold += window - open
	}
	return stages
}

// span is how long stages take together.
func span(stages []Stage) Duration {
	var sum Duration
	for _, s := range stages {
		sum += s.Ramp + s.Hold
	}
	return sum
}

// scale makes the captured stage of a resolved plan hold inFlight. In a closed
// loop the other stages and the connections keep their ratio to it. In an open
// loop the rate stays, and the bounds make room.
func (l LoadPlan) scale(inFlight int) (LoadPlan, error) {
	if inFlight < 1 || inFlight > maxInFlight {
		return LoadPlan{}, fmt.Errorf("%d in flight were asked for; it must be between 1 and %d", inFlight, maxInFlight)
	}
	if l.Open() {
		if l.AtMost == or(l.InFlight, DefaultAtMost) {
			l.AtMost = inFlight // it follows in_flight where the scenario does not say otherwise
		}
		l.InFlight = inFlight
		l.AtMost = max(l.AtMost, inFlight)
		if l.Connections > 0 && l.Protocol == HTTP1 {
			l.Connections = max(l.Connections, l.AtMost)
		}
		l.Workers = min(l.Workers, l.AtMost)
		return l, nil
	}
	from := int64(l.InFlight)
	scaled := func(n int) int { return int((int64(n)*int64(inFlight) + from - 1) / from) }
	l.Stages = slices.Clone(l.Stages)
	for i := range l.Stages {
		l.Stages[i].InFlight = scaled(l.Stages[i].InFlight)
	}
	l.Connections = scaled(l.Connections)
	l.InFlight = inFlight
	l.Workers = min(l.Workers, inFlight)
	if most := max(l.Peak(), l.Connections); most > maxInFlight {
		return LoadPlan{}, fmt.Errorf("%d in flight were asked for, which makes a stage or the connections %d; the most is %d", inFlight, most, maxInFlight)
	}
	return l, nil
}

// written is the plan without what resolving it adds to stages, so that it can
// be checked as a scenario file is.
func (l LoadPlan) written() LoadPlan {
	l.Ramp, l.Hold = 0, 0
	if l.Open() {
		l.Rate = 0
	} else {
		l.InFlight = 0
	}
	return l
}

// checkResolved reports what resolve would not have left so. The plan as
// written holds.
func (l LoadPlan) checkResolved(window Duration, tls bool) error {
	want := l.written().resolve(window, tls)
	switch {
	case l.InFlight != want.InFlight:
		return fmt.Errorf("load.in_flight: is %d, and the captured stage has %d", l.InFlight, want.InFlight)
	case l.Rate != want.Rate:
		return fmt.Errorf("load.rate: is %s, and the captured stage has %s", l.Rate, want.Rate)
	case l.Ramp != want.Ramp:
		return fmt.Errorf("load.ramp: is %s, and the stages reach the captured level after %s", l.Ramp, want.Ramp)
	case l.Hold != want.Hold:
		return fmt.Errorf("load.hold: is %s, and that of the captured stage is %s", l.Hold, want.Hold)
	case !reflect.DeepEqual(l, want):
		return fmt.Errorf("load: a default is not filled in")
	}
	return nil
}

// upgrade gives a plan of version 1, which holds as written, what is true of it:
// one stage, one generator that was net/http's client and kept all results, and
// in an open loop in_flight as the bound.
func (l LoadPlan) upgrade(window Duration, tls bool) LoadPlan {
	l.Engine, l.Results = EngineNetHTTP, ResultsWhole
	return l.resolve(window, tls)
}
