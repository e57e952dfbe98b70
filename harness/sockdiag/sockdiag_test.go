package sockdiag

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func open(t *testing.T) *Conn {
	t.Helper()
	c, err := Open(os.Getpid())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	if _, err := c.TCP(Listening); err != nil {
		t.Skipf("this kernel does not answer sock_diag for TCP: %v", err)
	}
	return c
}

func find(t *testing.T, sockets []Socket, local string) Socket {
	t.Helper()
	for _, s := range sockets {
		if s.Local == netip.MustParseAddrPort(local) {
			return s
		}
	}
	require.Fail(t, "no such socket", "%s in %v", local, sockets)
	return Socket{}
}

func TestListeningSocketTellsQueueAndLimit(t *testing.T) {
	c := open(t)
	for _, test := range []struct {
		family  int
		address unix.Sockaddr
		local   string
	}{
		{unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}, "127.0.0.1"},
		{unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}, "::1"},
	} {
		t.Run(test.local, func(t *testing.T) {
			fd, err := unix.Socket(test.family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			require.NoError(t, err)
			defer unix.Close(fd)
			if err := unix.Bind(fd, test.address); err != nil {
				t.Skipf("no %s here: %v", test.local, err)
			}
			require.NoError(t, unix.Listen(fd, 7))
			f, err := net.FileListener(os.NewFile(uintptr(must(unix.Dup(fd))), "listener"))
			require.NoError(t, err)
			defer f.Close()
			for range 3 {
				conn, err := net.Dial("tcp", f.Addr().String())
				require.NoError(t, err)
				defer conn.Close()
			}
			sockets, err := c.TCP(Listening)
			require.NoError(t, err)
			s := find(t, sockets, f.Addr().String())
			assert.EqualValues(t, 3, s.RecvQ)
			assert.EqualValues(t, 7, s.SendQ)
			assert.Zero(t, s.Drops)
			assert.NotZero(t, s.Cookie)
			var st unix.Stat_t
			require.NoError(t, unix.Fstat(fd, &st))
			assert.Equal(t, st.Ino, s.Inode)
			cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
			require.NoError(t, err)
			assert.Equal(t, cookie, s.Cookie)
		})
	}
}

func must(n int, err error) int {
	if err != nil {
		panic(err)
	}
	return n
}

func TestConnectedSocket(t *testing.T) {
	c := open(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	conn, err := net.Dial("tcp4", l.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	other, err := l.Accept()
	require.NoError(t, err)
	defer other.Close()
	_, err = conn.Write(make([]byte, 1000))
	require.NoError(t, err)
	sockets, err := c.TCP(Others)
	require.NoError(t, err)
	own := find(t, sockets, conn.LocalAddr().String())
	assert.Equal(t, l.Addr().String(), own.Remote.String())
	assert.EqualValues(t, 1, own.State)
	for _, s := range sockets {
		if s.Remote.String() == conn.LocalAddr().String() {
			assert.EqualValues(t, 1000, s.RecvQ)
		}
	}
}

// Another namespace is entered by one thread alone, whichever has to.
func TestOpenInAnotherNamespace(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Skipf("a network namespace takes root: %v", err)
	}
	defer func() {
		assert.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait() // killed
	}()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	before, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	for range 20 {
		c, err := Open(cmd.Process.Pid)
		require.NoError(t, err)
		sockets, err := c.TCP(Listening)
		require.NoError(t, err)
		assert.Empty(t, sockets, "nobody listens there")
		assert.NoError(t, c.Close())
	}
	after, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	assert.Equal(t, before, after)
	sockets, err := open(t).TCP(Listening)
	require.NoError(t, err)
	find(t, sockets, l.Addr().String())
}

func TestOpenRefuses(t *testing.T) {
	_, err := Open(1 << 23) // beyond the kernel's limit of process ids
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, "network namespace of process 8388608")
}

func message(kind uint16, sequence uint32, body []byte) []byte {
	b := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	binary.NativeEndian.PutUint32(b, uint32(unix.SizeofNlMsghdr+len(body)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint32(b[8:], sequence)
	return append(b, body...)
}

func TestParse(t *testing.T) {
	minusTwo := binary.NativeEndian.AppendUint32(nil, uint32(0xfffffffe))
	for _, test := range []struct {
		name string
		in   []byte
		done bool
		err  string
	}{
		{"nothing", nil, false, ""},
		{"the end", message(unix.NLMSG_DONE, 1, nil), true, ""},
		{"the end of another", message(unix.NLMSG_DONE, 2, nil), false, ""},
		{"an error", message(unix.NLMSG_ERROR, 1, minusTwo), false, "no such file"},
		{"an error without one", message(unix.NLMSG_ERROR, 1, nil), false, "no error in it"},
		{"cut", message(unix.NLMSG_DONE, 1, make([]byte, 8))[:20], false, "24 bytes where 20 are left"},
		{"short socket", message(sockDiagByFamily, 1, make([]byte, 71)), false, "71 bytes, want at least 72"},
		{"long attribute", message(sockDiagByFamily, 1, append(make([]byte, 72), 9, 0, 7, 0)), false, "9 bytes where 4 are left"},
	} {
		t.Run(test.name, func(t *testing.T) {
			sockets, done, err := parse(test.in, 1)
			assert.Equal(t, test.done, done)
			assert.Empty(t, sockets)
			if test.err == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, test.err)
			}
		})
	}
	s, _, err := parse(message(sockDiagByFamily, 1, make([]byte, 72)), 1)
	require.NoError(t, err)
	require.Len(t, s, 1)
	assert.EqualValues(t, -1, s[0].Drops, "a kernel that does not tell drops is not one without drops")
}

func FuzzParse(f *testing.F) {
	f.Add(message(sockDiagByFamily, 1, append(make([]byte, 72), 40, 0, 7, 0)))
	f.Add(message(unix.NLMSG_ERROR, 1, []byte{1, 2, 3, 4}))
	f.Fuzz(func(t *testing.T, in []byte) {
		sockets, _, err := parse(in, 1)
		if err != nil && sockets != nil {
			t.Error("sockets beside an error")
		}
	})
}
