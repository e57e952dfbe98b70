package load

import (
	"errors"
	"fmt"
	"net/url"
	"os"

	"chokepoint/harness/load/attack"
	"chokepoint/harness/load/client"
	"chokepoint/harness/load/request"
	"chokepoint/harness/load/schedule"
	"chokepoint/harness/load/worker"
)

// WorkerCommand is the argument by which this program becomes a load worker.
const WorkerCommand = "load-worker"

// Config describes a load.
type Config struct {
	// Open says that the levels of Stages are requests a second, an open loop.
	// Otherwise they are requests in flight, a closed one.
	Open   bool
	Stages []schedule.Stage
	// InFlight must be reached before the load stands. In a closed loop it is the
	// level of the captured stage; in an open one it may be 0: the rate alone counts.
	InFlight int
	// AtMost bounds the requests in flight in an open loop.
	AtMost int
	// Request is what is sent, and Client how.
	Request request.Plan
	Client  client.Plan
	// Results says which raw results are kept: whole, sampled or none.
	Results string
	// Workers is the number of processes, and Limits those of each.
	Workers int
	Limits  worker.Limits
	// Command starts a worker. Empty: this program with WorkerCommand.
	Command []string
}

// validate returns c with its defaults filled in.
func (c Config) validate() (Config, error) {
	if c.Workers == 0 {
		c.Workers = 1
	}
	if len(c.Command) == 0 {
		self, err := os.Executable()
		if err != nil {
			return Config{}, fmt.Errorf("load: find this program, to start the load worker: %w", err)
		}
		c.Command = []string{self, WorkerCommand}
	}
	var errs []error
	if c.Workers < 1 || c.Workers > maxWorkers {
		errs = append(errs, fmt.Errorf("%d worker processes; want 1 to %d", c.Workers, maxWorkers))
	}
	s, err := schedule.New(c.Stages)
	errs = append(errs, err)
	if err == nil && !c.Open {
		c.InFlight = int(c.Stages[s.Captured()].Level)
		if c.InFlight < c.Workers {
			errs = append(errs, fmt.Errorf("%d requests in flight cannot be shared by %d workers", c.InFlight, c.Workers))
		}
	}
	if c.Open && c.AtMost == 0 {
		c.AtMost = max(c.InFlight, defaultAtMost)
	}
	if c.Open && c.InFlight > c.AtMost {
		errs = append(errs, fmt.Errorf("%d requests in flight must be reached, and at most %d may be", c.InFlight, c.AtMost))
	}
	for _, s := range c.Stages {
		if !c.Open {
			c.Client.MaxInFlight = max(c.Client.MaxInFlight, int(s.Level))
		}
	}
	if c.Open {
		c.Client.MaxInFlight = c.AtMost
	}
	errs = append(errs, c.Request.Validate(), c.Client.Validate(), c.spread())
	if err := errors.Join(errs...); err != nil {
		return Config{}, fmt.Errorf("load: %w", err)
	}
	return c, nil
}

// spread decides from which addresses the connections of all workers come, since
// each knows of its own alone.
func (c *Config) spread() error {
	connections := max(c.Client.Connections, c.Client.MaxInFlight)
	if c.Client.HTTP2 || len(c.Client.From) > 0 {
		return nil
	}
	u, err := url.Parse(c.Client.BaseURL)
	if err != nil {
		return nil // told by the client's own check
	}
	c.Client.From, err = client.SourceAddrs(u.Hostname(), connections)
	return err
}

const (
	maxWorkers = 64
	// defaultAtMost is what the product is about.
	defaultAtMost = 10_000
)

// plan is worker i's.
func (c Config) plan(i int) attack.Plan {
	return attack.Plan{
		Worker: i, Workers: c.Workers, Open: c.Open, Stages: c.Stages, AtMost: c.AtMost,
		Request: c.Request, Client: c.Client, Results: c.Results,
	}
}
