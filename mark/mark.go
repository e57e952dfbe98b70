// Package mark lets a program say what it is doing, in its own words: that it
// checks a signature, waits for a database connection, prices a cart. It is for
// the program under test, and needs the standard library alone.
//
// Marks are regions, tasks and events of [runtime/trace], with attributes. They
// stand in the execution trace of the program, where `go tool trace` shows them
// and Chokepoint sums the time of requests by them. While no trace is being
// recorded a mark costs a few nanoseconds and allocates nothing, so marks can
// stay in code that serves.
//
//   - [Do] and [Call] mark a function call on one goroutine: a region. What the
//     goroutine does in it, running or waiting and for what, is known.
//   - [Begin] marks a piece of work that may move between goroutines: a task. It
//     may end anywhere, and marks made with its context belong to it.
//   - [Event] marks a moment.
//
// A region has no begin and end of its own to call, on purpose. The trace wants
// regions to end on the goroutine that began them, the innermost first, and a
// reader gives up a trace in which one does not. A function call cannot get that
// wrong, not even by a panic or runtime.Goexit. Work that ends on another
// goroutine is a task.
//
// # In the trace
//
// Attributes are written as a log event: key=value pairs separated by single
// spaces, in the order given. A value is quoted as a Go string literal if it is
// empty or holds anything but printable characters other than space, = and ".
// Characters of a key other than ASCII letters, digits and _ . - / become _.
// [ParseAttrs] reads this. The category of the log event says what they are of:
//
//	mark.region   the innermost region that the goroutine is in
//	mark.task     the task that the log event belongs to
//	other         the event of that name
//
// The trace keeps each different text once a generation, and at most 1024 bytes
// of it: attributes are for what takes few values, such as a route, an algorithm
// or an outcome, and not for ids. Those that would go beyond the 1024 bytes are
// left out, and mark.cut=N says how many.
package mark

import (
	"context"
	"runtime/trace"
	"sync/atomic"
)

// Categories of the log events that hold attributes.
const (
	RegionAttrs = "mark.region"
	TaskAttrs   = "mark.task"
)

// On reports whether a trace is being recorded. Marks look for themselves; it
// spares a program the making of attributes that are dear to make.
func On() bool { return trace.IsEnabled() }

// Do calls f and marks the call as a region with this name. The region belongs
// to the task of ctx, if there is one, and to the goroutine that calls Do; it
// ends when f returns, panics or ends the goroutine. Regions may nest.
func Do(ctx context.Context, name string, f func(), attrs ...Attr) {
	if !trace.IsEnabled() {
		f()
		return
	}
	defer begin(ctx, name, attrs).End()
	f()
}

// Call is Do for a function that returns a value and an error.
func Call[T any](ctx context.Context, name string, f func() (T, error), attrs ...Attr) (T, error) {
	if !trace.IsEnabled() {
		return f()
	}
	defer begin(ctx, name, attrs).End()
	return f()
}

// begin stays out of its callers so that these are small while no trace runs.
//
//go:noinline
func begin(ctx context.Context, name string, attrs []Attr) *trace.Region {
	r := trace.StartRegion(ctx, name)
	if len(attrs) > 0 {
		trace.Log(ctx, RegionAttrs, message(attrs))
	}
	return r
}

// Task is a piece of work that may move between goroutines. A nil Task is one
// that began while no trace was being recorded; it can be used like any other.
type Task struct {
	task  *trace.Task
	ended atomic.Bool
}

// Begin begins a task with this name. Regions, events and tasks that are marked
// with the context it returns belong to the task. While no trace is being
// recorded the context is ctx itself and the task nil.
func Begin(ctx context.Context, name string, attrs ...Attr) (context.Context, *Task) {
	if !trace.IsEnabled() {
		return ctx, nil
	}
	return beginTask(ctx, name, attrs)
}

//go:noinline
func beginTask(ctx context.Context, name string, attrs []Attr) (context.Context, *Task) {
	ctx, task := trace.NewTask(ctx, name)
	if len(attrs) > 0 {
		trace.Log(ctx, TaskAttrs, message(attrs))
	}
	return ctx, &Task{task: task}
}

// End ends the task. It may be called on any goroutine, and more than once: the
// first call counts.
func (t *Task) End() {
	if t != nil && t.ended.CompareAndSwap(false, true) {
		t.task.End()
	}
}

// Event marks a moment, with its attributes. It belongs to the task of ctx.
func Event(ctx context.Context, name string, attrs ...Attr) {
	if trace.IsEnabled() {
		event(ctx, name, attrs)
	}
}

//go:noinline
func event(ctx context.Context, name string, attrs []Attr) {
	trace.Log(ctx, name, message(attrs))
}
