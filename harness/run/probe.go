package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
	"chokepoint/harness/capture/ebpf"
)

// Probing is what Probe is asked for.
type Probing struct {
	PID    int
	For    time.Duration
	Probes ebpf.Config
	Dir    string // of the bundle; it must not exist or be empty
	// Version is chokepoint's own.
	Version string
	// Status is told now and then how much was recorded; it may be nil.
	Status func(string)
}

// Probe records the ebpf dimension of a process that runs already, without load
// and without a scenario, into a bundle that says nothing of other dimensions.
// When ctx ends early nothing is kept.
func Probe(ctx context.Context, p Probing) (err error) {
	recorder := ebpf.New(p.Probes)
	recording, err := capture.Prepare(ctx, []capture.Recorder{recorder}, capture.Subject{PID: p.PID}, capture.Hooks{})
	if err != nil {
		return fmt.Errorf("prepare the probes: %w", err)
	}
	defer func() { err = errors.Join(err, recording.Close()) }()
	w, err := bundle.Create(p.Dir, firstManifest(p.Version))
	if err != nil {
		return err
	}
	stop := tellStatus(ctx, recorder, p.Status)
	window, err := recording.Window(ctx, p.For)
	stop()
	if err != nil {
		return errors.Join(err, w.Abandon("it was ended early"))
	}
	dims, err := recording.Write(ctx, w)
	if err != nil {
		return errors.Join(err, w.Abandon("it could not be written"))
	}
	build, err := writeCallSites(fmt.Sprintf("/proc/%d/exe", p.PID), w)
	if err != nil {
		return errors.Join(err, w.Abandon("it could not be written"))
	}
	if err := w.Update(func(m *bundle.Manifest) { m.Window, m.Target, m.Dimensions = window, build, dims }); err != nil {
		return err
	}
	return w.Finish()
}

// tellStatus tells how a recorder stands, four times a second, until what it
// returns is called.
func tellStatus(ctx context.Context, r capture.Recorder, tell func(string)) (stop func()) {
	if tell == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				tell(r.Status())
			}
		}
	}()
	return func() { cancel(); <-ended }
}
