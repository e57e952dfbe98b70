package gotrace

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/internal/testtrace"
	"chokepoint/harness/signal/stack"
)

func ship(w io.Writer, b []byte) {
	_, _ = w.Write(b)
}

// shipAll writes to one descriptor from many goroutines at the same time.
func shipAll(w io.Writer, b []byte, many int, meanwhile func()) {
	var all sync.WaitGroup
	for range many {
		all.Go(func() { ship(w, b) })
	}
	meanwhile()
	all.Wait()
}

func callsIn(t *testing.T, s *Summary, function string) (sum SiteCount) {
	t.Helper()
	for _, c := range s.Syscalls {
		if c.Where.Function == function {
			sum.NS += c.NS
			sum.Count += c.Count
			sum.TurnsNS += c.TurnsNS
			sum.TurnsFullNS += c.TurnsFullNS
			sum.HeldNS += c.HeldNS
		}
	}
	return sum
}

const shipFunction = "chokepoint/harness/signal/gotrace.ship"

// Those who queue to write do so for the peer's sake where the one before them
// waits for him to read.
func TestTurnsAtAConnectionThatIsReadSlowly(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	peer, err := l.Accept()
	require.NoError(t, err)
	defer peer.Close()
	const many, each = 4, 8 << 20 // more than the kernel's buffers hold
	s := read(t, testtrace.Record(t, func() {
		shipAll(c, make([]byte, each), many, func() {
			time.Sleep(200 * time.Millisecond)
			_, err := io.CopyN(io.Discard, peer, many*each)
			assert.NoError(t, err)
		})
	}))
	got := callsIn(t, s, shipFunction)
	require.Positive(t, got.TurnsNS)
	assert.Greater(t, got.TurnsFullNS, got.TurnsNS/2, "%+v", got)
	assert.LessOrEqual(t, got.TurnsFullNS, got.TurnsNS)
}

// At a file the one at its turn has the kernel work, and waits for nobody.
func TestTurnsAtAFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	defer f.Close()
	s := read(t, testtrace.Record(t, func() { shipAll(f, make([]byte, 16<<20), 4, func() {}) }))
	assert.Zero(t, callsIn(t, s, shipFunction).TurnsFullNS)
}

func nap(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&ts, nil)
}

// A call keeps its P until the runtime takes that away, and no longer.
func TestPsThatCallsKeep(t *testing.T) {
	s := read(t, testtrace.Record(t, func() {
		for range 20 {
			nap(100 * time.Microsecond)
		}
		nap(500 * time.Millisecond)
	}))
	got := callsIn(t, s, "chokepoint/harness/signal/gotrace.nap")
	assert.Equal(t, int64(21), got.Count)
	assert.Positive(t, got.HeldNS)
	assert.Less(t, got.HeldNS, got.NS/2, "sysmon takes the P of a call that lasts")
}

func TestHeldPs(t *testing.T) {
	a, b := &SiteCount{Where: stack.Frame{Function: "a"}}, &SiteCount{Where: stack.Frame{Function: "b"}}
	h := newHeldPs()
	h.enters(1, &goroutine{}, 0, a, 100)
	h.leaves(1, 130) // it kept its P
	h.enters(1, &goroutine{request: true}, 0, a, 200)
	h.release(0, 220) // the runtime took it
	h.enters(2, &goroutine{}, 0, b, 225)
	h.leaves(1, 300) // and this is not its P any more
	h.leaves(2, 325)
	h.enters(3, &goroutine{}, -1, b, 400)
	h.enters(4, &goroutine{}, 1, b, 400)
	h.finish(410)
	assert.Equal(t, int64(50), a.HeldNS)
	assert.Equal(t, int64(20), a.HeldRequestNS)
	assert.Equal(t, int64(110), b.HeldNS)
}
