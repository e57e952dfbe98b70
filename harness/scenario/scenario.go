// Package scenario reads and checks the YAML file that says what to run: the
// target, the load, what to capture, and what must be found.
//
// It is pure: it touches files only, to read a scenario and to find the ground
// truth in the target's source, and never a live system.
package scenario

// Variant says which of a lab target's two programs runs.
type Variant string

// The variants. Fixed is the twin: the same work without the flaw.
const (
	Flawed Variant = "flawed"
	Fixed  Variant = "fixed"
)

// Scenario is one file of scenarios/. Load and Parse give it as written;
// Resolve fills in the defaults.
type Scenario struct {
	// Name is unique: lower-case words joined by "-", in parts joined by
	// "/": lock-contention/held-over-sleep. Reports and bundles carry it.
	Name string `yaml:"scenario" json:"scenario" jsonschema:"required"`
	// About says in a sentence what goes on, for a person who reads a list.
	About string `yaml:"about" json:"about,omitempty"`
	// Target is the server under test.
	Target Target `yaml:"target" json:"target" jsonschema:"required"`
	// Load is what vegeta sends.
	Load LoadPlan `yaml:"load" json:"load" jsonschema:"required"`
	// Capture says what is recorded, and for how long. Absent: everything.
	Capture Capture `yaml:"capture" json:"capture"`
	// Expect says what must be found, and that nothing else may be. A package
	// target needs it. Absent for another target: whatever is found is reported
	// and no verdict is drawn from it.
	Expect Expect `yaml:"expect" json:"expect"`

	origin *origin
}

// Target is the server under test: exactly one of package, command, pid and
// url says where it comes from.
type Target struct {
	// Package is the directory of a Go main package that is built and started,
	// relative to the directory of the nearest go.mod at or above the scenario
	// file: ./targets/lockcontention. It takes the flags of a lab target:
	// -listen, -debug, -variant and -set.
	Package string `yaml:"package" json:"package,omitempty"`
	// Command is a program and its arguments, started without a shell. In each,
	// {port} and {debug_port} become free TCP ports on loopback, {listen} and
	// {debug} the same as host:port. With {variant} in it, which becomes flawed or
	// fixed, the command has a twin.
	Command []string `yaml:"command" json:"command,omitempty"`
	// PID is the process id of a server that runs already. It is not stopped.
	PID int `yaml:"pid" json:"pid,omitempty"`
	// URL is the base URL of a server whose process is out of reach. The client's
	// side is recorded, and what debug and metrics give.
	URL string `yaml:"url" json:"url,omitempty"`

	// Variant is which variant runs when the command line does not say: flawed
	// (the default) or fixed. A package target has variants, and so does a command
	// with {variant}.
	Variant Variant `yaml:"variant" json:"variant,omitempty"`
	// Knobs are the settings of a package target, passed as -set name=value.
	// Each target names its own, with their units.
	Knobs map[string]string `yaml:"knobs" json:"knobs,omitempty"`
	// Args are further arguments of a package target, with the placeholders of
	// command.
	Args []string `yaml:"args" json:"args,omitempty"`
	// Env are environment variables for a target that the harness starts, added
	// to its own environment. Values may hold the placeholders of command.
	Env map[string]string `yaml:"env" json:"env,omitempty"`
	// Address is the host:port on which the server answers. A command that names
	// neither {port} nor {listen} needs it, and so does a pid target that listens
	// on several ports.
	Address string `yaml:"address" json:"address,omitempty"`
	// Debug is the base URL of net/http/pprof: http://{address}/debug/pprof.
	// {address} becomes the server's host:port, {debug} the debug port's. A URL
	// without scheme is http. Default for a package target:
	// http://{debug}/debug/pprof; for the others: none. The word none switches
	// it off. Without it pprof and trace cannot be captured.
	Debug string `yaml:"debug" json:"debug,omitempty"`
	// Metrics is the URL of runtime/metrics as flat JSON of names and numbers.
	// Placeholders and none are as in Debug. Default for a package target:
	// http://{debug}/debug/metrics; for the others: none.
	Metrics string `yaml:"metrics" json:"metrics,omitempty"`
	// Ready is the path asked until the server answers with any status but 503, by which one says that it is not ready yet.
	// Default: /.
	Ready string `yaml:"ready" json:"ready,omitempty"`
	// StartTimeout is how long the server may take to answer on Ready.
	// Default: 15s.
	StartTimeout Duration `yaml:"start_timeout" json:"start_timeout,omitempty"`
	// GOMAXPROCS is set in the environment of a target that the harness starts:
	// how many CPUs Go code uses at once. Default: not set.
	GOMAXPROCS int `yaml:"gomaxprocs" json:"gomaxprocs,omitempty"`
	// Build says how a package target is built, where it should not be as go build
	// does it here.
	Build *Build `yaml:"build" json:"build,omitempty"`
	// CPUs are the CPUs that a target which the harness starts may run on, as
	// taskset -c takes them: "0", "0-2,5". Default: all.
	CPUs CPUSet `yaml:"cpus" json:"cpus,omitempty"`
	// TLS says that the server speaks TLS, and how its certificate is checked:
	// {} trusts the system's roots. The https:// of a url target means the same.
	TLS *TLS `yaml:"tls" json:"tls,omitempty"`
}

