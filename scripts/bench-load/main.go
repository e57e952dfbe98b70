// Bench-load compares load generators: what a request costs each of them at
// 10,000 keep-alive connections, and what they tell of it.
//
//	go run ./scripts/bench-load [-rounds 5] [-for 8s] [-connections 10000] [-only wrk,hey] [-quiet 20] [-install] [-json]
//
// Every generator runs once a round, the order rotates from round to round, and
// each run has a fresh server (net/http, a process of its own) at an address of
// its own. A closed loop: each connection sends its next request when the
// response to the last has come. Each tool runs with its own defaults otherwise,
// without a limit of the rate.
//
// The CPU time is that of the generator's process from start to end, connecting
// included, as the kernel counts it (getrusage). Requests are counted by the
// server, with the same ruler for all; what the tool itself counts stands beside.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"chokepoint/harness/load"
)

// filesBesideConnections are descriptors that a tool or the server has open
// beside its connections.
const filesBesideConnections = 256

func main() {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == serveMode:
		// The parent ends this process by closing its pipe, Ctrl-C or not.
		signal.Ignore(os.Interrupt)
		err = serve(os.Args[2], os.Stdin, os.Stdout)
	case len(os.Args) > 1 && os.Args[1] == attackMode:
		err = attackMain(context.Background(), os.Args[2:], os.Stdout)
	case len(os.Args) == 2 && os.Args[1] == load.WorkerCommand:
		err = workMain(context.Background())
	default:
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = compare(ctx, os.Args[1:], os.Stdout, os.Stderr)
		stop()
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintf(os.Stderr, "bench-load: %v\n", err)
		os.Exit(1)
	}
}

type options struct {
	connections, rounds int
	length              time.Duration
	quiet               float64 // %
	only, bin           string
	install, json       bool
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench-load", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.connections, "connections", 10000, "keep-alive connections")
	flags.IntVar(&o.rounds, "rounds", 5, "runs of each generator")
	flags.DurationVar(&o.length, "for", 8*time.Second, "length of one run's load; wrk rounds it to whole seconds")
	flags.Float64Var(&o.quiet, "quiet", 20, "wait before a run, a minute at most, until other processes use no more than this many `percent` of the CPUs; leave runs out in which they used more")
	flags.StringVar(&o.only, "only", "", "run only the generators whose names contain one of these `words`, with commas between")
	flags.StringVar(&o.bin, "bin", "", "look commands up in this `folder` first")
	flags.BoolVar(&o.install, "install", false, "go install pinned versions of those that are Go modules, into a folder that is removed at the end (with -bin: into that, to stay)")
	flags.BoolVar(&o.json, "json", false, "write every run's figures as JSON instead of the table")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q; there are flags only", flags.Arg(0))
	case o.connections < 1:
		return o, fmt.Errorf("-connections is %d; it must be at least 1", o.connections)
	case o.rounds < 1:
		return o, fmt.Errorf("-rounds is %d; it must be at least 1", o.rounds)
	case o.quiet < 0 || o.quiet > 100:
		return o, fmt.Errorf("-quiet is %g; it must be a percentage, 0 to 100", o.quiet)
	case o.length < time.Second:
		return o, fmt.Errorf("-for is %s; it must be at least 1s", o.length)
	}
	return o, nil
}

// compare runs all rounds and writes what they found.
func compare(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	if err := raiseOpenFiles(o.connections); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	all := pick(contenders(), o.only)
	if len(all) == 0 {
		return fmt.Errorf("-only %q fits no generator", o.only)
	}
	bin := o.bin
	if o.install {
		if bin == "" {
			if bin, err = os.MkdirTemp("", "bench-load-bin-"); err != nil {
				return fmt.Errorf("make a folder for commands: %w", err)
			}
			defer func() { err = errors.Join(err, os.RemoveAll(bin)) }()
		}
		if err := install(ctx, all, bin, stderr); err != nil {
			return err
		}
	}
	var folders []string
	if bin != "" {
		folders = append(folders, bin)
	}
	here, missing := find(all, append(folders, goBinFolders(ctx)...), self)
	rep := report{Connections: o.connections, LengthNS: int64(o.length), Rounds: o.rounds, CPUs: runtime.NumCPU(), Absent: missing}
	for _, m := range missing {
		fmt.Fprintf(stderr, "bench-load: %s is not installed; to get it: %s\n", m.Name, m.How)
	}
	if len(here) == 0 {
		return errors.New("none of the generators is installed")
	}
	rep.Results = make([]result, len(here))
	for i, c := range here {
		rep.Results[i].Name = c.name
	}
	runner := runner{self: self, connections: o.connections, length: o.length, quiet: o.quiet / 100}
	// What was found before an interruption is worth having, too.
	runErr := runner.rounds(ctx, here, &rep, stderr)
	if o.json {
		return errors.Join(runErr, rep.writeJSON(stdout))
	}
	return errors.Join(runErr, rep.writeMarkdown(stdout))
}

// rounds runs every contender once a round and puts the figures into rep, whose
// results are in the order of here.
func (r *runner) rounds(ctx context.Context, here []found, rep *report, progress io.Writer) error {
	for round := range rep.Rounds {
		for turn := range here {
			i := (turn + round) % len(here)
			if err := r.waitForQuiet(ctx); err != nil {
				return err
			}
			f, err := r.run(ctx, here[i].contender, here[i].path)
			if err != nil {
				return fmt.Errorf("round %d, %s: %w", round+1, here[i].name, err)
			}
			f.Round = round + 1
			rep.Results[i].Runs = append(rep.Results[i].Runs, f)
			fmt.Fprintf(progress, "bench-load: round %d of %d: %s: %s\n", round+1, rep.Rounds, here[i].name, f.line())
		}
	}
	return nil
}

// pick are the contenders whose names contain one of the words; all without words.
func pick(all []contender, words string) []contender {
	if words == "" {
		return all
	}
	return slices.DeleteFunc(all, func(c contender) bool {
		return !slices.ContainsFunc(strings.Split(words, ","), func(word string) bool {
			return word != "" && strings.Contains(c.name, strings.TrimSpace(word))
		})
	})
}

// raiseOpenFiles raises this process's soft limit of open files to the hard one,
// for the children to inherit, or says what is too low.
func raiseOpenFiles(connections int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	if need := uint64(connections) + filesBesideConnections; limit.Max < need {
		return fmt.Errorf("-connections %d needs %d open files in a process, but the hard limit is %d; raise it as root with `ulimit -Hn %d`, or ask for at most %d connections",
			connections, need, limit.Max, need, limit.Max-min(limit.Max, filesBesideConnections))
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the limit of open files: %w", err)
	}
	return nil
}
