package procfs

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseStat(t *testing.T) {
	const after = " S 1 4711 4711 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 123456 1000000 200 18446744073709551615"
	tests := map[string]struct {
		data string
		want Stat
		ok   bool
	}{
		"plain":             {"4712 (server)" + after, Stat{UserNS: 2_500_000_000, SystemNS: 500_000_000, StartTicks: 123456, Parent: 1, Group: 4711}, true},
		"name like a field": {"4712 (a) S 9 (b))" + after, Stat{UserNS: 2_500_000_000, SystemNS: 500_000_000, StartTicks: 123456, Parent: 1, Group: 4711}, true},
		"ended":             {"4712 (server)" + strings.Replace(after, " S ", " Z ", 1), Stat{UserNS: 2_500_000_000, SystemNS: 500_000_000, StartTicks: 123456, Parent: 1, Group: 4711, Ended: true}, true},
		"short":             {"4712 (server) S 1", Stat{}, false},
		"no name":           {"4712 server", Stat{}, false},
		"no number":         {"4712 (server)" + strings.Replace(after, "250", "x", 1), Stat{}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseStat([]byte(tt.data))
			if !tt.ok {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestParseStatus(t *testing.T) {
	got, err := parseStatus([]byte("Name:\tserver\nVmHWM:\t    4096 kB\nVmRSS:\t    2048 kB\nThreads:\t9\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t6\n"))
	require.NoError(t, err)
	assert.Equal(t, Status{RSSBytes: 2 << 20, PeakRSSBytes: 4 << 20, Threads: 9, voluntary: 5, involuntary: 6}, got)
	_, err = parseStatus([]byte("VmRSS:\tmany kB\n"))
	assert.ErrorContains(t, err, "VmRSS")
}

func TestParseOpenFilesLimit(t *testing.T) {
	tests := map[string]struct {
		want int64
		ok   bool
	}{
		"Limit\nMax open files            1024                 20000                files\n": {1024, true},
		"Max open files            unlimited            unlimited            files\n":        {Unlimited, true},
		"Max open files\n": {0, false},
		"":                 {0, false},
	}
	for data, tt := range tests {
		got, err := parseOpenFilesLimit([]byte(data))
		assert.Equal(t, tt.ok, err == nil, data)
		assert.Equal(t, tt.want, got, data)
	}
}

func TestParseMachine(t *testing.T) {
	idle, total, err := parseMachine([]byte("cpu  10 1 20 300 40 2 3 4 5 6\ncpu0 1 1\n"))
	require.NoError(t, err)
	assert.EqualValues(t, 340*nsPerTick, idle, "idle and iowait")
	assert.EqualValues(t, 380*nsPerTick, total, "guest time is in user time already")
	for _, bad := range []string{"", "cpu 1 2", "intr 1 2 3 4 5 6", "cpu a b c d e f"} {
		_, _, err := parseMachine([]byte(bad))
		assert.Error(t, err, bad)
	}
}

func TestParseTCPLine(t *testing.T) {
	got, err := parseTCPLine([]byte("  0: 0100007F:1F90 0100007F:C350 01 0000000A:00000014 00:00000000 00000000  1000        0 654321 1 0000"))
	require.NoError(t, err)
	assert.Equal(t, tcpSocket{localPort: 8080, state: 1, sendQ: 10, recvQ: 20, inode: 654321}, got)
	for _, bad := range []string{"", "0: a b c", "0: 0100007F 0 01 0:0 0 0 0 0 1", "0: 0100007F:1F90 0 01 0 0 0 0 0 1", "0: 0100007F:XX 0 01 0:0 0 0 0 0 1"} {
		_, err := parseTCPLine([]byte(bad))
		assert.Error(t, err, bad)
	}
	assert.Equal(t, "ESTABLISHED", StateName(1))
	assert.Equal(t, "LISTEN", StateName(listen))
	assert.Equal(t, "STATE_99", StateName(99))
}

func TestSocketInode(t *testing.T) {
	n, ok := socketInode([]byte("socket:[4711]"))
	assert.True(t, ok)
	assert.EqualValues(t, 4711, n)
	for _, other := range []string{"", "/dev/null", "pipe:[1]", "socket:[", "socket:[x]", "socket:[1"} {
		_, ok := socketInode([]byte(other))
		assert.False(t, ok, other)
	}
}

// What a reading of the sockets costs a machine under load.
func BenchmarkSockets(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	defer l.Close()
	const connections = 2000
	for range connections {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(b, err)
		defer c.Close()
		a, err := l.Accept()
		require.NoError(b, err)
		defer a.Close()
	}
	for b.Loop() {
		s, err := Of(os.Getpid()).Sockets()
		require.NoError(b, err)
		require.GreaterOrEqual(b, s.ByState["ESTABLISHED"], 2*connections)
	}
}

func TestOwnProcess(t *testing.T) {
	self := Of(os.Getpid())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	ports, err := self.ListenPorts()
	require.NoError(t, err)
	assert.Contains(t, ports, l.Addr().(*net.TCPAddr).Port)

	n, err := self.OpenFiles()
	require.NoError(t, err)
	names, err := self.descriptors()
	require.NoError(t, err)
	assert.InDelta(t, len(names), n, 3, "the listing itself takes a descriptor")

	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	got, err := self.OpenFilesLimit()
	require.NoError(t, err)
	assert.EqualValues(t, limit.Cur, got)

	stat, err := self.Stat()
	require.NoError(t, err)
	assert.Equal(t, os.Getppid(), stat.Parent)

	group, err := InGroup(syscall.Getpgrp())
	require.NoError(t, err)
	assert.Contains(t, group, os.Getpid())
}

func TestProcessThatHasEnded(t *testing.T) {
	child := exec.Command("true")
	require.NoError(t, child.Start())
	pid := child.Process.Pid
	require.NoError(t, child.Wait())
	_, err := Of(pid).Stat()
	assert.True(t, Gone(err), "%v", err)
	_, err = Of(pid).Sockets()
	assert.True(t, Gone(err), "%v", err)
	_, _, err = Of(pid).ContextSwitches()
	assert.True(t, Gone(err), "%v", err)
}

func TestCPU(t *testing.T) {
	before, err := CPU(os.Getpid())
	require.NoError(t, err)
	assert.Positive(t, before)
	for began := time.Now(); time.Since(began) < 20*time.Millisecond; {
	}
	after, err := CPU(os.Getpid())
	require.NoError(t, err)
	assert.Greater(t, after, before)

	child := exec.Command("true")
	require.NoError(t, child.Start())
	require.NoError(t, child.Wait())
	_, err = CPU(child.Process.Pid)
	assert.True(t, Gone(err), "%v", err)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("1 (a) S 1 1 1 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 1"))
	f.Add([]byte("cpu 1 2 3 4 5"))
	f.Add([]byte("0: 0100007F:1F90 0100007F:C350 01 0:0 0 0 0 0 1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		// None may panic, whatever a kernel of the future writes.
		_, _ = parseStat(data)
		_, _ = parseStatus(data)
		_, _ = parseOpenFilesLimit(data)
		_, _, _ = parseMachine(data)
		_, _ = parseTCPLine(data)
	})
}
