package gotrace

import (
	"slices"

	"chokepoint/harness/signal/requests"
	"chokepoint/harness/signal/stack"
)

// maxPairs bounds the pairs of places of which something is remembered. There
// are some hundreds; a damaged trace may have as many as it has events.
const maxPairs = 1 << 17

type derivedKey struct {
	kind requests.Kind
	of   requests.PartID
	name string
}

// slots number the parts that a place itself keeps.
type slot uint8

const (
	slotWait slot = iota
	slotPreempted
	slotRunnable
	slotStopped
	slotSyscall
	slotAssist
	slotSample
	slots
)

// waitPart is the part of a wait on a stack, for what the scan blames it on.
func (w *serving) waitPart(at *place, blamed stack.Wait) requests.PartID {
	if at != nil && blamed == stack.Runtime && at.wait != stack.Runtime {
		return w.part(at, slotPreempted)
	}
	return w.part(at, slotWait)
}

// part is the part that stands for one place and slot.
func (w *serving) part(at *place, n slot) requests.PartID {
	if at == nil {
		at = w.nowhere
	}
	if id := at.parts[n]; id != 0 {
		return id
	}
	p := requests.Part{Where: at.own, Frames: at.frames, Basis: requests.ByStack}
	if len(at.frames) == 0 {
		p.Basis = requests.Unknown
	}
	if p.Where.IsZero() {
		p.Cause = library(at.frames)
	}
	switch n {
	case slotWait:
		p.Kind = requests.WaitKind(waitOf(at))
		if len(at.frames) == 0 {
			p.Kind, p.Cause = requests.Kind(stack.Other), "a wait from before the trace"
		}
	case slotPreempted:
		p.Kind = requests.Kind(stack.Runtime)
	case slotRunnable:
		p.Kind = requests.Runnable
	case slotStopped:
		p.Kind = requests.Stopped
	case slotSyscall:
		p.Kind = requests.Syscall
		if name := stack.SystemCall(at.frames); name != "" {
			p.Cause = name
		}
	case slotAssist:
		p.Kind = requests.Assisting
	case slotSample:
		p.Kind, p.Basis = requests.Running, requests.BySample
	}
	id := w.parts.Add(p)
	at.parts[n] = id
	return id
}

// derive is a part at the place of another.
func (w *serving) derive(kind requests.Kind, of requests.PartID, name string) requests.PartID {
	key := derivedKey{kind, of, name}
	if id, ok := w.derived[key]; ok {
		return id
	}
	p := w.parts.Get(of)
	p.Kind = kind
	if name != "" {
		p.Cause = name
	}
	id := w.parts.Add(p)
	if len(w.derived) < maxPairs {
		w.derived[key] = id
	}
	return id
}

// span is the part of running from one stack to the next.
func (w *serving) span(a, b *place) requests.PartID {
	if a == nil {
		a = w.nowhere
	}
	if b == nil {
		b = w.nowhere
	}
	if a.next == b {
		return a.span
	}
	key := [2]*place{a, b}
	id, ok := w.spans[key]
	if !ok {
		id = w.parts.Add(w.spanPart(a, b))
		if len(w.spans) < maxPairs {
			w.spans[key] = id
		}
	}
	a.next, a.span = b, id
	return id
}

// What a server does of its own while it runs.
const (
	causeReads   = "the server reads the request"
	causeEnds    = "the server ends the response"
	causeBetween = "between reading the request and answering it, of which nothing was seen"
)

func (w *serving) spanPart(a, b *place) requests.Part {
	p := requests.Part{Kind: requests.Running, Basis: requests.BySpan}
	if f := w.program.Shared(a.frames, b.frames); !f.IsZero() {
		p.Where = f
		p.Frames = outside(b.frames, f)
		return p
	}
	// One of them is in the handler, and the other is net/http's: what lies
	// between is the handler's own function, and a little of net/http.
	for _, at := range []*place{b, a} {
		if at.rank == 0 {
			continue
		}
		for i := len(at.frames) - 1; i >= 0; i-- {
			f := at.frames[i]
			if f.Function != at.endpoint.Function || f.File != at.endpoint.File {
				continue
			}
			p.Frames = at.frames[i:]
			if w.program.Foreign(f) {
				p.Cause = f.Function
			} else {
				p.Where = f
			}
			return p
		}
	}
	if a.stage == stack.NoStage && b.stage == stack.NoStage {
		// A goroutine of the program's that starts or ends here.
		for _, at := range []*place{b, a} {
			if !at.outer.IsZero() {
				p.Where, p.Frames = at.outer, outside(at.frames, at.outer)
				return p
			}
		}
	}
	p.Frames = b.frames
	switch {
	case one(a, stack.Awaiting, stack.Reading, stack.Passing) && one(b, stack.Awaiting, stack.Reading, stack.Passing, stack.Starting):
		p.Cause = causeReads
	case one(a, stack.Ending, stack.Connection, stack.Passing) && one(b, stack.Ending, stack.Awaiting, stack.Reading, stack.Passing, stack.Connection):
		p.Cause = causeEnds
	case a.stage != stack.NoStage && b.stage != stack.NoStage:
		p.Cause, p.Basis = causeBetween, requests.Unknown
	default:
		p.Basis = requests.Unknown
	}
	return p
}

func one(at *place, stages ...stack.Stage) bool { return slices.Contains(stages, at.stage) }

// outside is the stack from a frame outwards.
func outside(frames []stack.Frame, f stack.Frame) []stack.Frame {
	for i := len(frames) - 1; i >= 0; i-- {
		if frames[i] == f {
			return frames[i:]
		}
	}
	return frames
}

// library names what a stack without code of the program is in: the innermost
// function that is not the runtime's or a helper of it.
func library(frames []stack.Frame) string {
	for _, f := range frames {
		if !stack.Plumbing(f) {
			return f.Function
		}
	}
	if len(frames) > 0 {
		return frames[0].Function
	}
	return ""
}
