package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/spf13/cobra"

	"chokepoint/harness/overhead"
	"chokepoint/harness/run"
	"chokepoint/harness/scenario"
)

// Bounds of `chokepoint overhead` that keep a slip of the pen from becoming a day.
const (
	maxRounds         = 1000                   // and times in each
	minOverheadWindow = 500 * time.Millisecond // the target's requests must be many in each
	maxOverheadWindow = 2 * time.Minute
)

type overheadFlags struct {
	variant                   string
	inFlight, rounds, times   int
	window                    time.Duration
	modes                     []string
	pin, beside               bool
	others                    float64
	seed                      uint64
	asJSON, asBenchmark, list bool
}

func (a *app) overheadCommand() *cobra.Command {
	var o overheadFlags
	cmd := &cobra.Command{
		Use:   "overhead SCENARIO",
		Short: "Measure what each probe and each dimension costs the target",
		Long: `Overhead starts the target and the load of a scenario and measures the target's
CPU time per request, and the p99 of latency, with nothing on and with each mode
on in turn: every eBPF probe alone, the scenario's probes together, pprof, the
execution trace, and all of it. Windows are short, in random order, each between
two windows of nothing that it is compared with. The control is nothing once more,
and its interval is the noise. docs/overhead.md says how to read the table.

It exits with 0 when it could measure, with 3 when nothing could be compared: for
want of rights, because the load did not stand, or because other processes kept
the CPUs busy.`,
		Example: `  chokepoint overhead scenarios/overhead/hello.yaml --rounds 8 --pin
  chokepoint overhead scenarios/lock-contention-sleep.yaml --modes control,syscalls,ebpf
  chokepoint overhead scenarios/overhead/hello.yaml --benchstat > o.txt; benchstat -col /mode o.txt`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.config(args[0])
			if err != nil {
				return err
			}
			if o.list {
				for _, m := range c.Modes {
					fmt.Fprintf(a.out, "%-12s %s\n", m.Name, m.About)
				}
				return nil
			}
			return a.overhead(cmd.Context(), c, o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.rounds, "rounds", 6, "rounds, each with the target and the load started anew")
	f.IntVar(&o.times, "times", 1, "windows of each mode in a round")
	f.DurationVar(&o.window, "window", 3*time.Second, "length of a window")
	f.StringVar(&o.variant, "variant", "", "flawed or fixed (default: fixed, where there are variants)")
	f.IntVar(&o.inFlight, "in-flight", 0, "requests in flight, in place of the scenario's")
	f.StringSliceVar(&o.modes, "modes", nil, "modes to measure, beside off (default: all; --list names them)")
	f.BoolVar(&o.list, "list", false, "list the modes and measure nothing")
	f.BoolVar(&o.pin, "pin", false, "bind the target to one CPU, and the load to another")
	f.BoolVar(&o.beside, "beside", false, "measure bpftrace, strace and perf trace on the same target as well, where they are installed")
	f.Float64Var(&o.others, "others", 10, "leave out windows in which other processes used more than this many percent of the CPUs")
	f.Uint64Var(&o.seed, "seed", 0, "of the order of modes (default: another each time)")
	f.BoolVar(&o.asJSON, "json", false, "print one JSON document")
	f.BoolVar(&o.asBenchmark, "benchstat", false, "print benchmark lines for benchstat")
	return cmd
}

// config checks flags and scenario.
func (o *overheadFlags) config(file string) (overhead.Config, error) {
	var none overhead.Config
	switch {
	case o.variant != "" && o.variant != string(scenario.Flawed) && o.variant != string(scenario.Fixed):
		return none, fmt.Errorf("--variant %q: it is %s or %s", o.variant, scenario.Flawed, scenario.Fixed)
	case o.inFlight < 0:
		return none, fmt.Errorf("--in-flight %d: it must be at least 1", o.inFlight)
	case o.rounds < 1 || o.rounds > maxRounds:
		return none, fmt.Errorf("--rounds %d: it must be between 1 and %d", o.rounds, maxRounds)
	case o.times < 1 || o.times > maxRounds:
		return none, fmt.Errorf("--times %d: it must be between 1 and %d", o.times, maxRounds)
	case o.window < minOverheadWindow || o.window > maxOverheadWindow:
		return none, fmt.Errorf("--window %s: it must be between %s and %s", o.window, minOverheadWindow, maxOverheadWindow)
	case !(o.others >= 0 && o.others <= 100):
		return none, fmt.Errorf("--others %g: it is a percentage, 0 to 100", o.others)
	case o.asJSON && o.asBenchmark:
		return none, errors.New("--json and --benchstat: give one of them")
	}
	s, err := scenario.Load(file)
	if err != nil {
		return none, err
	}
	dir, err := scenario.ModuleDir(file)
	if err != nil {
		return none, err
	}
	variant := scenario.Variant(o.variant)
	if variant == "" && s.Target.HasTwin() {
		variant = scenario.Fixed // a flaw's own cost would hide that of the probes
	}
	resolved, err := s.Resolve(scenario.Overrides{Variant: variant, InFlight: o.inFlight})
	if err != nil {
		return none, err
	}
	modes, err := overhead.Select(overhead.Modes(resolved.Scenario, o.beside), o.modes)
	if err != nil {
		return none, fmt.Errorf("--modes: %w", err)
	}
	seed := o.seed
	if seed == 0 {
		seed = rand.Uint64N(1<<32) + 1
	}
	return overhead.Config{
		Setup: run.Setup{Scenario: resolved, Dir: dir}, Modes: modes, Rounds: o.rounds, Times: o.times, Window: o.window,
		Seed: seed, Pin: o.pin, MostOthers: o.others / 100,
	}, nil
}

func (a *app) overhead(ctx context.Context, c overhead.Config, o overheadFlags) error {
	show := a.progress()
	defer show.end()
	name := runName(c.Setup.Scenario.Scenario.Name, c.Setup.Scenario.Variant)
	c.Observe = func(s overhead.Status) {
		words := s.Doing
		if s.Round > 0 {
			words = fmt.Sprintf("round %d of %d: %s", s.Round, s.Rounds, s.Doing)
		}
		if s.Window > 0 {
			words = fmt.Sprintf("round %d of %d, window %d of %d: %s", s.Round, s.Rounds, s.Window, s.Windows, s.Doing)
		}
		show.words(name, words)
	}
	found, err := overhead.Run(ctx, c)
	show.end()
	if len(found.Windows) > 0 || err == nil {
		if failed := a.printOverhead(found, o); failed != nil {
			return errors.Join(failed, err)
		}
	}
	if err != nil {
		return err
	}
	if !found.Told() {
		return exitError{ExitCouldNotTell}
	}
	return nil
}

func (a *app) printOverhead(found overhead.Result, o overheadFlags) error {
	switch {
	case o.asJSON:
		return a.json(struct {
			SchemaVersion int `json:"schema_version"`
			overhead.Result
		}{schemaVersion, found})
	case o.asBenchmark:
		return overhead.Benchstat(a.out, found)
	}
	return overhead.Table(a.out, found)
}
