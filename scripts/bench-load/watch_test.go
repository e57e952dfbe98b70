package main

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSteadyIsTheLongestStretchWithAllConnections(t *testing.T) {
	at := func(s int, open int, answered int64, cpu int) look {
		return look{at: time.Unix(int64(s), 0), open: open, answered: answered, cpu: time.Duration(cpu) * time.Second}
	}
	for _, test := range []struct {
		name     string
		looks    []look
		cpu      time.Duration
		length   time.Duration
		answered int64
	}{
		{"none", nil, 0, 0, 0},
		{"never connected", []look{at(1, 10, 5, 1), at(2, 94, 9, 2)}, 0, 0, 0},
		{"one look", []look{at(1, 100, 5, 1)}, 0, 0, 0},
		{"connecting left out", []look{at(1, 10, 5, 3), at(2, 95, 100, 5), at(3, 100, 200, 6), at(4, 100, 350, 8), at(5, 3, 360, 9)},
			3 * time.Second, 2 * time.Second, 250},
		{"the longer of two", []look{at(1, 100, 0, 1), at(2, 100, 10, 2), at(3, 50, 20, 3), at(4, 100, 30, 4), at(5, 100, 40, 6), at(6, 100, 60, 7)},
			3 * time.Second, 2 * time.Second, 30},
	} {
		t.Run(test.name, func(t *testing.T) {
			cpu, length, answered := steady(test.looks, 100)
			assert.Equal(t, test.cpu, cpu)
			assert.Equal(t, test.length, length)
			assert.Equal(t, test.answered, answered)
		})
	}
}

func TestWatchSeesItsGroup(t *testing.T) {
	stop := make(chan struct{})
	asked := 0
	looks := watch(syscall.Getpgrp(), func() (tally, error) {
		if asked++; asked == 2 {
			close(stop)
		}
		return tally{Open: 7, Answered: int64(asked)}, nil
	}, stop)
	require.NotEmpty(t, looks)
	assert.Equal(t, 7, looks[0].open)
	assert.Equal(t, int64(1), looks[0].answered)
	assert.Positive(t, looks[0].rssBytes)

	assert.Empty(t, watch(syscall.Getpgrp(), func() (tally, error) { return tally{}, os.ErrClosed }, nil))
}

func TestFamilyHasChildrenInGroupsOfTheirOwn(t *testing.T) {
	child := exec.Command("sleep", "60")
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	require.NoError(t, child.Start())
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	}()
	family, err := familyOf(syscall.Getpgrp())
	require.NoError(t, err)
	assert.Contains(t, family, os.Getpid())
	assert.Contains(t, family, child.Process.Pid)
	assert.NotContains(t, family, 1)
}
