package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture/ebpf"
	"chokepoint/harness/run"
	"chokepoint/harness/scenario"
	"chokepoint/reports/kernel"
)

// kernelFlags are what both commands take that show the kernel's view.
type kernelFlags struct {
	kernel.Options
	json bool
}

func (k *kernelFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&k.Top, "top", 5, "rows of each table")
	f.StringVar(&k.Syscall, "syscall", "", "of the slow system calls, this one alone: write")
	f.Int64Var(&k.GoID, "goroutine", 0, "of slow calls and stacks, those of this goroutine alone, by its id")
	f.BoolVar(&k.json, "json", false, "print one JSON document")
}

func (k *kernelFlags) check() error {
	if k.Top < 1 {
		return fmt.Errorf("--top %d: it must be at least 1", k.Top)
	}
	return nil
}

func (a *app) kernelCommand() *cobra.Command {
	var k kernelFlags
	cmd := &cobra.Command{
		Use:   "kernel BUNDLE",
		Short: "Show what the kernel saw: system calls, slow ones, run queue, stacks by goroutine",
		Example: `  chokepoint kernel runs/my-server-...
  chokepoint kernel runs/my-server-... --syscall write --top 20`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := k.check(); err != nil {
				return err
			}
			return a.showKernel(args[0], k)
		},
	}
	k.add(cmd)
	return cmd
}

func (a *app) showKernel(path string, k kernelFlags) error {
	b, err := bundle.Open(path)
	if err != nil {
		return err
	}
	defer b.Close()
	view := kernel.New(b.Evidence(), k.Options)
	if k.json {
		return a.json(struct {
			SchemaVersion int `json:"schema_version"`
			*kernel.View
		}{schemaVersion, view})
	}
	return view.Text(a.out)
}

func (a *app) probeCommand() *cobra.Command {
	var (
		k      kernelFlags
		probes []string
		length time.Duration
		slow   time.Duration
		out    string

		functions, tracepoints []string
	)
	cmd := &cobra.Command{
		Use:   "probe PID",
		Short: "Watch a running process with eBPF for some seconds, and show what the kernel saw",
		Long: `Probe attaches eBPF probes to a process that runs already, a Go program or not,
takes them off again after some seconds, and shows what the kernel command shows
of a bundle. It sends no load and diagnoses nothing. With --out the recording stays.

It exits with 3 when a probe that was asked for could not be had.`,
		Example: `  chokepoint probe 4711                                       # top five system calls, run queue, stacks
  chokepoint probe 4711 --probes syscalls --slow 1ms --syscall write
  chokepoint probe 4711 --probes oncpu,sched --goroutine 42 --for 30s
  chokepoint probe 4711 --probes goruntime                    # scheduling delay, parks by reason
  chokepoint probe 4711 --function 'main.(*store).get'        # how often, how long, from where`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			pid, err := strconv.Atoi(args[0])
			if err != nil || pid < 1 {
				return fmt.Errorf("%q is not the id of a process; want a number, such as 4711", args[0])
			}
			if length < 100*time.Millisecond || length > 10*time.Minute {
				return fmt.Errorf("--for %s: it must be between 100ms and 10m", length)
			}
			if slow < 10*time.Microsecond {
				return fmt.Errorf("--slow %s: it must be at least 10µs; below that most calls are slow", slow)
			}
			if err := errors.Join(k.check(), knownProbes(probes)); err != nil {
				return err
			}
			if _, err := os.Stat(filepath.Join("/proc", args[0])); err != nil {
				return fmt.Errorf("there is no process %d", pid)
			}
			custom := declared(functions, tracepoints)
			if len(custom) > 0 && !cmd.Flags().Changed("probes") {
				probes = []string{ebpf.Custom}
			} else if len(custom) > 0 && !slices.Contains(probes, ebpf.Custom) {
				probes = append(probes, ebpf.Custom)
			}
			dir := out
			if dir == "" {
				temporary, err := os.MkdirTemp("", "chokepoint-probe-")
				if err != nil {
					return fmt.Errorf("make a place for the recording: %w", err)
				}
				defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
				dir = filepath.Join(temporary, "bundle")
			}
			err = run.Probe(cmd.Context(), run.Probing{
				PID: pid, For: length, Probes: ebpf.Config{Probes: probes, Slow: slow, Custom: custom}, Dir: dir,
				Version: version(), Status: a.lineStatus(),
			})
			a.clearLine()
			if err != nil {
				return fmt.Errorf("probe process %d: %w", pid, err)
			}
			if err := a.showKernel(dir, k); err != nil {
				return err
			}
			return probesMissing(dir)
		},
	}
	k.add(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&probes, "probes", scenario.DefaultEBPFProbes(), "which probes, with commas between")
	f.StringArrayVar(&functions, "function", nil, "count and time this function of the program, as the Go runtime names it; may be repeated")
	f.StringArrayVar(&tracepoints, "tracepoint", nil, "count this tracepoint of the kernel, such as tcp/tcp_retransmit_skb; may be repeated")
	f.DurationVar(&length, "for", 5*time.Second, "how long")
	f.DurationVar(&slow, "slow", time.Duration(scenario.DefaultSlow), "from where on a system call is shown by itself")
	f.StringVar(&out, "out", "", "keep the recording in this directory, which must not exist or be empty")
	return cmd
}

// declared are custom probes for functions and tracepoints, numbered in their order.
func declared(functions, tracepoints []string) []ebpf.CustomProbe {
	var out []ebpf.CustomProbe
	for n, function := range functions {
		out = append(out, ebpf.CustomProbe{Name: fmt.Sprintf("function-%d", n+1), Function: function, Time: true, Stacks: true})
	}
	for n, tracepoint := range tracepoints {
		out = append(out, ebpf.CustomProbe{Name: fmt.Sprintf("tracepoint-%d", n+1), Tracepoint: tracepoint, Stacks: true})
	}
	return out
}

// knownProbes is an error for a name that no probe has.
func knownProbes(names []string) error {
	var known []string
	for _, k := range ebpf.Kinds() {
		known = append(known, k.Name)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("--probes: no probe is called %q; the probes are %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// probesMissing is an exit code when a probe was not captured.
func probesMissing(dir string) error {
	b, err := bundle.Open(dir)
	if err != nil {
		return err
	}
	defer b.Close()
	d, _ := b.Manifest().Dimension(bundle.DimEBPF)
	if !d.Captured {
		return exitError{ExitCouldNotTell}
	}
	for _, p := range d.Probes {
		if !p.Captured {
			return exitError{ExitCouldNotTell}
		}
	}
	return exitWith(ExitPass)
}

// lineStatus writes one line over and over where the errors go to a terminal; nil
// elsewhere.
func (a *app) lineStatus() func(string) {
	if !a.onTerminal() {
		return nil
	}
	return func(text string) { fmt.Fprintf(a.err, "\r\x1b[K%s", text) }
}

func (a *app) clearLine() {
	if a.onTerminal() {
		fmt.Fprint(a.err, "\r\x1b[K")
	}
}

func (a *app) onTerminal() bool {
	f, ok := a.err.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
