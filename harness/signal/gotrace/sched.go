package gotrace

import (
	"cmp"
	"slices"

	"golang.org/x/exp/trace"

	"chokepoint/harness/signal/requests"
	"chokepoint/harness/signal/stack"
)

// Scheduler is what the runtime's scheduler and collector did over the trace.
type Scheduler struct {
	// Procs is GOMAXPROCS, as many Ps as there were.
	Procs int `json:"procs"`
	// RunnableNS is goroutine time spent waiting for a P, and RunningNS P time in
	// use; of at most Procs times the trace's length.
	RunnableNS int64 `json:"runnable_ns"`
	RunningNS  int64 `json:"running_ns"`
	// IdleWhileRunnableNS is wall time during which a P was idle and a goroutine
	// runnable, and WastedPNS that time by as many Ps as could have run one. The
	// time until a P that was woken for a goroutine takes it up is in there.
	IdleWhileRunnableNS int64 `json:"idle_while_runnable_ns"`
	WastedPNS           int64 `json:"wasted_p_ns"`
	// LongRuns are the longest stretches in which a goroutine of the program kept
	// its P without any transition, longest first; ManyRuns counts those beyond
	// LongRunNS. The runtime asks for the P back after 10 ms.
	LongRuns []LongRun `json:"long_runs"`
	ManyRuns int64     `json:"many_runs"`
	// ManyRunsNS is how long those that ManyRuns counts were in all, and RunSites the
	// lines at which they ended, by that time, largest first.
	ManyRunsNS int64      `json:"many_runs_ns"`
	RunSites   []SiteTime `json:"run_sites"`
	// Stops are the longest times the world stood still, longest first; StopCount
	// and StopNS are all of them, and StoppingNS the time it took to get there.
	Stops      []Stop `json:"stops"`
	StopCount  int64  `json:"stop_count"`
	StopNS     int64  `json:"stop_ns"`
	StoppingNS int64  `json:"stopping_ns"`
	// LongestStoppingNS is the longest that it took to get there.
	LongestStoppingNS int64 `json:"longest_stopping_ns"`
	// Assists is goroutine time of helping the collector, by the program's line,
	// largest first. A helper that waits or is descheduled is still helping.
	Assists []SiteTime `json:"assists"`
	// States is all of that over time.
	States States `json:"states"`
	// Unpreempted is the time for which goroutines of the program kept a P for
	// longer than UnpreemptedNS at a stretch, on a CPU, by the line where the stretch
	// ended, largest first. Time that the thread had no CPU is left out where the
	// kernel's view tells it.
	Unpreempted []SiteTime `json:"unpreempted"`
	// Held is the part of StoppingNS at whose end such a goroutine gave up the last P.
	Held []SiteTime `json:"held"`
}

// LongRunNS is how long a stretch must be to count as long: twice of what the
// runtime grants a goroutine before it asks for the P back (forcePreemptNS of
// runtime/proc.go).
const LongRunNS = 20_000_000

// LongRun is one stretch of running.
type LongRun struct {
	Goroutine int64       `json:"goroutine"`
	StartNS   int64       `json:"start_ns"`
	NS        int64       `json:"ns"`
	Where     stack.Frame `json:"where"` // the program's line where it ended; zero if not known
}

// Stop is one time the world stood still.
type Stop struct {
	Reason     string `json:"reason"`
	StartNS    int64  `json:"start_ns"`
	NS         int64  `json:"ns"`          // from when it was asked for until the world went on
	StoppingNS int64  `json:"stopping_ns"` // until the last P stood still
}

const (
	stopRange = "stop-the-world"
	keptRuns  = 8
	keptStops = 8
	// recentStops bounds those that runnable time is compared with.
	recentStops = 4096
	// maxProcs bounds what a damaged trace can have Ps be numbered.
	maxProcs = 1 << 16
)

type scheduler struct {
	sum      Scheduler
	procs    []bool // running, by id
	known    int    // Ps that were seen
	seen     []bool
	active   int // Ps running
	max      int // GOMAXPROCS, as the trace tells
	runnable int
	last     int64

	stop    Stop // the open one; StartNS is 0 for none
	recent  []Stop
	assists map[stack.Frame]int64
	runs    map[stack.Frame]int64 // the long ones

	kernel      *requests.Kernel
	unpreempted map[stack.Frame]int64
	held        map[stack.Frame]int64
	holder      LongRun // the last of them that ended in the open stop
}

func newScheduler(k *requests.Kernel) scheduler {
	return scheduler{
		assists: map[stack.Frame]int64{}, runs: map[stack.Frame]int64{}, kernel: k,
		unpreempted: map[stack.Frame]int64{}, held: map[stack.Frame]int64{},
	}
}

// tick accounts for the time since the last change.
func (c *scheduler) tick(now int64) {
	ns := now - c.last
	if c.last == 0 {
		ns = 0
	}
	c.last = now
	if ns <= 0 {
		return
	}
	c.sum.RunnableNS += int64(c.runnable) * ns
	c.sum.RunningNS += int64(c.active) * ns
	if idle := min(max(c.max, c.known)-c.active, c.runnable); idle > 0 && c.stop.StartNS == 0 {
		c.sum.IdleWhileRunnableNS += ns
		c.sum.WastedPNS += int64(idle) * ns
	}
}

