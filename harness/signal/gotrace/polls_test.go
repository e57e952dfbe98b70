package gotrace

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"chokepoint/harness/internal/testtrace"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestPollsAtOnce holds that polls which return at once are told from those that sleep, and
// counted beside what is done about them.
func TestPollsAtOnce(t *testing.T) {
	const turns = 2000
	one := binary.NativeEndian.AppendUint64(nil, 1)
	for name, c := range map[string]struct {
		reads bool
		most  float64 // of polls at once for each other call
		least float64
	}{
		"an eventfd that is never read": {false, turns, 10},
		"one that is read each time":    {true, 0.7, 0}, // a read and a write for each poll
	} {
		t.Run(name, func(t *testing.T) {
			event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
			require.NoError(t, err)
			defer unix.Close(event)
			poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
			require.NoError(t, err)
			defer unix.Close(poll)
			require.NoError(t, unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, event, &unix.EpollEvent{Events: unix.EPOLLIN}))
			wake := func() {
				_, err := unix.Write(event, one)
				require.NoError(t, err)
			}
			s := read(t, testtrace.Record(t, func() {
				done := make(chan struct{})
				go func() {
					defer close(done)
					pollsInKernel(t, poll, event, turns, c.reads, wake)
				}()
				time.Sleep(20 * time.Millisecond)
				wake()
				<-done
			}))
			var polls, atOnce, others int64
			for _, x := range s.Syscalls {
				polls += x.Polls
				atOnce += x.PollsAtOnce
				others += x.Count - x.Polls
				assert.Equal(t, x.Polls > 0, x.ForDescriptors)
				if x.Polls > 0 {
					assert.Equal(t, pkg+"pollsInKernel", x.Where.Function)
				}
			}
			assert.GreaterOrEqual(t, polls, int64(turns), "a signal may end one early")
			assert.Less(t, atOnce, polls, "the first slept until it was woken")
			ratio := float64(atOnce) / float64(max(1, others))
			assert.LessOrEqual(t, ratio, c.most)
			assert.GreaterOrEqual(t, ratio, c.least)
		})
	}
}

// pollsInKernel waits for the event so many times.
func pollsInKernel(t *testing.T, poll, event, turns int, reads bool, wake func()) {
	events, buf := make([]unix.EpollEvent, 4), make([]byte, 8)
	for range turns {
		n, err := unix.EpollWait(poll, events, -1)
		for errors.Is(err, unix.EINTR) {
			n, err = unix.EpollWait(poll, events, -1)
		}
		if !assert.NoError(t, err) || !assert.Equal(t, 1, n) {
			return
		}
		if reads {
			_, err = unix.Read(event, buf)
			assert.NoError(t, err)
			wake()
		}
	}
}
