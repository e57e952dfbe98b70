package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"chokepoint/harness/bundle"
	"chokepoint/harness/clock"
	"chokepoint/harness/load/account"
	"chokepoint/harness/load/schedule"
	"chokepoint/harness/load/worker"
)

// startIn is how far ahead of its being told a load begins: every worker must
// have heard of it by then.
const startIn = 100 * time.Millisecond

// Generator runs one load. Its methods may be called from several goroutines.
type Generator struct {
	cfg      Config
	schedule *schedule.Schedule

	hopelessAfter time.Duration // a field for tests alone

	died    chan struct{} // closed when a worker has died
	dieOnce sync.Once

	reading sync.Mutex // held while workers are asked for readings

	mu        sync.Mutex
	workers   []*member // none before Start
	atNS      int64     // when the load begins, CLOCK_MONOTONIC
	window    bundle.Window
	begun     bool // the window
	reached   bool
	reachedAt time.Time
	reason    string // why not
	waitDone  bool   // WaitReached has given an answer
	death     error
	stopping  bool
	accounts  []worker.Account
	stopped   bool
}

// member is a worker and what it leaves.
type member struct {
	process *worker.Process
	ready   worker.Ready
	results *resultFile
}

// Status is the load as it stands, for live progress.
type Status struct {
	// Asked is how many requests in flight, or a second, the present stage asks
	// for; Open tells which. Stage counts from 0 and Stages is how many there are.
	Asked         float64
	Open          bool
	Stage, Stages int
	InFlight      int
	OpenSockets   int
	// RateHz, P50 and P99 are of requests that ended in the last whole second.
	RateHz float64
	P50    time.Duration
	P99    time.Duration
	// CorrectedP99 is P99 with the send lag.
	CorrectedP99 time.Duration
	// OK and Errors count results since the start; an error is a failure or a
	// status outside 200 to 399.
	OK     int64
	Errors int64
}

// New checks c.
func New(c Config) (*Generator, error) {
	c, err := c.validate()
	if err != nil {
		return nil, err
	}
	s, err := schedule.New(c.Stages)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return &Generator{cfg: c, schedule: s, hopelessAfter: hopelessAfter, died: make(chan struct{})}, nil
}

// Start starts the workers, waits until all are ready, lets them begin at one
// moment, and returns. The load goes on until Stop; when ctx ends it is hung up,
// but Stop must still be called to wait for the end.
func (g *Generator) Start(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.workers != nil {
		return errors.New("load: a load is started once; make a new Generator")
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("load: start: %w", err)
	}
	members, err := g.startWorkers(ctx)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	g.workers = members
	g.atNS = clock.MonoNS() + int64(startIn)
	for _, m := range members {
		if err := m.process.Begin(g.atNS); err != nil {
			g.abandon(members)
			return fmt.Errorf("load: %w", err)
		}
	}
	for _, m := range members {
		go g.watch(m)
	}
	context.AfterFunc(ctx, func() { _ = g.Stop(context.WithoutCancel(ctx)) })
	return nil
}

// startWorkers starts all at once: each takes some milliseconds.
func (g *Generator) startWorkers(ctx context.Context) ([]*member, error) {
	members := make([]*member, g.cfg.Workers)
	errs := make([]error, g.cfg.Workers)
	var all sync.WaitGroup
	for i := range members {
		all.Go(func() {
			m := &member{}
			if m.results, errs[i] = newResultFile(); errs[i] != nil {
				return
			}
			if m.process, m.ready, errs[i] = worker.Start(ctx, g.cfg.Command, g.cfg.limits(i), g.cfg.plan(i), m.results); errs[i] != nil {
				m.results.close()
				return
			}
			members[i] = m
		})
	}
	all.Wait()
	if err := first(errs); err != nil {
		g.abandon(members)
		return nil, err
	}
	return members, nil
}

// first is the first error. What keeps one worker from starting mostly keeps all,
// and need not be said for each.
func first(errs []error) error {
	var told error
	more := 0
	for _, err := range errs {
		switch {
		case err == nil:
		case told == nil:
			told = err
		default:
			more++
		}
	}
	if more > 0 {
		return fmt.Errorf("%w (%d more of %d workers did not start either)", told, more, len(errs))
	}
	return told
}

// abandon ends the workers of a load that cannot begin.
func (g *Generator) abandon(members []*member) {
	for _, m := range members {
		if m != nil {
			m.process.Kill()
			m.results.close()
		}
	}
}

// watch tells of a worker that dies: the others make a load nobody asked for.
func (g *Generator) watch(m *member) {
	<-m.process.Ended()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopping {
		return
	}
	g.dieOnce.Do(func() {
		g.death = m.process.Err()
		close(g.died)
	})
}

// Died is closed when a worker has died before Stop. Err then says how.
func (g *Generator) Died() <-chan struct{} { return g.died }

// Err is how the first worker died that died before Stop: a worker.ErrDied, or
// what it said itself.
func (g *Generator) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.death
}

func (g *Generator) members() []*member {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.workers
}

