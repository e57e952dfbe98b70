package overhead

import (
	"context"
	"os"
	"testing"

	"chokepoint/harness/load"
	"chokepoint/harness/load/worker"
)

// TestMain lets the test program be its own load worker.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == load.WorkerCommand {
		if worker.Serve(context.Background(), os.Stdin, os.Stdout) != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}
