package gotrace

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"chokepoint/harness/internal/testtrace"

	"github.com/stretchr/testify/require"
	exptrace "golang.org/x/exp/trace"
	"golang.org/x/sys/unix"
)

// big is a trace of goroutines that hand each other work, rounds times over.
func big(b *testing.B, rounds int) []byte {
	var st store
	return testtrace.Record(b, func() {
		times(8, func(int) {
			c := make(chan int)
			go func() {
				for range c {
					st.peek()
				}
			}()
			for i := range rounds {
				c <- i
				if i%16 == 0 {
					runtime.Gosched()
				}
			}
			close(c)
		})
	})
}

// busy is a trace of a server that answers requests, client included.
func busy(b *testing.B, rounds int) []byte {
	var st store
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		st.peek()
		_, _ = io.WriteString(w, "ok")
	}))
	defer srv.Close()
	const clients = 64
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer c.CloseIdleConnections()
	return testtrace.Record(b, func() {
		times(clients, func(int) {
			for range rounds {
				get(b, c, srv.URL)
			}
		})
	})
}

// merely reads the events of a trace, and does nothing with them.
func merely(b *testing.B, r io.Reader) (events int64) {
	tr, err := exptrace.NewReader(r)
	require.NoError(b, err)
	for {
		if _, err := tr.ReadEvent(); err != nil {
			require.Equal(b, io.EOF, err)
			return events
		}
		events++
	}
}

// traceFile names the trace of BenchmarkReadFile; it is recorded where a server
// can be put under load, and too large for the repository.
const traceFile = "CHOKEPOINT_BENCH_TRACE"

// BenchmarkRead relates reducing a trace to merely reading its events. Small
// traces are mostly of what happens once, such as making stacks known.
func BenchmarkRead(b *testing.B) {
	b.Run("handing-over", func(b *testing.B) { readFile(b, written(b, big(b, 40000))) })
	b.Run("serving", func(b *testing.B) { readFile(b, written(b, busy(b, 600))) })
}

// BenchmarkReadLarge does so for traces of 60 MB and more.
func BenchmarkReadLarge(b *testing.B) {
	b.Run("handing-over", func(b *testing.B) { readFile(b, written(b, big(b, 450000))) })
	b.Run("serving", func(b *testing.B) { readFile(b, written(b, busy(b, 5000))) })
}

// BenchmarkReadFile does so for a recorded one.
func BenchmarkReadFile(b *testing.B) {
	path := os.Getenv(traceFile)
	if path == "" {
		b.Skipf("%s names no execution trace", traceFile)
	}
	readFile(b, path)
}

func written(b *testing.B, data []byte) string {
	path := filepath.Join(b.TempDir(), "trace.out")
	require.NoError(b, os.WriteFile(path, data, 0o600))
	return path
}

// spent is what something took. CPU time is that of this process, collector
// included: wall time says little on a machine that others use too.
type spent struct{ wall, cpu time.Duration }

func (s *spent) on(b *testing.B, f func()) {
	usage := func() time.Duration {
		var u unix.Rusage
		require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	wall, cpu := time.Now(), usage()
	f()
	s.wall += time.Since(wall)
	s.cpu += usage() - cpu
}

// readFile reports, of reading the trace at path: how many times as long as
// merely reading its events it takes, by wall clock and by CPU time; what it gets
// through in a second of wall time; and this process's peak of memory meanwhile.
func readFile(b *testing.B, path string) {
	open := func() *os.File {
		f, err := os.Open(path)
		require.NoError(b, err)
		return f
	}
	info, err := os.Stat(path)
	require.NoError(b, err)
	var events int64
	var reading, whole spent
	for b.Loop() {
		f := open()
		reading.on(b, func() { events = merely(b, f) })
		require.NoError(b, f.Close())
		b.StopTimer()
		debug.FreeOSMemory()
		require.NoError(b, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)) // resets the peak
		b.StartTimer()
		f = open()
		whole.on(b, func() {
			_, err := Read(f, thisProgram)
			require.NoError(b, err)
		})
		require.NoError(b, f.Close())
	}
	seconds := whole.wall.Seconds() / float64(b.N)
	b.ReportMetric(0, "ns/op") // both together say nothing
	b.ReportMetric(float64(info.Size())/1e6, "MB-trace")
	b.ReportMetric(float64(events)/1e6, "M-events")
	b.ReportMetric(float64(whole.wall)/float64(reading.wall), "x-wall")
	b.ReportMetric(float64(whole.cpu)/float64(reading.cpu), "x-CPU")
	b.ReportMetric(float64(info.Size())/1e6/seconds, "MB-trace/s")
	b.ReportMetric(float64(events)/1e6/seconds, "M-events/s")
	b.ReportMetric(peak(b), "MB-peak")
}

// peak is the most memory that this process had resident since it was last reset.
func peak(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(b, err)
	for l := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(l, "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(kb), " kB"))
			require.NoError(b, err)
			return float64(n) / 1e3
		}
	}
	b.Fatal("/proc/self/status has no VmHWM")
	return 0
}
