package signal

import (
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// holderSignals tell what holds up who holds the lock that costs requests most, since each
// asks for a remedy of its own: work on a CPU, a peer that takes nothing or does not
// answer, or a library that does not let the program in.
func holderSignals() []definition {
	const dim = bundle.DimTrace
	return []definition{
		number("trace.lock_holder_work_share", dim, Share, holderWork,
			"Share of the holder's time under that lock spent running, where that is most of it."),
		place("trace.lock_holder_work_site", dim, holderWorkSite,
			"The innermost line, of the program or of a library, where most of the CPU samples in the trace are of which the stack is in the function that takes that lock, where its holder runs for most of its time."),
		number("trace.lock_holder_write_share", dim, Share, heldUpShare(writing, room),
			"Share of the holder's time under that lock spent in writes for which the peer of a connection makes no room; where nobody released it for most of the trace, of the trace's length, by one who holds a lock."),
		place("trace.lock_holder_write_site", dim, heldUpSite(writing, room),
			"Where that is, where it is most of that time."),
		number("trace.lock_holder_answer_share", dim, Share, heldUpShare(reading, answers),
			"Share of the holder's time under that lock spent waiting for a peer's answer or to connect to it; where nobody released it for most of the trace, of the trace's length, by one who holds a lock."),
		place("trace.lock_holder_answer_site", dim, heldUpSite(reading, answers),
			"Where that is, where it is most of that time."),
		number("trace.lock_holder_hung", dim, Count, holderHung,
			"Waits for an answer at that line that last all of the trace, where hardly any such wait ends, as for trace.upstream_stuck_share; 0 for fewer than three."),
		place("trace.lock_asking_site", dim, lockAsking,
			"The program's line where goroutines wait longest for that lock, where none of the program's code is on the stack of who holds it most: the library's own goroutine."),
	}
}

const (
	// mostOfHold is the share from which on something is what a hold is spent on.
	mostOfHold = 0.5
	// offCPU is the share of a hold that must be spent off the CPU before it matters where:
	// without it the hold would be shorter by no more than a ninth.
	offCPU = 0.1
)

// reading and writing are the waits for a peer that holders are seen in.
var (
	writing = []string{string(stack.NetWrite)}
	reading = []string{string(stack.NetRead), string(stack.HTTPClient), string(stack.NetConnect)}
)

func holderWork(e *evidence) (float64, error) {
	v, err := holderDoing("running")(e)
	if err == nil && v <= mostOfHold {
		return 0, errNone
	}
	return v, err
}

// holderWorkSite looks into the function that takes the lock and what that calls. It does
// as well what is done there without the lock, and that is left out where the line tells.
func holderWorkSite(e *evidence) (stack.Frame, error) {
	if _, err := holderWork(e); err != nil {
		return stack.Frame{}, err
	}
	c, err := e.contention()
	if err != nil {
		return stack.Frame{}, err
	}
	h, _ := c.holder()
	taken := lockTaken(e, h)
	if l := c.lock.Library; !l.IsZero() {
		taken = baseFrame(l)
	}
	sums := map[stack.Frame]int64{}
	for _, x := range c.trace.Samples {
		if stack.Unlocks(x.Frames) || e.program.WaitOf(x.Frames) == stack.Lock {
			continue
		}
		var inner stack.Frame
		for _, f := range x.Frames {
			if inner.IsZero() && !e.program.Foreign(f) {
				inner = f
			}
			if gofunc.Base(f.Function) == taken.Function {
				if f.Line > taken.Line {
					sums[baseFrame(inner)] += x.Count
				}
				break
			}
		}
	}
	if t := top(ranked(sums)); t.value >= fewestSamples {
		return t.where, nil
	}
	return stack.Frame{}, errNone
}

// heldUp is what those who hold a lock wait for, as a share of that, and most of it where.
type heldUp struct {
	share float64
	where stack.Frame
}

func heldUpShare(what []string, want wanted) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		h, err := e.heldUp(what, want)
		return h.share, err
	}
}

func heldUpSite(what []string, want wanted) func(*evidence) (stack.Frame, error) {
	return func(e *evidence) (stack.Frame, error) {
		h, err := e.heldUp(what, want)
		if err != nil {
			return stack.Frame{}, err
		}
		if h.share <= mostOfHold {
			return stack.Frame{}, errNone
		}
		return h.where, nil
	}
}

