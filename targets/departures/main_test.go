package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/targets/kit"
	"chokepoint/targets/kit/kittest"
)

func TestMain(m *testing.M) {
	kit.Companions(companions())
	os.Exit(m.Run())
}

// Both variants tell what the feed has said, also after it hung up.
func TestBoardAnswers(t *testing.T) {
	for _, v := range []kit.Variant{kit.Flawed, kit.Fixed} {
		t.Run(string(v), func(t *testing.T) {
			h := kittest.Handler(t, service(), v, "delay=1ms", "pause=10ms")
			assert.Eventually(t, func() bool { // the last batch before the operator hangs up
				w := kittest.Serve(h, "/departures?stop=12")
				return w.Code == http.StatusOK && w.Body.String() == "stop 12: line 1, 9 min late\n"
			}, 10*time.Second, 10*time.Millisecond)
			for _, stop := range []string{"", "-1", "main"} {
				assert.Equal(t, http.StatusBadRequest, kittest.Serve(h, "/departures?stop="+stop).Code, stop)
			}
		})
	}
}

func TestBoardTakesDelays(t *testing.T) {
	b := &board{late: map[int]int{}}
	require.NoError(t, b.apply("3 7\n"))
	require.NoError(t, b.apply("3 0\n"))
	require.NoError(t, b.apply("4 2\n"))
	assert.Equal(t, 0, b.delay(3))
	assert.Equal(t, 2, b.delay(4))
	assert.ErrorContains(t, b.apply("late\n"), `a delay "late\n"`)
}

// ended is a connection whose other side has closed, and counts who asks.
type ended struct {
	net.Conn
	reads  atomic.Int64
	closed atomic.Bool
}

func (c *ended) Read([]byte) (int, error) { c.reads.Add(1); return 0, io.EOF }
func (c *ended) Close() error             { c.closed.Store(true); return nil }

func TestVariantsDifferInWhatAnEndIsAlone(t *testing.T) {
	b := &board{late: map[int]int{}}
	var c ended
	(&follower{board: b}).follow(t.Context(), &c)
	assert.EqualValues(t, 1, c.reads.Load())
	assert.True(t, c.closed.Load())

	ctx, cancel := context.WithCancel(t.Context())
	var d ended
	done := make(chan struct{})
	go func() { defer close(done); (&follower{board: b, readsOn: true}).follow(ctx, &d) }()
	assert.Eventually(t, func() bool { return d.reads.Load() > 1000 }, 10*time.Second, time.Millisecond)
	assert.False(t, d.closed.Load())
	cancel()
	<-done
	assert.True(t, d.closed.Load())
}

// The fixed follower comes back after each time that the operator hangs up.
func TestFollowerConnectsAnew(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	b := &board{late: map[int]int{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		(&follower{board: b, pause: time.Millisecond}).run(ctx, l.Addr().String())
	}()
	for n := range 3 {
		conn, err := l.Accept()
		require.NoError(t, err)
		_, err = fmt.Fprintf(conn, "5 %d\n", n+1)
		require.NoError(t, err)
		conn.Close()
	}
	assert.Eventually(t, func() bool { return b.delay(5) == 3 }, 10*time.Second, time.Millisecond)
	cancel()
	l.Close()
	<-done
}
