package cli

import (
	"errors"
	"os"
	"syscall"

	"chokepoint/harness/run"
)

// exitCode is the code of an error that ended a command: what the machine or
// the recording could not do is told from what the user must change.
func exitCode(err error) int {
	switch {
	case errors.Is(err, run.ErrTargetDied),
		errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EMFILE),
		errors.Is(err, syscall.ENFILE), errors.Is(err, os.ErrDeadlineExceeded):
		return ExitCouldNotTell
	}
	return ExitUsage
}
