package bundle

import "strings"

// Load is load/summary.json: what the client saw, and how healthy it was
// itself. Requests are those that ended inside the window; times are seconds.
// Requests of badly behaved clients count in flight and in Clients, and nowhere else.
type Load struct {
	Asked    LoadAsked    `json:"asked"`
	Reached  LoadReached  `json:"reached"`
	Requests LoadRequests `json:"requests"`
	// Responses describes response bodies inside the window, in bytes.
	ResponseBytes Distribution `json:"response_bytes"`
	// LatencySeconds is service time: from sending a request until its response had arrived.
	LatencySeconds Distribution `json:"latency_seconds"`
	// CorrectedSeconds is service time and send lag: from when a request was due
	// to the end of its response, free of coordinated omission. In a closed loop a
	// request is due when its place among those in flight becomes free.
	CorrectedSeconds Distribution `json:"corrected_seconds,omitzero"`
	// Checks is what comparing responses with their requests showed.
	Checks    LoadChecks      `json:"checks"`
	Generator GeneratorHealth `json:"generator"`
	// Stages has one entry for each stage of the load, over the whole attack.
	Stages []LoadStage `json:"stages,omitempty"`
	// Clients has one entry for each kind of badly behaved client.
	Clients []LoadClient `json:"clients,omitempty"`
	// Seconds is one entry for each second of the attack, warm-up included.
	Seconds []LoadSecond `json:"seconds"`
}

// LoadAsked is what the scenario asked for, over the captured stage.
type LoadAsked struct {
	InFlight int     `json:"in_flight"`         // 0 in an open loop that asks for a rate alone
	RateHz   float64 `json:"rate_hz,omitempty"` // requests a second; 0 in a closed loop
	// AtMost is the most requests that may be in flight in an open loop.
	AtMost int `json:"at_most,omitempty"`
	// Connections are to be open; 0: as many as are needed.
	Connections int `json:"connections,omitempty"`
	// Protocol is "http/1.1" or "http/2", Engine "lean" or "net/http".
	Protocol string `json:"protocol,omitempty"`
	Engine   string `json:"engine,omitempty"`
	// EngineWhy says why the engine is not the lean one.
	EngineWhy string `json:"engine_why,omitempty"`
}

// LoadReached is what was observed over the window. With several worker
// processes the least is the sum of what each had at least, and the true one is
// no lower; the most is the sum of what each had at most, and the true one no higher.
type LoadReached struct {
	InFlightMin  int     `json:"in_flight_min"`
	InFlightMean float64 `json:"in_flight_mean"`
	InFlightMax  int     `json:"in_flight_max"`
	// OpenSocketsMin and Max count the client's established connections.
	OpenSocketsMin int     `json:"open_sockets_min"`
	OpenSocketsMax int     `json:"open_sockets_max"`
	RateHz         float64 `json:"rate_hz"`                // requests ended a second
	SentRateHz     float64 `json:"sent_rate_hz,omitempty"` // requests sent a second
	// InFlightAtCapture was seen when capture began; the run asserts it.
	InFlightAtCapture int `json:"in_flight_at_capture"`
	SocketsAtCapture  int `json:"sockets_at_capture"`
}

// LoadRequests counts the requests that ended inside the window.
type LoadRequests struct {
	Ended   int64            `json:"ended"`
	OK      int64            `json:"ok"` // status 200 to 399
	ByCode  map[string]int64 `json:"by_code,omitempty"`
	ByError map[string]int64 `json:"by_error,omitempty"` // ports and addresses folded away
}

// Distribution summarises a quantity; its unit stands where it is used.
type Distribution struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p999"`
	Max   float64 `json:"max"`
}

// LoadChecks counts responses whose body was compared with its request.
// A request carries a token; a response must hold its own and nobody else's.
type LoadChecks struct {
	Checked int64 `json:"checked"`
	Missing int64 `json:"missing"` // own token absent
	Foreign int64 `json:"foreign"` // another request's token present
	// Example is one foreign response, cut to a line.
	Example string `json:"example,omitempty"`
}

