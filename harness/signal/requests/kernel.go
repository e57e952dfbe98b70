package requests

import (
	"cmp"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/stack"
)

// Kernel is what the kernel saw of goroutines: when they had a thread and the
// thread no CPU, and their slow system calls. The zero value knows nothing.
type Kernel struct {
	byGoroutine map[int64]*Cursor
	cuts        int64
	hasCuts     bool
	hasSlow     bool
}

// NewKernel indexes the two documents; either may be nil.
func NewKernel(cuts *bundle.Cuts, slow *bundle.SlowCalls) *Kernel {
	k := &Kernel{byGoroutine: map[int64]*Cursor{}, hasCuts: cuts != nil, hasSlow: slow != nil}
	of := func(goid int64) *Cursor {
		c := k.byGoroutine[goid]
		if c == nil {
			c = &Cursor{}
			k.byGoroutine[goid] = c
		}
		return c
	}
	if cuts != nil {
		for _, x := range cuts.Intervals {
			if x.GoID != 0 && x.BackNS > x.LeftNS {
				c := of(x.GoID)
				c.cuts = append(c.cuts, x)
				k.cuts++
			}
		}
	}
	if slow != nil {
		for _, x := range slow.Calls {
			if x.GoID != 0 && x.NS > 0 {
				c := of(x.GoID)
				c.slow = append(c.slow, x)
			}
		}
	}
	for _, c := range k.byGoroutine {
		slices.SortStableFunc(c.cuts, func(a, b bundle.Cut) int { return cmp.Compare(a.LeftNS, b.LeftNS) })
		slices.SortStableFunc(c.slow, func(a, b bundle.SlowCall) int { return cmp.Compare(a.StartNS, b.StartNS) })
	}
	return k
}

// HasCuts reports whether it is known when threads lost their CPUs.
func (k *Kernel) HasCuts() bool { return k != nil && k.hasCuts }

// HasSlow reports whether slow system calls are known one by one.
func (k *Kernel) HasSlow() bool { return k != nil && k.hasSlow }

// Of is what is known of one goroutine; nil for nothing. A cursor moves forward
// only, and serves one reading of a trace.
func (k *Kernel) Of(goroutine int64) *Cursor {
	if k == nil {
		return nil
	}
	c := k.byGoroutine[goroutine]
	if c != nil {
		*c = Cursor{cuts: c.cuts, slow: c.slow}
	}
	return c
}

// Cursor is the kernel's events of one goroutine, in the order of time.
type Cursor struct {
	cuts  []bundle.Cut
	slow  []bundle.SlowCall
	nextC int
	nextS int
}

// OffCPU is the part of an interval for which a goroutine's thread had no CPU.
type OffCPU struct {
	AsleepNS int64
	QueuedNS int64
	Cuts     int
	// Syscall is the one that the longest of the sleeps was in; empty for none.
	Syscall string
	// Slow is the slow system call that overlaps the interval most; nil for none.
	Slow *bundle.SlowCall
}

// Zero reports whether the kernel has nothing to say of the interval.
func (o OffCPU) Zero() bool { return o.Cuts == 0 && o.Slow == nil }

// In says what the kernel saw in [from, to). Intervals are asked for in the
// order of time and do not overlap. Cuts of one goroutine do not overlap either,
// as it has one thread at a time; where a damaged recording has them do so, the
// time is counted once.
func (c *Cursor) In(from, to int64) (off OffCPU) {
	if c == nil || to <= from {
		return off
	}
	for c.nextC < len(c.cuts) && c.cuts[c.nextC].BackNS <= from {
		c.nextC++
	}
	done := from
	var longest int64
	for _, x := range c.cuts[c.nextC:] {
		if x.LeftNS >= to {
			break
		}
		left, back := max(x.LeftNS, done), min(x.BackNS, to)
		if back <= left {
			continue
		}
		off.Cuts++
		woken := left
		if x.State != "runnable" {
			woken = back
			if x.WokenNS != 0 {
				woken = min(max(x.WokenNS, left), back)
			}
		}
		off.AsleepNS += woken - left
		off.QueuedNS += back - woken
		if woken-left > longest {
			longest = woken - left
			off.Syscall = x.Syscall
		}
		done = back
	}
	for c.nextS < len(c.slow) && c.slow[c.nextS].StartNS+c.slow[c.nextS].NS <= from {
		c.nextS++
	}
	longest = 0
	for i := c.nextS; i < len(c.slow) && c.slow[i].StartNS < to; i++ {
		x := &c.slow[i]
		if ns := min(x.StartNS+x.NS, to) - max(x.StartNS, from); ns > longest {
			longest = ns
			off.Slow = x
		}
	}
	return off
}

