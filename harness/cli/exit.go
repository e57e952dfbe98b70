package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"chokepoint/harness/heatmap"
	"chokepoint/harness/overhead"
	"chokepoint/harness/run"
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

// exitWith ends a command that has told all there is to tell.
func exitWith(code int) error {
	if code == ExitPass {
		return nil
	}
	return exitError{code}
}

// exitCode is the code of an error that ended a command: what the machine or
// the recording could not do is told from what the user must change.
func exitCode(err error) int {
	var told exitError
	switch {
	case err == nil:
		return ExitPass
	case errors.Is(err, errInterrupted):
		return ExitInterrupted
	case errors.As(err, &told):
		return told.code
	case errors.Is(err, run.ErrCutShort), errors.Is(err, run.ErrNoLoad), errors.Is(err, overhead.ErrFellShort), errors.Is(err, heatmap.ErrNoRequests),
		errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT),
		errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE),
		errors.Is(err, os.ErrDeadlineExceeded):
		return ExitCouldNotTell
	}
	return ExitUsage
}

// gravest is the exit code of several things together: what was asked for and
// could not be done goes before a verdict, and a failure, which rests on
// evidence, before what could not be told.
func gravest(codes ...int) int {
	for _, code := range []int{ExitInterrupted, ExitUsage, ExitFail, ExitCouldNotTell} {
		if slices.Contains(codes, code) {
			return code
		}
	}
	return ExitPass
}