// GeneratorHealth says whether the load generator itself can be trusted.
type GeneratorHealth struct {
	CPUSeconds     float64 `json:"cpu_seconds"`     // of the generator's processes, over the window
	ResultsDropped int64   `json:"results_dropped"` // results not recorded
	SendLagP99     float64 `json:"send_lag_p99"`    // seconds between due and sent; as SendLagSeconds
	// SendLagSeconds is from when a request was due to when it left.
	SendLagSeconds Distribution `json:"send_lag_seconds,omitzero"`
	// OwnLagSeconds is the part of the send lag that is the generator's own doing:
	// from when a request was due and a place in flight was free.
	OwnLagSeconds   Distribution `json:"own_lag_seconds,omitzero"`
	OpenFilesLimit  int64        `json:"open_files_limit"`  // of each process of the generator
	ReachedInFlight bool         `json:"reached_in_flight"` // what was asked stood before capture began
	Reason          string       `json:"reason,omitempty"`  // when it did not
	// Workers are the generator's processes.
	Workers []LoadWorker `json:"workers,omitempty"`
}

// LoadWorker is one process of the load generator, over the window.
type LoadWorker struct {
	CPUSeconds   float64 `json:"cpu_seconds"`
	GOMAXPROCS   int     `json:"gomaxprocs"`
	PeakRSSBytes int64   `json:"peak_rss_bytes"` // since it started
	Ended        int64   `json:"ended"`          // requests
}

// LoadStage is one stage of the load: requests that were due in it.
type LoadStage struct {
	StartNS  int64   `json:"start_ns"` // CLOCK_MONOTONIC; 0: it never began
	EndNS    int64   `json:"end_ns"`
	InFlight int     `json:"in_flight,omitempty"` // asked for at its end
	RateHz   float64 `json:"rate_hz,omitempty"`   // asked for at its end, requests a second
	Captured bool    `json:"captured,omitempty"`  // the window began in it
	Sent     int64   `json:"sent"`
	Ended    int64   `json:"ended"`
	Errors   int64   `json:"errors"`
	// LatencySeconds and CorrectedSeconds are as those of Load.
	LatencySeconds   Distribution `json:"latency_seconds,omitzero"`
	CorrectedSeconds Distribution `json:"corrected_seconds,omitzero"`
}

// LoadClient is one kind of badly behaved client, over the window.
type LoadClient struct {
	Behaviour string           `json:"behaviour"` // "reads 1KiB/s"
	Share     float64          `json:"share"`     // of all requests, asked for
	Ended     int64            `json:"ended"`     // as the behaviour wants it, with a complete response or without
	ByError   map[string]int64 `json:"by_error,omitempty"`
	// Seconds is how long such a request was in flight.
	Seconds Distribution `json:"seconds,omitzero"`
}

// LoadSecond is one second of the attack.
type LoadSecond struct {
	StartNS     int64   `json:"start_ns"`     // CLOCK_MONOTONIC
	Stage       int     `json:"stage"`        // index of Stages, by the second's start
	InFlight    int     `json:"in_flight"`    // on average over the second
	OpenSockets int     `json:"open_sockets"` // at its end
	Sent        int64   `json:"sent"`
	Ended       int64   `json:"ended"`
	Errors      int64   `json:"errors"`
	LatencyP50  float64 `json:"latency_p50"` // seconds
	LatencyP99  float64 `json:"latency_p99"` // seconds
	// Of corrected latency, in seconds. The whole histograms of both are in load/latency.hlog.
	CorrectedP50 float64 `json:"corrected_p50"`
	CorrectedP99 float64 `json:"corrected_p99"`
}

// Syscalls is ebpf/syscalls.json: the target's system calls over the window.
type Syscalls struct {
	Calls []Syscall  `json:"calls"` // by total time, largest first
	Epoll EpollFacts `json:"epoll"`
}

// Syscall sums up one system call.
type Syscall struct {
	Name   string           `json:"name"`
	Count  int64            `json:"count"`
	Errors map[string]int64 `json:"errors,omitempty"` // by errno name, "EAGAIN"
	// Ended counts calls that read and returned 0: a file or a connection was at its end. It
	// is nil of calls that do not read, and where it was not counted.
	Ended   *int64 `json:"ended,omitempty"`
	TotalNS int64  `json:"total_ns"`
	// Log2NS[i] counts calls that took 2^i to 2^(i+1) ns; the first also holds shorter ones.
	Log2NS []int64 `json:"log2_ns"`
}

