package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"chokepoint/harness/bundle"
)

const (
	// settle is how long what a run has left may take to go. The kernel frees what a
	// process had open a moment after its parent has heard of its end.
	settle = 5 * time.Second
	// runTime bounds a run: its ramp, the time it may take to stand, and its end.
	runTime = 3 * time.Minute
	// usage is chokepoint's exit code for what it was asked for and could not do.
	usage = 2
)

type soak struct {
	options
	own bool // the network namespace is the soak's own
	out io.Writer

	dir  string // scratch
	mark string
}

// outcome is what one run did and left.
type outcome struct {
	code   int
	took   time.Duration
	load   bundle.Load
	failed string // why it has no figures
	left   left
}

// run is the soak. The code is that of the program.
func (s *soak) run(ctx context.Context) (code int, err error) {
	if s.dir, err = os.MkdirTemp("", "chokepoint-soak-*"); err != nil {
		return 2, err
	}
	defer os.RemoveAll(s.dir)
	s.mark = filepath.Base(s.dir)
	if err := os.Mkdir(filepath.Join(s.dir, "tmp"), 0o755); err != nil {
		return 2, err
	}
	if s.bin == "" {
		if s.bin, err = build(ctx, s.dir); err != nil {
			return 2, err
		}
	}
	if s.scenario == "" {
		if s.scenario, err = s.ownScenario(); err != nil {
			return 2, err
		}
	}
	whose := "of the whole machine: without root there is no network namespace for the soak alone"
	if s.own {
		whose = "of a network namespace of the soak's own"
	}
	fmt.Fprintf(s.out, "%d runs at %d in flight, window %s; sockets are those %s\n\n", s.runs, s.inFlight, s.window, whose)
	before, err := s.look()
	if err != nil {
		return 2, err
	}
	fmt.Fprintf(s.out, "before  %s\n", before)
	fmt.Fprintln(s.out, "run     exit   took  in flight when capture began  requests ended  failed  in TIME_WAIT  left")
	outcomes, err := s.all(ctx, before)
	s.sum(before, outcomes)
	if err != nil {
		return 1, err
	}
	return s.judge(before, outcomes), nil
}

func (s *soak) all(ctx context.Context, before left) ([]outcome, error) {
	var outcomes []outcome
	for i := range s.runs {
		o, err := s.one(ctx, before)
		if ctx.Err() != nil {
			return outcomes, fmt.Errorf("interrupted in run %d of %d", i+1, s.runs)
		}
		if err != nil {
			return outcomes, fmt.Errorf("run %d: %w", i+1, err)
		}
		outcomes = append(outcomes, o)
		fmt.Fprintf(s.out, "%-7d %4d  %5.1fs  %28d  %14d  %6d  %12d  %s\n", i+1, o.code, o.took.Seconds(),
			o.load.Reached.InFlightAtCapture, o.load.Requests.Ended, o.load.Requests.Ended-o.load.Requests.OK, o.left.timeWait, o.left.beyond(before))
		if why := o.notReached(); why != "" {
			fmt.Fprintf(s.out, "        %s\n", strings.ReplaceAll(why, "\n", "\n        "))
		}
	}
	return outcomes, nil
}

// one makes a run and looks at what it left.
func (s *soak) one(ctx context.Context, before left) (outcome, error) {
	runs := filepath.Join(s.dir, "runs")
	defer os.RemoveAll(runs)
	bounded, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	args := []string{"run", s.scenario, "--in-flight", fmt.Sprint(s.inFlight), "--window", s.window.String(), "--out", runs}
	if s.twin() {
		args = append(args, "--variant", "fixed")
	}
	cmd := exec.CommandContext(bounded, s.bin, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	cmd.Env = append(os.Environ(), markEnv+"="+s.mark, "TMPDIR="+filepath.Join(s.dir, "tmp"))
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true} // Ctrl-C is passed on by Cancel
	var said strings.Builder
	cmd.Stderr = &said
	begun := time.Now()
	err := cmd.Run()
	o := outcome{took: time.Since(begun), code: cmd.ProcessState.ExitCode()}
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		return o, fmt.Errorf("%w: %s", err, said.String())
	}
	if err := s.figures(runs, &o.load); err != nil {
		o.failed = err.Error()
	} else if o.code == usage {
		o.failed = "it could not be done as asked"
	}
	if o.failed != "" {
		o.failed += "; the run said:\n" + strings.TrimSpace(said.String())
	}
	o.left, err = s.settled(ctx, before)
	return o, err
}

