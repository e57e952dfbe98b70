// Package cause is the taxonomy of what makes a Go server slow. Scenarios,
// rules, reports and outside tools all use its ids, so an id never changes its
// meaning and is never reused.
package cause

import "slices"

// A Cause is one entry of the taxonomy.
type Cause struct {
	ID   string `json:"id"`   // "lock-contention"
	What string `json:"what"` // one line that says what goes wrong
}

// All lists the taxonomy, in its own order.
func All() []Cause {
	return []Cause{
		{"netpoll-spin", "a poll loop that never blocks burns CPU: epoll_wait with timeout 0, an event that nobody takes, reads that go on after the end, or I/O deadlines in the past"},
		{"fd-exhaustion", "accept or open fails because the process has no file descriptors left"},
		{"finalizer-backlog", "finalizers or cleanups are queued faster than they run, because one blocks"},
		{"lock-contention", "goroutines queue on a Mutex or RWMutex"},
		{"pool-misuse", "a sync.Pool does not save what it should, or keeps what it should not"},
		{"goroutine-leak", "goroutines start with requests and never end"},
		{"missing-timeout", "requests are parked without a deadline on a dependency that does not answer"},
		{"gomaxprocs-starvation", "runnable goroutines wait while the process may not use CPUs that stand idle"},
		{"gc-pressure", "allocation in the request path makes the collector take the CPU"},
		{"gc-thrash", "collections run back to back against a memory limit"},
		{"heap-growth", "live memory grows with requests and never falls"},
		{"blocked-write", "goroutines are held in write by peers that do not read"},
		{"pool-exhaustion", "requests queue for a bounded resource such as a DB connection or a semaphore"},
		{"cpu-hot-path", "one function of the program takes the CPU"},
		{"preemption-stall", "a loop that cannot be preempted holds up the others, and stop-the-world with them"},
		{"channel-bottleneck", "everything queues behind one consumer of a channel"},
		{"slow-syscall", "the request path waits in the kernel, as for fsync or a slow disk"},
		{"thread-explosion", "blocking calls make the runtime start threads without end"},
		{"timer-churn", "timers are made faster than they end"},
		{"stalled", "nothing moves: goroutines wait on each other while CPUs stand idle"},
	}
}

// IDs lists the ids, in the order of All.
func IDs() []string {
	var ids []string
	for _, c := range All() {
		ids = append(ids, c.ID)
	}
	return ids
}

// Known reports whether id is in the taxonomy.
func Known(id string) bool { return slices.Contains(IDs(), id) }