// Build says how a package target is built.
type Build struct {
	// Go is the Go release that builds it, 1.24.0 or later, such as 1.25.3. The go
	// command fetches it where it is not there. The package, and the modules that it
	// needs, must hold to that release's language and library. Default: the one here.
	Go string `yaml:"go" json:"go,omitempty"`
	// Strip leaves out symbols and debug information, as many do who ship a server.
	Strip bool `yaml:"strip" json:"strip,omitempty"`
}

// TLS says how the certificate of a server that speaks TLS is checked.
type TLS struct {
	// CA is a PEM file of certificates that are trusted beside the system's roots,
	// relative to the scenario file. Default: none.
	CA string `yaml:"ca" json:"ca,omitempty"`
	// ServerName is the name that the certificate must hold. Default: the host
	// that is asked.
	ServerName string `yaml:"server_name" json:"server_name,omitempty"`
	// Verify checks the certificate at all. Default: true.
	Verify bool `yaml:"verify" json:"verify" jsonschema:"default=true"`
}

// UsesTLS reports whether the server speaks TLS.
func (t Target) UsesTLS() bool { return t.TLS != nil || isHTTPS(t.URL) }

// Variants lists the variants that may run, the flaw before its twin: both where
// the target has a twin, the fixed one alone for a near miss, and the empty one
// where the target has none.
func (s *Scenario) Variants() []Variant {
	switch {
	case len(s.Expect.NearMissOf) > 0 && s.Target.HasTwin():
		return []Variant{Fixed}
	case s.Target.HasTwin():
		return []Variant{Flawed, Fixed}
	}
	return []Variant{""}
}

// HasTwin reports whether there is a fixed variant to run as the control.
func (t Target) HasTwin() bool { return t.Package != "" || len(t.Command) > 0 && t.uses("variant") }

