package ebpf

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"chokepoint/bpf"
	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
	"chokepoint/harness/clock"
	"chokepoint/harness/sockdiag"
)

// The process counts as being in the network namespace of its first thread, so
// that no test may move that one: it is kept by the main goroutine.
func init() { runtime.LockOSThread() }

// ownNetwork moves the test's goroutine into a network namespace of its own, so
// that nobody else's connections are counted. Its thread is not used again.
func ownNetwork(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("a network namespace of its own takes root: %v", err)
	}
	setLoopback(t, true)
}

func setLoopback(t *testing.T, up bool) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	require.NoError(t, err)
	if up {
		ifr.SetUint16(unix.IFF_UP)
	}
	require.NoError(t, unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr))
}

// netKnown is a running testdata/netknown.
type netKnown struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

func startNetKnown(t *testing.T) *netKnown {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "netknown")
	out, err := exec.Command("go", "build", "-o", bin, "./testdata/netknown").CombinedOutput()
	require.NoError(t, err, "%s", out)
	k := &netKnown{t: t, cmd: exec.Command(bin)}
	in, err := k.cmd.StdinPipe()
	require.NoError(t, err)
	k.in = in
	stdout, err := k.cmd.StdoutPipe()
	require.NoError(t, err)
	k.out = bufio.NewReader(stdout)
	require.NoError(t, k.cmd.Start())
	t.Cleanup(func() {
		_ = in.Close() // it ends at the end of its input
		_ = k.cmd.Wait()
	})
	ready, err := k.out.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", ready)
	return k
}

// do has a command done and returns what it answers.
func (k *netKnown) do(command string, args ...int) []int {
	k.t.Helper()
	for _, a := range args {
		command += " " + strconv.Itoa(a)
	}
	_, err := fmt.Fprintln(k.in, command)
	require.NoError(k.t, err, command)
	line, err := k.out.ReadString('\n')
	require.NoError(k.t, err, command)
	var answer []int
	for _, w := range strings.Fields(line) {
		n, err := strconv.Atoi(w)
		require.NoError(k.t, err, line)
		answer = append(answer, n)
	}
	return answer
}

// The peer's side.

func dial(t *testing.T, port int) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}))
	return fd
}

// knock sends a SYN and does not wait for what comes of it.
func knock(t *testing.T, port int) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	require.NoError(t, err)
	require.ErrorIs(t, unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}), unix.EINPROGRESS)
	return fd
}

func hangUp(t *testing.T, fd int) {
	t.Helper()
	require.NoError(t, unix.Close(fd))
}

func slam(t *testing.T, fd int) {
	t.Helper()
	require.NoError(t, unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	require.NoError(t, unix.Close(fd))
}

func peerListens(t *testing.T) (fd, port int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(fd, 16))
	address, err := unix.Getsockname(fd)
	require.NoError(t, err)
	return fd, address.(*unix.SockaddrInet4).Port
}

// slots is how many times a histogram holds.
func inSlots(h bundle.NetTimes) (n int64) {
	for _, s := range h.Log2NS {
		n += s
	}
	return n
}

