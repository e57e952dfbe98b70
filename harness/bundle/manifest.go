package bundle

import "time"

// SchemaVersion is the version of the bundle format this package writes. A
// reader refuses a bundle of a newer version and says so.
const SchemaVersion = 1

// Names of the files that every bundle has.
const (
	ManifestFile = "manifest.json"
	ScenarioFile = "scenario.json"
)

// The artifacts a bundle may hold, by their path inside it.
const (
	LoadResults = "load/results.gob"  // vegeta's own encoding; `vegeta report` reads it
	LoadSummary = "load/summary.json" // Load
	LoadLatency = "load/latency.hlog" // HDR histograms of each second, in µs, tagged service and corrected; HdrHistogram's log format

	CPUProfile            = "pprof/cpu.pb.gz"             // over the window
	HeapProfile           = "pprof/heap.pb.gz"            // absolute, at the end of the window
	HeapDeltaProfile      = "pprof/heap-delta.pb.gz"      // end of window minus its start
	HeapLateProfile       = "pprof/heap-late.pb.gz"       // end of window minus its middle; bundles before it was recorded have none
	AllocsProfile         = "pprof/allocs-delta.pb.gz"    // end of window minus its start
	MutexProfile          = "pprof/mutex-delta.pb.gz"     // end of window minus its start
	BlockProfile          = "pprof/block-delta.pb.gz"     // end of window minus its start
	GoroutineProfile      = "pprof/goroutine.pb.gz"       // absolute, inside the window
	GoroutineDeltaProfile = "pprof/goroutine-delta.pb.gz" // end of window minus its start

	TraceOut = "trace/trace.out" // `go tool trace` reads it

	EBPFSyscalls        = "ebpf/syscalls.json"  // Syscalls
	EBPFSyscallsProfile = "ebpf/syscalls.pb.gz" // calls and time by user stack; labels syscall, op
	EBPFOnCPUProfile    = "ebpf/oncpu.pb.gz"    // on-CPU samples and time by user+kernel stack; label goid
	EBPFSlow            = "ebpf/slow.json"      // SlowCalls
	EBPFSlowProfile     = "ebpf/slow.pb.gz"     // slow calls and their time by user stack; labels syscall, goid
	EBPFOffCPUProfile   = "ebpf/offcpu.pb.gz"   // off-CPU time by user stack; label state
	EBPFRunQueueProfile = "ebpf/runqueue.pb.gz" // run queue wait by user stack
	EBPFSched           = "ebpf/sched.json"     // Sched
	EBPFCuts            = "ebpf/cuts.json"      // Cuts

	EBPFNet = "ebpf/net.json" // Net

	EBPFGoRuntime       = "ebpf/goruntime.json"  // GoRuntime
	EBPFGoParkProfile   = "ebpf/gopark.pb.gz"    // parks, scheduling delay and parked time by user stack; labels reason, goid
	EBPFLockSlowProfile = "ebpf/lockslow.pb.gz"  // sync.Mutex slow locks and their time by user stack; label goid
	EBPFCustom          = "ebpf/custom.json"     // Custom
	EBPFCustomProfile   = "ebpf/custom-%s.pb.gz" // calls and time by user stack, for each custom probe that asks; label goid

	ProcSamples = "proc/samples.jsonl" // ProcSample, one a line
	ProcMetrics = "proc/metrics.jsonl" // MetricsSample, one a line

	TargetCallSites = "target/callsites.json" // CallSites
)

// Manifest is manifest.json: what was recorded, where, when, and what could
// not be. It holds no ground truth.
type Manifest struct {
	Schema int `json:"schema"`
	// Complete is false from the first write until everything the run meant to
	// record is in place. A bundle left by a run that died says false.
	Complete bool `json:"complete"`
	// Incomplete says why Complete is false, if the run lived long enough to say.
	Incomplete string      `json:"incomplete,omitempty"`
	Tool       Tool        `json:"tool"`
	Host       Host        `json:"host"`
	Target     Target      `json:"target"`
	Clock      Clock       `json:"clock"`
	Window     Window      `json:"window"`
	Dimensions []Dimension `json:"dimensions"`
	Artifacts  []Artifact  `json:"artifacts"`
}

// Tool is the chokepoint that recorded the bundle.
type Tool struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	// CPUSeconds is the CPU time of the recording itself over the window,
	// without the load generator's processes.
	CPUSeconds float64 `json:"cpu_seconds,omitempty"`
}

// Host is the machine the target ran on.
type Host struct {
	OS          string `json:"os"`
	Arch        string `json:"arch"`
	Kernel      string `json:"kernel"`
	CPUs        int    `json:"cpus"`
	MemoryBytes int64  `json:"memory_bytes"`
}

// Target is the build of the server under test, read from its executable.
type Target struct {
	GoVersion string `json:"go_version,omitempty"` // "go1.26.8"; empty when it is no Go program
	// MainModule is the module path of the program's own code; it separates
	// that code from third-party libraries. Empty when the build does not say.
	MainModule string `json:"main_module,omitempty"`
	SHA256     string `json:"sha256,omitempty"`
	Stripped   bool   `json:"stripped,omitempty"`
	CGO        bool   `json:"cgo,omitempty"`
	// GOMAXPROCS is 0 when it could not be told.
	GOMAXPROCS int `json:"gomaxprocs,omitempty"`
	// EnvGOMAXPROCS is what the environment that it was started with says; 0: nothing,
	// or not known.
	EnvGOMAXPROCS int `json:"env_gomaxprocs,omitempty"`
	// CPUsAllowed is how many CPUs the kernel lets the process use.
	CPUsAllowed int `json:"cpus_allowed,omitempty"`
	// CPUQuota is how many CPUs' worth of time its control groups grant it; 0: no
	// limit, or not known.
	CPUQuota float64 `json:"cpu_quota,omitempty"`
}