// heldUp asks those who let go of the lock. Where nobody did for most of the trace, it is
// held by somebody who has not yet, and who holds any lock is asked.
func (e *evidence) heldUp(what []string, want wanted) (heldUp, error) {
	c, err := e.contention()
	if err != nil {
		return heldUp{}, err
	}
	switch holder, released := c.holder(); {
	case c.waited == 0:
		return heldUp{}, errNone
	case c.kept():
		return e.keptFrom(c.trace, want)
	case !released || holder.ObservedNS == 0:
		return heldUp{}, errNone
	default:
		share, err := holderDoing(what...)(e)
		return heldUp{share, holderIn(holder, what)}, err
	}
}

// holderHung is how many wait where who holds the lock waits for an answer, if those hang.
func holderHung(e *evidence) (float64, error) {
	at, err := heldUpSite(reading, answers)(e)
	if err != nil {
		return 0, err
	}
	list, _, _, err := e.stuck(answers)
	if err != nil {
		return 0, err
	}
	for _, h := range list {
		if baseFrame(h.where) == at {
			return float64(h.count), nil
		}
	}
	return 0, nil
}

// kept reports whether nobody has let go of the lock for most of the trace.
func (c contention) kept() bool {
	_, released := c.holder()
	return !released || c.trace.EndNS-c.lock.ReleasedNS > c.trace.DurationNS()/2
}

// holderIn is where a holder spends most of its time in one of these.
func holderIn(h gotrace.Holder, what []string) stack.Frame {
	at := map[stack.Frame]int64{}
	for _, d := range h.Doing {
		for _, w := range what {
			if d.What == w {
				at[baseFrame(d.Where)] += d.NS
			}
		}
	}
	return top(ranked(at)).where
}

// keptFrom is the wait for a peer, of those wanted, in which goroutines that hold a lock
// have stood longest when the trace ended. Which lock somebody holds is not known, but a lock
// that a package keeps to itself is waited for in that package: those whose package nobody
// waits in hold something else.
func (e *evidence) keptFrom(s *gotrace.Summary, want wanted) (heldUp, error) {
	c, err := e.callsByFunction()
	if err != nil {
		return heldUp{}, err
	}
	seen := c.waited(e.program, standingInTrace(s))
	wanted := map[string]bool{} // packages in which somebody waits for a lock
	for _, p := range s.Parked {
		if p.Wait == stack.Lock {
			for _, f := range c.takers(e.program, p.Frames) {
				wanted[gofunc.Package(f.Function)] = true
			}
		}
	}
	var most heldUp
	for _, p := range s.Parked {
		if !want(e.program.PeerOf(p.Frames)) {
			continue
		}
		if !slices.ContainsFunc(p.Frames, func(f stack.Frame) bool {
			held, holds := c.holds(e.program, []stack.Frame{f})
			if !holds {
				held, holds = seen.holds(e.program, []stack.Frame{f})
			}
			return holds && wanted[gofunc.Package(held.Function)]
		}) {
			continue
		}
		if v := min(1, share(p.StoodNS, p.Goroutines*s.DurationNS())); v > most.share {
			most = heldUp{v, baseFrame(e.program.Asker(p.Frames))}
		}
	}
	return most, nil
}

// takers are the innermost frames that are not Go's own of who waits for a lock: the one that
// takes it, and before that any that takes it for its caller.
func (c calls) takers(p stack.Program, frames []stack.Frame) (found []stack.Frame) {
	for _, f := range frames {
		if p.Foreign(f) {
			continue
		}
		found = append(found, f)
		if !c.locking.Locks[gofunc.Base(f.Function)] {
			break
		}
	}
	return found
}

// lockAsking is for locks that only a library's own goroutine holds: what the program has to
// do with them is that it waits.
func lockAsking(e *evidence) (stack.Frame, error) {
	c, err := e.contention()
	if err != nil {
		return stack.Frame{}, err
	}
	h, ok := c.holder()
	if !ok || e.program.MainModule == "" || e.program.Mine(h.Unlock) || e.program.Mine(h.Acquire) {
		return stack.Frame{}, errNone
	}
	for _, w := range c.lock.Waiters {
		if e.program.Mine(w.Where) {
			return baseFrame(w.Where), nil
		}
	}
	return stack.Frame{}, errNone
}
