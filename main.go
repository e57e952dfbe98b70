// Chokepoint is a load-test harness and a bottleneck lab for Go services: it
// holds a server under load, records what the kernel, the profiler and the
// scheduler see of it over the same seconds, works out why it is slow, and says
// whether that is the right answer.
package main

import (
	"os"

	"chokepoint/harness/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
}
