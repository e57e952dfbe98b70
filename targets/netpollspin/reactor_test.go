package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// soon bounds waits that end at once unless something is broken.
const soon = 10 * time.Second

// startReactor runs a reactor against the engine at addr; ended gives what run returned.
func startReactor(t *testing.T, addr string, timeout int) (r *reactor, ended <-chan error) {
	t.Helper()
	r, err := newReactor(addr, 2, timeout)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- r.run() }()
	t.Cleanup(r.stop)
	return r, done
}

func wait(t *testing.T, ended <-chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(soon):
		require.Fail(t, "the event loop did not end")
		return nil
	}
}

func TestReactorGivesEachCallerItsOwnPrice(t *testing.T) {
	for name, timeout := range map[string]int{"fixed": untilEvent, "flawed": 0} {
		t.Run(name, func(t *testing.T) {
			addr, err := startEngine(t.Context(), 20*time.Millisecond)
			require.NoError(t, err)
			r, ended := startReactor(t, addr, timeout)

			var callers sync.WaitGroup
			for item := range uint64(500) {
				callers.Go(func() {
					cents, err := r.price(t.Context(), item)
					assert.NoError(t, err)
					assert.Equal(t, priceOf(item), cents, "item %d", item)
				})
			}
			callers.Wait()
			assert.Empty(t, r.waiting)

			r.stop()
			assert.NoError(t, wait(t, ended))
			_, err = r.price(t.Context(), 1)
			assert.ErrorIs(t, err, errStopped)
			r.stop() // a second stop is harmless
		})
	}
}

// scriptedEngine accepts the reactor's connections and hands each to serve.
func scriptedEngine(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return ln.Addr().String()
}

func TestReactorPutsSplitFramesTogether(t *testing.T) {
	addr := scriptedEngine(t, func(conn net.Conn) {
		defer conn.Close()
		buf := make([]byte, frameSize)
		for {
			if _, err := io.ReadFull(conn, buf); err != nil {
				return
			}
			for _, b := range buf { // a byte a segment: TCP_NODELAY is Go's default
				if _, err := conn.Write([]byte{b}); err != nil {
					return
				}
			}
		}
	})
	r, _ := startReactor(t, addr, untilEvent)
	for item := range uint64(20) {
		echo, err := r.price(t.Context(), item)
		require.NoError(t, err)
		assert.Equal(t, item, echo)
	}
}

func TestReactorDropsAnswersNobodyWaitsFor(t *testing.T) {
	release := make(chan struct{})
	addr := scriptedEngine(t, func(conn net.Conn) {
		defer conn.Close()
		<-release
		_, _ = io.Copy(conn, conn)
	})
	r, _ := startReactor(t, addr, untilEvent)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for item := range uint64(4) {
		_, err := r.price(ctx, item)
		assert.ErrorIs(t, err, context.Canceled)
	}
	close(release)
	echo, err := r.price(t.Context(), 99)
	require.NoError(t, err)
	assert.Equal(t, uint64(99), echo)
	assert.Empty(t, r.waiting)
}

func TestReactorEndsWhenTheEngineHangsUp(t *testing.T) {
	hangUp := make(chan struct{})
	addr := scriptedEngine(t, func(conn net.Conn) {
		<-hangUp
		conn.Close()
	})
	r, ended := startReactor(t, addr, untilEvent)
	failed := make(chan error, 1)
	go func() {
		_, err := r.price(t.Context(), 1)
		failed <- err
	}()
	close(hangUp)
	assert.Error(t, wait(t, ended))
	assert.Error(t, <-failed)
}

func TestReactorStopReleasesCallersAndDescriptors(t *testing.T) {
	addr := scriptedEngine(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	r, ended := startReactor(t, addr, untilEvent)
	failed := make(chan error, 1)
	go func() {
		_, err := r.price(t.Context(), 1)
		failed <- err
	}()
	r.stop()
	require.NoError(t, wait(t, ended))
	assert.ErrorIs(t, <-failed, errStopped)

	// The descriptors are closed: whoever has their numbers now, it is not the
	// reactor's epoll instance.
	name, err := os.Readlink(fdPath(r.epoll))
	if err == nil {
		assert.NotEqual(t, "anon_inode:[eventpoll]", name)
	}
}

func TestReactorNamesAnEngineThatIsNotThere(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := ln.Addr().String()
	ln.Close()
	_, err = newReactor(addr, 1, untilEvent)
	require.ErrorIs(t, err, unix.ECONNREFUSED)
	assert.ErrorContains(t, err, addr)
}

func TestLinkKeepsWhatTheKernelHasNoRoomFor(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	require.NoError(t, err)
	defer unix.Close(pair[1])
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(epoll)
	r := &reactor{epoll: epoll}
	require.NoError(t, r.watch(unix.EPOLL_CTL_ADD, pair[0], unix.EPOLLIN))
	l := &link{fd: pair[0]}
	defer l.close()

	var want []byte
	for id := uint64(0); len(l.out) < 100*frameSize; id++ {
		f := frame{id: id, value: id * 3}
		require.NoError(t, l.send(r, f))
		want = f.append(want)
	}

	var got []byte
	room := make([]byte, 64<<10)
	for len(got) < len(want) {
		n, err := unix.Read(pair[1], room)
		require.NoError(t, err)
		got = append(got, room[:n]...)
		require.NoError(t, l.resume(r))
	}
	assert.True(t, bytes.Equal(want, got), "frames must arrive whole and in order")
	assert.Empty(t, l.out)

	l2 := &link{closed: true}
	assert.ErrorIs(t, l2.send(r, frame{}), errStopped)
}
