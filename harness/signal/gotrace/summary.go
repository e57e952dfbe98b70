package gotrace

import (
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
	// Slots are waits, in calls that wait for nothing else, for one of a bounded number,
	// by request time, then all time, largest first. SlotsUnknown is how many waits since
	// before the trace somebody ended by giving something of which no line is known.
	Slots        []SlotWait
	SlotsUnknown int
	// Finalizers are the goroutines that run finalizers and cleanups.
	Finalizers []Finalizer
	// Samples are the CPU samples inside the trace; present only while a CPU
	// profile ran.
	Samples []Sample
	// Yields are the calls by which goroutines let others run (runtime.Gosched).
	Yields []Sample
	// Running holds the goroutines that ran longest, largest first.
	Running []Running
	// Awake holds the goroutines that have CPU samples enough to tell what they do,
	// those first that ran longest.
	Awake []Awake
	// Syscalls sums up the goroutines' system calls by the program's line.
	Syscalls []SiteCount
	// ThreadsBeside are goroutines that requests started, by the function they start in,
	// with the time they kept threads in system calls, longest first.
	ThreadsBeside []ThreadsBeside
	GC            Collector
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
	// AttendsNS is the time of goroutines outside of requests that were in one system call for
	// all of the trace, which waits, in the function that they start in: for a child's end, say.
	AttendsNS int64
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
	// ChildWaitedNS is request time spent waiting for goroutines that wait for the lock, which
	// the request has started: its time divided by how many are at work.
	ChildWaitedNS int64
	Waiters       []LockWaiter // the Lock lines waited at, by time
	// ReleasedNS is when somebody last let go of it for others who waited; 0 for never.
	ReleasedNS int64
	// Caller is the User of most of that waiting; zero where most of it has none.
	Caller stack.Frame
	// Library is the line of a library that takes the lock, by waiting time; zero where
	// most of it is for the program's.
	Library stack.Frame
	// Called is the program's line, if there is one, that the library calls while it holds
	// the lock, for most of what is seen of that. It is zero where the program is part of
	// waiting for the lock.
	Called stack.Frame
	// Holders are the functions whose Unlock ended waits. A holder's time is
	// that from the previous release of the lock, or from when the wait began
	// if that was later, to its own release. Of a reader of an RWMutex it is that
	// for which a writer waited for it: it had it for at least as long.
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
	// ChildNS and QueuedChildNS are the like of RequestNS and QueuedRequestNS for
	// goroutines that requests started and waited for meanwhile: the time divided
	// by how many such were at work, since the request itself waits but once.
	ChildNS, QueuedChildNS int64
	// TurnsNS is the part of QueuedNS in waits to write that another goroutine ended in
	// the trace, and TurnsFullNS what of these whoever had the turn at that
	// descriptor waited for its peer to take what it wrote.
	TurnsNS, TurnsFullNS int64
	// HeldNS is P time that the calls there kept: from the call until it returned or the
	// runtime took the P away. HeldRequestNS is the part of it in requests.
	HeldNS, HeldRequestNS int64
	// Blocking is what the call that took longest there is good for.
	Blocking stack.Blocking
	// ForDescriptors: the calls wait for descriptors, by epoll, poll or select.
	ForDescriptors bool
	// Polls are those of such calls that have ended; PollsAtOnce those of them that did not sleep: see AtOnce.
	Polls, PollsAtOnce int64

	blockingNS [4]int64 // by stack.Blocking
}

// Holder is a function that releases a lock others wait for.
type Holder struct {
	Unlock stack.Frame // where it releases
	// Acquire is where it takes the lock; zero if it never had to wait for it.
	Acquire stack.Frame
	// Caller is the User of most of that holding; zero where most of it has none.
	Caller stack.Frame
	Reads  bool // it held an RWMutex for reading
	NS     int64
	Count  int64
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
	Waits     int64       // as Awake has them
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
