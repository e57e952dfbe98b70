package capture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"chokepoint/harness/bundle"
	"chokepoint/harness/clock"
)

// limits bounds single calls to a recorder. A recorder that has not returned
// by then, nor within grace of being told so, is left to itself and loses its
// dimension; the others go on.
type limits struct {
	prepare, start, stop, write, close time.Duration
	grace                              time.Duration
}

func defaultLimits() limits {
	return limits{
		prepare: time.Minute, // loading programs and reading debug information, on a busy machine
		start:   10 * time.Second,
		stop:    time.Minute,     // a target with 10,000 requests to work off answers late
		write:   5 * time.Minute, // symbolising many stacks
		close:   10 * time.Second,
		grace:   2 * time.Second,
	}
}

// Hooks are told what happens while it happens.
type Hooks struct {
	// Lost is called when a whole dimension is lost, with the reason. It may be
	// nil, and may be called from several goroutines at once.
	Lost func(dimension string, err error)
	// Begun and Ended are called at the bounds of the window with the present
	// CLOCK_MONOTONIC in nanoseconds, so that others may measure over just that
	// span. They may be nil, and should return at once.
	Begun, Ended func(monoNS int64)
}

// NothingRecorded is the reason of a dimension that was ready and was never
// started.
const NothingRecorded = "nothing was recorded"

// Phase is how far a recorder has come.
type Phase string

// The phases of a recorder.
const (
	PhasePreparing Phase = "preparing"
	PhaseReady     Phase = "ready"
	PhaseRecording Phase = "recording"
	PhaseStopped   Phase = "stopped"
	PhaseWritten   Phase = "written"
	PhaseLost      Phase = "lost"
)

// Status is what one dimension is doing, for live progress.
type Status struct {
	Dimension string
	Phase     Phase
	Text      string // the recorder's own words, or why it was lost
}

// PanicError is what became of a recorder that panicked.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that panicked
}

// Error gives the value and not the stack, since it becomes a reason in the manifest.
func (e *PanicError) Error() string {
	return fmt.Sprintf("the recorder panicked: %v: a defect of chokepoint, please report it", e.Value)
}

// Recording takes recorders side by side through the life of one recording:
// Prepare, Window, Write, Close. A recorder that fails, hangs or panics loses
// its own dimension and nothing else.
type Recording struct {
	hooks   Hooks
	limits  limits
	members []*member
}

// Prepare prepares all recorders at once; it comes before the load. The error
// is the cause of ctx's end, or that two recorders share a dimension; all are
// closed then. A Recording that is returned must be closed.
func Prepare(ctx context.Context, recorders []Recorder, s Subject, hooks Hooks) (*Recording, error) {
	return prepare(ctx, recorders, s, hooks, defaultLimits())
}

func prepare(ctx context.Context, recorders []Recorder, s Subject, hooks Hooks, l limits) (*Recording, error) {
	r := &Recording{hooks: hooks, limits: l}
	seen := map[string]bool{}
	for _, rec := range recorders {
		m := &member{rec: rec, name: rec.Dimension(), phase: PhasePreparing, grace: l.grace}
		if seen[m.name] {
			return nil, fmt.Errorf("two recorders record the dimension %s; give one", m.name)
		}
		seen[m.name] = true
		r.members = append(r.members, m)
	}
	r.each(PhasePreparing, func(m *member) {
		r.advance(m, PhaseReady, m.call(ctx, l.prepare, "", func(ctx context.Context) error {
			return m.rec.Prepare(ctx, s)
		}))
	})
	if ctx.Err() != nil {
		return nil, errors.Join(context.Cause(ctx), r.Close())
	}
	return r, nil
}