// BeginWindow begins the measurements, which are of requests that end inside
// the window. monoNS is the present CLOCK_MONOTONIC. A load has one window;
// later calls do nothing.
func (g *Generator) BeginWindow(monoNS int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.begun {
		return
	}
	g.begun = true
	g.window.StartNS = monoNS
	for _, m := range g.workers {
		// A worker that cannot be told is gone, which is told elsewhere.
		_ = m.process.Window(monoNS, false)
	}
}

// EndWindow ends the measurements. monoNS is the present CLOCK_MONOTONIC.
func (g *Generator) EndWindow(monoNS int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.begun || g.window.EndNS != 0 {
		return
	}
	g.window.EndNS = monoNS
	for _, m := range g.workers {
		_ = m.process.Window(monoNS, true)
	}
}

// Readings asks every worker what its requests have come to until now. They go by
// worker, so that two answers make a Span of each. It may be called while another
// call waits, which it then waits for.
func (g *Generator) Readings(ctx context.Context) ([]account.Reading, error) {
	g.reading.Lock()
	defer g.reading.Unlock()
	members := g.members()
	if members == nil {
		return nil, errors.New("load: read: it has not been started")
	}
	readings := make([]account.Reading, len(members))
	errs := make([]error, len(members))
	var all sync.WaitGroup
	for i, m := range members {
		all.Go(func() { readings[i], errs[i] = m.process.Read(ctx) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return readings, nil
}

// Rest is how long the load still has to stand so that every stage has had its
// time: the captured one, counted from when it was reached, and those after it.
func (g *Generator) Rest() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reachedAt.IsZero() {
		return 0
	}
	stages := g.cfg.Stages[g.schedule.Captured():]
	total := stages[0].Hold
	for _, s := range stages[1:] {
		total += s.Ramp + s.Hold
	}
	return max(0, total-time.Since(g.reachedAt))
}

// Status tells how the load stands.
func (g *Generator) Status() Status {
	l := g.live()
	since := g.sinceBegin()
	stage := g.schedule.StageAt(since)
	return Status{
		Asked: g.schedule.LevelAt(since), Open: g.cfg.Open, Stage: stage, Stages: len(g.cfg.Stages),
		InFlight: l.InFlight, OpenSockets: l.Sockets,
		RateHz: float64(l.last.Ended),
		P50:    seconds(l.last.LatencyP50), P99: seconds(l.last.LatencyP99), CorrectedP99: seconds(l.last.CorrectedP99),
		OK: l.OK, Errors: l.Errors,
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// sinceBegin is the time since the load began; 0 before.
func (g *Generator) sinceBegin() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.atNS == 0 {
		return 0
	}
	return max(0, time.Duration(clock.MonoNS()-g.atNS))
}

// Stop hangs up and waits until no worker is left, or ctx ends; it may then be
// called again to wait on, and Kill waits for nothing. It ends a window that is still open. The error is also
// that of a worker that died without its account.
func (g *Generator) Stop(ctx context.Context) error {
	g.EndWindow(clock.MonoNS())
	g.mu.Lock()
	members, before := g.workers, g.death
	g.stopping = members != nil
	g.mu.Unlock()
	if members == nil {
		return nil
	}
	accounts := make([]worker.Account, len(members))
	errs := make([]error, len(members))
	var all sync.WaitGroup
	for i, m := range members {
		all.Go(func() { accounts[i], errs[i] = m.process.Stop(ctx) })
	}
	all.Wait()
	var lost, left error
	kept := accounts[:0]
	for i, err := range errs {
		switch {
		case err == nil:
			kept = append(kept, accounts[i])
		case ctx.Err() != nil && !ended(members[i].process):
			left = errors.Join(left, err)
		case before == nil: // else it has been told
			lost = errors.Join(lost, err)
		}
	}
	if left != nil {
		l := g.live()
		return fmt.Errorf("load: stop: %d requests and %d sockets are still open: %w", l.InFlight, l.Sockets, left)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.stopped {
		g.stopped, g.accounts = true, kept
	}
	if lost != nil {
		return fmt.Errorf("load: %w", lost)
	}
	return nil
}

// Kill ends the workers that a Stop could not wait for. The error, a
// worker.ErrStuck, names them; it is nil when there was none.
func (g *Generator) Kill() error {
	var stuck []error
	for i, m := range g.members() {
		if !ended(m.process) {
			m.process.Kill()
			stuck = append(stuck, fmt.Errorf("%w: load worker %d (pid %d) did not end when it was told to, and was killed; what it measured is lost",
				worker.ErrStuck, i, m.process.PID()))
		}
	}
	if len(stuck) == 0 {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.death == nil {
		g.death = errors.Join(stuck...)
	}
	return fmt.Errorf("load: %w", errors.Join(stuck...))
}

func ended(p *worker.Process) bool {
	select {
	case <-p.Ended():
		return true
	default:
		return false
	}
}

// merged is what all workers measured together.
func merged(accounts []worker.Account) (account.Account, error) {
	parts := make([]account.Account, len(accounts))
	for i, a := range accounts {
		parts[i] = a.Account
	}
	return account.Merge(parts)
}
