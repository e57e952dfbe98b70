package overhead

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"chokepoint/harness/capture"
	"chokepoint/harness/clock"
	"chokepoint/harness/load"
	"chokepoint/harness/load/account"
	"chokepoint/harness/load/schedule"
	"chokepoint/harness/procfs"
	"chokepoint/harness/target"
)

const (
	// mostFailed of all requests may fail in a window that counts: a failure is
	// seldom as much work for the target as an answer.
	mostFailed = 0.01
	// leastInFlight of what was asked for must be in flight on average, where the
	// load is a closed loop. It is low, since a target that answers as fast as it can
	// keeps the generator from sending at once; the target is as busy all the same.
	leastInFlight = 0.5
)

// untilCaptured is the stages of a load up to the captured one, which then stands
// until the load is stopped.
func untilCaptured(c load.Config) []schedule.Stage {
	for i, s := range c.Stages {
		if s.Captured {
			return c.Stages[:i+1]
		}
	}
	return c.Stages
}

// awaitLoad waits until the load stands: in a closed loop, until as many requests
// as a window asks for are in flight over a second. The generator's own bound is
// higher than that, for a diagnosis, and a target that answers as fast as it can does not reach it.
func (m *measurement) awaitLoad(ctx context.Context, g *load.Generator) error {
	plan := m.Setup.Scenario.Scenario.Load
	limit, done := context.WithTimeoutCause(ctx, time.Duration(plan.Ramp)+reachTime, fmt.Errorf("it had its ramp of %s and %s more", plan.Ramp, reachTime))
	defer done()
	fellShort := func(err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%w: %w", ErrFellShort, err)
	}
	if plan.Open() {
		if err := g.WaitReached(limit); err != nil {
			return fellShort(err)
		}
		return nil
	}
	if err := sleep(limit, time.Duration(plan.Ramp)); err != nil {
		return fellShort(err)
	}
	for {
		from, err := g.Readings(limit)
		if err == nil {
			err = sleep(limit, time.Second)
		}
		var to []account.Reading
		if err == nil {
			to, err = g.Readings(limit)
		}
		if err != nil {
			// The generator knows what is likely to stand in the way.
			return fellShort(g.WaitReached(limit))
		}
		if s := span(from, to); s.InFlight >= leastInFlight*float64(m.result.InFlight) && s.Ended > 0 {
			return nil
		}
	}
}

// span is what all workers did between two readings.
func span(from, to []account.Reading) account.Span {
	spans := make([]account.Span, len(to))
	for i := range to {
		spans[i] = to[i].Since(from[i])
	}
	return account.Join(spans)
}

// errUnavailable means that a mode cannot be had here, now or ever.
var errUnavailable = errors.New("it is not available")

// window puts a mode on, measures, and takes it off again. An error is of the
// measurement as a whole; a mode that fails leaves the window out.
func (m *measurement) window(ctx context.Context, p *target.Process, g *load.Generator, mode Mode) (Window, error) {
	off, err := m.on(ctx, p, mode)
	if err != nil {
		if ctx.Err() == nil && errors.Is(err, errUnavailable) {
			m.missing[mode.Name] = err.Error()
		}
		return Window{LeftOut: "it could not be switched on: " + err.Error()}, nil
	}
	// Attaching is over, and what it stirred up.
	if err := sleep(ctx, mode.lead); err != nil {
		return Window{}, errors.Join(err, off.stop(nil))
	}
	w, err := m.measure(ctx, p, g, off.tool)
	stopped := off.stop(&w)
	if err != nil {
		return w, errors.Join(err, stopped)
	}
	if stopped != nil && w.LeftOut == "" {
		w.LeftOut = stopped.Error()
	}
	m.judge(&w)
	return w, sleep(ctx, settle)
}

// judge leaves a window out that says nothing of the mode.
func (m *measurement) judge(w *Window) {
	asked := m.result.InFlight
	switch {
	case w.LeftOut != "":
	case w.Requests == 0:
		w.LeftOut = "no request ended"
	case float64(w.Failed) > mostFailed*float64(w.Requests):
		w.LeftOut = fmt.Sprintf("%d of %d requests failed", w.Failed, w.Requests)
	case !m.Setup.Scenario.Scenario.Load.Open() && w.InFlight < leastInFlight*float64(asked):
		w.LeftOut = fmt.Sprintf("%.0f requests were in flight on average, of %d", w.InFlight, asked)
	case w.OthersShare > m.MostOthers:
		w.Disturbed = true
		w.LeftOut = fmt.Sprintf("other processes used %.3g%% of the CPUs", 100*w.OthersShare)
	}
}

// moment is everything that is read at one end of a window.
type moment struct {
	at                    int64 // CLOCK_MONOTONIC
	target, harness, tool time.Duration
	idle, total           int64
	load                  []account.Reading
}

