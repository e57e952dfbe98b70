package cli

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/run"
)

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, ExitPass},
		{errors.New("no such file"), ExitUsage},
		{fmt.Errorf("write: %w", syscall.ENOSPC), ExitCouldNotTell},
		{fmt.Errorf("%w: it died", run.ErrCutShort), ExitCouldNotTell},
		{fmt.Errorf("%w: too few files", run.ErrNoLoad), ExitCouldNotTell},
		{fmt.Errorf("%w: it hung", run.ErrUnclean), ExitUsage},
		{errors.Join(fmt.Errorf("%w while ramping", errInterrupted), run.ErrUnclean), ExitInterrupted},
		{exitError{ExitFail}, ExitFail},
	} {
		assert.Equal(t, c.want, exitCode(c.err), "%v", c.err)
	}
}

func TestGravest(t *testing.T) {
	assert.Equal(t, ExitPass, gravest())
	assert.Equal(t, ExitCouldNotTell, gravest(ExitPass, ExitCouldNotTell))
	assert.Equal(t, ExitFail, gravest(ExitCouldNotTell, ExitFail))
	assert.Equal(t, ExitUsage, gravest(ExitFail, ExitUsage, ExitCouldNotTell))
	assert.Equal(t, ExitInterrupted, gravest(ExitUsage, ExitInterrupted))
}
