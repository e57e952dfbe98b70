package attack

import (
	"errors"
	"fmt"

	"chokepoint/harness/load/client"
	"chokepoint/harness/load/request"
	"chokepoint/harness/load/schedule"
)

// Plan is what one process of a load sends. It travels to the process whole: no
// file is read there.
type Plan struct {
	// Worker is this process's number, from 0, of Workers. Each sends its part
	// of what Stages, AtMost and Client ask for.
	Worker  int `json:"worker"`
	Workers int `json:"workers"`
	// Open says that the levels of Stages are requests a second, sent when they
	// are due. Otherwise they are requests in flight.
	Open   bool             `json:"open,omitempty"`
	Stages []schedule.Stage `json:"stages"`
	// AtMost bounds the requests in flight in an open loop, over all workers.
	AtMost  int          `json:"at_most,omitempty"`
	Request request.Plan `json:"request"`
	Client  client.Plan  `json:"client"`
	// Results says which results are kept: whole, sampled or none.
	Results string `json:"results,omitempty"`
}

// Share is worker i's part of n things, as even as can be: the parts of all
// workers add up to n.
func Share(n, i, workers int) int { return (n + workers - 1 - i) / workers }

// most is the largest number of requests that this process may have in flight.
func (p Plan) most() int {
	if p.Open {
		return Share(p.AtMost, p.Worker, p.Workers)
	}
	var level float64
	for _, s := range p.Stages {
		level = max(level, s.Level)
	}
	return Share(int(level), p.Worker, p.Workers)
}

// validate says what in a plan makes no sense; what parts of it mean is checked
// where they are used.
func (p Plan) validate() error {
	switch {
	case p.Workers < 1 || p.Worker < 0 || p.Worker >= p.Workers:
		return fmt.Errorf("worker %d of %d: there is no such part", p.Worker, p.Workers)
	case p.Open && p.AtMost < p.Workers:
		return fmt.Errorf("at most %d requests in flight cannot be shared by %d workers", p.AtMost, p.Workers)
	case p.most() < 1:
		return errors.New("no stage has a request in flight for this worker")
	case p.most() > mostInFlight:
		return fmt.Errorf("%d requests in flight in one process; at most %d", p.most(), mostInFlight)
	}
	return p.Request.Validate()
}

// mostInFlight catches a slip of the keyboard before it hurts.
const mostInFlight = 1 << 20

// Bounds are those of a stage as it went, in CLOCK_MONOTONIC nanoseconds; zero
// for one that never began.
type Bounds struct {
	StartNS int64 `json:"start_ns"`
	EndNS   int64 `json:"end_ns"`
}

// client is this worker's part of the client's plan.
func (p Plan) client() client.Plan { return p.Client.For(p.most(), p.Worker, p.Workers) }

// Connections is how many connections this worker may have open at once.
func (p Plan) Connections() int {
	c := p.client()
	if c.HTTP2 && c.Connections > 0 {
		return c.Connections
	}
	return max(c.MaxInFlight, c.Connections)
}
