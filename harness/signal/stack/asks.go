package stack

import (
	"slices"
	"strings"
)

// Asking is what a CPU sample has to do with a loop that asks how things stand instead of
// waiting until they change.
type Asking int

// What it may be.
const (
	// Otherwise: it works, or waits, or no code of the program is on the stack.
	Otherwise Asking = iota
	// Asks: it is in a call that only tells how things stand, or gives or takes what there is,
	// and comes back at once.
	Asks
	// AsksTime: it is in one that tells the time.
	AsksTime
	// Itself: the instructions are the program's own, as those of the loop round such calls.
	Itself
)

// AskingOf tells which. It goes by what the innermost code outside the standard library calls.
func (p Program) AskingOf(frames []Frame) Asking {
	at := slices.IndexFunc(frames, func(f Frame) bool { return !p.Foreign(f) })
	switch {
	case at < 0:
		return Otherwise
	case at == 0:
		return Itself
	}
	switch called := frames[at-1]; {
	case called.Kernel(), called.Function == "runtime.asyncPreempt": // it was interrupted
		return Itself
	case asksTime(called.Function):
		return AsksTime
	case !asks(called.Function):
		return Otherwise
	}
	for _, f := range frames[:at-1] {
		switch f.Function {
		case "runtime.gopark", "runtime.goready", // it waits, or another goes on because of it
			"sync.(*Mutex).lockSlow", "internal/sync.(*Mutex).lockSlow",
			"sync.runtime_SemacquireRWMutexR", "sync.runtime_SemacquireRWMutex": // it contends for a lock
			return Otherwise
		}
	}
	return Asks
}

// asksTime reports whether a function of Go's tells the time, or compares times.
func asksTime(function string) bool {
	switch function {
	case "time.Now", "time.Since", "time.Until", "runtime.nanotime", "time.runtimeNano":
		return true
	}
	return strings.HasPrefix(function, "time.Time.") || strings.HasPrefix(function, "time.(*Time).")
}

// asks reports whether a function of Go's only tells how things stand otherwise: a select, which
// has a default if it comes back; a send that may be turned down; a flag; a lock that is
// free; whether a context is over; and letting others run first.
func asks(function string) bool {
	switch function {
	case "runtime.selectgo", "runtime.selectnbrecv", "runtime.selectnbsend", "runtime.Gosched", "runtime.chanlen",
		"reflect.Select", "reflect.Value.TryRecv", "reflect.Value.TrySend":
		return true
	}
	for _, prefix := range []string{
		"sync/atomic.", "internal/runtime/atomic.",
		"sync.(*Mutex).", "internal/sync.(*Mutex).", "sync.(*RWMutex).",
	} {
		if strings.HasPrefix(function, prefix) {
			return true
		}
	}
	return strings.HasPrefix(function, "context.") && (strings.HasSuffix(function, ").Err") || strings.HasSuffix(function, ").Done"))
}
