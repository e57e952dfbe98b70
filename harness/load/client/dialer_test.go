package client

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestSocketsAreMadeAsAsked(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	option := func(c *conn, level, name int) int {
		raw, err := c.Conn.(*net.TCPConn).SyscallConn()
		require.NoError(t, err)
		var value int
		require.NoError(t, raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), level, name) }))
		require.NoError(t, err)
		return value
	}
	open := 0
	d := newDialer([]netip.Addr{netip.MustParseAddr("127.0.0.7")}, func(change int) { open += change })
	c, err := d.dial(t.Context(), "tcp", ln.Addr().String(), smallReceive)
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.7", c.LocalAddr().(*net.TCPAddr).IP.String())
	assert.Equal(t, 1, option(c, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT))
	assert.LessOrEqual(t, option(c, unix.SOL_SOCKET, unix.SO_RCVBUF), 2*smallReceive)
	assert.Zero(t, option(c, unix.SOL_SOCKET, unix.SO_KEEPALIVE))
	assert.Equal(t, 1, open)
	d.close()
	assert.Zero(t, open)
	_, err = d.dial(t.Context(), "tcp", ln.Addr().String(), 0)
	require.ErrorIs(t, err, ErrHungUp)
}

func TestSourceAddressesOfIPv6(t *testing.T) {
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	d := newDialer([]netip.Addr{netip.IPv6Loopback()}, nil)
	t.Cleanup(d.close)
	c, err := d.dial(t.Context(), "tcp", ln.Addr().String(), 0)
	require.NoError(t, err)
	assert.True(t, c.LocalAddr().(*net.TCPAddr).IP.Equal(net.IPv6loopback))
}