// EpollFacts are what tells a poll loop that blocks from one that spins.
type EpollFacts struct {
	Waits          int64 `json:"waits"`           // epoll_wait, epoll_pwait and epoll_pwait2 that returned
	ZeroTimeout    int64 `json:"zero_timeout"`    // of these, asked not to block
	ReturnedEvents int64 `json:"returned_events"` // sum of positive returns
	Empty          int64 `json:"empty"`           // of these, returned 0
	TotalNS        int64 `json:"total_ns"`
	// Outside the Go runtime: the same, for calls whose user stack does not
	// come from runtime.netpoll. Known only where stacks are.
	ProgramWaits          int64 `json:"program_waits"`
	ProgramZeroTimeout    int64 `json:"program_zero_timeout"`
	ProgramReturnedEvents int64 `json:"program_returned_events"`
	ProgramTotalNS        int64 `json:"program_total_ns"`
}

// Sched is ebpf/sched.json: what the kernel's scheduler did over the window.
type Sched struct {
	CPUs int `json:"cpus"`
	// TargetOnCPUNS is CPU time of the target's threads; of at most CPUs x window.
	TargetOnCPUNS int64 `json:"target_on_cpu_ns"`
	// IdleNS is the time CPUs of the machine stood idle, summed over CPUs.
	IdleNS int64 `json:"idle_ns"`
	// OtherOnCPUNS is CPU time of all other threads, the load generator included.
	OtherOnCPUNS int64 `json:"other_on_cpu_ns"`
	// UnknownNS is CPU time of which nobody saw whose it was: of a CPU on which nothing
	// was switched since the probes were attached, or around a switch that the kernel
	// keeps from being looked at. The four make CPUs x window.
	UnknownNS int64 `json:"unknown_ns,omitempty"`
	// RunQueueNS is how long the target's threads were runnable and not on a CPU.
	RunQueueNS     int64   `json:"run_queue_ns"`
	RunQueueLog2NS []int64 `json:"run_queue_log2_ns"`
	// OffCPUNS is how long the target's threads slept, by state ("sleep", "disk").
	OffCPUNS   map[string]int64 `json:"off_cpu_ns"`
	Switches   int64            `json:"switches"`
	Wakeups    int64            `json:"wakeups"`
	Migrations int64            `json:"migrations"`
	Threads    int              `json:"threads"` // of the target, seen on a CPU
	// ByThread is the threads that were there at the end, by CPU time, largest
	// first, and those that had ended as one.
	ByThread []ThreadTimes `json:"by_thread,omitempty"`
}

// ThreadTimes is what threads of the target did in the window.
type ThreadTimes struct {
	TID        int   `json:"tid,omitempty"` // 0: all that ended in the window, together
	OnCPUNS    int64 `json:"on_cpu_ns"`
	RunQueueNS int64 `json:"run_queue_ns"`
	OffCPUNS   int64 `json:"off_cpu_ns"` // asleep, in any state
	Switches   int64 `json:"switches"`
	Wakeups    int64 `json:"wakeups"`
	Migrations int64 `json:"migrations"`
}