func look(ctx context.Context, pid int, g *load.Generator, t *running) (moment, error) {
	var now moment
	var errs [4]error
	// The target's clock and the workers' accounts first, and as one: they make the ratio.
	now.at = clock.MonoNS()
	now.target, errs[0] = procfs.CPU(pid)
	now.load, errs[1] = g.Readings(ctx)
	now.idle, now.total, errs[2] = procfs.Machine()
	now.harness, errs[3] = procfs.CPU(self())
	if t != nil {
		// One that has ended is told elsewhere.
		now.tool, _ = procfs.CPU(t.cmd.Process.Pid)
	}
	return now, errors.Join(errs[:]...)
}

// measure measures what is on.
func (m *measurement) measure(ctx context.Context, p *target.Process, g *load.Generator, t *running) (Window, error) {
	from, err := look(ctx, p.PID, g, t)
	if err != nil {
		return Window{}, err
	}
	if err := sleep(ctx, m.Window); err != nil {
		return Window{}, err
	}
	to, err := look(ctx, p.PID, g, t)
	if err != nil {
		return Window{}, err
	}
	return between(from, to), nil
}

// between is what was measured from one moment to another. The target's CPU time
// and the workers' accounts are of spans that begin and end within milliseconds
// of each other, so that rates are compared and not sums.
func between(from, to moment) Window {
	all := span(from.load, to.load)
	w := Window{
		StartNS: from.at, LengthNS: to.at - from.at,
		Requests: all.Ended, Failed: all.Errors, InFlight: all.InFlight, RequestsPerSecond: all.RateHz,
		P99NS:       all.Service.At(99)[0] * 1000,
		TargetCPUNS: int64(to.target - from.target), GeneratorCPUNS: int64(all.CPU),
		HarnessCPUNS: int64(to.harness - from.harness), ToolCPUNS: int64(to.tool - from.tool),
	}
	if w.LengthNS > 0 && all.RateHz > 0 {
		w.TargetNSPerRequest = float64(w.TargetCPUNS) / (float64(w.LengthNS) / 1e9) / all.RateHz
	}
	if total := to.total - from.total; total > 0 {
		busy := total - (to.idle - from.idle)
		known := w.TargetCPUNS + w.GeneratorCPUNS + w.HarnessCPUNS + w.ToolCPUNS
		w.OthersShare = max(0, float64(busy-known)/float64(total))
	}
	return w
}

// active is a mode that is on.
type active struct {
	recording *capture.Recording
	cancel    context.CancelFunc
	ended     chan struct{} // closed when the recording has stopped
	tool      *running

	mu   sync.Mutex
	lost []string
}

// on switches a mode on and returns when all of it is recording.
func (m *measurement) on(ctx context.Context, p *target.Process, mode Mode) (*active, error) {
	a := &active{}
	if mode.tool != nil {
		var err error
		a.tool, err = mode.tool.start(ctx, p.PID)
		return a, err
	}
	if mode.recorders == nil {
		return a, nil
	}
	long := m.Window + mode.lead + tail
	begun := make(chan struct{})
	recording, err := capture.Prepare(ctx, mode.recorders(long), capture.Subject{
		PID: p.PID, Executable: p.Executable, DebugURL: p.DebugURL, MetricsURL: p.MetricsURL,
	}, capture.Hooks{
		Lost: func(dimension string, err error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.lost = append(a.lost, dimension+": "+err.Error())
		},
		Begun: func(int64) { close(begun) },
	})
	if err != nil {
		return nil, err
	}
	a.recording = recording
	for _, s := range recording.Status() {
		if s.Phase == capture.PhaseLost {
			return nil, errors.Join(fmt.Errorf("%w: %s: %s", errUnavailable, s.Dimension, s.Text), recording.Close())
		}
	}
	var recordingCtx context.Context
	recordingCtx, a.cancel = context.WithCancel(ctx)
	a.ended = make(chan struct{})
	go func() {
		defer close(a.ended)
		// Its end is our own cancelling; what it lost before is in a.lost.
		_, _ = recording.Window(recordingCtx, long)
	}()
	select {
	case <-begun:
	case <-a.ended:
	}
	return a, nil
}

// stop takes the mode off and waits until it is. w gets what it had recorded.
func (a *active) stop(w *Window) error {
	if a.tool != nil {
		return errors.Join(a.tool.alive(), a.tool.stop())
	}
	if a.recording == nil {
		return nil
	}
	var lost error
	a.mu.Lock()
	if len(a.lost) > 0 {
		lost = errors.New(strings.Join(a.lost, "; "))
	}
	a.mu.Unlock()
	if w != nil {
		var words []string
		for _, s := range a.recording.Status() {
			words = append(words, s.Text)
		}
		w.Recorded = strings.Join(words, "; ")
	}
	a.cancel()
	<-a.ended
	return errors.Join(lost, a.recording.Close())
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
