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
	"strings"

	"golang.org/x/exp/trace"

	"chokepoint/harness/signal/requests"
	"chokepoint/harness/signal/stack"
)

// Summary is what one trace says.
type Summary struct {
	StartNS, EndNS int64
	Events         int64
	// Cut says where reading ended early, and why; empty for a whole trace.
	Cut string
	// Requests is the time of goroutines while they serve a request: those of
	// net/http's server, from the first event inside a handler to the next
	// wait outside one.
	Requests Account
	// Program is the time of all goroutines that have code of the program on
	// their stack, requests included.
	Program Account
	Locks   []Lock // by contended time, largest first
	// Queues are what goroutines wait for each other for elsewhere than at locks, by
	// request time, then all time, largest first.
	Queues []Queue
	// Finalizers are the goroutines that run finalizers and cleanups.
	Finalizers []Finalizer
	// Samples are the CPU samples inside the trace; present only while a CPU
	// profile ran.
	Samples []Sample
	// Running holds the goroutines that ran longest, largest first.
	Running []Running
	// Syscalls sums up the goroutines' system calls by the program's line.
	Syscalls []SiteCount
	GC       Collector
	// Kinds are goroutines by the function they start in, those first of which
	// there were most more at the end of the trace than at its beginning.
	Kinds []Kind
	// Paths are what the program itself marked, by request time, then all time.
	// PathsLost counts marks under more names than are kept.
	Paths     []Path
	PathsLost int64
	// MarkedRequestNS and MarkedNS are the time in requests, and all of it, of
	// goroutines since they first marked something inside the trace. What they were
	// in before is not known: a mark made while no trace runs leaves nothing.
	MarkedRequestNS, MarkedNS int64
	// TaskSpans are the program's tasks that began and ended inside the trace, by end.
	TaskSpans []TaskSpan
	// Moments is when things happened that hold up requests.
	Moments Moments
	// Served are the requests of net/http's server one by one, and Tasks those
	// that the program marks by runtime/trace.NewTask, with their type for endpoint.
	Served    *requests.Recorder
	Tasks     *requests.Recorder
	Scheduler Scheduler
	// Parked are the goroutines that waited when the trace ended, by place, most first.
	Parked []Parked
	// Libraries are the lines of libraries below the program's own, in no order.
	Libraries []Below
	// Runnable is the time that goroutines of the program waited for a P, by the
	// line that they stood at, largest first.
	Runnable []SiteTime
	// Hung is what has waited for peers since before the trace.
	Hung Hung
}

// DurationNS is the length of the trace.
func (s *Summary) DurationNS() int64 { return s.EndNS - s.StartNS }

// Account is goroutine time by what the goroutine did.
type Account struct {
	Goroutines int
	TotalNS    int64
	RunningNS  int64
	RunnableNS int64
	SyscallNS  int64
	Waits      []WaitTime // by time, largest first
}

// WaitNS is the time spent in one kind of wait.
func (a Account) WaitNS(w stack.Wait) int64 {
	var ns int64
	for _, t := range a.Waits {
		if t.Wait == w {
			ns += t.NS
		}
	}
	return ns
}

// WaitTime is time waited for one thing at one line of the program.
type WaitTime struct {
	Wait  stack.Wait
	Where stack.Frame
	NS    int64
}

// Doing is what a holder of a lock was doing, for how long.
type Doing struct {
	What  string // "running", "runnable", "syscall" or a stack.Wait
	Where stack.Frame
	NS    int64
}

// Lock is a group of lock sites that wake each other: one lock, or several
// used alike by the same functions.
type Lock struct {
	// WaitedNS is the goroutine time spent waiting; Requests' part of it apart.
	WaitedNS        int64
	RequestWaitedNS int64
	Waiters         []LockWaiter // the Lock lines waited at, by time
	// Caller is the Caller of most of that waiting; zero where most of it has none.
	Caller stack.Frame
	// Holders are the functions whose Unlock ended waits. A holder's time is
	// that from the previous release of the lock, or from when the wait began
	// if that was later, to its own release.
	Holders []Holder
}