// Capture says what is recorded while the full load stands. /proc and the
// client's own measurements are always recorded.
type Capture struct {
	// Window is how long is recorded. Default: 10s.
	Window Duration `yaml:"window" json:"window,omitempty"`
	// EBPF lists the probes of the ebpf dimension: syscalls, sched, oncpu, net,
	// goruntime, custom. Default: the first four, and custom where probes of one's own
	// are declared. An empty list switches the dimension off.
	EBPF []string `yaml:"ebpf" json:"ebpf"`
	// Slow is from where on the syscalls probe keeps a system call by itself, with
	// its goroutine and stack. Calls in which idle threads wait are left out.
	// Default: 10ms.
	Slow Duration `yaml:"slow" json:"slow,omitempty"`
	// Budget is how much of the target's CPU time the ebpf dimension may cost, all
	// its probes together, such as 5%. A report says when they cost more; a verdict does
	// not change. Default: none.
	Budget Share `yaml:"budget" json:"budget,omitempty"`
	// Custom declares probes of one's own, without writing C: functions of the target
	// and tracepoints of the kernel, counted or timed. At most 16.
	Custom []CustomProbe `yaml:"custom" json:"custom,omitempty"`
	// Pprof lists the probes of the pprof dimension: cpu, heap, allocs,
	// goroutine, mutex, block. Default: all. An empty list switches the
	// dimension off.
	Pprof []string `yaml:"pprof" json:"pprof"`
	// Trace bounds the execution trace. Default: {for: 5s, at_most: 64MiB}. The
	// word none switches the dimension off, and a resolved scenario has null then.
	Trace *Trace `yaml:"trace" json:"trace"`
}

// Trace bounds the execution trace in time and in bytes.
type Trace struct {
	// For is how long is traced, inside the capture window. Default: 5s, or the
	// window if that is shorter.
	For Duration `yaml:"for" json:"for,omitempty"`
	// AtMost is the size at which the trace is cut. Default: 64MiB.
	AtMost Size `yaml:"at_most" json:"at_most,omitempty"`

	off bool // the scenario says none
}

// Probes of the ebpf dimension.
const (
	ProbeSyscalls = "syscalls"
	ProbeSched    = "sched"
	ProbeOnCPU    = "oncpu"
	ProbeNet      = "net"

	ProbeGoRuntime = "goruntime"
	ProbeCustom    = "custom" // what Capture.Custom declares
)

// EBPFProbes lists the probes of the ebpf dimension.
func EBPFProbes() []string {
	return []string{ProbeSyscalls, ProbeSched, ProbeOnCPU, ProbeNet, ProbeGoRuntime, ProbeCustom}
}

// DefaultEBPFProbes lists those that are recorded unless a scenario says otherwise.
func DefaultEBPFProbes() []string { return []string{ProbeSyscalls, ProbeSched, ProbeOnCPU, ProbeNet} }

// Probes of the pprof dimension, named as net/http/pprof names them, but cpu.
const (
	ProbeCPU       = "cpu"
	ProbeHeap      = "heap"
	ProbeAllocs    = "allocs"
	ProbeGoroutine = "goroutine"
	ProbeMutex     = "mutex"
	ProbeBlock     = "block"
)

// PprofProbes lists the probes of the pprof dimension.
func PprofProbes() []string {
	return []string{ProbeCPU, ProbeHeap, ProbeAllocs, ProbeGoroutine, ProbeMutex, ProbeBlock}
}

// Expect is what the verdict holds findings against. The fixed variant must
// show no finding, whatever stands here.
type Expect struct {
	// Findings must all be found. The first must be ranked first.
	Findings []ExpectedFinding `yaml:"findings" json:"findings"`
	// NothingElse makes any other finding a failure. Default: true.
	NothingElse bool `yaml:"nothing_else" json:"nothing_else" jsonschema:"default=true"`
	// NearMissOf names the causes that a healthy target could be mistaken for: it
	// shows their symptom for a good reason. Such a scenario expects no finding,
	// and its target runs as the fixed variant alone.
	NearMissOf []string `yaml:"near_miss_of" json:"near_miss_of,omitempty"`
}

// ExpectedFinding is one finding that a scenario is about.
type ExpectedFinding struct {
	// Cause is an id of the taxonomy.
	Cause string `yaml:"cause" json:"cause" jsonschema:"required"`
	// At is the function the finding must name: without its package, such as
	// "(*store).get", or in full, as the Go runtime names it:
	// "main.(*store).get". Function literals inside it count as it.
	At string `yaml:"at" json:"at,omitempty"`
	// Dimensions must each agree with the finding: ebpf, pprof, trace.
	// Default: none need to.
	Dimensions []string `yaml:"dimensions" json:"dimensions,omitempty"`
}
