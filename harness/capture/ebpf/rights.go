package ebpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Need is a capability of the kernel that a probe uses, found by leaving each
// out on Linux 6.18 (rights_test.go does that again).
type Need struct {
	Capability string `json:"capability"` // "CAP_BPF"
	For        string `json:"for"`        // what it is used for
	// Without is what is lost without it; empty: the whole probe.
	Without string `json:"without,omitempty"`
	// Foreign is true when it is for targets of other users alone.
	Foreign bool `json:"foreign,omitempty"`
	Held    bool `json:"held"` // by this process
}

// Required reports whether the probe is lost without it, whatever the target.
func (n Need) Required() bool { return n.Without == "" && !n.Foreign }

// The capabilities that probes need, by the kernel's names.
const (
	capBPF     = "CAP_BPF"
	capPerfmon = "CAP_PERFMON"
	capPtrace  = "CAP_SYS_PTRACE"
	capRead    = "CAP_DAC_READ_SEARCH"
	capSyslog  = "CAP_SYSLOG"
)

var capNumbers = map[string]int{
	capBPF: unix.CAP_BPF, capPerfmon: unix.CAP_PERFMON, capPtrace: unix.CAP_SYS_PTRACE,
	capRead: unix.CAP_DAC_READ_SEARCH, capSyslog: unix.CAP_SYSLOG,
}

// Needs is what a probe needs of the kernel, the indispensable first. Every probe
// needs the first two; CAP_SYS_ADMIN stands for both.
func Needs(probe string) []Need {
	needs := []Need{
		{Capability: capBPF, For: "loading programs and making their maps"},
		{Capability: capPerfmon, For: "attaching programs to tracepoints and clocks, and reading the kernel's structures"},
	}
	if probe == Net {
		return append(needs,
			Need{Capability: capPtrace, Foreign: true, For: "finding the network namespace of a target of another user"},
			Need{Capability: capRead, Foreign: true, For: "listing the sockets of a target of another user",
				Without: "sockets from before the recording are counted as elsewhere, and listening sockets are not told"},
		)
	}
	if probe == GoRuntime || probe == Custom {
		return append(needs, Need{Capability: capPtrace, Foreign: true, For: "reading the executable and the code of a target of another user"})
	}
	needs = append(needs, Need{Capability: capPtrace, Foreign: true, For: "reading the executable of a target of another user",
		Without: "functions have no names and samples no goroutine id"})
	if probe == OnCPU {
		needs = append(needs, Need{Capability: capSyslog, For: "reading addresses in /proc/kallsyms",
			Without: "kernel functions have no names"})
	}
	return needs
}

// holds reports whether a mask as in /proc/self/status has a capability.
func holds(held uint64, capability string) bool {
	return held&(1<<capNumbers[capability]) != 0
}

// holdsOrStandIn also counts CAP_SYS_ADMIN, which stands for the two that it was
// before they were made (Linux 5.8).
func holdsOrStandIn(held uint64, capability string) bool {
	standIn := capability == capBPF || capability == capPerfmon
	return holds(held, capability) || standIn && held&(1<<unix.CAP_SYS_ADMIN) != 0
}