func (c *scheduler) transition(from, to trace.GoState, now int64) {
	if from == to || from != trace.GoRunnable && to != trace.GoRunnable {
		return
	}
	c.tick(now)
	if from == trace.GoRunnable {
		c.runnable = max(0, c.runnable-1)
	} else {
		c.runnable++
	}
}

func (c *scheduler) proc(id trace.ProcID, to trace.ProcState, now int64) {
	c.tick(now)
	if id < 0 || id >= maxProcs {
		return
	}
	for int(id) >= len(c.procs) {
		c.procs, c.seen = append(c.procs, false), append(c.seen, false)
	}
	if there := to != trace.ProcNotExist; c.seen[id] != there {
		c.seen[id] = there
		if there {
			c.known++
		} else {
			c.known--
		}
	}
	running := to == trace.ProcRunning
	if c.procs[id] == running {
		return
	}
	c.procs[id] = running
	if running {
		c.active++
		return
	}
	c.active--
	if c.stop.StartNS != 0 {
		c.stop.StoppingNS = now - c.stop.StartNS
	}
}

func (c *scheduler) metric(ev *trace.Event, now int64) {
	m := ev.Metric()
	if m.Name != "/sched/gomaxprocs:threads" || m.Value.Kind() != trace.ValueUint64 {
		return
	}
	c.tick(now)
	c.max = int(min(m.Value.Uint64(), maxProcs))
}

func (c *scheduler) stopped(reason string, now int64) {
	c.tick(now)
	if c.stop.StartNS == 0 {
		c.stop, c.holder = Stop{Reason: reason, StartNS: now}, LongRun{}
	}
}

func (c *scheduler) started(now int64) {
	c.tick(now)
	if c.stop.StartNS == 0 {
		return
	}
	x := c.stop
	c.stop = Stop{}
	x.NS = now - x.StartNS
	c.blame(x)
	c.sum.StopCount++
	c.sum.StopNS += x.NS
	c.sum.StoppingNS += x.StoppingNS
	c.sum.LongestStoppingNS = max(c.sum.LongestStoppingNS, x.StoppingNS)
	if len(c.recent) == recentStops {
		c.recent = append(c.recent[:0], c.recent[recentStops/2:]...)
	}
	c.recent = append(c.recent, x)
	c.sum.Stops = keepLongest(c.sum.Stops, x, keptStops, func(a, b Stop) int {
		return cmp.Or(-cmp.Compare(a.NS, b.NS), cmp.Compare(a.StartNS, b.StartNS))
	})
}

// stoppedIn is the part of an interval up to now for which the world stood still.
func (c *scheduler) stoppedIn(from, to int64) int64 {
	var ns int64
	if c.stop.StartNS != 0 {
		ns = max(0, to-max(from, c.stop.StartNS))
	}
	for i := len(c.recent) - 1; i >= 0; i-- {
		x := &c.recent[i]
		end := x.StartNS + x.NS
		if end <= from {
			break
		}
		ns += max(0, min(end, to)-max(x.StartNS, from))
	}
	return min(ns, to-from)
}

func (c *scheduler) assisted(at stack.Frame, ns int64) { c.assists[at] += ns }

// ranFrom notes that a goroutine stops running where at says.
func (c *scheduler) ranFrom(id trace.GoID, g *goroutine, at *place, now int64) {
	ns := now - g.ran
	// Most stretches are short: look no closer at these.
	if n := len(c.sum.LongRuns); ns < LongRunNS && n == keptRuns && ns <= c.sum.LongRuns[n-1].NS {
		return
	}
	r := LongRun{Goroutine: int64(id), StartNS: g.ran, NS: ns}
	switch {
	case g.diag || g.stopping || g.stopped != 0 && g.stopped >= g.ran:
		return // who stops the world waits for the others, running
	case at != nil && at.ours:
		r.Where = at.own
	case at == nil && g.at != nil && g.at.ours:
		r.Where = g.at.own
	default:
		return // the runtime's own workers keep their Ps as long as they are let
	}
	if ns >= LongRunNS {
		c.sum.ManyRuns++
		c.sum.ManyRunsNS += ns
		c.runs[r.Where] += ns
		c.unpreempt(r, g)
	}
	c.sum.LongRuns = keepLongest(c.sum.LongRuns, r, keptRuns, func(a, b LongRun) int {
		return cmp.Or(-cmp.Compare(a.NS, b.NS), cmp.Compare(a.StartNS, b.StartNS))
	})
}

func keepLongest[T any](list []T, x T, most int, order func(a, b T) int) []T {
	at, _ := slices.BinarySearchFunc(list, x, order)
	if at >= most {
		return list
	}
	list = slices.Insert(list, at, x)
	return list[:min(len(list), most)]
}

func (c *scheduler) finish(now int64) Scheduler {
	c.started(now)
	c.tick(now)
	c.sum.Procs = max(c.max, c.known)
	c.sum.Assists = siteTimes(c.assists)
	c.sum.RunSites = siteTimes(c.runs)
	c.sum.Unpreempted, c.sum.Held = siteTimes(c.unpreempted), siteTimes(c.held)
	return c.sum
}
