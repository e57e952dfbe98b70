package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/targets/kit"
	"chokepoint/targets/kit/kittest"
)

func fdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// start builds the service; its background work ends with the test.
func start(t *testing.T, v kit.Variant, settings ...string) http.Handler {
	t.Helper()
	return kittest.Handler(t, service(), v, append([]string{"delay=10ms"}, settings...)...)
}

func TestServiceAnswers(t *testing.T) {
	for _, mode := range []string{"epoll", "accept"} {
		for _, v := range []kit.Variant{kit.Flawed, kit.Fixed} {
			t.Run(mode+"/"+string(v), func(t *testing.T) {
				h := start(t, v, "mode="+mode)
				for item := range uint64(5) {
					w := kittest.Serve(h, fmt.Sprintf("/quote?item=%d", item))
					require.Equal(t, http.StatusOK, w.Code, w.Body)
					var got struct{ Item, Cents uint64 }
					require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
					assert.Equal(t, item, got.Item)
					assert.Equal(t, priceOf(item), got.Cents)
				}
				assert.Equal(t, http.StatusBadRequest, kittest.Serve(h, "/quote?item=many").Code)
				assert.Equal(t, http.StatusNotFound, kittest.Serve(h, "/").Code)
			})
		}
	}
}

func TestVariantsDifferInTheTimeoutAlone(t *testing.T) {
	for v, timeout := range map[kit.Variant]int{kit.Flawed: 0, kit.Fixed: untilEvent} {
		o, err := kit.NewOptions(service(), v)
		require.NoError(t, err)
		p, err := dialEngine(t.Context(), o)
		require.NoError(t, err)
		assert.Equal(t, timeout, p.(*reactor).timeout, v)
	}
}

// servePeers runs a peer listener and returns its address; ended gives what serve returned.
func servePeers(t *testing.T, ctx context.Context, idle time.Duration, renew bool) (addr string, ended <-chan error) {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	p := &peers{listener: ln, idle: idle, renew: renew, since: time.Now()}
	done := make(chan error, 1)
	go func() { done <- p.serve(ctx) }()
	return ln.Addr().String(), done
}

func TestPeersAreAnsweredAfterIdlePeriods(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	idle := 100 * time.Millisecond
	addr, ended := servePeers(t, ctx, idle, true)
	for range 2 {
		time.Sleep(2 * idle)
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		line, err := io.ReadAll(conn)
		require.NoError(t, err)
		assert.Regexp(t, `^up \d+s\n$`, string(line))
		conn.Close()
	}
	cancel()
	assert.ErrorIs(t, wait(t, ended), context.Canceled)
}

func TestPeersAreNotAnsweredOnceTheDeadlineHasPassed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	addr, ended := servePeers(t, ctx, time.Nanosecond, false)
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	n, err := conn.Read(make([]byte, 1))
	assert.Zero(t, n)
	assert.Error(t, err)
	cancel()
	assert.ErrorIs(t, wait(t, ended), context.Canceled)
}
