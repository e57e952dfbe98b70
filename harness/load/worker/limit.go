package worker

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// otherFiles is room for what a worker has open beside its connections: standard
// streams, the poller, and dials that are under way.
const otherFiles = 128

// raiseOpenFiles makes room for so many connections and returns the limit of open
// files that then holds.
func raiseOpenFiles(connections int) (int64, error) {
	need := uint64(connections) + otherFiles
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	if limit.Cur < need && limit.Cur < limit.Max {
		raised := unix.Rlimit{Cur: limit.Max, Max: limit.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &raised); err == nil {
			limit = raised
		}
	}
	return int64(limit.Cur), enoughFiles(limit, connections)
}

func enoughFiles(limit unix.Rlimit, connections int) error {
	need := uint64(connections) + otherFiles
	if limit.Cur >= need {
		return nil
	}
	return fmt.Errorf("%d connections need %d open files in each process of the load generator, but the limit is %d (hard limit %d): "+
		"share them over more processes with load.workers, run `ulimit -n %d` in the shell first (as root, if the hard limit is lower), "+
		"or ask for at most %d a process",
		connections, need, limit.Cur, limit.Max, need, max(0, int64(limit.Cur)-otherFiles))
}
