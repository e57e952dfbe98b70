// Package run makes one recording: it builds and starts the target, brings the
// load to the asked concurrency, captures all dimensions over the same window,
// stops everything, and leaves a bundle. It draws no conclusions.
package run

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"chokepoint/harness/binary"
	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
	"chokepoint/harness/capture/proc"
	"chokepoint/harness/load"
	"chokepoint/harness/scenario"
	"chokepoint/harness/target"
)

// Bounds on waits that nothing else bounds.
const (
	// reachTime is how long past its ramp a load may take to stand. A target
	// with a long queue takes its first connections slowly.
	reachTime = 45 * time.Second
	// cleanTime bounds each step of taking down what a run had up, and hastyTime where
	// somebody waits who has interrupted it. The former leaves a target its stop timeout.
	cleanTime = target.DefaultStopTimeout + 15*time.Second
	hastyTime = 15 * time.Second
)

// What a caller tells apart with errors.Is.
var (
	// ErrCutShort means that the target, or a process of the load generator, ended
	// before the recording did, or that such a process had to be killed after it.
	ErrCutShort = errors.New("the recording was cut short")
	// ErrNoLoad means that the load generator could not be started.
	ErrNoLoad = errors.New("the load could not be started")
	// ErrUnclean means that something a run had up could not be taken down in
	// order, such as a target that had to be killed.
	ErrUnclean = errors.New("not all could be taken down in order")
)

// Config is what to run.
type Config struct {
	Scenario scenario.Resolved
	// Dir is the directory of the scenario's module, where a package target is built
	// and where any target runs.
	Dir string
	// Out is the directory that the bundle is made in, by a name of its own.
	Out string
	// Version of chokepoint, for the manifest.
	Version string
	// Observe is called from another goroutine a few times a second with how
	// things stand, and at each new phase. It may be nil.
	Observe func(Status)
}

// Phase is how far a run has come.
type Phase string

// The phases of a run, in order. Stopping comes twice: of the load before
// writing, and of the target after it.
const (
	Building  Phase = "building"
	Starting  Phase = "starting"
	Preparing Phase = "preparing"
	Ramping   Phase = "ramping"
	Capturing Phase = "capturing"
	Stopping  Phase = "stopping"
	Writing   Phase = "writing"
)

// Status is how a run stands.
type Status struct {
	Scenario string
	Variant  scenario.Variant
	Phase    Phase
	// Since is when the phase began; For is how long it is meant to take, 0
	// where nobody knows.
	Since time.Time
	For   time.Duration
	Load  load.Status
	// Dimensions tell what each has recorded so far.
	Dimensions []capture.Status
}

// Result is what a run leaves.
type Result struct {
	// Bundle is the path of the bundle; empty when the target did not start.
	Bundle string
	// Whole says that the bundle holds all the run meant to record. A bundle
	// that is not whole says so itself, and why.
	Whole bool
}

// Run makes one recording. A bundle is left as soon as the target has started,
// also when an error is returned. When ctx ends, all that is up is taken down
// first, in bounded time, and the error wraps its cause. An error beside a
// whole bundle is an ErrUnclean.
func Run(ctx context.Context, c Config) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &run{Config: c, plan: c.Scenario.Scenario, cutShort: func(why error) { cancel(fmt.Errorf("%w: %w", ErrCutShort, why)) }}
	r.progress = startProgress(c, r.snapshot)
	defer r.progress.stop()

	p, err := r.start(ctx)
	if err != nil {
		return Result{}, r.because(ctx, err)
	}
	go func() {
		select {
		case <-p.Done():
			r.cutShort(p.Err())
		case <-ctx.Done():
		}
	}()
	result, err := r.fill(ctx, p)
	r.progress.enter(Stopping, 0)
	stop, done := cleaning(ctx)
	defer done()
	r.takeDown(p.Stop(stop))
	if r.unclean != nil {
		err = errors.Join(err, fmt.Errorf("%w: %w", ErrUnclean, r.unclean))
	}
	return result, err
}

type run struct {
	Config
	plan     scenario.Scenario
	progress *progress

	cutShort  func(why error) // ends the recording
	generator *load.Generator
	recording *capture.Recording
	unclean   error // what could not be taken down in order
}

func (r *run) setup() Setup { return Setup{Scenario: r.Scenario, Dir: r.Dir} }

