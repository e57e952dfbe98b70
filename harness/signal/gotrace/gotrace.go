// Package gotrace reduces a Go execution trace to what signals are made of:
// where requests spent their time, who held the locks they waited for, what
// the finalizers did, and what ran.
//
// It reads the trace once, streaming, and keeps one small record a goroutine.
// Times are those of the trace's clock, CLOCK_MONOTONIC in nanoseconds.
package gotrace

import (
	"errors"
	"fmt"
	"io"
	"sort"

	"golang.org/x/exp/trace"

	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/requests"
	"chokepoint/harness/signal/stack"
)

const (
	keptRunning = 8
	keptStacks  = 20000 // distinct sample stacks; those beyond are counted as one without frames
)

// Read reduces the trace from r. Frames are attributed to the program that p
// describes. A trace that ends early gives what was read, with Cut set; only a
// trace of which nothing can be read is an error.
func Read(r io.Reader, p stack.Program) (*Summary, error) { return ReadWith(r, p, Beside{}) }

// Beside is what else is known of the goroutines in a trace.
type Beside struct {
	// Kernel is the kernel's view of them, by which what the runtime takes for
	// running or for a system call is told apart; nil for none.
	Kernel *requests.Kernel
	// Parked is where nearly all goroutines stood that were in a handler when the
	// goroutine profile was taken; nil if that was no one place, or not captured.
	Parked []stack.Frame
	// Names is what is known of the names of functions beyond what each one tells; nil
	// for nothing.
	Names *gofunc.Names
	// TakesSlot reports whether a goroutine waits on a stack as stack.Program.TakesSlot has it,
	// where that is known by more than the stack; nil for nothing.
	TakesSlot func([]stack.Frame) bool
	// Sends reports whether a goroutine that waits on a stack waits to send to a channel, be it in
	// a select; nil for nothing.
	Sends func([]stack.Frame) bool
}

// ReadWith is Read with what else is known.
func ReadWith(r io.Reader, p stack.Program, b Beside) (*Summary, error) {
	tr, err := open(r)
	if err != nil {
		return nil, fmt.Errorf("read execution trace: %w", err)
	}
	s := newScan(p, b)
	if err := s.events(tr); err != nil {
		if s.sum.Events == 0 {
			return nil, fmt.Errorf("read execution trace: %w", err)
		}
		s.sum.Cut = fmt.Sprintf("after %d events: %v", s.sum.Events, err)
	}
	if s.sum.Events == 0 {
		return nil, errors.New("read execution trace: it holds no events")
	}
	return s.finish(), nil
}

type scan struct {
	program   stack.Program
	names     *gofunc.Names
	takesSlot func([]stack.Frame) bool // of Beside; nil for nothing
	sends     func([]stack.Frame) bool // likewise
	sum       Summary
	started   bool
	last      int64

	places   map[trace.Stack]*place
	interned map[string]*place
	gs       map[trace.GoID]*goroutine

	requests, all *ledger
	locks         *locks
	queues        *queues
	finalizers    map[trace.GoID]*finalizing
	samples       map[*place]int64
	other         *place // stands for stacks beyond keptStacks; it has no frames
	yields        map[*place]int64
	syscalls      map[stack.Frame]*SiteCount
	beside        beside
	ranges        map[string]int64 // open global ranges, by name, since
	paths         *paths
	moments       *moments
	serving       *serving
	sched         scheduler
	states        states
	lives         *lives
	heap          heapGoal
	hung          hung
	relays        relays
	slots         slotWaits
	gatherings    *gatherings
	heldPs        heldPs
	lines         []*writers
	stopper       *goroutine // that stopped the world last

	lastStack trace.Stack // and its place: events come in pairs with the same
	lastPlace *place
	lastG     [recentGs]recentG
	free      []*goroutine
	// endedTasks are of the EventTaskEnds that come next.
	endedTasks []trace.TaskID
	parked     map[*place]*Parked

	leastRunning int64 // what a goroutine must have run to be among the longest
}

func newScan(p stack.Program, b Beside) *scan {
	return &scan{
		program: p, names: b.Names, takesSlot: b.TakesSlot, sends: b.Sends,
		places: map[trace.Stack]*place{}, interned: map[string]*place{},
		gs:       map[trace.GoID]*goroutine{},
		requests: newLedger(0), all: newLedger(1),
		locks:      newLocks(p),
		queues:     newQueues(),
		finalizers: map[trace.GoID]*finalizing{},
		samples:    map[*place]int64{},
		yields:     map[*place]int64{},
		other:      &place{},
		syscalls:   map[stack.Frame]*SiteCount{},
		beside:     beside{},
		ranges:     map[string]int64{},
		paths:      newPaths(),
		moments:    newMoments(),
		serving:    newServing(p, b),
		sched:      newScheduler(b.Kernel),
		lives:      newLives(),
		gatherings: newGatherings(),
		heldPs:     newHeldPs(),
		parked:     map[*place]*Parked{},
	}
}

