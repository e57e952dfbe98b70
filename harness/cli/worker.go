package cli

import (
	"os"

	"github.com/spf13/cobra"

	"chokepoint/harness/load"
	"chokepoint/harness/load/worker"
)

// workerCommand is this program as a process of the load generator, which it
// starts itself. Nobody types it.
func (a *app) workerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    load.WorkerCommand,
		Short:  "Make load, as another chokepoint says on the standard input",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := worker.Serve(cmd.Context(), os.Stdin, a.out); err != nil {
				return exitError{ExitUsage} // the one who started it tells why
			}
			return nil
		},
	}
}
