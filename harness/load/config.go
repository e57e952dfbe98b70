package load

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"runtime"

	"chokepoint/harness/load/attack"
	"chokepoint/harness/load/client"
	"chokepoint/harness/load/request"
	"chokepoint/harness/load/schedule"
	"chokepoint/harness/load/worker"
)

// ErrLimit means that a load makes sense, and that a limit of this machine does not
// allow it.
var ErrLimit = errors.New("this machine does not allow it")

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
	if c.Client.From, err = client.SourceAddrs(u.Hostname(), connections); err != nil {
		return fmt.Errorf("%w: %w", ErrLimit, err)
	}
	return nil
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

// Memory that a worker is allowed before its collector works harder than GOGC
// asks: a base, and so much for each connection. Of a connection of the lean client
// 4 KiB are a goroutine's stack and some 2 KiB are the rest; as much again is room
// between two runs of the collector. With these, 10,000 take up 150 MiB and the
// collector 5% of the CPU; at 120 MiB it takes 15%. TLS and HTTP/2 keep buffers
// for each connection. So does a badly behaved client, which is net/http's, with
// three goroutines: where 10,000 of them had no more room than the lean client's, the
// collector ran all the time and took 60% of the workers' CPU.
const (
	memoryBase = 48 << 20
	memoryLean = 12 << 10
	memoryFull = 64 << 10
)

// mostCPUs is what a worker's Go code uses at once, at most, unless it is told
// otherwise: more is better served by more workers.
const mostCPUs = 4

// limits are those of worker i, with what the configuration leaves open: half of
// the machine's CPUs for all workers together.
func (c Config) limits(i int) worker.Limits {
	l := c.Limits
	if l.GOMAXPROCS == 0 {
		l.GOMAXPROCS = min(mostCPUs, max(1, runtime.NumCPU()/2/c.Workers))
		if len(l.CPUs) > 0 {
			l.GOMAXPROCS = min(mostCPUs, len(l.CPUs))
		}
	}
	if l.MemoryBytes == 0 {
		each := int64(memoryFull)
		if c.Client.Lean() {
			each = memoryLean
		}
		most := int64(max(c.plan(i).Connections(), attack.Share(c.Client.MaxInFlight, i, c.Workers)))
		bad := int64(math.Ceil(c.Client.BadShare() * float64(most)))
		l.MemoryBytes = memoryBase + each*most + memoryFull*bad
	}
	return l
}