// setcap is the command that gives what every probe needs for every target, and
// extra besides. It names all, for setcap replaces what a file had.
func setcap(extra ...string) string {
	exe, err := os.Executable()
	if err != nil {
		exe = "chokepoint"
	}
	all := []string{capBPF, capPerfmon, capPtrace}
	for _, c := range extra {
		if !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	return "run as root, or: sudo setcap " + strings.ToLower(strings.Join(all, ",")) + "+ep " + exe
}

// A Lack is something that makes a probe poorer although it can be recorded.
type Lack struct {
	What string `json:"what"`
	Mend string `json:"mend,omitempty"`
}

// lacks is what makes a probe poorer for who holds these capabilities.
func lacks(probe string, held uint64) []Lack {
	var out []Lack
	for _, n := range Needs(probe) {
		switch {
		case n.Required() || holds(held, n.Capability):
		case n.Capability == capSyslog && kernelNamesShown():
		case n.Foreign && n.Without == "":
			out = append(out, Lack{"of a target of another user nothing is recorded: " + n.Capability + " missing", setcap(n.Capability)})
		case n.Foreign:
			out = append(out, Lack{"of a target of another user: " + n.Without + ": " + n.Capability + " missing", setcap(n.Capability)})
		default:
			out = append(out, Lack{n.Without + ": " + n.Capability + " missing", setcap(n.Capability)})
		}
	}
	if probe == Net {
		if err := tracefsReady(tracefsPaths); err != nil {
			l := Lack{What: "accept costs the target more, for every system call is looked at: " + err.Error()}
			var s *shortfall
			if errors.As(err, &s) {
				l.What = "accept costs the target more, for every system call is looked at: " + s.missing
				l.Mend = s.mend
			}
			out = append(out, l)
		}
	}
	return out
}

func kernelNamesShown() bool {
	_, hidden, err := readKernelSymbols()
	return err == nil && !hidden
}

// kernelNamesMend says how /proc/kallsyms is made to show addresses. Unless
// CAP_SYSLOG is held it takes both: kernel/ksyms_common.c of Linux.
const kernelNamesMend = "CAP_SYSLOG, or: sysctl kernel.kptr_restrict=0 kernel.perf_event_paranoid=1"

// tracefsPaths is where tracefs is mounted, first by rule and then by history.
var tracefsPaths = []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}

// tracefsReady is an error when tracefs, which numbers the tracepoints, cannot
// be read at any of paths.
func tracefsReady(paths []string) error {
	var refused error
	for _, path := range paths {
		_, err := os.ReadFile(path + "/events/syscalls/sys_exit_accept4/id")
		if err == nil {
			return nil
		}
		if errors.Is(err, fs.ErrPermission) {
			refused = errors.Join(refused, err)
		}
	}
	if refused != nil {
		return &shortfall{
			missing: "tracefs may not be read: " + capRead + " missing",
			mend:    setcap(capRead), cause: refused,
		}
	}
	if _, err := os.Stat(paths[0] + "/events"); err == nil {
		return &shortfall{
			missing: "the kernel has no tracepoints of single system calls",
			mend:    "boot a kernel built with CONFIG_FTRACE_SYSCALLS=y",
		}
	}
	return &shortfall{
		missing: "tracefs is not mounted at " + paths[0],
		mend:    "sudo mount -t tracefs tracefs " + paths[0],
	}
}

// Ordinary is what an ordinary user can have, without any capability.
type Ordinary struct {
	// PerfEventParanoid is kernel.perf_event_paranoid; null: the kernel has no
	// perf events, or does not tell.
	PerfEventParanoid *int `json:"perf_event_paranoid"`
	// Remains is what can be recorded all the same.
	Remains []string `json:"remains"`
	// Perf is what the kernel lets such a user's perf do.
	Perf string `json:"perf"`
}

// OrdinaryUser says what remains without eBPF. There is no stand-in for a probe
// by perf events: user stacks alone, without the kernel's half, goroutine ids or
// the filter on the process, would be another measurement under the same name,
// and the cpu profile of the pprof dimension has those already.
func OrdinaryUser() Ordinary {
	return ordinaryUser("/proc/sys/kernel/perf_event_paranoid")
}

func ordinaryUser(paranoidPath string) Ordinary {
	o := Ordinary{
		Remains: []string{
			"proc: descriptors, threads, memory, CPU time and sockets of a process of one's own",
			"pprof, trace and runtime/metrics of any target that serves them",
			"load: all that the client sees",
		},
		Perf: "the kernel has no perf events, or does not say to whom it gives them",
	}
	data, err := os.ReadFile(paranoidPath)
	if err != nil {
		return o
	}
	level, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return o
	}
	o.PerfEventParanoid = &level
	may := "nothing" // 3 and above are Debian's and Android's
	switch {
	case level <= -1:
		may = "sample everything"
	case level == 0:
		may = "sample whole CPUs and the kernel, raw tracepoints excepted"
	case level == 1:
		may = "sample a process of one's own, in the kernel too"
	case level == 2:
		may = "sample a process of one's own, in user space alone"
	}
	o.Perf = fmt.Sprintf("kernel.perf_event_paranoid is %d: perf(1) may %s; chokepoint makes no use of that", level, may)
	if may == "nothing" {
		o.Perf = fmt.Sprintf("kernel.perf_event_paranoid is %d: perf(1) may do nothing", level)
	}
	return o
}
