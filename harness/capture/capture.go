// Package capture records what a running target does: it prepares recorders
// before the load begins, starts and stops them at a barrier, and has each
// write its artifacts into a bundle afterwards.
//
// A recorder that fails takes nothing else with it: its dimension says in the
// manifest what was not captured and why.
package capture

import (
	"context"

	"chokepoint/harness/bundle"
)

// Subject is the running target as a recorder sees it.
type Subject struct {
	PID        int    // 0 when the target is a bare URL
	Executable string // path of the target's executable; empty when unknown
	DebugURL   string // base of net/http/pprof, "http://127.0.0.1:6060/debug/pprof"; empty: none
	MetricsURL string // runtime/metrics as JSON {name: value}; empty: none
}

// A Recorder records one dimension. Calls come in the order Prepare, Start,
// Stop, Write, Close; Close comes always, also after an error and instead of
// the rest. A recorder loses a probe rather than fail: an error from any call
// means that the whole dimension is lost, and its text becomes the reason.
type Recorder interface {
	// Dimension names what is recorded: bundle.DimEBPF and so on.
	Dimension() string
	// Prepare does all that may be slow or that load would hinder: open
	// connections, load programs, attach. It comes before the load.
	Prepare(ctx context.Context, s Subject) error
	// Start begins recording and returns at once.
	Start(ctx context.Context) error
	// Stop ends recording. It may wait for what was asked for to arrive,
	// bounded by ctx. Slow work on what was recorded belongs in Write.
	Stop(ctx context.Context) error
	// Write puts the artifacts into the bundle, after the load has ended and,
	// it may be, after the target has.
	Write(ctx context.Context, w *bundle.Writer) (bundle.Dimension, error)
	// Status is a few words for live progress: "12,345 samples". It may be
	// called at any time from another goroutine.
	Status() string
	// Close detaches and releases everything. It is safe to call twice.
	Close() error
}
