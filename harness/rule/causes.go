package rule

// Cause is one entry of the taxonomy of bottlenecks.
type Cause struct {
	ID      string
	Meaning string
}

// Causes lists every cause a rule may name, in the order of the design. Ids
// are stable: scenarios, reports and outside tools use them.
func Causes() []Cause {
	return []Cause{
		{"netpoll-spin", "a poll loop never blocks and burns CPU"},
		{"fd-exhaustion", "accept or open fails because no file descriptor is left"},
		{"finalizer-backlog", "finalizers or cleanups are queued faster than they run"},
		{"lock-contention", "goroutines queue on a Mutex or RWMutex"},
		{"pool-misuse", "a sync.Pool does not save what it should, or keeps what it should not"},
		{"goroutine-leak", "goroutines start with requests and never end"},
		{"missing-timeout", "requests are parked on a dependency that does not answer, with no deadline"},
		{"gomaxprocs-starvation", "runnable goroutines wait while the process may not use CPUs that stand idle"},
		{"gc-pressure", "the collector takes the CPU, through allocation in the request path"},
		{"gc-thrash", "collections run back to back, against a memory limit"},
		{"heap-growth", "live memory grows with requests and never falls"},
		{"blocked-write", "goroutines are held in write by peers that do not read"},
		{"pool-exhaustion", "requests queue for a bounded resource"},
		{"cpu-hot-path", "one function of the program takes the CPU"},
		{"preemption-stall", "a loop that cannot be preempted holds up the others"},
		{"channel-bottleneck", "everything queues behind one consumer"},
		{"slow-syscall", "the request path waits in the kernel"},
		{"thread-explosion", "blocking calls make the runtime start threads without end"},
		{"timer-churn", "timers are made faster than they end"},
		{"stalled", "nothing moves: goroutines wait on each other while Ps stand idle"},
	}
}