func (s *scan) event(ev *trace.Event) {
	now := int64(ev.Time())
	if !s.started {
		s.started = true
		s.sum.StartNS = now
		s.moments.begin(now)
		s.states.begin(now)
	}
	kind := ev.Kind()
	if kind != trace.EventSync {
		// The reader makes up sync events, also for a trace that holds nothing.
		s.sum.Events++
	}
	s.last = max(s.last, now)
	switch kind {
	case trace.EventSync:
		// Stack handles belong to a generation, which this event ends; keeping
		// them would keep its tables alive.
		clear(s.places)
		s.lastStack, s.lastPlace = trace.NoStack, nil
	case trace.EventStateTransition:
		st := ev.StateTransition()
		switch st.Resource.Kind {
		case trace.ResourceGoroutine:
			s.transition(ev, &st, now)
		case trace.ResourceProc:
			from, to := st.Proc()
			s.sched.proc(st.Resource.Proc(), to, now)
			s.states.proc(from, to, now)
			if to != trace.ProcRunning {
				s.heldPs.release(st.Resource.Proc(), now)
			}
		}
	case trace.EventMetric:
		s.sched.metric(ev, now)
		s.heap.metric(ev, &s.sum.GC)
	case trace.EventTaskBegin, trace.EventTaskEnd:
		id := s.taskOf(ev)
		s.taskEvent(ev, id, now)
		s.marked(ev, id, now)
	case trace.EventStackSample:
		s.sample(ev)
	case trace.EventRangeBegin, trace.EventRangeActive, trace.EventRangeEnd:
		s.span(ev, now)
	case trace.EventRegionBegin, trace.EventRegionEnd, trace.EventLog:
		s.marked(ev, trace.NoTask, now)
	}
}

func (s *scan) transition(ev *trace.Event, st *trace.StateTransition, now int64) {
	id := st.Resource.Goroutine()
	from, to := st.Goroutine()
	s.sched.transition(from, to, now)
	s.states.goroutine(from, to, now)
	g := s.goroutine(id)
	at := s.place(st.Stack)
	if g == nil {
		g = s.newGoroutine()
		g.since, g.ran = now, now
		if from == trace.GoUndetermined {
			// It was in this state since before the trace began.
			g.since, g.ran = s.sum.StartNS, s.sum.StartNS
			g.state = stateOf(to)
			g.service.early = true
		}
		s.gs[id] = g
		s.lastG[uint64(id)%recentGs] = recentG{id, g}
		s.settle(g, at)
		switch from {
		case trace.GoUndetermined:
			g.at = at
			g.queue.parked = g.since
			g.blamed = waitOf(at)
			g.hung = g.state == waiting
			if g.state == waiting && g.blamed == stack.Lock {
				s.locks.wait(g, at, g.since)
			}
			s.reach(id, g, at, now, g.state == waiting)
			return
		case trace.GoNotExist:
			s.birth(ev, g, at, now)
			s.inherit(ev, id, g, at, now)
			s.queues.created(g, ev.Goroutine(), s.gs[ev.Goroutine()], now)
		}
	}
	if from == trace.GoSyscall && from != to {
		s.pollEnds(g, now)
	}
	s.chargeTo(id, g, now, at, false)
	if from == to {
		// A generation of the trace begins by telling all states again, and of
		// goroutines that do nothing for long their stacks.
		if at != nil && g.at == nil {
			s.reach(id, g, at, now, to == trace.GoWaiting)
			if g.hung {
				s.settle(g, at)
				g.at, g.blamed = at, waitOf(at)
			}
		}
		return
	}
	g.moved = true
	if g.state == running {
		s.sched.ranFrom(id, g, at, now)
	}
	if from == trace.GoSyscall {
		s.heldPs.leaves(id, now)
	}

	switch {
	case to == trace.GoWaiting:
		s.settle(g, at)
		g.life.waits = min(2, g.life.waits+1)
		g.blamed = waitOf(at)
		if st.Reason == "preempted" {
			// The collector stopped it to scan its stack, wherever it was.
			g.blamed = stack.Runtime
		}
		g.waitsAwake()
		s.tries(g, at, true)
		s.relayBegins(g, at)
		s.blocked(g, at, now)
		s.queueBlocked(g, at, now)
		g.writeBlocked(at, now)
		g.at = at
		s.reach(id, g, at, now, true)
	case from == trace.GoWaiting && to == trace.GoRunnable:
		if g.life.kind == nil {
			s.lives.wokenBy(g, s.place(ev.Stack()))
		}
		if g.at != nil {
			g.at.woken++
		}
		s.wakesHung(ev, g, now)
		s.relayWoken(ev, g)
		s.woken(ev, g, now)
		s.queueWoken(ev, id, g, now)
		s.writeWoken(ev, g, now)
		s.gatherWoken(ev.Goroutine(), g, now)
		s.awoken(id, g, now)
	case to == trace.GoSyscall:
		s.settle(g, at)
		g.at = at
		s.tries(g, at, false)
		g.called(at)
		g.talk.calls(at)
		s.reach(id, g, at, now, false)
		if at != nil && at.ours && !g.diag {
			s.syscallsAt(at).Count++
			s.heldPs.enters(id, g, ev.Proc(), s.syscallsAt(at), now)
		}
		if g.keepsThread() {
			s.beside.of(g).count++
		}
	case to == trace.GoRunnable && from == trace.GoRunning:
		if at != nil {
			s.yielded(g, at, st.Reason)
			s.settle(g, at)
			g.at = at
			s.reach(id, g, at, now, false)
		}
	case to == trace.GoNotExist:
		g.state = gone
		if !g.diag {
			s.lives.died(g, s.sum.StartNS, now)
		}
		s.over(g)
		s.left(g, now)
		delete(s.gs, id)
		s.paths.goroutineEnded(id)
		s.lastG[uint64(id)%recentGs] = recentG{}
		s.keepRunning(id, g)
		s.keepAwake(id, g)
		if v := g.queue.server; v != nil {
			v.leave()
		}
		s.reuse(g)
		return
	}
	g.state = stateOf(to)
	g.gathers(now)
	g.since = now
	if g.state == running {
		g.ran = now
	}
	if at != nil && at.answers && (to == trace.GoSyscall || to == trace.GoWaiting) {
		g.service.answers(now)
	}
}

