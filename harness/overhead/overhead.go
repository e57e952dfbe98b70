package overhead

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"chokepoint/harness/affinity"
	"chokepoint/harness/bundle"
	"chokepoint/harness/capture/ebpf"
	"chokepoint/harness/load"
	"chokepoint/harness/run"
	"chokepoint/harness/scenario"
	"chokepoint/harness/target"
)

// What a caller tells apart with errors.Is.
var (
	// ErrFellShort means that the machine, the target or the load did not allow
	// the measurement.
	ErrFellShort = errors.New("nothing could be measured")
	// ErrConfig means that what was asked for cannot be measured by anyone.
	ErrConfig = errors.New("this cannot be measured")
)

const (
	// reachTime is how long past its ramp a load may take to stand.
	reachTime = 45 * time.Second
	// warmUp is how long a load that stands is left alone: connections are new, and
	// the target's heap still grows to its size.
	warmUp = 2 * time.Second
	// cleanTime bounds each step of taking down what is up. A target has its stop timeout.
	cleanTime = target.DefaultStopTimeout + 15*time.Second
)

// Config says what to measure.
type Config struct {
	Setup  run.Setup
	Modes  []Mode // of Modes, by Select
	Rounds int    // each with a target and a load of its own
	Times  int    // how often each mode is measured in a round
	Window time.Duration
	Seed   uint64 // of the order of modes
	// Pin binds the target to one CPU and the load generator and this process to
	// another, so that they do not take each other's caches and CPU time.
	Pin bool
	// MostOthers is how much of the CPUs other processes may use in a window that
	// counts, 0 to 1.
	MostOthers float64
	// Observe is called with how things stand when that changes. It may be nil.
	Observe func(Status)
}

// Status is how a measurement stands.
type Status struct {
	Round, Rounds int
	// Window counts from 1; 0 while target and load are started.
	Window, Windows int
	Doing           string // a few words, such as a mode
}

// Run measures. When ctx ends, or something falls short, what is up is taken down
// and the result is what was found until then.
func Run(ctx context.Context, c Config) (Result, error) {
	s := c.Setup.Scenario
	m := &measurement{Config: c, missing: map[string]string{}}
	m.result = Result{
		Scenario: s.Scenario.Name, Variant: string(s.Variant), InFlight: s.Scenario.Load.InFlight,
		Window: c.Window, Seed: c.Seed, MostOthers: c.MostOthers, Host: host(), Windows: []Window{}, Notes: []string{},
	}
	if s.Scenario.Target.URL != "" {
		return m.end(fmt.Errorf("%w: the target is a bare URL; its CPU time is known where its process is, so give a package, a command or a pid", ErrConfig))
	}
	if err := m.pin(); err != nil {
		return m.end(err)
	}
	m.lookForMissing(ctx)
	random := rand.New(rand.NewPCG(c.Seed, 0))
	for n := 1; n <= c.Rounds; n++ {
		if ctx.Err() != nil {
			return m.end(context.Cause(ctx))
		}
		if err := m.round(ctx, n, orderOf(random, m.present(), m.Times)); err != nil {
			return m.end(err)
		}
	}
	return m.end(nil)
}

type measurement struct {
	Config
	result     Result
	executable string            // of a package target, once it is built
	missing    map[string]string // modes that cannot be measured, and why
}

func (m *measurement) tell(s Status) {
	if m.Observe != nil {
		s.Rounds = m.Rounds
		m.Observe(s)
	}
}

// end makes the result of what was measured.
func (m *measurement) end(err error) (Result, error) {
	m.result.Modes = summarise(m.Modes, m.missing, m.result.Windows)
	if err != nil {
		m.result.Interrupted = err.Error()
	}
	return m.result, err
}

func (m *measurement) note(format string, args ...any) {
	m.result.Notes = append(m.result.Notes, fmt.Sprintf(format, args...))
}

// pin chooses the CPUs of target and load.
func (m *measurement) pin() error {
	if !m.Pin {
		return nil
	}
	t, l := m.Setup.Scenario.Scenario.Target, m.Setup.Scenario.Scenario.Load
	if t.PID != 0 {
		return fmt.Errorf("%w: a target that runs already is not bound to CPUs; leave out --pin, or use taskset", ErrConfig)
	}
	if t.CPUs != "" || l.Process.CPUs != "" {
		return fmt.Errorf("%w: the scenario binds target or load to CPUs by itself; leave out --pin", ErrConfig)
	}
	cpus, err := affinity.Allowed()
	if err != nil {
		return err
	}
	if len(cpus) < 2 {
		return fmt.Errorf("%w: target and load take a CPU each, and this process may use %d; leave out --pin", ErrConfig, len(cpus))
	}
	m.result.TargetCPUs, m.result.LoadCPUs = cpus[:1], cpus[1:2]
	return nil
}