// takeDown keeps the error of a step of taking down; the next step goes on.
func (r *run) takeDown(err error) { r.unclean = errors.Join(r.unclean, err) }

// because is err, or the reason for the end of ctx when that is why: of all the
// calls it cut off, each with an error of its own, it is the one thing to tell.
func (r *run) because(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case cause == nil:
		return err
	case errors.Is(cause, ErrCutShort):
		return cause
	}
	return fmt.Errorf("%w while %s", cause, r.progress.phase())
}

// start builds the target and starts it.
func (r *run) start(ctx context.Context) (*target.Process, error) {
	t, err := r.setup().Target()
	if err != nil {
		return nil, err
	}
	executable := ""
	if t.Package != "" {
		r.progress.enter(Building, 0)
		if executable, err = target.Build(ctx, t); err != nil {
			return nil, err
		}
	}
	r.progress.enter(Starting, 0)
	return target.Start(ctx, t, executable)
}

// fill makes the bundle.
func (r *run) fill(ctx context.Context, p *target.Process) (Result, error) {
	w, err := r.createBundle()
	if err != nil {
		return Result{}, r.diskFull(err)
	}
	if err = r.record(ctx, p, w); err == nil && ctx.Err() == nil {
		if err = w.Finish(); err == nil {
			return Result{Bundle: w.Dir(), Whole: true}, nil
		}
	}
	err = r.because(ctx, r.diskFull(err))
	if failed := w.Abandon(err.Error()); failed != nil && !errors.Is(err, syscall.ENOSPC) {
		err = errors.Join(err, failed) // the manifest says incomplete all the same, without the reason
	}
	return Result{Bundle: w.Dir()}, err
}

// record puts into the bundle all that belongs there.
func (r *run) record(ctx context.Context, p *target.Process, w *bundle.Writer) error {
	if err := w.WriteJSON(bundle.ScenarioFile, r.Scenario); err != nil {
		return err
	}
	r.progress.enter(Preparing, 0)
	asked, err := r.setup().Load(p)
	if err != nil {
		return fmt.Errorf("prepare the load: %w", err)
	}
	generator, err := load.New(asked)
	if errors.Is(err, load.ErrLimit) {
		return fmt.Errorf("%w: %w", ErrNoLoad, err)
	}
	if err != nil {
		return fmt.Errorf("prepare the load: %w", err)
	}
	procs := proc.New(proc.Config{Window: time.Duration(r.plan.Capture.Window)})
	recorders, off := r.recorders(procs)
	var own ownCPU
	recording, err := capture.Prepare(ctx, recorders, capture.Subject{
		PID: p.PID, Executable: p.Executable, DebugURL: p.DebugURL, MetricsURL: p.MetricsURL,
	}, capture.Hooks{
		Begun: func(monoNS int64) { own.begin(); generator.BeginWindow(monoNS) },
		Ended: func(monoNS int64) { own.end(); generator.EndWindow(monoNS) },
	})
	if err != nil {
		return fmt.Errorf("prepare the recording: %w", err)
	}
	defer func() { r.takeDown(recording.Close()) }()
	r.progress.watch(func() { r.generator, r.recording = generator, recording })

	window, err := r.attack(ctx, generator, recording)
	if err != nil {
		return err
	}

	r.progress.enter(Writing, 0)
	loadDim, err := generator.Write(w)
	if err != nil {
		return err
	}
	dims, err := recording.Write(ctx, w)
	if err != nil {
		return err
	}
	if window == (bundle.Window{}) {
		explain(dims, "the load did not stand")
	}
	build, err := writeCallSites(p.Executable, w)
	if err != nil {
		return err
	}
	build.GOMAXPROCS = r.gomaxprocs(procs, p)
	if p.PID > 0 {
		if n, err := proc.CPUsAllowed(p.PID); err == nil {
			build.CPUsAllowed = n
		}
		if n, err := proc.EnvGOMAXPROCS(p.PID); err == nil {
			build.EnvGOMAXPROCS = n
		}
		if n, err := proc.CPUQuota(p.PID); err == nil {
			build.CPUQuota = n
		}
	}
	return w.Update(func(m *bundle.Manifest) {
		m.Window = window
		m.Tool.CPUSeconds = own.seconds()
		m.Target = build
		m.Dimensions = append(append(dims, off...), loadDim)
	})
}