func TestNetKnownAnswers(t *testing.T) {
	needBPF(t)
	ownNetwork(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	k := startNetKnown(t)

	// From before the recording: a port and two connections, one each way.
	first := k.do("listen", 64, 0)
	peer, peerPort := peerListens(t)
	old := dial(t, first[1])
	oldAccepted := k.do("accept", first[0])[0]
	oldOut := k.do("connect", peerPort)[0]
	oldIn, _, err := unix.Accept(peer)
	require.NoError(t, err)

	r := New(Config{Probes: []string{Net}})
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	require.NoError(t, r.Prepare(ctx, capture.Subject{PID: k.cmd.Process.Pid, Executable: k.cmd.Path}))
	// Between preparing and the window: one that waits to be accepted in it.
	early := dial(t, first[1])
	require.NoError(t, r.Start(ctx))

	second := k.do("listen", 64, 0) // a port that is new
	earlyIn := k.do("accept", first[0])[0]
	const polite, slammed, slamming = 7, 5, 4
	for range polite { // the peer closes first
		fd := dial(t, second[1])
		in := k.do("accept", second[0])[0]
		hangUp(t, fd)
		k.do("close", in)
	}
	for range slammed { // the target resets
		fd := dial(t, first[1])
		k.do("reset", k.do("accept", first[0])[0])
		hangUp(t, fd)
	}
	for range slamming { // the peer resets
		fd := dial(t, first[1])
		in := k.do("accept", first[0])[0]
		slam(t, fd)
		k.do("close", in)
	}

	// No descriptors; then nobody there.
	const inVain, nobody = 9, 3
	last := dial(t, first[1])
	require.Equal(t, []int{inVain}, k.do("accept-in-vain", first[0], inVain))
	lastIn := k.do("accept", first[0])[0]
	require.Equal(t, []int{nobody}, k.do("accept-nobody", first[0], nobody))

	// Outgoing: the target closes first; and nobody listens.
	const outgoing, refused = 6, 3
	for range outgoing {
		out := k.do("connect", peerPort)[0]
		in, _, err := unix.Accept(peer)
		require.NoError(t, err)
		k.do("close", out)
		hangUp(t, in)
	}
	for range refused {
		require.Equal(t, []int{0}, k.do("connect", 1))
	}

	// A peer that does not read, for a while and for good; and one that left.
	filled := k.do("fill", lastIn)
	drain(t, last, filled[1])
	k.do("write", lastIn, 1)
	filledOld := k.do("fill", oldAccepted)
	slam(t, oldIn)
	require.Equal(t, []int{int(unix.ECONNRESET)}, k.do("write-fails", oldOut))
	require.Equal(t, []int{int(unix.EPIPE)}, k.do("write-fails", oldOut))

	// A queue of one holds two; who comes later sends SYNs that are dropped.
	small := k.do("listen", 1, 0)
	const fit, late = 2, 4
	for range fit {
		fd := dial(t, small[1])
		defer unix.Close(fd)
	}
	var knocking []int
	for range late {
		fd := knock(t, small[1])
		defer unix.Close(fd)
		knocking = append(knocking, fd)
	}

	// Segments that are lost.
	far := dial(t, first[1])
	farIn := k.do("accept", first[0])[0]
	setLoopback(t, false)
	k.do("write", farIn, 1)
	require.Eventually(t, func() bool { return k.do("resent", farIn)[0] > 0 }, 10*time.Second, 20*time.Millisecond)
	setLoopback(t, true)
	drain(t, far, 1)

	// A client that says nothing to a listener that waits for data: its ACK is
	// passed over, and the SYN-ACK comes again after a second.
	patient := k.do("listen", 64, 1)
	silent := dial(t, patient[1])
	require.EqualValues(t, 1, resentSynAcks(t, silent))

	require.NoError(t, r.Stop(ctx))
	var targetResent int64
	for _, fd := range []int{oldAccepted, earlyIn, lastIn, farIn} { // all that is open
		targetResent += int64(k.do("resent", fd)[0])
	}
	var synsInVain int64
	for _, fd := range knocking {
		synsInVain += 1 + resent(t, fd)
	}
	for _, fd := range []int{old, early, last, far, silent} {
		hangUp(t, fd)
	}

	dir := filepath.Join(t.TempDir(), "bundle")
	w, err := bundle.Create(dir, bundle.Manifest{})
	require.NoError(t, err)
	dim, err := r.Write(ctx, w)
	require.NoError(t, err)
	require.True(t, dim.Captured, "%+v", dim)
	assert.Empty(t, dim.Probes[0].Lost)
	assert.Empty(t, dim.Probes[0].Reason)
	var doc bundle.Net
	recording{dir: dir}.json(t, bundle.EBPFNet, &doc)
	assert.Empty(t, doc.Absent)

	const seenIncoming = polite + slammed + slamming + 1 /* last */ + fit + 1 /* far */ + 1 /* silent */
	const accepted = seenIncoming - fit - 1 /* silent */ + 1                                /* early */
	assert.EqualValues(t, accepted, doc.Accepts.Accepted)
	assert.Equal(t, map[string]int64{"EMFILE": inVain, "EAGAIN": nobody}, doc.Accepts.Errors)
	assert.EqualValues(t, accepted, doc.Accepts.Wait.Count, "early was seen when it was established")
	assert.Zero(t, doc.Accepts.Unmatched)
	assert.EqualValues(t, fit+1, doc.Accepts.Waiting)
	assert.Zero(t, doc.Accepts.ClosedUnaccepted)

	c := doc.Connections
	assert.EqualValues(t, seenIncoming, c.Incoming)
	assert.Zero(t, c.IncomingFailed)
	assert.Equal(t, c.Incoming, c.IncomingRoundTrip.Count+c.IncomingUntimed)
	assert.Positive(t, c.IncomingRoundTrip.Count)
	assert.EqualValues(t, outgoing+refused, c.Connects)
	assert.EqualValues(t, outgoing, c.Connected)
	assert.EqualValues(t, refused, c.ConnectsFailed)
	assert.EqualValues(t, outgoing, c.ConnectTime.Count)
	assert.Equal(t, map[string]int64{
		"LAST_ACK": polite, "FIN_WAIT2": outgoing, "ESTABLISHED": slammed + slamming + 1, /* oldOut */
	}, c.Closed)
	assert.EqualValues(t, 1, c.LivesUnknown, "the connection from before")
	assert.EqualValues(t, polite+slammed+slamming+outgoing, c.Life.Count)
	for _, h := range []bundle.NetTimes{*doc.Accepts.Wait, c.IncomingRoundTrip, c.ConnectTime, c.Life, doc.Sends.BlockedTime} {
		assert.Equal(t, h.Count, inSlots(h), "the histogram must hold every one")
	}

	assert.EqualValues(t, filled[0]+filledOld[0]+1+1, doc.Sends.Count)
	assert.EqualValues(t, filled[1]+filledOld[1]+1+1, doc.Sends.Bytes)
	assert.EqualValues(t, 2, doc.Sends.Blocked)
	assert.Equal(t, map[string]int64{"ECONNRESET": 1, "EPIPE": 1}, doc.Sends.Errors)
	assert.EqualValues(t, 2, doc.Sends.BlockedTime.Count)
	assert.EqualValues(t, 1, doc.Sends.BlockedAtEnd)

	assert.Equal(t, bundle.NetCount{Target: slamming + refused + 1, Elsewhere: slammed}, *doc.ResetsReceived)
	assert.Equal(t, bundle.NetCount{Target: slammed, Elsewhere: slamming + refused + 1}, doc.ResetsSent.NetCount)
	if _, hasReasons := kernelEnumNames("sk_rst_reason"); hasReasons {
		var n int64
		for name, times := range doc.ResetsSent.Reasons {
			n += times
			assert.NotContains(t, name, "sk_rst_reason", "the kernel's name, not its number")
		}
		assert.EqualValues(t, slammed, n)
	}
	assert.EqualValues(t, targetResent, doc.Retransmits.Target)
	assert.EqualValues(t, synsInVain-late, doc.Retransmits.Elsewhere, "the SYNs that knocked again")
	assert.Equal(t, bundle.NetCount{Target: 1}, *doc.SynAckRetransmits)

	listeners := map[int]bundle.NetListener{}
	for _, l := range doc.Listeners {
		listeners[l.Port] = l
		assert.False(t, l.Shared)
		assert.NotNil(t, l.Drops)
	}
	require.Len(t, listeners, 4)
	assert.EqualValues(t, 1, listeners[first[1]].QueueAtStart)
	assert.EqualValues(t, 0, listeners[first[1]].QueueAtEnd)
	assert.EqualValues(t, 64, listeners[first[1]].Limit)
	assert.EqualValues(t, fit, listeners[small[1]].QueueAtEnd)
	assert.EqualValues(t, 1, listeners[small[1]].Limit)
	assert.Equal(t, synsInVain, *listeners[small[1]].Drops)
	assert.Zero(t, *listeners[second[1]].Drops)
	assert.Equal(t, synsInVain, doc.Namespace["TcpExt.ListenOverflows"])
	assert.Equal(t, 4, doc.AtEnd.ByState["LISTEN"])
}

// drain reads n bytes.
func drain(t *testing.T, fd, n int) {
	t.Helper()
	buf := make([]byte, 256<<10)
	for n > 0 {
		got, err := unix.Read(fd, buf)
		require.NoError(t, err)
		require.Positive(t, got)
		n -= got
	}
}

func tcpInfo(t *testing.T, fd int) *unix.TCPInfo {
	t.Helper()
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	require.NoError(t, err)
	return info
}

func resent(t *testing.T, fd int) int64 {
	t.Helper()
	return int64(tcpInfo(t, fd).Total_retrans)
}

// resentSynAcks waits until a client got its SYN-ACK again.
func resentSynAcks(t *testing.T, fd int) (n int64) {
	t.Helper()
	require.Eventually(t, func() bool {
		n = int64(tcpInfo(t, fd).Segs_in) - 1
		return n > 0
	}, 10*time.Second, 20*time.Millisecond)
	return n
}

// A server of package net/http, which listens by MPTCP where the kernel has it:
// every connection is there from its SYN to its end, on both sides, for client
// and server are this one process.
func TestNetGoServer(t *testing.T) {
	needBPF(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: http.NotFoundHandler()}
	go server.Serve(l)
	defer server.Close()
	p := &netProbe{}
	require.NoError(t, p.load(subject{tgid: uint32(os.Getpid())}))
	defer func() { assert.NoError(t, p.close()) }()
	window := bundle.Window{StartNS: clock.MonoNS()}
	require.NoError(t, p.start(window.StartNS))
	const requests = 50
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range requests {
		resp, err := client.Get("http://" + l.Addr().String())
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	require.Eventually(t, func() bool { // both ends close on their own time
		totals, err := p.readTotals()
		return err == nil && totals.Life.Count == 2*requests
	}, 10*time.Second, 5*time.Millisecond)
	window.EndNS = clock.MonoNS()
	require.NoError(t, p.stop(window.EndNS))
	require.NoError(t, p.detach())
	doc, err := p.read(window)
	require.NoError(t, err)

	assert.EqualValues(t, requests, doc.Accepts.Accepted)
	assert.EqualValues(t, requests, doc.Accepts.Wait.Count)
	assert.EqualValues(t, requests, doc.Connections.Incoming)
	assert.EqualValues(t, requests, doc.Connections.Connects)
	assert.EqualValues(t, requests, doc.Connections.Connected)
	assert.Zero(t, doc.Connections.ConnectsFailed)
	var closed int64
	for _, n := range doc.Connections.Closed {
		closed += n
	}
	assert.EqualValues(t, 2*requests, closed)
	assert.GreaterOrEqual(t, doc.Sends.Count, int64(2*requests))
	assert.Zero(t, doc.ResetsSent.Target)
	// Where a CPU is late with an answer, a segment is sent again and comes in vain.
	assert.LessOrEqual(t, doc.Drops.Target, doc.Retransmits.Target, "%+v", doc.Drops)
	assert.Equal(t, l.Addr().String(), doc.Listeners[0].Address)
}

// A kernel that lacks tracepoints: what rests on them is absent, with a word for
// each, and the rest is there.
func TestNetWithoutTracepoints(t *testing.T) {
	needBPF(t)
	real, err := kernelTracepoints()
	require.NoError(t, err)
	for _, test := range []struct {
		name   string
		lookup tracepointLookup
		absent map[string]string
	}{
		{"none of these", func(name string) (int, bool) {
			if name == "tcp_send_reset" || name == "inet_sock_set_state" {
				return 0, false
			}
			return real(name)
		}, map[string]string{
			"resets_sent":  "this kernel has no tracepoint tcp_send_reset; Linux 4.15 has",
			"connections":  "this kernel has no tracepoint inet_sock_set_state; Linux 4.16 has",
			"accepts.wait": "this kernel has no tracepoint inet_sock_set_state; Linux 4.16 has",
		}},
		{"an older form", func(name string) (int, bool) {
			if name == "kfree_skb" {
				return 3, true
			}
			return real(name)
		}, map[string]string{"drops": "this kernel's tracepoint kfree_skb does not tell the socket; that of Linux 6.11 does"}},
		{"none at all", func(string) (int, bool) { return 0, false }, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &netProbe{tracepoint: test.lookup}
			doc := recordNet(t, p)
			if test.absent != nil {
				assert.Equal(t, test.absent, doc.Absent)
			}
			assert.NotNil(t, doc.Accepts, "accept is a system call")
			for figure, is := range map[string]bool{
				"connections": doc.Connections != nil, "accepts.wait": doc.Accepts.Wait != nil, "sends": doc.Sends != nil,
				"retransmits": doc.Retransmits != nil, "synack_retransmits": doc.SynAckRetransmits != nil,
				"resets_sent": doc.ResetsSent != nil, "resets_received": doc.ResetsReceived != nil, "drops": doc.Drops != nil,
				"listeners": doc.Listeners != nil, "at_end": doc.AtEnd != nil, "namespace": doc.Namespace != nil,
			} {
				assert.NotEqual(t, is, doc.Absent[figure] != "", "%s is there or said to be absent", figure)
			}
		})
	}
}

// recordNet records this process, which listens, for a moment.
func recordNet(t *testing.T, p *netProbe) bundle.Net {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, p.load(subject{tgid: uint32(os.Getpid())}))
	defer func() { assert.NoError(t, p.close()) }()
	window := bundle.Window{StartNS: clock.MonoNS()}
	require.NoError(t, p.start(window.StartNS))
	window.EndNS = clock.MonoNS()
	require.NoError(t, p.stop(window.EndNS))
	require.NoError(t, p.detach())
	doc, err := p.read(window)
	require.NoError(t, err)
	return doc
}

