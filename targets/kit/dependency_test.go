package kit

import (
	"bufio"
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// In these tests time is synctest's: it moves only when everything waits, so
// that what is measured is exact.

func TestDependencyAnswersAfterItsDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDependency(t.Context(), time.Second, WithJitter(0))
		began := time.Now()
		require.NoError(t, d.Call(t.Context()))
		assert.Equal(t, time.Second, time.Since(began))
	})
}

func TestDependencySpreadsItsAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDependency(t.Context(), time.Second, WithJitter(0.2))
		seen := make(map[time.Duration]bool)
		for range 50 {
			began := time.Now()
			require.NoError(t, d.Call(t.Context()))
			took := time.Since(began)
			assert.InDelta(t, time.Second, took, float64(200*time.Millisecond))
			seen[took] = true
		}
		assert.Greater(t, len(seen), 1)
	})
}

func TestDependencyStopsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("the client has gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		began := time.Now()
		err := NewDependency(t.Context(), time.Hour).Call(ctx)
		assert.ErrorIs(t, err, gone)
		assert.Equal(t, time.Second, time.Since(began))
	})
}

func TestDependencyStopsWithTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		assert.ErrorIs(t, NewDependency(ctx, time.Hour).Call(t.Context()), ErrStopped)
	})
}

func TestPeerAnswersEachLine(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	addr, err := ListenPeer(ctx, time.Millisecond)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	in := bufio.NewReader(conn)

	_, err = conn.Write([]byte("one\ntwo\n"))
	require.NoError(t, err)
	for range 2 {
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, "ok\n", line)
	}

	cancel()
	_, err = in.ReadString('\n')
	assert.Error(t, err, "the peer hangs up when it ends")
	assert.Eventually(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	}, 10*time.Second, time.Millisecond, "and listens no more")
}