func (s *scan) finish() *Summary {
	s.sum.EndNS = s.last
	ids := make([]trace.GoID, 0, len(s.gs))
	for id := range s.gs {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	for _, id := range ids {
		s.lives.last(s.gs[id]) // before what the end of the trace cuts is closed
	}
	s.cutGatherings(ids)
	for _, id := range ids {
		g := s.gs[id]
		if g.state == waiting && g.blamed == stack.Lock {
			s.locks.stillWaiting(g, s.last)
		}
		s.charge(id, g, s.last)
		s.queueCut(id, g)
		if g.state == running {
			s.sched.ranFrom(id, g, nil, s.last)
		}
		s.cut(g)
		s.keepRunning(id, g)
		s.keepAwake(id, g)
		s.park(g)
	}
	s.sum.Kinds = s.lives.finish(s.program, s.sum.DurationNS())
	s.sum.ThreadsBeside = s.beside.finish(s.program)
	s.heldPs.finish(s.last)
	s.finishLines()
	s.finishHung()
	s.finishTasks()
	s.serving.resolve()
	for name := range s.ranges {
		s.endSpan(name, s.last)
	}
	s.sum.MarkedRequestNS, s.sum.MarkedNS = s.paths.requestNS, s.paths.allNS
	s.sum.Paths, s.sum.PathsLost, s.sum.TaskSpans = s.paths.finish(s.last), s.paths.lost, s.paths.spans
	s.sum.Moments = s.moments.finish(s.sum.EndNS)
	s.sum.Served, s.sum.Tasks = s.serving.http, s.serving.tasks
	s.sum.Scheduler = s.sched.finish(s.last)
	s.sum.Scheduler.States = s.states.finish(s.last)
	s.sum.Requests = s.requests.account()
	s.sum.Program = s.all.account()
	s.finishGatherings()
	s.sum.Locks = s.locks.list()
	for _, at := range s.interned {
		if at.queue != nil {
			at.queue.callers.add(at, at.queued)
		}
	}
	s.sum.Queues = s.queues.list(s.sum.DurationNS(), s.sum.Requests.TotalNS > 0)
	s.sum.Slots, s.sum.SlotsUnknown = s.slots.finish(), s.slots.unknown
	s.finishFinalizers()
	s.finishSites()
	s.finishPlaces()
	return &s.sum
}