// Without tracefs accept is seen all the same, by a program that sees every call.
func TestNetAcceptWithoutTracefs(t *testing.T) {
	needBPF(t)
	p := &netProbe{attachCall: func(string, *ebpf.Program) (link.Link, error) {
		return nil, fmt.Errorf("no tracefs: %w", os.ErrNotExist)
	}}
	require.NoError(t, p.load(subject{tgid: uint32(os.Getpid())}))
	defer func() { assert.NoError(t, p.close()) }()
	window := bundle.Window{StartNS: clock.MonoNS()}
	require.NoError(t, p.start(window.StartNS))
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	const times = 11
	for range times {
		_, _, err := unix.Accept4(fd, 0)
		require.ErrorIs(t, err, unix.EINVAL) // it does not listen
	}
	_, _, err = unix.Accept(-1)
	require.ErrorIs(t, err, unix.EBADF)
	window.EndNS = clock.MonoNS()
	require.NoError(t, p.stop(window.EndNS))
	require.NoError(t, p.detach())
	doc, err := p.read(window)
	require.NoError(t, err)
	assert.EqualValues(t, times, doc.Accepts.Errors["EINVAL"])
	assert.EqualValues(t, 1, doc.Accepts.Errors["EBADF"])
}

// What finds no room is counted: established = waiting + lost.
func TestNetFullMap(t *testing.T) {
	needBPF(t)
	p := &netProbe{maxEntries: map[string]uint32{bpf.NetMapWaiting: 3}}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(fd, 64))
	address, err := unix.Getsockname(fd)
	require.NoError(t, err)
	require.NoError(t, p.load(subject{tgid: uint32(os.Getpid())}))
	defer func() { assert.NoError(t, p.close()) }()
	window := bundle.Window{StartNS: clock.MonoNS()}
	require.NoError(t, p.start(window.StartNS))
	const connections = 10
	for range connections {
		defer unix.Close(dial(t, address.(*unix.SockaddrInet4).Port))
	}
	window.EndNS = clock.MonoNS()
	require.NoError(t, p.stop(window.EndNS))
	require.NoError(t, p.detach())
	doc, err := p.read(window)
	require.NoError(t, err)
	lost, err := p.lost()
	require.NoError(t, err)
	assert.EqualValues(t, connections, doc.Connections.Incoming)
	assert.EqualValues(t, 3, doc.Accepts.Waiting)
	assert.Equal(t, map[string]int64{"map_full": connections - 3}, lost)
	assert.EqualValues(t, connections, doc.Listeners[0].QueueAtEnd, "the kernel knows them all")
}