// Window starts all recorders at a barrier, waits for d, and stops them all.
// The window returned is the span over which every one of them was recording:
// from when the last had started to when the first was told to stop. When ctx
// ends before that, all are stopped and closed and the error is ctx's cause.
func (r *Recording) Window(ctx context.Context, d time.Duration) (bundle.Window, error) {
	var atBarrier sync.WaitGroup
	atBarrier.Add(r.count(PhaseReady))
	r.each(PhaseReady, func(m *member) {
		atBarrier.Done()
		atBarrier.Wait()
		r.advance(m, PhaseRecording, m.call(ctx, r.limits.start, "start", func(context.Context) error {
			// What begins here lives until Stop: it gets ctx itself and not the
			// one that ends with this call.
			return m.rec.Start(ctx)
		}))
	})
	w := bundle.Window{StartNS: clock.MonoNS()}
	if r.hooks.Begun != nil {
		r.hooks.Begun(w.StartNS)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	w.EndNS = clock.MonoNS()
	if r.hooks.Ended != nil {
		r.hooks.Ended(w.EndNS)
	}
	r.each(PhaseRecording, func(m *member) {
		r.advance(m, PhaseStopped, m.call(ctx, r.limits.stop, "stop", m.rec.Stop))
	})
	if ctx.Err() != nil {
		return w, errors.Join(context.Cause(ctx), r.Close())
	}
	return w, nil
}

// Write has every recorder put its artifacts into the bundle, at once, and
// returns what each dimension captured or why not, in the order of the
// recorders. A full disk and the like lose a dimension as any failure does,
// and are returned as well: whoever writes the bundle will want to stop.
func (r *Recording) Write(ctx context.Context, w *bundle.Writer) ([]bundle.Dimension, error) {
	dims := make([]bundle.Dimension, len(r.members))
	errs := make([]error, len(r.members))
	var all sync.WaitGroup
	for i, m := range r.members {
		all.Go(func() {
			dims[i], errs[i] = r.write(ctx, m, w)
		})
	}
	all.Wait()
	return dims, errors.Join(errs...)
}

// write returns an error only when the writing itself failed.
func (r *Recording) write(ctx context.Context, m *member, w *bundle.Writer) (bundle.Dimension, error) {
	phase, lost := m.state()
	switch phase {
	case PhaseStopped:
	case PhaseLost:
		return bundle.Dimension{Name: m.name, Reason: lost.Error()}, nil
	default:
		return bundle.Dimension{Name: m.name, Reason: NothingRecorded}, nil
	}
	written := make(chan bundle.Dimension, 1)
	err := m.call(ctx, r.limits.write, "write what was recorded", func(ctx context.Context) error {
		d, err := m.rec.Write(ctx, w)
		written <- d
		return err
	})
	r.advance(m, PhaseWritten, err)
	if err != nil {
		return bundle.Dimension{Name: m.name, Reason: err.Error()}, fmt.Errorf("dimension %s: %w", m.name, err)
	}
	d := <-written
	d.Name = m.name
	return d, nil
}

// Close closes all recorders, whatever their state. It is safe to call twice.
func (r *Recording) Close() error {
	errs := make([]error, len(r.members))
	var all sync.WaitGroup
	for i, m := range r.members {
		all.Go(func() { errs[i] = m.close(r.limits.close) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// Status tells what each dimension is doing, in the order of the recorders.
func (r *Recording) Status() []Status {
	all := make([]Status, len(r.members))
	for i, m := range r.members {
		phase, lost := m.state()
		all[i] = Status{Dimension: m.name, Phase: phase}
		if phase == PhaseLost {
			all[i].Text = lost.Error()
		} else {
			all[i].Text = m.status()
		}
	}
	return all
}

func (r *Recording) count(p Phase) int {
	n := 0
	for _, m := range r.members {
		if at, _ := m.state(); at == p {
			n++
		}
	}
	return n
}

// each calls f for the members in phase p, at the same time, and waits.
func (r *Recording) each(p Phase, f func(*member)) {
	var all sync.WaitGroup
	for _, m := range r.members {
		if at, _ := m.state(); at == p {
			all.Go(func() { f(m) })
		}
	}
	all.Wait()
}

// advance moves a member on, or declares it lost and releases what it holds.
func (r *Recording) advance(m *member, to Phase, err error) {
	if err == nil {
		m.set(to, nil)
		return
	}
	m.set(PhaseLost, err)
	if r.hooks.Lost != nil {
		r.hooks.Lost(m.name, err)
	}
	// Probes that stay attached would cost the target; Close's own error adds
	// nothing to a dimension that is lost, and Recording.Close returns it again.
	_ = m.close(r.limits.close)
}

// member is one recorder and how far it has come.
type member struct {
	rec   Recorder
	name  string
	grace time.Duration

	mu    sync.Mutex
	phase Phase
	lost  error

	closing  sync.Once
	closeErr error
}

func (m *member) state() (Phase, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.phase, m.lost
}

func (m *member) set(p Phase, lost error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.phase, m.lost = p, lost
}

// call runs one call to the recorder and gives it up when it neither returns
// in time nor heeds its context. A panic becomes an error. Errors say what was
// being done; while preparing that goes without saying.
func (m *member) call(ctx context.Context, limit time.Duration, what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	returned := make(chan error, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				returned <- &PanicError{Value: v, Stack: debug.Stack()}
			}
		}()
		returned <- f(ctx)
	}()
	var err error
	select {
	case err = <-returned:
	case <-ctx.Done():
		select {
		case err = <-returned:
		case <-time.After(m.grace):
			return fmt.Errorf("%s: the recorder hangs, and was left behind", cmp.Or(what, "prepare"))
		}
	}
	if err != nil && what != "" {
		return fmt.Errorf("%s: %w", what, err)
	}
	return err
}

// close closes the recorder once. A recorder that hangs in an earlier call is
// closed beside it: what it has attached must not stay.
func (m *member) close(limit time.Duration) error {
	m.closing.Do(func() {
		err := m.call(context.Background(), limit, "close", func(context.Context) error { return m.rec.Close() })
		if err != nil {
			m.closeErr = fmt.Errorf("dimension %s: %w", m.name, err)
		}
	})
	return m.closeErr
}

// status asks the recorder for its words; progress is not worth a crash.
func (m *member) status() (text string) {
	defer func() {
		if v := recover(); v != nil {
			text = "no status: the recorder panicked"
		}
	}()
	return m.rec.Status()
}