// LockWaiter is time waited for a lock at one line of the program.
type LockWaiter struct {
	Where stack.Frame
	Reads bool // in RLock of an RWMutex
	NS    int64
}

// SiteTime is time at one line of the program.
type SiteTime struct {
	Where stack.Frame
	NS    int64
}

// SiteCount is a number of system calls, and their time, at one line of the program.
type SiteCount struct {
	Where stack.Frame
	Count int64
	NS    int64
	// RequestNS is the part of NS that passed in requests.
	RequestNS int64
	// QueuedNS is the time that goroutines waited there for their turn at the file
	// or connection, and QueuedRequestNS the part of it in requests.
	QueuedNS, QueuedRequestNS int64
	// Blocking is what the call that took longest there is good for.
	Blocking stack.Blocking

	blockingNS [4]int64 // by stack.Blocking
}

// Holder is a function that releases a lock others wait for.
type Holder struct {
	Unlock stack.Frame // where it releases
	// Acquire is where it takes the lock; zero if it never had to wait for it.
	Acquire stack.Frame
	Reads   bool // it held an RWMutex for reading
	NS      int64
	Count   int64
	// Observed is the part of the holds of which it is known what the goroutine did:
	// all from a wait in Lock to the release, and of holds without one what was seen
	// of it while others waited.
	ObservedNS int64
	Doing      []Doing // by time, largest first
}

// Finalizer is one goroutine that runs finalizers or cleanups.
type Finalizer struct {
	// BusyNS is the time it was inside the program's code.
	BusyNS int64
	Sites  []SiteTime // the finalizer function, at the line it was in
	Doing  []Doing
}

// Sample is a group of CPU samples with the same stack.
type Sample struct {
	Frames []stack.Frame
	Count  int64
}

// Running is one goroutine's time in state running, or in system calls.
type Running struct {
	Goroutine int64
	NS        int64
	SyscallNS int64       // of the program's own calls
	Site      stack.Frame // of its CPU samples, the most frequent
}

// Collector is what the garbage collector did.
type Collector struct {
	Cycles int
	MarkNS int64 // wall time marking was on
	// Asked counts those cycles that the recording's own requests asked for.
	Asked int
	// Goals is what the heap might grow to before the next cycle, and Lives what was
	// in use when the goal was set, each summed over the cycles that ended in the
	// trace, in bytes.
	Goals, Lives int64
	AssistNS     int64 // goroutine time spent helping
	StopNS       int64 // wall time the world was stopped
}

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

// place is an interned stack with what the scan needs to know of it.
type place struct {
	frames    []stack.Frame
	own       stack.Frame
	asker     stack.Frame // own, past wrappers that only hand a call on
	caller    stack.Frame // of own; told of waits for other goroutines alone
	outer     stack.Frame
	wait      stack.Wait
	serving   stack.Serving
	unlocks   bool
	reads     bool
	finalizer bool
	diag      bool
	ours      bool       // code of the program is on it
	ledgers   [2]int     // where its wait stands in each, as ledger.wait has it
	calls     *SiteCount // system calls at own; nil until there is one

	// For requests:
	stage       stack.Stage
	endpoint    stack.Frame
	rank        int  // of endpoint; 0 for none
	background  bool // it is that of net/http's background read
	startsHTTP2 bool
	kind        *kind // of goroutines that end in this stack's outermost frame; see lives
	answers     bool  // it writes of a response
	parts       [slots]requests.PartID
	next        *place // that a span from here last led to, and its part
	span        requests.PartID
	woken       int64 // goroutines from a wait here
	runnableNS  int64 // waited for a P here
	// For locks: what the site is called, as one that waits and as one that releases.
	waits, releases string
	// For queues:
	act     stack.Act
	polls   bool // it is in a call of the program's own that waits for descriptors
	queue   *station
	queued  int64 // waited here
	release *outlet
	crew    *crew

	peer       stack.Peer // what a wait here wants of a peer
	blocking   stack.Blocking
	clientGone bool
	turn       bool // a wait here is for another to be done with the same file
}