// explain says of dimensions that were never started why they were not.
func explain(dims []bundle.Dimension, why string) {
	for i := range dims {
		if dims[i].Reason == capture.NothingRecorded {
			dims[i].Reason += ": " + why
		}
	}
}

// attack runs the load, and captures while it stands. No load is left after it.
func (r *run) attack(ctx context.Context, g *load.Generator, rec *capture.Recording) (bundle.Window, error) {
	r.progress.enter(Ramping, time.Duration(r.plan.Load.Ramp))
	if err := g.Start(ctx); err != nil {
		return bundle.Window{}, fmt.Errorf("%w: %w", ErrNoLoad, err)
	}
	go func() {
		select {
		case <-g.Died():
			r.cutShort(g.Err())
		case <-ctx.Done():
		}
	}()
	window, err := r.hold(ctx, g, rec)
	if err == nil {
		r.progress.enter(Stopping, 0)
	}
	clean, done := cleaning(ctx)
	defer done()
	if stopped := g.Stop(clean); stopped != nil {
		if stuck := g.Kill(); stuck != nil {
			stopped = stuck
		}
		// What was lost with a worker is a part of the load.
		err = errors.Join(err, fmt.Errorf("%w: %w", ErrCutShort, stopped))
	}
	return window, err
}

// hold waits until the load stands and captures. A load that does not reach
// what was asked is no error: nothing is captured, and the bundle says why. A target
// that answers with errors only is captured all the same: it is what is wrong.
func (r *run) hold(ctx context.Context, g *load.Generator, rec *capture.Recording) (bundle.Window, error) {
	ramp := time.Duration(r.plan.Load.Ramp)
	reach, cancel := context.WithTimeoutCause(ctx, ramp+reachTime, fmt.Errorf("it had its ramp of %s and %s more", ramp, reachTime))
	defer cancel()
	if err := g.WaitReached(reach); err != nil && (ctx.Err() != nil || !errors.Is(err, load.ErrAnswersFail)) {
		return bundle.Window{}, ctx.Err() // the generator keeps the reason
	}
	window := time.Duration(r.plan.Capture.Window)
	r.progress.enter(Capturing, window)
	w, err := rec.Window(ctx, window)
	if err != nil {
		return w, err
	}
	if rest := g.Rest(); rest > 0 { // of stages that outlast the window
		timer := time.NewTimer(rest)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return w, ctx.Err()
		}
	}
	return w, nil
}

// gomaxprocs is what the process has in force at the end. Its memory tells, of a
// program without any endpoint too; else what it said, else what it was started with.
func (r *run) gomaxprocs(m *proc.Recorder, p *target.Process) int {
	if f, err := binary.Open(p.Executable); err == nil {
		n, err := f.GOMAXPROCS(p.PID)
		f.Close()
		if err == nil {
			return n
		}
	}
	if n := m.GOMAXPROCS(); n > 0 {
		return n
	}
	return r.plan.Target.GOMAXPROCS
}

// writeCallSites reads from the target's executable what signals need of it.
// An executable that cannot be read costs those signals and no more.
func writeCallSites(executable string, w *bundle.Writer) (bundle.Target, error) {
	if executable == "" {
		return bundle.Target{}, nil
	}
	f, err := binary.Open(executable)
	if err != nil {
		return bundle.Target{}, nil
	}
	defer f.Close()
	b := f.Build()
	t := bundle.Target{GoVersion: b.GoVersion, MainModule: b.MainModule, SHA256: b.SHA256, Stripped: b.Stripped, CGO: b.CGO}
	sites, err := f.DiagnosticSites()
	if err != nil {
		return t, nil
	}
	return t, w.WriteJSON(bundle.TargetCallSites, sites)
}

// cleaning is a context for taking things down, which an interruption of the
// run must not cut short.
func cleaning(ctx context.Context) (context.Context, context.CancelFunc) {
	within := cleanTime
	if ctx.Err() != nil {
		within = hastyTime
	}
	return context.WithTimeout(context.WithoutCancel(ctx), within)
}

// snapshot is what the progress shows of the parts that are up.
func (r *run) snapshot(s *Status) {
	if r.generator != nil {
		s.Load = r.generator.Status()
	}
	if r.recording != nil {
		s.Dimensions = r.recording.Status()
	}
}
