// Package cli is the command line: it alone knows both what is live and what is
// pure, and puts them together.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"chokepoint/harness/verdict"
)

// The exit codes of every command.
const (
	ExitPass         = 0   // or nothing to judge
	ExitFail         = 1   // a verdict failed
	ExitUsage        = 2   // bad input or usage: a file, a flag, a target that does not build or start
	ExitCouldNotTell = 3   // a capability, the load or the recording fell short
	ExitInterrupted  = 130 // Ctrl-C, or a signal to end
)

// exitError carries the exit code of an outcome that has been reported already.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// errInterrupted is the cause of the context's end on a signal.
var errInterrupted = errors.New("interrupted")

// app is what commands share.
type app struct {
	out, err io.Writer
}

// Main runs the command line and returns the exit code. A first signal to end
// stops what is under way in order; a second ends the program at once, and the
// kernel takes the target and the probes down with it.
func Main(args []string, out, errOut io.Writer) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	go func() {
		select {
		case <-signals:
			cancel(errInterrupted)
			signal.Reset(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		case <-ctx.Done():
		}
	}()

	a := &app{out: out, err: errOut}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	var exit exitError
	switch {
	case err == nil:
		return ExitPass
	case errors.Is(context.Cause(ctx), errInterrupted):
		fmt.Fprintln(errOut, "chokepoint: interrupted; the target is stopped and the probes are off")
		return ExitInterrupted
	case errors.As(err, &exit):
		return exit.code
	}
	fmt.Fprintf(errOut, "chokepoint: %v\n", err)
	return exitCode(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "chokepoint",
		Short: "Find out why a Go server is slow, and whether that is the right answer",
		Long: `Chokepoint holds a Go server under load, records what the kernel (eBPF), the
profiler (pprof) and the scheduler (execution trace) see over the same seconds
on one clock, and works out why it is slow, down to the function and the line.

Exit codes: 0 pass, 1 a verdict failed, 2 bad input or usage, 3 could not tell,
130 interrupted.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version(),
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(a.runCommand(), a.analyzeCommand(), a.listCommand(), a.validateCommand(), a.signalsCommand(), a.schemaCommand(), a.doctorCommand())
	return root
}

// version is what the build knows of itself.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// finish turns outcomes into the command's error: nil for a pass.
func finish(outcomes []verdict.Outcome) error {
	if len(outcomes) == 0 {
		return nil
	}
	if code := verdict.Combine(outcomes...).ExitCode(); code != ExitPass {
		return exitError{code}
	}
	return nil
}