func TestNetListeners(t *testing.T) {
	at := netip.MustParseAddrPort
	before := []sockdiag.Socket{
		{Local: at("127.0.0.1:80"), Inode: 1, Cookie: 11, RecvQ: 3, SendQ: 10, Drops: 5},
		{Local: at("127.0.0.1:81"), Inode: 2, Cookie: 12}, // closed meanwhile
	}
	after := []sockdiag.Socket{
		{Local: at("[::]:90"), Inode: 3, Cookie: 13, SendQ: 4, Drops: -1},
		{Local: at("127.0.0.1:80"), Inode: 1, Cookie: 11, RecvQ: 1, SendQ: 10, Drops: 7},
		{Local: at("127.0.0.1:80"), Inode: 9, Cookie: 19}, // another's, with SO_REUSEPORT
		{Local: at("127.0.0.1:99"), Inode: 9, Cookie: 20},
	}
	two := int64(2)
	assert.Equal(t, []bundle.NetListener{
		{Address: "127.0.0.1:80", Port: 80, Shared: true, QueueAtStart: 3, QueueAtEnd: 1, Limit: 10, Drops: &two},
		{Address: "[::]:90", Port: 90, Limit: 4},
	}, netListeners(before, after, func(s sockdiag.Socket) bool { return s.Inode < 9 }))
}

func TestNamespaceGrowth(t *testing.T) {
	assert.Nil(t, namespaceGrowth(nil, map[string]int64{}))
	assert.Equal(t, map[string]int64{"Tcp.RetransSegs": 3}, namespaceGrowth(
		map[string]int64{"Tcp.RetransSegs": 4, "Tcp.OutRsts": 1, "Other": 1}, map[string]int64{"Tcp.RetransSegs": 7, "Other": 9}))
}
