package load

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// otherFiles is room for what the process has open beside the load: standard
// streams, a bundle's files, probes (one descriptor a program, map and link, and
// one a CPU for perf events), debug connections.
const otherFiles = 512

// raiseOpenFiles makes room for inFlight connections and returns the limit of
// open files that then holds.
func raiseOpenFiles(inFlight int) (int64, error) {
	need := uint64(inFlight) + otherFiles
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("load: read the limit of open files: %w", err)
	}
	if limit.Cur < need && limit.Cur < limit.Max {
		raised := unix.Rlimit{Cur: limit.Max, Max: limit.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &raised); err == nil {
			limit = raised
		}
	}
	return int64(limit.Cur), enoughFiles(limit, inFlight)
}

func enoughFiles(limit unix.Rlimit, inFlight int) error {
	need := uint64(inFlight) + otherFiles
	if limit.Cur >= need {
		return nil
	}
	return fmt.Errorf("load: %d requests in flight need %d open files in this process, but its limit is %d (hard limit %d); "+
		"run `ulimit -n %d` in the shell first (as root, if the hard limit is lower), or ask for at most %d in flight",
		inFlight, need, limit.Cur, limit.Max, need, max(0, int64(limit.Cur)-otherFiles))
}
