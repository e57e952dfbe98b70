package harness_test

import (
	"os"
	"testing"

	"chokepoint/harness/cli"
	"chokepoint/harness/load"
)

// TestMain lets the test program be the load worker that a run starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == load.WorkerCommand {
		os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}