// holds reports whether the function is on the stack.
func (pl *place) holds(function string) bool {
	for _, f := range pl.frames {
		if f.Function == function {
			return true
		}
	}
	return false
}

type state uint8

const (
	gone state = iota
	runnable
	running
	waiting
	inSyscall
)

type goroutine struct {
	state     state
	since     int64
	at        *place // last known stack
	request   bool
	ours      bool
	finalizer bool
	diag      bool
	marks     bool       // it marked something inside the trace
	blamed    stack.Wait // what the current wait is for

	runningNS int64
	syscallNS int64
	samples   map[stack.Frame]int64
	counted   [2]bool // in the ledger of that index, among its goroutines

	// Of a lock that it took after a wait, while it holds it:
	acquired *hold
	assist   int64
	assistAt stack.Frame

	life     life
	moved    bool  // it changed its state inside the trace
	hung     bool  // it has waited since before the trace
	stopping bool  // it has stopped the world
	stopped  int64 // when it last did; 0: never
	ran      int64 // since when it has been running
	sampled  runSamples
	service  service
	queue    queueing
	recent   recent
}

type hold struct {
	at    *place // where it took the lock
	since int64
	doing []Doing
}

type waitKey struct {
	wait stack.Wait
	own  stack.Frame
}

type ledger struct {
	index      int // in goroutine.counted
	goroutines int
	total      int64
	running    int64
	runnable   int64
	syscall    int64
	waits      []WaitTime
	waitAt     map[waitKey]int // one more than the index in waits
}

func newLedger(index int) *ledger {
	return &ledger{index: index, waitAt: map[waitKey]int{}}
}

func (l *ledger) wait(k waitKey) int {
	i := l.waitAt[k]
	if i == 0 {
		l.waits = append(l.waits, WaitTime{Wait: k.wait, Where: k.own})
		i = len(l.waits)
		l.waitAt[k] = i
	}
	return i
}

func (l *ledger) add(g *goroutine, ns int64) {
	if !g.counted[l.index] {
		g.counted[l.index] = true
		l.goroutines++
	}
	l.total += ns
	switch g.state {
	case running:
		l.running += ns
	case runnable:
		l.runnable += ns
	case inSyscall:
		l.syscall += ns
	case waiting:
		switch {
		case g.at == nil:
			l.waits[l.wait(waitKey{wait: g.blamed})-1].NS += ns
		case g.blamed != g.at.wait:
			l.waits[l.wait(waitKey{g.blamed, g.at.own})-1].NS += ns
		default:
			i := &g.at.ledgers[l.index]
			if *i == 0 {
				*i = l.wait(waitKey{g.blamed, g.at.own})
			}
			l.waits[*i-1].NS += ns
		}
	}
}

func (l *ledger) account() Account {
	a := Account{Goroutines: l.goroutines, TotalNS: l.total, RunningNS: l.running, RunnableNS: l.runnable, SyscallNS: l.syscall}
	a.Waits = append(a.Waits, l.waits...)
	sort.Slice(a.Waits, func(i, j int) bool {
		x, y := a.Waits[i], a.Waits[j]
		if x.NS != y.NS {
			return x.NS > y.NS
		}
		if x.Wait != y.Wait {
			return x.Wait < y.Wait
		}
		return less(x.Where, y.Where)
	})
	return a
}

