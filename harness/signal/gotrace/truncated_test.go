package gotrace

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/internal/testbuild"
	"chokepoint/harness/signal/requests"
)

// tracedBy is the trace of a server built by one toolchain, some seconds long.
func tracedBy(t *testing.T, toolchain string) []byte {
	t.Helper()
	built := testbuild.Build(t, testbuild.Program{Dir: "../../testdata/join", Toolchain: toolchain})
	path := filepath.Join(t.TempDir(), "trace.out")
	cmd := exec.CommandContext(t.Context(), built.Path, path, "18")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = io.WriteString(in, "go\n")
	require.NoError(t, err)
	lines := bufio.NewReader(out)
	for range 2 { // that it is ready, and what it did
		_, err = lines.ReadBytes('\n')
		require.NoError(t, err)
	}
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait())
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// boundaries are where the batches of a trace end, and where its generations do.
// The format is that of Go 1.22 and later: a byte that says what follows, and of a
// batch its generation, thread, time and size as varints.
func boundaries(t *testing.T, data []byte) (batches, generations []int) {
	t.Helper()
	const (
		header            = 16
		eventBatch        = 1
		experimentalBatch = 50
		endOfGeneration   = 52
	)
	at, last := header, uint64(0)
	for at < len(data) {
		from := at
		kind := data[at]
		at++
		if kind == endOfGeneration {
			generations = append(generations, at)
			last = 0
			continue
		}
		if kind == experimentalBatch {
			at++
		} else {
			require.EqualValues(t, eventBatch, kind, "at %d", from)
		}
		var fields [4]uint64 // generation, thread, time, size
		for i := range fields {
			v, n := binary.Uvarint(data[at:])
			require.Positive(t, n)
			fields[i], at = v, at+n
		}
		if last != 0 && fields[0] != last {
			generations = append(generations, from)
		}
		last = fields[0]
		at += int(fields[3])
		batches = append(batches, at)
	}
	require.Equal(t, len(data), at)
	if len(generations) == 0 || generations[len(generations)-1] != len(data) {
		generations = append(generations, len(data))
	}
	return batches, generations
}

// TestTruncatedTraces cuts traces at the ends of their generations, at those of
// their batches, and within batches: whatever generations are whole are read, and it
// is said that the rest is missing.
func TestTruncatedTraces(t *testing.T) {
	if testing.Short() {
		t.Skip("it records and reads for half a minute: left out with -short")
	}
	for _, toolchain := range testbuild.Toolchains() {
		t.Run(toolchain, func(t *testing.T) {
			data := tracedBy(t, toolchain)
			batches, generations := boundaries(t, data)
			require.Greater(t, len(generations), 1, "a trace of more than a second has several")
			t.Logf("%d bytes, %d batches, %d generations", len(data), len(batches), len(generations))

			// What is in the whole generations before each cut.
			upTo := map[int]*Summary{}
			for _, end := range generations {
				s := whole(t, data[:end])
				assert.Empty(t, s.Cut, "a trace of whole generations")
				upTo[end] = s
			}
			cuts := map[int]bool{}
			step := max(1, len(batches)/12)
			for i := 0; i < len(batches); i += step {
				from := 16
				if i > 0 {
					from = batches[i-1]
				}
				for _, at := range []int{batches[i], from + 1, from + 3, (from + batches[i]) / 2, batches[i] - 1} {
					cuts[at] = true
				}
			}
			for _, end := range generations[:len(generations)-1] {
				cuts[end-1], cuts[end+1], cuts[end+8] = true, true, true
			}
			for at := range cuts {
				if _, isEnd := upTo[at]; isEnd || at >= len(data) {
					continue
				}
				before := 0
				for _, end := range generations {
					if end <= at {
						before = end
					}
				}
				s, err := Read(bytes.NewReader(data[:at]), thisProgram)
				if before == 0 {
					// What there is of the first generation may be whole but for its end mark.
					if err != nil {
						assert.ErrorContains(t, err, "execution trace", "cut at %d", at)
						continue
					}
				}
				require.NoError(t, err, "cut at %d of %d", at, len(data))
				consistent(t, s)
				sound(t, s)
				if before > 0 {
					assert.GreaterOrEqual(t, s.Events, upTo[before].Events, "cut at %d, whole up to %d", at, before)
					assert.GreaterOrEqual(t, s.Served.Counts().Requests, upTo[before].Served.Counts().Requests, "cut at %d", at)
				}
				// A trace that ends between two batches may look whole to its reader; that it
				// ends before its recording did is for whoever knows the recording to say.
				if !slices.Contains(batches, at) {
					assert.NotEmpty(t, s.Cut, "cut at %d of %d, whole up to %d", at, len(data), before)
				}
			}
		})
	}
}

// whole reads a trace that must be readable, with all that is made of one.
func whole(t testing.TB, data []byte) *Summary {
	t.Helper()
	s, err := ReadWith(bytes.NewReader(data), thisProgram, Beside{Kernel: someKernel()})
	require.NoError(t, err)
	consistent(t, s)
	everything(t, s)
	return s
}

// someKernel has events of goroutines with small numbers, at all times.
func someKernel() *requests.Kernel {
	var cuts bundle.Cuts
	var slow bundle.SlowCalls
	for goid := range int64(64) {
		for at := int64(1); at < 1<<62; at *= 3 {
			cuts.Intervals = append(cuts.Intervals, bundle.Cut{GoID: goid, LeftNS: at, WokenNS: at + at/4, BackNS: at + at/2, State: "sleep", Syscall: "read"})
			slow.Calls = append(slow.Calls, bundle.SlowCall{GoID: goid, StartNS: at, NS: at / 2, Syscall: "read"})
		}
	}
	return requests.NewKernel(&cuts, &slow)
}

// everything makes all that is made of a summary, as JSON too, which knows no
// number that is none.
func everything(t testing.TB, s *Summary) {
	t.Helper()
	sound(t, s)
	for _, r := range []*requests.Recorder{s.Served, s.Tasks} {
		table := r.Table(requests.Want{TraceNS: s.DurationNS(), OffCPU: true})
		_, err := json.Marshal(table)
		require.NoError(t, err)
		for _, e := range table.Endpoints {
			adds(t, band(t, r.Table(requests.Want{Endpoint: e.Name}), requests.All).Account)
		}
		for _, x := range r.Spans() {
			require.LessOrEqual(t, x.StartNS, x.EndNS)
		}
		if p := r.Profile(requests.Want{}); p != nil {
			require.NoError(t, p.CheckValid())
			require.NoError(t, p.Write(io.Discard))
		}
	}
	_, err := json.Marshal(s.Scheduler)
	require.NoError(t, err)
	require.GreaterOrEqual(t, s.Scheduler.StopNS, int64(0))
	for _, p := range s.Paths {
		require.LessOrEqual(t, p.SelfNS, p.NS)
	}
}

// FuzzWhole is FuzzRead with all that is made of what was read. Its seeds are of
// each format that is still written.
func FuzzWhole(f *testing.F) {
	f.Add([]byte("go 1.21 trace\x00\x00\x00\x01\x02\x03"))
	f.Add([]byte("go 1.22 trace\x00\x00\x00\x01\x01\x00\x00\x00"))
	f.Add(mixed(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := ReadWith(bytes.NewReader(data), thisProgram, Beside{Kernel: someKernel()}); err == nil {
			everything(t, s)
		}
	})
}