// lookForMissing finds out what this machine and this target do not allow.
func (m *measurement) lookForMissing(ctx context.Context) {
	m.tell(Status{Doing: "looking at what this machine can do"})
	probes := map[string]ebpf.Capability{}
	for _, c := range ebpf.Check(ctx) {
		probes[c.Probe] = c
	}
	plan := m.Setup.Scenario.Scenario
	together := plan.Capture.EBPF
	if len(together) == 0 {
		together = ebpf.Defaults()
	}
	for _, mode := range m.Modes {
		if c, ok := probes[mode.Name]; ok && !c.OK {
			m.missing[mode.Name] = c.Missing
		}
		if mode.Name == EBPF || mode.Name == All {
			for _, name := range together {
				if c := probes[name]; !c.OK {
					m.missing[mode.Name] = name + ": " + c.Missing
				}
			}
		}
		if (mode.Name == Pprof || mode.Name == Trace || mode.Name == All) && plan.Target.Debug == "" {
			m.missing[mode.Name] = "the target serves no net/http/pprof: give target.debug"
		}
		if mode.tool != nil {
			if why := mode.tool.missing(); why != "" {
				m.missing[mode.Name] = why
			}
		}
	}
}

// present are the modes that nothing is missing for.
func (m *measurement) present() []Mode {
	var present []Mode
	for _, mode := range m.Modes {
		if m.missing[mode.Name] == "" {
			present = append(present, mode)
		}
	}
	return present
}

// round starts target and load and measures each window of the order.
func (m *measurement) round(ctx context.Context, n int, order []Mode) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer func() {
		// Of all the calls that the end of ctx cut off the reason for it is the one thing to tell.
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
	}()
	m.result.Rounds = n
	m.tell(Status{Round: n, Windows: len(order), Doing: "starting the target"})
	p, err := m.startTarget(ctx)
	if err != nil {
		return err
	}
	defer func() {
		clean, done := cleaning()
		defer done()
		if stopped := p.Stop(clean); stopped != nil {
			m.note("round %d: %v", n, stopped)
		}
	}()
	died := make(chan struct{})
	defer close(died)
	watch := func(ended <-chan struct{}, why func() error) {
		go func() {
			select {
			case <-ended:
				cancel(fmt.Errorf("%w: %w", run.ErrCutShort, why()))
			case <-died:
			}
		}()
	}
	watch(p.Done(), p.Err)

	m.tell(Status{Round: n, Windows: len(order), Doing: "bringing up the load"})
	g, err := m.startLoad(ctx, p)
	if err != nil {
		return err
	}
	defer func() {
		clean, done := cleaning()
		defer done()
		if stopped := g.Stop(clean); stopped != nil {
			m.note("round %d: %v", n, stopped)
		}
	}()
	watch(g.Died(), g.Err)
	if back, err := m.pinSelf(); err != nil {
		return err
	} else if back != nil {
		defer back()
	}
	if err := m.awaitLoad(ctx, g); err != nil {
		return err
	}
	if err := sleep(ctx, warmUp); err != nil {
		return err
	}
	for i, mode := range order {
		m.tell(Status{Round: n, Window: i + 1, Windows: len(order), Doing: mode.Name})
		if m.missing[mode.Name] != "" {
			continue // since this round began
		}
		w, err := m.window(ctx, p, g, mode)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("%w: round %d, %s: %w", ErrFellShort, n, mode.Name, err)
		}
		w.Round, w.Order, w.Mode = n, i+1, mode.Name
		m.result.Windows = append(m.result.Windows, w)
	}
	return nil
}

func (m *measurement) startTarget(ctx context.Context) (*target.Process, error) {
	t, err := m.Setup.Target()
	if err != nil {
		return nil, err
	}
	if len(m.result.TargetCPUs) > 0 {
		t.CPUs = m.result.TargetCPUs
	}
	if t.Package != "" && m.executable == "" {
		if m.executable, err = target.Build(ctx, t); err != nil {
			return nil, err
		}
	}
	return target.Start(ctx, t, m.executable)
}

func (m *measurement) startLoad(ctx context.Context, p *target.Process) (*load.Generator, error) {
	asked, err := m.Setup.Load(p)
	if err != nil {
		return nil, fmt.Errorf("prepare the load: %w", err)
	}
	asked.Stages = untilCaptured(asked)
	asked.Results = scenario.ResultsNone
	if len(m.result.LoadCPUs) > 0 {
		asked.Limits.CPUs = m.result.LoadCPUs
	}
	g, err := load.New(asked)
	if err != nil {
		return nil, fmt.Errorf("prepare the load: %w", err)
	}
	if err := g.Start(ctx); err != nil {
		return nil, fmt.Errorf("start the load: %w", err)
	}
	return g, nil
}

// pinSelf binds this process to the CPU of the load, and returns what undoes it.
func (m *measurement) pinSelf() (back func(), err error) {
	if len(m.result.LoadCPUs) == 0 {
		return nil, nil
	}
	all, err := affinity.Allowed()
	if err != nil {
		return nil, err
	}
	if err := affinity.Self(m.result.LoadCPUs); err != nil {
		return nil, err
	}
	return func() {
		if err := affinity.Self(all); err != nil {
			m.note("%v", err)
		}
	}, nil
}

func cleaning() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), cleanTime)
}

func host() bundle.Host {
	h := bundle.Host{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		h.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		h.MemoryBytes = int64(info.Totalram) * int64(info.Unit)
	}
	return h
}

// self is this process.
func self() int { return os.Getpid() }