type scan struct {
	program stack.Program
	sum     Summary
	started bool
	last    int64

	places   map[trace.Stack]*place
	interned map[string]*place
	gs       map[trace.GoID]*goroutine

	requests, all *ledger
	locks         *locks
	queues        *queues
	finalizers    map[trace.GoID]*finalizing
	samples       map[*place]int64
	other         *place // stands for stacks beyond keptStacks; it has no frames
	syscalls      map[stack.Frame]*SiteCount
	ranges        map[string]int64 // open global ranges, by name, since
	paths         *paths
	moments       *moments
	serving       *serving
	sched         scheduler
	states        states
	lives         *lives
	heap          heapGoal
	hung          hung
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

type finalizing struct {
	busy  int64
	sites map[stack.Frame]int64
	doing map[Doing]int64
}

func newScan(p stack.Program, b Beside) *scan {
	return &scan{
		program: p,
		places:  map[trace.Stack]*place{}, interned: map[string]*place{},
		gs:       map[trace.GoID]*goroutine{},
		requests: newLedger(0), all: newLedger(1),
		locks:      newLocks(),
		queues:     newQueues(),
		finalizers: map[trace.GoID]*finalizing{},
		samples:    map[*place]int64{},
		other:      &place{},
		syscalls:   map[stack.Frame]*SiteCount{},
		ranges:     map[string]int64{},
		paths:      newPaths(),
		moments:    newMoments(),
		serving:    newServing(p, b),
		sched:      newScheduler(b.Kernel),
		lives:      newLives(),
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

	switch {
	case to == trace.GoWaiting:
		s.settle(g, at)
		g.life.waits = min(2, g.life.waits+1)
		g.blamed = waitOf(at)
		if st.Reason == "preempted" {
			// The collector stopped it to scan its stack, wherever it was.
			g.blamed = stack.Runtime
		}
		s.blocked(g, at, now)
		s.queueBlocked(g, at, now)
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
		s.woken(ev, g, now)
		s.queueWoken(ev, id, g, now)
		s.awoken(id, g, now)
	case to == trace.GoSyscall:
		s.settle(g, at)
		g.at = at
		g.called(at)
		s.reach(id, g, at, now, false)
		if at != nil && at.ours && !g.diag {
			s.syscallsAt(at).Count++
		}
	case to == trace.GoRunnable && from == trace.GoRunning:
		if at != nil {
			s.settle(g, at)
			g.at = at
			s.reach(id, g, at, now, false)
		}
	case to == trace.GoNotExist:
		g.state = gone
		if !g.diag {
			s.lives.died(g, s.sum.StartNS, now)
		}
		s.left(g, now)
		delete(s.gs, id)
		s.paths.goroutineEnded(id)
		s.lastG[uint64(id)%recentGs] = recentG{}
		s.keepRunning(id, g)
		if v := g.queue.server; v != nil {
			v.leave()
		}
		s.reuse(g)
		return
	}
	g.state = stateOf(to)
	g.since = now
	if g.state == running {
		g.ran = now
	}
	if at != nil && at.answers && (to == trace.GoSyscall || to == trace.GoWaiting) {
		g.service.answers(now)
	}
}

// syscallsAt is the sum of the system calls at the program's line of a place.
func (s *scan) syscallsAt(at *place) *SiteCount {
	if at.calls == nil {
		at.calls = s.callsAt(at.own)
	}
	return at.calls
}

// newGoroutine is an empty record: servers start a goroutine for each request,
// and as many end.
func (s *scan) newGoroutine() *goroutine {
	n := len(s.free)
	if n == 0 {
		return &goroutine{}
	}
	g := s.free[n-1]
	s.free = s.free[:n-1]
	*g = goroutine{}
	return g
}

// reuse keeps the record of a goroutine that ended, unless something still
// refers to it.
func (s *scan) reuse(g *goroutine) {
	if _, waits := s.locks.waiting[g]; !waits && len(g.service.tasks) == 0 && s.stopper != g {
		s.free = append(s.free, g)
	}
}

// recentGs bounds the goroutines that are found without a look into the map: a
// power of two.
const recentGs = 4096

type recentG struct {
	id trace.GoID
	g  *goroutine // nil for none
}

// goroutine is the record of a goroutine; nil if there is none. Most events are of
// one of the last few thousand, whose ids follow each other.
func (s *scan) goroutine(id trace.GoID) *goroutine {
	r := &s.lastG[uint64(id)%recentGs]
	if r.g == nil || r.id != id {
		r.id, r.g = id, s.gs[id]
	}
	return r.g
}

// callsAt is the count of the program's system calls at a line.
func (s *scan) callsAt(f stack.Frame) *SiteCount {
	c := s.syscalls[f]
	if c == nil {
		c = &SiteCount{Where: f}
		s.syscalls[f] = c
	}
	return c
}

// settle learns from a stack what kind of goroutine it is and whether it is
// inside a request.
func (s *scan) settle(g *goroutine, at *place) {
	if at == nil {
		return
	}
	g.finalizer = g.finalizer || at.finalizer
	g.diag = g.diag || at.diag
	g.ours = at.ours
	s.lives.shown(g, at)
	switch at.serving {
	case stack.InHandler:
		g.request = true
	case stack.BetweenRequests:
		g.request = false
	}
}

// charge adds the time since the last event to what the goroutine did.
func (s *scan) charge(id trace.GoID, g *goroutine, now int64) { s.chargeTo(id, g, now, nil, false) }

// chargeTo is charge for a goroutine of which the stack is known that it is on
// now; sampled says that a CPU sample tells it.
func (s *scan) chargeTo(id trace.GoID, g *goroutine, now int64, next *place, sampled bool) {
	ns := now - g.since
	if ns <= 0 || g.state == gone {
		g.since = max(g.since, now)
		return
	}
	followed := g.service.followed()
	if followed {
		s.account(id, g, g.since, now, next, sampled)
	} else if g.service.early && g.state == waiting {
		g.service.waitedNS += ns
	}
	g.since = now
	switch g.state {
	case running:
		g.runningNS += ns
	case runnable:
		if g.at != nil && g.at.ours && !g.diag {
			g.at.runnableNS += ns
		}
	case inSyscall:
		if g.at != nil && g.at.ours && !g.diag {
			g.syscallNS += ns
			c := s.syscallsAt(g.at)
			c.NS += ns
			c.blockingNS[g.at.blocking] += ns
			if g.request {
				c.RequestNS += ns
			}
		}
	case waiting:
		if g.at != nil && g.at.turn && g.at.ours && !g.diag {
			c := s.syscallsAt(g.at)
			c.QueuedNS += ns
			if g.request {
				c.QueuedRequestNS += ns
			}
		}
	}
	if g.diag {
		return
	}
	if g.request {
		s.requests.add(g, ns)
	}
	if g.ours || g.request {
		s.all.add(g, ns)
		if !followed {
			s.unserved(id, g, now-ns, now, next)
		}
	}
	if g.marks {
		s.paths.charge(id, g, ns)
	}
	s.moments.charge(g, now-ns, now)
	if h := g.acquired; h != nil {
		h.add(g.doing(ns))
	}
	if g.state == waiting || g.state == inSyscall {
		g.recent.add(g, now-ns, now)
	}
	if g.queue.holds || g.queue.server != nil {
		g.chargeQueueing(ns)
	}
	if g.finalizer {
		s.finalizing(id, g, ns)
	}
}

func (g *goroutine) doing(ns int64) Doing {
	d := Doing{NS: ns}
	switch g.state {
	case running:
		d.What = "running"
	case runnable:
		d.What = "runnable"
	case inSyscall:
		d.What = "syscall"
	case waiting:
		d.What = string(g.blamed)
	}
	if g.at != nil && (g.state == waiting || g.state == inSyscall) {
		d.Where = g.at.own
	}
	return d
}

func (h *hold) add(d Doing) {
	for i := range h.doing {
		if h.doing[i].What == d.What && h.doing[i].Where == d.Where {
			h.doing[i].NS += d.NS
			return
		}
	}
	h.doing = append(h.doing, d)
}

func (s *scan) finalizing(id trace.GoID, g *goroutine, ns int64) {
	f := s.finalizers[id]
	if f == nil {
		f = &finalizing{sites: map[stack.Frame]int64{}, doing: map[Doing]int64{}}
		s.finalizers[id] = f
	}
	// Outside the program's code it is idle, or between two finalizers. While
	// it runs, its last stack stands: it leaves the program by parking in the
	// runtime, which is an event.
	if g.at == nil || !g.at.ours {
		return
	}
	f.busy += ns
	f.sites[g.at.outer] += ns
	f.doing[Doing{What: g.doing(0).What, Where: g.doing(0).Where}] += ns
}

func (s *scan) sample(ev *trace.Event) {
	at := s.place(ev.Stack())
	if at == nil || at.diag {
		return
	}
	if _, known := s.samples[at]; known || len(s.samples) < keptStacks {
		s.samples[at]++
	} else {
		s.samples[s.other]++
	}
	g := s.goroutine(ev.Goroutine())
	if g == nil {
		return
	}
	if !at.own.IsZero() {
		g.sampled.add(g.ran, at.own)
		if g.samples == nil {
			g.samples = map[stack.Frame]int64{}
		}
		g.samples[at.own]++
	}
	if g.service.followed() {
		s.touch(ev.Goroutine(), g, at, int64(ev.Time()), true)
	}
}

func (s *scan) span(ev *trace.Event, now int64) {
	r := ev.Range()
	switch {
	case r.Name == "GC mark assist":
		id := r.Scope.Goroutine()
		g := s.goroutine(id)
		if g == nil {
			return
		}
		at := s.place(ev.Stack())
		s.chargeTo(id, g, now, at, false)
		if ev.Kind() == trace.EventRangeEnd {
			if g.assist > 0 {
				s.sum.GC.AssistNS += now - g.assist
				s.sched.assisted(g.assistAt, now-g.assist)
			}
			g.assist = 0
		} else if g.assist == 0 {
			g.assist, g.assistAt = now, stack.Frame{}
			if at != nil {
				g.assistAt = at.own
			}
		}
	case strings.HasPrefix(r.Name, "GC concurrent mark"), strings.HasPrefix(r.Name, stopRange):
		if strings.HasPrefix(r.Name, stopRange) {
			if g := s.goroutine(ev.Goroutine()); g != nil {
				s.chargeTo(ev.Goroutine(), g, now, s.place(ev.Stack()), false)
				g.stopping = ev.Kind() != trace.EventRangeEnd
				if g.stopping {
					s.stopper, g.stopped = g, now
				}
			}
			if ev.Kind() == trace.EventRangeEnd {
				s.sched.started(now)
				if s.stopper != nil {
					s.stopper.stopping = false
				}
			} else {
				s.sched.stopped(r.Name, now)
			}
		}
		if ev.Kind() != trace.EventRangeEnd {
			if _, open := s.ranges[r.Name]; !open {
				s.ranges[r.Name] = now
				if at := s.place(ev.Stack()); at != nil && at.diag && !strings.HasPrefix(r.Name, stopRange) {
					s.sum.GC.Asked++
					s.heap.left = 0 // it did not grow as far as it might
				}
				if ev.Kind() == trace.EventRangeActive {
					s.ranges[r.Name] = s.sum.StartNS
				}
			}
			return
		}
		s.endSpan(r.Name, now)
	}
}

func (s *scan) endSpan(name string, now int64) {
	since, open := s.ranges[name]
	if !open {
		return
	}
	delete(s.ranges, name)
	s.moments.span(name, since, now)
	if strings.HasPrefix(name, stopRange) {
		s.sum.GC.StopNS += now - since
		return
	}
	s.sum.GC.Cycles++
	s.sum.GC.MarkNS += now - since
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
		s.park(g)
	}
	s.sum.Kinds = s.lives.finish(s.sum.DurationNS())
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
	s.sum.Locks = s.locks.list()
	for _, at := range s.interned {
		if at.queue != nil {
			at.queue.callers.add(at, at.queued)
		}
	}
	s.sum.Queues = s.queues.list(s.sum.DurationNS(), s.sum.Requests.TotalNS > 0)
	s.finishFinalizers()
	s.finishSites()
	s.finishPlaces()
	return &s.sum
}

func (s *scan) keepRunning(id trace.GoID, g *goroutine) {
	if ns := g.runningNS + g.syscallNS; g.diag || ns == 0 || ns < s.leastRunning {
		return
	}
	r := Running{Goroutine: int64(id), NS: g.runningNS, SyscallNS: g.syscallNS}
	var most int64
	for f, n := range g.samples {
		if n > most || n == most && less(f, r.Site) {
			r.Site, most = f, n
		}
	}
	s.sum.Running = append(s.sum.Running, r)
	if len(s.sum.Running) > 64*keptRunning {
		s.sum.Running = longest(s.sum.Running)
		least := s.sum.Running[keptRunning-1]
		s.leastRunning = least.NS + least.SyscallNS
	}
}

func longest(rs []Running) []Running {
	sort.Slice(rs, func(i, j int) bool {
		a, b := rs[i].NS+rs[i].SyscallNS, rs[j].NS+rs[j].SyscallNS
		if a != b {
			return a > b
		}
		return rs[i].Goroutine < rs[j].Goroutine
	})
	return rs[:min(len(rs), keptRunning)]
}

func (s *scan) finishFinalizers() {
	ids := make([]trace.GoID, 0, len(s.finalizers))
	for id := range s.finalizers {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	for _, id := range ids {
		f := s.finalizers[id]
		out := Finalizer{BusyNS: f.busy, Sites: siteTimes(f.sites)}
		for d, ns := range f.doing {
			d.NS = ns
			out.Doing = append(out.Doing, d)
		}
		sortDoing(out.Doing)
		s.sum.Finalizers = append(s.sum.Finalizers, out)
	}
	sort.SliceStable(s.sum.Finalizers, func(i, j int) bool { return s.sum.Finalizers[i].BusyNS > s.sum.Finalizers[j].BusyNS })
}

func (s *scan) finishSites() {
	s.sum.Running = longest(s.sum.Running)
	for at, n := range s.samples {
		s.sum.Samples = append(s.sum.Samples, Sample{Frames: at.frames, Count: n})
	}
	sort.Slice(s.sum.Samples, func(i, j int) bool {
		a, b := s.sum.Samples[i], s.sum.Samples[j]
		if a.Count != b.Count {
			return a.Count > b.Count
		}
		return lessFrames(a.Frames, b.Frames)
	})
	for _, c := range s.syscalls {
		for b, ns := range c.blockingNS {
			if ns > c.blockingNS[c.Blocking] {
				c.Blocking = stack.Blocking(b)
			}
		}
		s.sum.Syscalls = append(s.sum.Syscalls, *c)
	}
	sort.Slice(s.sum.Syscalls, func(i, j int) bool {
		a, b := s.sum.Syscalls[i], s.sum.Syscalls[j]
		if a.Count != b.Count {
			return a.Count > b.Count
		}
		return less(a.Where, b.Where)
	})
}

// waitOf is what a wait on this stack is for; a wait without a stack is unknown.
func waitOf(at *place) stack.Wait {
	if at == nil {
		return stack.Other
	}
	return at.wait
}

func stateOf(s trace.GoState) state {
	switch s {
	case trace.GoRunnable:
		return runnable
	case trace.GoRunning:
		return running
	case trace.GoWaiting:
		return waiting
	case trace.GoSyscall:
		return inSyscall
	}
	return gone
}
