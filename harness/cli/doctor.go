package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"chokepoint/harness/capture/ebpf"
)

// wantedFiles is what 10,000 connections take of one process, and some to spare
// for the rest.
const wantedFiles = 10_000 + 512

// capability is one thing that this machine can or cannot do.
type capability struct {
	Name string `json:"name"`
	// Gives says what it is good for.
	Gives   string `json:"gives"`
	OK      bool   `json:"ok"`
	Missing string `json:"missing,omitempty"`
	Mend    string `json:"mend,omitempty"`
	// Needs is which of the kernel's capabilities it uses.
	Needs []ebpf.Need `json:"needs,omitempty"`
	// Lacks makes it poorer although it is there.
	Lacks []ebpf.Lack `json:"lacks,omitempty"`
}

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine can capture, what it lacks, and what would give it",
		Long: `Doctor tries what a run needs: it loads and attaches the eBPF programs of every
probe, and looks at limits and tools. It exits with 0 if everything is there and
with 3 if something is not; what is there works all the same.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []capability
			for _, c := range ebpf.Check(cmd.Context()) {
				all = append(all, capability{Name: "ebpf " + c.Probe, Gives: c.Question, OK: c.OK, Missing: c.Missing, Mend: c.Mend,
					Needs: c.Needs, Lacks: c.Lacks})
			}
			var hooks []hookCost
			if slices.ContainsFunc(all, func(c capability) bool { return c.OK }) {
				hooks = hookCosts(cmd.Context())
			}
			all = append(all, goTool(), openFiles(), ports())
			if asJSON {
				if err := a.json(struct {
					SchemaVersion int          `json:"schema_version"`
					Capabilities  []capability `json:"capabilities"`
					// OrdinaryUser is what remains without eBPF.
					OrdinaryUser ebpf.Ordinary `json:"ordinary_user"`
					Hooks        []hookCost    `json:"hooks"`
				}{schemaVersion, all, ebpf.OrdinaryUser(), append([]hookCost{}, hooks...)}); err != nil {
					return err
				}
			} else {
				a.printCapabilities(all, ebpf.OrdinaryUser())
				a.printHooks(hooks)
			}
			for _, c := range all {
				if !c.OK {
					return exitError{ExitCouldNotTell}
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

func (a *app) printCapabilities(all []capability, ordinary ebpf.Ordinary) {
	noEBPF := false
	for _, c := range all {
		mark := "yes"
		if !c.OK {
			mark = "NO "
		}
		fmt.Fprintf(a.out, "%s  %-15s %s\n", mark, c.Name, c.Gives)
		if c.Missing != "" {
			fmt.Fprintf(a.out, "     missing: %s\n", c.Missing)
		}
		if c.Mend != "" {
			fmt.Fprintf(a.out, "     mend:    %s\n", c.Mend)
		}
		if needs := capabilityNames(c.Needs); needs != "" {
			fmt.Fprintf(a.out, "     needs:   %s\n", needs)
		}
		for _, l := range c.Lacks {
			fmt.Fprintf(a.out, "     poorer:  %s\n", l.What)
			if l.Mend != "" {
				fmt.Fprintf(a.out, "     mend:    %s\n", l.Mend)
			}
		}
		noEBPF = noEBPF || len(c.Needs) > 0 && !c.OK
	}
	if noEBPF {
		fmt.Fprintln(a.out, "\nWithout eBPF there remain:")
		for _, r := range ordinary.Remains {
			fmt.Fprintf(a.out, "  - %s\n", r)
		}
		fmt.Fprintln(a.out, ordinary.Perf+".")
	}
	fmt.Fprintln(a.out, "\npprof, the execution trace and runtime/metrics depend on the target: it must serve net/http/pprof.")
}

// capabilityNames lists what a probe cannot do without; what it can is told
// where it is missing.
func capabilityNames(needs []ebpf.Need) string {
	var names []string
	for _, n := range needs {
		if n.Required() {
			names = append(names, n.Capability)
		}
	}
	return strings.Join(names, ", ")
}

// hookCost is what one run of an eBPF program costs on this machine beside the
// program itself, in nanoseconds.
type hookCost struct {
	Kind         string  `json:"kind"`
	NS           float64 `json:"ns_per_run"` // the median
	Q1           float64 `json:"ns_per_run_q1"`
	Q3           float64 `json:"ns_per_run_q3"`
	StatisticsNS float64 `json:"statistics_ns_per_run"` // more, while the kernel keeps statistics
	Missing      string  `json:"missing,omitempty"`     // why it is not known
}

func hookCosts(ctx context.Context) []hookCost {
	var list []hookCost
	costs := ebpf.MeasureHooks(ctx, ebpf.AllHooks()...)
	for _, kind := range ebpf.AllHooks() {
		c := costs[kind]
		cost := hookCost{Kind: string(kind), NS: c.NS, Q1: c.Q1, Q3: c.Q3, StatisticsNS: c.StatisticsNS}
		if c.Err != nil {
			cost.Missing = c.Err.Error()
		}
		list = append(list, cost)
	}
	return list
}

func (a *app) printHooks(hooks []hookCost) {
	if len(hooks) == 0 {
		return
	}
	fmt.Fprintln(a.out, "\nWhat an eBPF program costs here beside its own time, each time it runs:")
	for _, h := range hooks {
		if h.Missing != "" {
			fmt.Fprintf(a.out, "  %-18s not known: %s\n", h.Kind, h.Missing)
			continue
		}
		fmt.Fprintf(a.out, "  %-18s %.0f ns (quartiles %.0f to %.0f), %.0f ns more while the kernel keeps statistics\n", h.Kind, h.NS, h.Q1, h.Q3, h.StatisticsNS)
	}
}

func goTool() capability {
	c := capability{Name: "go", Gives: "building package targets"}
	out, err := exec.Command("go", "version").Output()
	if err != nil {
		c.Missing = "no go command: " + err.Error()
		c.Mend = "install Go 1.26 and put it on PATH; targets given as a command, pid or url need none"
		return c
	}
	c.OK = true
	c.Gives += " (" + strings.TrimSpace(strings.TrimPrefix(string(out), "go version ")) + ")"
	return c
}

func openFiles() capability {
	c := capability{Name: "open files", Gives: fmt.Sprintf("%d requests in flight", 10_000)}
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		c.Missing = "the limit cannot be read: " + err.Error()
		return c
	}
	if r.Max < wantedFiles {
		c.Missing = fmt.Sprintf("the hard limit is %d open files, %d are needed in the load generator and in the target each", r.Max, wantedFiles)
		c.Mend = fmt.Sprintf("ulimit -Hn %d (as root), or LimitNOFILE= of the service that starts this", wantedFiles)
		return c
	}
	c.OK = true
	return c
}

func ports() capability {
	c := capability{Name: "ports", Gives: "10000 connections to one address on loopback"}
	const file = "/proc/sys/net/ipv4/ip_local_port_range"
	text, err := os.ReadFile(file)
	if err != nil {
		c.Missing = err.Error()
		return c
	}
	var low, high int
	if _, err := fmt.Sscan(string(text), &low, &high); err != nil {
		c.Missing = fmt.Sprintf("%s: %v", file, err)
		return c
	}
	if high-low < 12_000 {
		c.Missing = fmt.Sprintf("%d ephemeral ports, 12000 are needed", high-low+1)
		c.Mend = "sysctl -w net.ipv4.ip_local_port_range='32768 60999'"
		return c
	}
	c.OK = true
	return c
}
