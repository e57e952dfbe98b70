// Package cli is the command line: it alone knows both what is live and what is
// pure, and puts them together.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// errInterrupted is the cause of the context's end on a signal.
var errInterrupted = errors.New("interrupted")

// version of the documents that --json prints, but those of package reports.
// It rises when a field changes its meaning or goes away.
const schemaVersion = 1

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
	if err == nil {
		return ExitPass
	}
	if told := (exitError{}); !errors.As(err, &told) {
		fmt.Fprintf(errOut, "chokepoint: %v\n", err)
	}
	return exitCode(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "chokepoint",
		Short: "Find out why a Go server is slow, and whether that is the right answer",
		Long: `Chokepoint holds a Go server under load, records what the kernel (eBPF), the
profiler (pprof) and the scheduler (execution trace) see over the same seconds
on one clock, and works out why it is slow, down to the function and the line.

Exit codes:
  0    pass, or nothing to judge
  1    a verdict failed
  2    bad input or usage: a flag, a file, a target that does not build or start
  3    could not tell: a capability, the load or the recording fell short
  130  interrupted
Of several runs the gravest decides: 130 before 2, 1, 3 and 0.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version(),
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		a.runCommand(), a.analyzeCommand(), a.whereCommand(), a.kernelCommand(), a.heatmapCommand(), a.signalsCommand(), a.packCommand(),
		a.testCommand(), a.explainCommand(), a.matrixCommand(), a.probeCommand(), a.overheadCommand(), a.doctorCommand(),
		a.listCommand(), a.validateCommand(), a.schemaCommand(), a.workerCommand(),
	)
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

// json prints the one document of a command.
func (a *app) json(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false) // for people who read it with less
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}
