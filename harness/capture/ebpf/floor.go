package ebpf

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
)

// Floor hangs empty programs on the entry and the exit of every system call, and
// records nothing. What it costs is the least that a probe of system calls can cost on
// this kernel: its slow path into and out of each call, and the way to a program and
// back. It is a mode of overhead measurements; a run does not have it.
type Floor struct {
	programs []*ebpf.Program
	hook     io.Closer
}

var _ capture.Recorder = (*Floor)(nil)

// Dimension implements capture.Recorder.
func (f *Floor) Dimension() string { return bundle.DimEBPF }

// Prepare implements capture.Recorder: it loads the programs and attaches them.
func (f *Floor) Prepare(context.Context, capture.Subject) error {
	t, err := triggerOf(HookSyscall)
	if err == nil {
		f.programs, err = loadAll(t.programs)
	}
	if err == nil {
		f.hook, err = t.attach(f.programs)
	}
	if err != nil {
		return fmt.Errorf("hang empty programs on system calls: %w", err)
	}
	return nil
}

// Start implements capture.Recorder. The programs are there already.
func (f *Floor) Start(context.Context) error { return nil }

// Stop implements capture.Recorder.
func (f *Floor) Stop(context.Context) error { return nil }

// Write implements capture.Recorder. There is nothing to write.
func (f *Floor) Write(context.Context, *bundle.Writer) (bundle.Dimension, error) {
	return bundle.Dimension{}, errors.New("empty programs record nothing")
}

// Status implements capture.Recorder.
func (f *Floor) Status() string { return "nothing, on every system call" }

// Close implements capture.Recorder.
func (f *Floor) Close() error {
	var err error
	if f.hook != nil {
		err = f.hook.Close()
		f.hook = nil
	}
	closeAll(f.programs)
	f.programs = nil
	return err
}