// Frame is one function of a stack.
type Frame struct {
	Function string `json:"function"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
}

// SlowCalls is ebpf/slow.json: system calls of the request path that took longer
// than the scenario's threshold, one by one. Calls in which idle threads wait
// (futex, epoll waits, the runtime's sleeps) are not among them.
type SlowCalls struct {
	ThresholdNS int64 `json:"threshold_ns"`
	// Stacks are innermost first; calls name them by index.
	Stacks [][]Frame  `json:"stacks"`
	Calls  []SlowCall `json:"calls"` // by start
}

// SlowCall is one of them.
type SlowCall struct {
	StartNS int64  `json:"start_ns"` // CLOCK_MONOTONIC
	NS      int64  `json:"ns"`
	Syscall string `json:"syscall"`
	Error   string `json:"error,omitempty"` // errno name
	Result  int64  `json:"result"`          // as the kernel returned it; negative: the errno
	GoID    int64  `json:"goid,omitempty"`  // 0: none, or not known
	TID     int    `json:"tid"`
	Stack   int    `json:"stack"` // index of Stacks; -1: not known
}

// Cuts is ebpf/cuts.json: the intervals in which a goroutine had a thread and the
// thread had no CPU, because it was preempted or slept in a system call. The
// runtime takes such a goroutine for running, or for being in a system call.
type Cuts struct {
	// Stacks are innermost first; intervals name them by index.
	Stacks    [][]Frame `json:"stacks"`
	Intervals []Cut     `json:"intervals"` // by start
}

// Cut is one of them, in CLOCK_MONOTONIC nanoseconds. It may begin before the
// window and end after it.
type Cut struct {
	LeftNS  int64  `json:"left_ns"`
	WokenNS int64  `json:"woken_ns,omitempty"` // 0: it was runnable all the time
	BackNS  int64  `json:"back_ns"`
	GoID    int64  `json:"goid"`
	TID     int    `json:"tid"`
	State   string `json:"state"`             // as it left the CPU: "runnable", "sleep", "disk", "stopped", "other"
	Syscall string `json:"syscall,omitempty"` // that it slept in
	Stack   int    `json:"stack"`             // index of Stacks; -1: not known
}

// Net is ebpf/net.json: what TCP did with the target's connections over the
// window. A socket is the target's when its local port is one that the target
// listens or listened on, when a thread of the target connected it, or when it
// was among the target's descriptors as recording was prepared.
type Net struct {
	// Absent says of each figure that is not here why, by its name in this
	// document ("resets_sent"). What is absent was not zero: it is not known.
	Absent map[string]string `json:"absent,omitempty"`

	Accepts     *NetAccepts     `json:"accepts,omitempty"`
	Connections *NetConnections `json:"connections,omitempty"`
	Sends       *NetSends       `json:"sends,omitempty"`

	// Retransmits counts segments sent again; SynAckRetransmits the answers to a
	// SYN that were, which means that a client's ACK is lost or dropped.
	Retransmits       *NetCount `json:"retransmits,omitempty"`
	SynAckRetransmits *NetCount `json:"synack_retransmits,omitempty"`
	// ResetsSent are by the kernel's enum sk_rst_reason, "TCP_ABORT_ON_CLOSE".
	ResetsSent     *NetReasons `json:"resets_sent,omitempty"`
	ResetsReceived *NetCount   `json:"resets_received,omitempty"`
	// Drops counts segments that came for a socket and were dropped, by the
	// kernel's enum skb_drop_reason, "SOCKET_RCVBUFF". A SYN that finds the accept
	// queue full is not among them: see Listeners.
	Drops *NetReasons `json:"drops,omitempty"`

	// Listeners are the target's listening sockets, by port and address.
	Listeners []NetListener `json:"listeners,omitempty"`
	// AtEnd is the target's sockets just after the window.
	AtEnd *NetSockets `json:"at_end,omitempty"`
	// Namespace is by how much counters of the target's whole network namespace
	// grew over the window, by the kernel's names ("TcpExt.ListenOverflows"). They
	// hold what the sockets of every process in it did.
	Namespace map[string]int64 `json:"namespace,omitempty"`
}

// NetCount tells the target's events from the rest of its network namespace.
type NetCount struct {
	Target int64 `json:"target"`
	// Elsewhere counts those on sockets not known as the target's: the other ends
	// of its connections on this machine are among them.
	Elsewhere int64 `json:"elsewhere"`
}

// NetReasons is a count, and the target's share of it by reason.
type NetReasons struct {
	NetCount
	Reasons map[string]int64 `json:"reasons,omitempty"`
}

// NetTimes sums up times.
type NetTimes struct {
	Count   int64 `json:"count"`
	TotalNS int64 `json:"total_ns"`
	// Log2NS[i] counts times of 2^i to 2^(i+1) ns; the first also holds shorter
	// ones, the last of 36 longer ones.
	Log2NS []int64 `json:"log2_ns,omitempty"`
}

// NetAccepts is what accept and accept4 returned to the target.
type NetAccepts struct {
	Accepted int64 `json:"accepted"`
	// Errors are by errno. EAGAIN is none: nobody was waiting.
	Errors map[string]int64 `json:"errors,omitempty"`
	// Wait is from the moment a connection was established to the accept that
	// returned it, for those whose establishment was seen; Unmatched are the others.
	Wait      *NetTimes `json:"wait,omitempty"`
	Unmatched int64     `json:"unmatched"`
	// Waiting is how many of them no accept had returned when the window ended.
	Waiting int64 `json:"waiting"`
	// ClosedUnaccepted were closed while they waited.
	ClosedUnaccepted int64 `json:"closed_unaccepted"`
}

// NetConnections counts the target's connections.
type NetConnections struct {
	Incoming       int64 `json:"incoming"`        // established
	IncomingFailed int64 `json:"incoming_failed"` // closed before that, once the client's ACK was there
	// IncomingRoundTrip is from the target's SYN-ACK to the client's ACK, as the
	// kernel measured it; IncomingUntimed had the SYN-ACK sent again, so that it did not.
	IncomingRoundTrip NetTimes `json:"incoming_round_trip"`
	IncomingUntimed   int64    `json:"incoming_untimed"`

	Connects       int64    `json:"connects"`        // SYNs that the target's connect sent
	Connected      int64    `json:"connected"`       // established
	ConnectsFailed int64    `json:"connects_failed"` // refused, timed out or given up
	ConnectTime    NetTimes `json:"connect_time"`    // from SYN to established

	// Closed is by the state the connection was in before: ESTABLISHED (reset),
	// LAST_ACK (the peer closed first), FIN_WAIT2 and CLOSING (the target did).
	Closed map[string]int64 `json:"closed,omitempty"`
	// Life is from established to closed; LivesUnknown were opened before
	// recording was prepared.
	Life         NetTimes `json:"life"`
	LivesUnknown int64    `json:"lives_unknown"`
}

// NetSends is what the target's sends on TCP sockets returned.
type NetSends struct {
	Count int64 `json:"count"` // that took at least a part of what was to be sent
	Bytes int64 `json:"bytes"`
	// Blocked found no room in the send buffer (EAGAIN): the peer does not read as
	// fast as the target writes. A send of a blocking socket waits instead and is
	// not seen.
	Blocked int64            `json:"blocked"`
	Errors  map[string]int64 `json:"errors,omitempty"` // by errno, EAGAIN left out
	// BlockedTime is, inside the window, from a send that found no room to the
	// next one that did, or until the target closed the connection or it ended, or
	// to the window's end.
	BlockedTime NetTimes `json:"blocked_time"`
	// BlockedAtEnd is how many connections waited for room when the window ended.
	BlockedAtEnd int64 `json:"blocked_at_end"`
}

// NetListener is one listening socket.
type NetListener struct {
	Address string `json:"address"` // "127.0.0.1:8080"
	Port    int    `json:"port"`
	// Shared: other processes listen on this port too; connections of theirs are
	// counted as the target's.
	Shared bool `json:"shared,omitempty"`
	// QueueAtStart and QueueAtEnd are connections that wait for accept; Limit is
	// how many may, as listen asked and the kernel allowed. One more than that fits.
	QueueAtStart int64 `json:"queue_at_start"`
	QueueAtEnd   int64 `json:"queue_at_end"`
	Limit        int64 `json:"limit"`
	// Drops counts SYNs and ACKs that this socket dropped over the window: for
	// want of room in the accept queue or of memory, or because it waits for data
	// first (TCP_DEFER_ACCEPT). Null: the kernel does not say.
	Drops *int64 `json:"drops"`
}

// NetSockets is the sockets of the target by TCP state, and bytes in their queues.
type NetSockets struct {
	ByState    map[string]int `json:"by_state"`
	RecvQBytes int64          `json:"recv_q_bytes"`
	SendQBytes int64          `json:"send_q_bytes"`
}

// GoRuntime is ebpf/goruntime.json: what the Go runtime did over the window. What the
// executable has no function for is absent, not zero, and stands in Missing.
type GoRuntime struct {
	// Counts is how often things happened, by name: "goroutines_parked",
	// "goroutines_ready", "goroutines_ready_network", "goroutines_run",
	// "goroutines_run_unready", "threads_started", "collections_started",
	// "finalizers_queued", "cleanups_queued", "pool_get_slow", "pool_pin_slow",
	// "pool_misses", "mutex_lock_slow".
	Counts map[string]int64 `json:"counts"`
	// Parks has one entry for each reason, by parked time, largest first.
	// Goroutines that parked before the probe was attached are not among them.
	Parks []GoPark `json:"parks,omitempty"`
	// Delay is from when a parked goroutine became ready to when it ran; null when
	// that was not seen. Goroutines that are new or were preempted are not in it.
	Delay *GoDelay `json:"delay,omitempty"`
	// LockSlow is what waited in sync.(*Mutex).lockSlow; null when not seen.
	LockSlow *GoLocks `json:"lock_slow,omitempty"`
	// Missing says why, for each name of Counts that was not captured.
	Missing map[string]string `json:"missing,omitempty"`
}

// GoPark sums up the parks of one reason.
type GoPark struct {
	Reason string `json:"reason"` // as the Go runtime names it: "chan receive"
	// Parks is how many began inside the window.
	Parks    int64   `json:"parks"`
	ParkedNS int64   `json:"parked_ns"` // inside the window, those still parked at its end included
	Delay    GoDelay `json:"delay"`
}

// GoDelay is a scheduling delay of goroutines.
type GoDelay struct {
	Count     int64 `json:"count"`
	TotalNS   int64 `json:"total_ns"`
	Over100US int64 `json:"over_100us"` // of these, longer than 100 microseconds
	// Log2NS[i] counts delays of 2^i to 2^(i+1) ns; the first also holds shorter ones.
	Log2NS []int64 `json:"log2_ns"`
}

// GoLocks sums up the time in sync.(*Mutex).lockSlow.
type GoLocks struct {
	Count   int64 `json:"count"`    // calls whose time is in TotalNS
	TotalNS int64 `json:"total_ns"` // inside the window, those still waiting at its end included
}

// Custom is ebpf/custom.json: the probes that the scenario declares.
type Custom struct {
	Probes []CustomProbe `json:"probes"` // in the order of the scenario
}

// CustomProbe is one of them.
type CustomProbe struct {
	Name       string `json:"name"`
	Function   string `json:"function,omitempty"`
	Tracepoint string `json:"tracepoint,omitempty"`
	// Missing says why it was not captured; everything below is absent then.
	Missing string   `json:"missing,omitempty"`
	Notes   []string `json:"notes,omitempty"` // what it did not see although it was captured
	// Counts is what happened over the window; null when it was not captured.
	Counts *CustomCounts `json:"counts,omitempty"`
	// Number is the argument or field that was read.
	Number *CustomNumber `json:"number,omitempty"`
	// Timed is how long calls took.
	Timed *CustomTimed `json:"timed,omitempty"`
	// Goroutines are those with most calls kept, or most time where timed: at most 20.
	Goroutines []CustomGoroutine `json:"goroutines,omitempty"`
	Profile    string            `json:"profile,omitempty"` // the artifact with its stacks
}

// CustomCounts counts passes of a probe: every one is in exactly one of the three.
type CustomCounts struct {
	Calls   int64 `json:"calls"`    // that its number let pass
	LeftOut int64 `json:"left_out"` // by its number
	Unread  int64 `json:"unread"`   // whose number could not be read
}

// CustomNumber describes the number that calls came with.
type CustomNumber struct {
	Name string `json:"name"` // "len(p)"
	Type string `json:"type"` // "int"
	Keep string `json:"keep,omitempty"`
	Sum  int64  `json:"sum"` // wraps around beyond 2^63
	// Negative counts numbers below 0; the others are in Log2[i], from 2^i to
	// 2^(i+1), the first of which also holds 0.
	Negative int64   `json:"negative"`
	Log2     []int64 `json:"log2"`
}

// CustomTimed is how long calls took. Calls = Ended + Unended + Unwound + Untimed.
type CustomTimed struct {
	Ended   int64   `json:"ended"` // began and ended inside the window
	TotalNS int64   `json:"total_ns"`
	Log2NS  []int64 `json:"log2_ns"` // of all that ended, as GoDelay's
	Unended int64   `json:"unended"` // had not returned at the end of the window
	Unwound int64   `json:"unwound"` // never returned: a panic passed through
	Untimed int64   `json:"untimed"` // for which there was no room
	// SlowerThanNS: of those that ended only slower ones are in Goroutines and the
	// profile; Quick is how many are not.
	SlowerThanNS int64 `json:"slower_than_ns,omitempty"`
	Quick        int64 `json:"quick,omitempty"`
}

// CustomGoroutine is what one goroutine did.
type CustomGoroutine struct {
	ID      int64 `json:"id"` // 0: outside any goroutine, or not known
	Calls   int64 `json:"calls"`
	TotalNS int64 `json:"total_ns,omitempty"`
}

// ProcSample is one reading of /proc for the target.
type ProcSample struct {
	MonoNS        int64 `json:"mono_ns"`
	RSSBytes      int64 `json:"rss_bytes"`
	FDs           int   `json:"fds"`
	FDLimit       int64 `json:"fd_limit"`
	Threads       int   `json:"threads"`
	UserNS        int64 `json:"user_ns"`   // CPU time since start
	SystemNS      int64 `json:"system_ns"` // CPU time since start
	VoluntaryCS   int64 `json:"voluntary_cs"`
	InvoluntaryCS int64 `json:"involuntary_cs"`
	// MachineIdleNS and MachineTotalNS are summed over all CPUs since boot.
	MachineIdleNS  int64 `json:"machine_idle_ns"`
	MachineTotalNS int64 `json:"machine_total_ns"`
	// AllowedIdleNS is as MachineIdleNS, over the CPUs that the target may run on
	// by its affinity; 0: not known.
	AllowedIdleNS int64 `json:"allowed_idle_ns,omitempty"`
	// Sockets of the target by TCP state, and bytes in their queues.
	Sockets    map[string]int `json:"sockets,omitempty"`
	RecvQBytes int64          `json:"recv_q_bytes"`
	SendQBytes int64          `json:"send_q_bytes"`
}

// MetricsSample is one reading of the target's runtime/metrics. Histograms are
// left out; units are part of the names, as in runtime/metrics.
type MetricsSample struct {
	MonoNS int64              `json:"mono_ns"`
	Values map[string]float64 `json:"values"`
}

// CallSites is target/callsites.json: where the target's executable calls the
// functions whose callers matter to a diagnosis. It is read from the machine
// code, so it is complete and says nothing of how often.
type CallSites struct {
	Sites []CallSite `json:"sites"`
	// Literals are the function literals that the compiler named after a function that
	// they are not written in. Recordings of before they were kept have none.
	Literals []Literal `json:"literals,omitempty"`
}

// Literal is a function literal whose name in the executable is not the one that its
// source gives it: the function around it was inlined.
type Literal struct {
	Function string `json:"function"` // as the runtime prints it: "main.main.(*Guard).Wrap.func2"
	File     string `json:"file"`
	Written  string `json:"written"` // "example.com/permit/access.(*Guard).Wrap.func2"
}

// CallSite is one call instruction, as the innermost frame outside the
// standard library that holds it.
type CallSite struct {
	Callee   string `json:"callee"` // "sync.(*Pool).Put"
	Function string `json:"function"`
	File     string `json:"file"`
	Line     int    `json:"line"`
	// Argument is the number that runtime.GOMAXPROCS is called with, where that
	// stands in the code; 0: not known. Calls that only ask are not listed.
	Argument int64 `json:"argument,omitempty"`
	// Through is, of a call that puts into a map or slice, the function of the standard
	// library that was inlined there and makes it: "net/http.Header.Set".
	Through string `json:"through,omitempty"`
	// Sends and Receives are how many cases of a select do so, a default left out; 0 and 0
	// where the code does not tell, and in recordings of before it was asked.
	Sends    int `json:"sends,omitempty"`
	Receives int `json:"receives,omitempty"`
	// Discards is set where what is received from a channel is thrown away: <-c.
	Discards bool `json:"discards,omitempty"`
}

// Puts reports whether a callee puts into a map or appends to a slice.
func Puts(callee string) bool {
	return callee == "runtime.growslice" || strings.HasPrefix(callee, "runtime.mapassign")
}
