// Soak-load runs chokepoint many times back to back at 10,000 requests in flight,
// and looks for what is left after each run.
//
//	go run ./scripts/soak-load [-runs 50] [-in-flight 10000] [-window 2s] [-scenario FILE]
//
// The target is a server of this program that takes 2.5 s for each response,
// at the same port in every run: connections that a run leaves in TIME_WAIT
// take their ports from the next one. With -scenario it is that scenario, in its
// fixed variant where it has one.
//
// As root everything happens in a network namespace of its own, so that each
// socket that is counted is of the soak; without, the machine's TCP sockets are
// counted, those of other programs included. Processes are known by their
// environment, which all that a run starts inherits, files by the folder for
// temporary ones.
//
// Exit codes: 0 nothing was left and every run reached what it asked for, 1
// otherwise, 2 bad usage or a soak that could not begin.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// serveMode as first argument makes this program the target.
	serveMode = "serve"
	// insideEnv tells this program that it is inside the namespace.
	insideEnv = "CHOKEPOINT_SOAK_INSIDE"
	// markEnv marks what a run starts.
	markEnv = "CHOKEPOINT_SOAK"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := soakMain(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "soak-load: %v\n", err)
	}
	os.Exit(code)
}

func soakMain(ctx context.Context, args []string, stdout, stderr io.Writer) (code int, err error) {
	if len(args) > 0 && args[0] == serveMode {
		if err := serve(ctx, args[1:]); err != nil {
			return 1, err
		}
		return 0, nil
	}
	o, err := parseOptions(args, stderr)
	if err != nil {
		return 2, err
	}
	inside := os.Getenv(insideEnv) != ""
	if os.Geteuid() == 0 && !inside {
		return enclosed(ctx, args, stdout, stderr)
	}
	if inside {
		if err := raiseLoopback(); err != nil {
			return 2, fmt.Errorf("network namespace: %w", err)
		}
	}
	s := soak{options: o, own: inside, out: stdout}
	return s.run(ctx)
}

type options struct {
	runs     int
	inFlight int
	window   time.Duration
	scenario string
	bin      string
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("soak-load", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.runs, "runs", 50, "runs, one after the other")
	flags.IntVar(&o.inFlight, "in-flight", 10000, "requests in flight")
	flags.DurationVar(&o.window, "window", 2*time.Second, "length of each run's window")
	flags.StringVar(&o.scenario, "scenario", "", "scenario `file` to run instead of a server of this program")
	flags.StringVar(&o.bin, "bin", "", "chokepoint's `executable`; without it, it is built")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("%q: there are flags alone", flags.Arg(0))
	case o.runs < 1:
		return o, fmt.Errorf("-runs %d: it must be at least 1", o.runs)
	case o.inFlight < 1:
		return o, fmt.Errorf("-in-flight %d: it must be at least 1", o.inFlight)
	case o.window < time.Second:
		return o, fmt.Errorf("-window %s: it must be at least 1s", o.window)
	}
	return o, nil
}

// enclosed runs this program again in a network namespace of its own.
func enclosed(ctx context.Context, args []string, stdout, stderr io.Writer) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 2, fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Setpgid: true, Pdeathsig: unix.SIGTERM}
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 2, fmt.Errorf("network namespace: %w", err)
	}
	return 0, nil
}

// raiseLoopback brings the loopback interface up, which a new namespace has down.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifreq, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifreq); err != nil {
		return fmt.Errorf("flags of lo: %w", err)
	}
	ifreq.SetUint16(ifreq.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifreq); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}

// build makes chokepoint in dir.
func build(ctx context.Context, dir string) (string, error) {
	bin := filepath.Join(dir, "chokepoint")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
}
