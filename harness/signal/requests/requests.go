// Package requests accounts for where each request's time went.
//
// A Recorder is told of requests as a trace is read: when one begins, what its
// goroutine did for how long, and when it ends. It keeps one small record a
// request and the distinct parts once, so that memory is bounded however long
// the trace; Table sums the records up by percentile band and by endpoint, and
// Profile as a pprof profile. Kernel is the kernel's side of it: intervals in
// which a goroutine had a thread and the thread no CPU.
//
// Times are CLOCK_MONOTONIC in nanoseconds throughout.
package requests

import (
	"chokepoint/harness/signal/stack"
)

// Kind is what a request's goroutine was doing. A wait that it entered itself
// has the name of the stack.Wait.
type Kind string

// The kinds beside the waits.
const (
	// Running on a CPU. Where the kernel's view is missing it is all that the
	// runtime takes for running, which includes RunQueue and ThreadAsleep.
	Running Kind = "running"
	// RunQueue: the runtime takes it for running or in a system call; its thread
	// is runnable and has no CPU, because others have.
	RunQueue Kind = "run queue"
	// ThreadAsleep: the runtime takes it for running; the kernel has put its
	// thread to sleep, for a page say.
	ThreadAsleep Kind = "thread asleep"
	Runnable     Kind = "waiting for a P"
	Stopped      Kind = "stop-the-world"
	Assisting    Kind = "gc assist" // running, to help the collector
	Syscall      Kind = "syscall"
)

// WaitKind is the kind of a wait.
func WaitKind(w stack.Wait) Kind {
	if w == stack.Assist {
		return Assisting
	}
	return Kind(w)
}

// Basis says how the line of a part is known.
type Basis string

// The bases.
const (
	// ByStack: the goroutine stood on this stack for all of the time.
	ByStack Basis = "stack"
	// BySample: a CPU sample of that time was taken here.
	BySample Basis = "sample"
	// BySpan: the goroutine was inside this function at the start and at the end of
	// the time, or entered or left it in between; the line is where it got to.
	BySpan Basis = "span"
	// ByPattern: of a wait from before the trace, only what came after it was seen,
	// and that came after waits at this line nearly always (95% of at least 10).
	ByPattern Basis = "pattern"
	// ByProfile: of a wait from before the trace nothing was seen; nearly all the
	// goroutines in a handler stood here when the goroutine profile was taken.
	ByProfile Basis = "profile"
	// Unknown: nothing says where.
	Unknown Basis = "unknown"
)

// Part is one thing that requests spent time on. Parts are compared by what
// they say; a Recorder keeps each once.
type Part struct {
	Kind Kind
	// Where is the line of the program; zero if none is on the stack.
	Where stack.Frame
	// Cause names what the time went to where that is more than the kind: the
	// system call, or the phase of net/http's server.
	Cause string
	// Frames is the stack, innermost first; nil if it is not known.
	Frames []stack.Frame
	Basis  Basis
}

// Explained reports whether the part is attributed: to a line of the program,
// or to a named cause in the kernel, the runtime or the standard library. A kind
// that names its cause needs no line; of the others (running, a wait, a system
// call) it must be known where.
func (p Part) Explained() bool {
	switch p.Kind {
	case Runnable, Stopped, RunQueue, ThreadAsleep, Assisting:
		return true
	}
	return p.Basis != Unknown && (!p.Where.IsZero() || p.Cause != "")
}

// PartID is a part, as Parts numbers them.
type PartID uint32

// Parts numbers the parts of one trace.
type Parts struct {
	list []Part
	lost int64
}

// NewParts makes a list of the reserved parts.
func NewParts() *Parts {
	return &Parts{list: []Part{
		PartOther:     {Kind: Kind(stack.Other), Cause: "more parts than are kept apart", Basis: Unknown},
		PartNotSeen:   {Kind: Kind(stack.Other), Cause: "before its first event in the trace", Basis: Unknown},
		PartElsewhere: {Kind: Kind(stack.Other), Cause: "not on the goroutine it began on", Basis: Unknown},
	}}
}

// Add numbers a part. The caller asks once for each: parts are not compared.
// Those beyond MaxParts are one.
func (l *Parts) Add(p Part) PartID {
	if len(l.list) >= MaxParts {
		l.lost++
		return PartOther
	}
	l.list = append(l.list, p)
	return PartID(len(l.list) - 1)
}

// Set says what a part turned out to be. Those that there always are stay.
func (l *Parts) Set(id PartID, p Part) {
	if id > PartElsewhere {
		l.list[id] = p
	}
}

// Get is the part of that number.
func (l *Parts) Get(id PartID) Part { return l.list[id] }

// use is time that a request spent on a part.
type use struct {
	part PartID
	ns   int64
}

// Flags of a request.
const (
	cutStart  = 1 << iota // it began before the trace
	cutEnd                // the trace ended before it
	outlived              // a goroutine that it started was still there at its end
	isBounded             // in a table of borders
)

// Open is a request that has begun and not yet ended.
type Open struct {
	StartNS   int64
	Goroutine int64

	seq      uint64
	endpoint EndpointID
	rank     int
	flags    uint16
	uses     []use
	children []use
	started  uint32 // goroutines
	live     int32
	answered int64
}

// Seq is the number of the request, in the order of their beginnings; a
// recorder uses each once.
func (o *Open) Seq() uint64 { return o.seq }

// CutStart notes that the request began before the trace.
func (o *Open) CutStart() { o.flags |= cutStart }

// Add accounts for ns of the request's own goroutine.
func (o *Open) Add(p PartID, ns int64) { o.uses = add(o.uses, p, ns) }

// AddChild accounts for ns of a goroutine that the request started. It is no
// part of the request's own time, which passes meanwhile.
func (o *Open) AddChild(p PartID, ns int64) { o.children = add(o.children, p, ns) }

// ChildStarted notes a goroutine that the request started, or one of those.
func (o *Open) ChildStarted() {
	o.started++
	o.live++
}

// Live is how many goroutines that the request started, or those started, there are.
func (o *Open) Live() int { return int(o.live) }

// ChildEnded notes its end.
func (o *Open) ChildEnded() { o.live-- }

// Requests have few parts; the last one used is the likeliest.
func add(list []use, p PartID, ns int64) []use {
	if ns <= 0 {
		return list
	}
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].part == p {
			list[i].ns += ns
			return list
		}
	}
	if len(list) >= maxParts && p != PartOther {
		return add(list, PartOther, ns)
	}
	return append(list, use{p, ns})
}

const (
	// maxParts bounds the distinct parts of one request. A request of a lab or a
	// real server has 5 to 20.
	maxParts = 256
	// MaxParts bounds the distinct parts of a trace.
	MaxParts = 1 << 16
	// MaxKept bounds the requests whose records are kept one by one, and maxUses
	// the parts in them: about 60 MB in all. Beyond, every other one is dropped;
	// sums stay those of all.
	MaxKept = 1 << 18
	maxUses = 3 << 20
	// keptSlowest requests are kept whatever is dropped.
	keptSlowest = 10
)

// The parts that there always are.
const (
	PartOther     PartID = iota // those beyond what is kept apart
	PartNotSeen                 // before the first stack of the goroutine
	PartElsewhere               // of a task, after its goroutine ended
)