// keptBorders is how many of the longest delays across the border are kept.
const keptBorders = 20

// Border is one delay of a request across the border of runtime and kernel: for
// one interval, what each of them takes it for. A goroutine that the runtime
// takes for running or in a system call may have been neither.
type Border struct {
	Endpoint       string `json:"endpoint"`
	RequestStartNS int64  `json:"request_start_ns"`
	RequestNS      int64  `json:"request_ns"` // as much as the trace saw of it
	Goroutine      int64  `json:"goroutine"`
	// Stack is the goroutine's, innermost first; empty if not known.
	Stack []bundle.Frame `json:"stack,omitempty"`
	Where bundle.Frame   `json:"where,omitzero"`
	// Cause is the runtime's name of the system call, or what net/http did.
	Cause string `json:"cause,omitempty"`
	// The runtime's view.
	StartNS   int64  `json:"start_ns"`
	RuntimeNS int64  `json:"runtime_ns"`
	State     string `json:"state"` // "running" or "syscall"
	// The kernel's view of the same interval.
	Syscall    string `json:"syscall,omitempty"`    // the kernel's name for it
	SyscallNS  int64  `json:"syscall_ns,omitempty"` // 0: shorter than the recording's threshold
	AsleepNS   int64  `json:"asleep_ns"`            // the thread slept
	RunQueueNS int64  `json:"run_queue_ns"`         // it was runnable and had no CPU
	Child      bool   `json:"of_started,omitempty"` // of a goroutine that the request started
}

type border struct {
	Border
	frames []stack.Frame
	where  stack.Frame
	delay  int64
	seq    uint64

	endpoint EndpointID
}

// Border offers an interval of the request's goroutine for the table of the
// longest delays.
func (r *Recorder) Border(o *Open, goroutine, from, to int64, inSyscall bool, p PartID, off OffCPU, child bool) {
	delay := off.AsleepNS + off.QueuedNS
	if off.Slow != nil {
		x := off.Slow
		delay = max(delay, min(x.StartNS+x.NS, to)-max(x.StartNS, from))
	}
	if delay <= r.atBorder {
		return
	}
	b := border{
		Border: Border{
			RequestStartNS: o.StartNS, Goroutine: goroutine, StartNS: from, RuntimeNS: to - from, State: "running",
			Syscall: off.Syscall, AsleepNS: off.AsleepNS, RunQueueNS: off.QueuedNS, Child: child,
			Cause: r.parts.list[p].Cause,
		},
		delay: delay, seq: o.seq, frames: r.parts.list[p].Frames, where: r.parts.list[p].Where,
	}
	if inSyscall {
		b.State = "syscall"
	}
	if off.Slow != nil {
		b.Syscall, b.SyscallNS = off.Slow.Syscall, off.Slow.NS
	}
	at, _ := slices.BinarySearchFunc(r.borders, b, func(a, b border) int {
		return cmp.Or(-cmp.Compare(a.delay, b.delay), cmp.Compare(a.StartNS, b.StartNS), cmp.Compare(a.Goroutine, b.Goroutine))
	})
	r.borders = slices.Insert(r.borders, at, b)
	if len(r.borders) > keptBorders {
		r.borders = r.borders[:keptBorders]
		r.atBorder = r.borders[keptBorders-1].delay
	}
	o.flags |= isBounded
}

func (r *Recorder) endBorders(o *Open, end int64) {
	if o.flags&isBounded == 0 {
		return
	}
	for i := range r.borders {
		if b := &r.borders[i]; b.seq == o.seq {
			b.RequestNS = end - o.StartNS
			b.endpoint = o.endpoint
		}
	}
}

func (r *Recorder) dropBorders(o *Open) {
	if o.flags&isBounded == 0 {
		return
	}
	r.borders = slices.DeleteFunc(r.borders, func(b border) bool { return b.seq == o.seq })
	r.atBorder = 0
}

// Borders are the longest delays, longest first.
func (r *Recorder) Borders() []Border {
	out := []Border{}
	for _, b := range r.borders {
		b.Endpoint = r.name(b.endpoint)
		b.Stack = frames(b.frames)
		b.Where = frame(b.where)
		out = append(out, b.Border)
	}
	return out
}

func frames(fs []stack.Frame) []bundle.Frame {
	var out []bundle.Frame
	for _, f := range fs {
		out = append(out, frame(f))
	}
	return out
}

func frame(f stack.Frame) bundle.Frame {
	return bundle.Frame{Function: f.Function, File: f.File, Line: f.Line}
}