// Clock is one reading of both clocks. Every other time in a bundle is
// CLOCK_MONOTONIC in nanoseconds unless its name says otherwise.
type Clock struct {
	MonoNS int64     `json:"mono_ns"`
	Wall   time.Time `json:"wall"`
}

// Window is a span of CLOCK_MONOTONIC, in nanoseconds.
type Window struct {
	StartNS int64 `json:"start_ns"`
	EndNS   int64 `json:"end_ns"`
}

// Duration is the length of the window; 0 for an empty one.
func (w Window) Duration() time.Duration { return time.Duration(w.EndNS - w.StartNS) }

// Names of the dimensions.
const (
	DimEBPF  = "ebpf"
	DimPprof = "pprof"
	DimTrace = "trace"
	DimProc  = "proc"
	DimLoad  = "load"
)

// Dimension is what one dimension recorded.
type Dimension struct {
	Name string `json:"name"`
	// Captured is true when at least one probe of the dimension was.
	Captured bool `json:"captured"`
	// Reason says why nothing was captured, and what would help.
	Reason string  `json:"reason,omitempty"`
	Probes []Probe `json:"probes,omitempty"`
}

// Probe is what one source inside a dimension recorded.
type Probe struct {
	Name      string   `json:"name"`
	Captured  bool     `json:"captured"`
	Reason    string   `json:"reason,omitempty"` // why not, or what is wrong with it
	Window    Window   `json:"window"`
	Artifacts []string `json:"artifacts,omitempty"`
	// Lost counts what the probe knows it missed, by kind
	// ("events_dropped", "stacks_not_walked", "map_full", "bytes_cut").
	Lost map[string]int64 `json:"lost,omitempty"`
	// Cost is what an eBPF probe cost the target; nil where that was not measured,
	// and CostReason says why.
	Cost       *ProbeCost `json:"cost,omitempty"`
	CostReason string     `json:"cost_reason,omitempty"`
}

// Artifact is one file of the bundle.
type Artifact struct {
	Path   string `json:"path"` // slash-separated, inside the bundle
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// ProbeCost is what an eBPF probe cost the target over the probe's window. CPU time is
// in nanoseconds, summed over CPUs.
//
// The kernel's statistics of programs cost the target more than most programs do,
// so they are kept for moments spread over the window, StatisticsNS altogether;
// Runs and ProgramNS are what that makes for the whole window. TargetRuns are
// exact where the probe counts them itself.
type ProbeCost struct {
	// TargetCPUNS is the CPU time of the target's process over the window.
	TargetCPUNS int64 `json:"target_cpu_ns"`
	// TargetShare is TargetProgramNS, TargetHookNS and TargetStatisticsNS together
	// as a share of TargetCPUNS, 0 to 1.
	TargetShare float64 `json:"target_share"`
	// Runs of the probe's programs for whichever process, and the time in them.
	Runs      int64 `json:"runs"`
	ProgramNS int64 `json:"program_ns"`
	// TargetRuns are the runs for the target. What others run into costs them, and
	// not the target, the little that the comparison takes which lets it pass.
	TargetRuns      int64 `json:"target_runs"`
	TargetProgramNS int64 `json:"target_program_ns"`
	// TargetHookNS is the way to the programs and back: TargetRuns at what was
	// measured on an empty program.
	TargetHookNS int64 `json:"target_hook_ns"`
	// TargetStatisticsNS is what keeping the statistics cost.
	TargetStatisticsNS int64 `json:"target_statistics_ns"`
	StatisticsNS       int64 `json:"statistics_ns"` // of the window, with statistics
	// Notes say what is not known and how that shows in the figures.
	Notes    []string      `json:"notes,omitempty"`
	Programs []ProgramCost `json:"programs"`
}

// ProgramCost is the part of one program. Fields that ProbeCost has too are the same.
type ProgramCost struct {
	Name               string `json:"name"`
	Hook               string `json:"hook"` // syscall, tracepoint, tracepoint-record, sample, uprobe; empty: not known
	Runs               int64  `json:"runs"`
	ProgramNS          int64  `json:"program_ns"`
	TargetRuns         int64  `json:"target_runs"`
	TargetProgramNS    int64  `json:"target_program_ns"`
	TargetHookNS       int64  `json:"target_hook_ns"`
	TargetStatisticsNS int64  `json:"target_statistics_ns"`
	// HookNSPerRun is the median of what was measured, and Q1 and Q3 its quartiles.
	HookNSPerRun   float64 `json:"hook_ns_per_run"`
	HookNSPerRunQ1 float64 `json:"hook_ns_per_run_q1"`
	HookNSPerRunQ3 float64 `json:"hook_ns_per_run_q3"`
	// OtherNSPerRun is a run for another process, measured before the window; 0: not known.
	OtherNSPerRun float64 `json:"other_ns_per_run"`
}