// twin is whether the scenario has a fixed variant.
func (s *soak) twin() bool {
	text, err := os.ReadFile(s.scenario)
	return err == nil && (strings.Contains(string(text), "package:") || strings.Contains(string(text), "{variant}"))
}

// figures reads the load's account out of the one bundle in runs.
func (s *soak) figures(runs string, to *bundle.Load) error {
	all, err := filepath.Glob(filepath.Join(runs, "*", filepath.FromSlash(bundle.LoadSummary)))
	if err != nil || len(all) != 1 {
		return fmt.Errorf("%d accounts of the load were left; want 1", len(all))
	}
	text, err := os.ReadFile(all[0])
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}

// notReached is why a run's load is not what was asked for; "" when it is. What
// other programs do to its verdict is no matter here.
func (o outcome) notReached() string {
	g := o.load.Generator
	switch {
	case o.failed != "":
		return o.failed
	case !g.ReachedInFlight && g.Reason != "":
		return g.Reason
	case !g.ReachedInFlight:
		return "what was asked for was not reached"
	case len(o.load.Requests.ByError) > 0:
		return fmt.Sprintf("requests failed: %v", o.load.Requests.ByError)
	}
	return ""
}

// settled looks until nothing is left beyond what was there before, or the time
// for that is over.
func (s *soak) settled(ctx context.Context, before left) (left, error) {
	deadline := time.Now().Add(settle)
	for {
		now, err := s.look()
		if err != nil || now.beyond(before) == nothing || time.Now().After(deadline) {
			return now, err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return now, nil
		}
	}
}

// sum tells what all runs came to.
func (s *soak) sum(before left, outcomes []outcome) {
	if len(outcomes) == 0 {
		return
	}
	reached, clean := 0, 0
	codes := map[int]int{}
	var took []time.Duration
	for _, o := range outcomes {
		codes[o.code]++
		took = append(took, o.took)
		if o.notReached() == "" {
			reached++
		}
		if o.left.beyond(before) == nothing {
			clean++
		}
	}
	slices.Sort(took)
	fmt.Fprintf(s.out, "after   %s\n\n", outcomes[len(outcomes)-1].left)
	fmt.Fprintf(s.out, "%d of %d runs reached %d in flight without a failed request; after %d nothing was left\n", reached, len(outcomes), s.inFlight, clean)
	fmt.Fprintf(s.out, "exit codes (count): %v; a run took %.1f s (median), %.1f s at most\n", codes, took[len(took)/2].Seconds(), took[len(took)-1].Seconds())
	if codes[3] > 0 {
		fmt.Fprintln(s.out, "exit code 3 beside a load that was reached: the machine was too busy to conclude anything, which is no matter here")
	}
}

// judge is the exit code. Sockets that may be other programs' are told and not judged.
func (s *soak) judge(before left, outcomes []outcome) int {
	for _, o := range outcomes {
		now := o.left
		if !s.own {
			now.sockets, now.timeWait = before.sockets, before.timeWait
		}
		if o.notReached() != "" || now.beyond(before) != nothing {
			return 1
		}
	}
	return 0
}

// ownScenario writes the scenario of the soak's own target.
func (s *soak) ownScenario() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free, and then stays the target's
	if err != nil {
		return "", err
	}
	address := ln.Addr().String()
	if err := ln.Close(); err != nil {
		return "", err
	}
	file := filepath.Join(s.dir, "soak.yaml")
	return file, os.WriteFile(file, fmt.Appendf(nil, `scenario: soak/load
target:
  command: [%q, serve, %q, "{debug}"]
  address: %q
  debug: "{debug}/debug/pprof"
load: {in_flight: %d, ramp: 2s}
capture: {window: %s, trace: {for: 1s, at_most: 16MiB}}
`, self, address, address, s.inFlight, s.window), 0o644)
}
