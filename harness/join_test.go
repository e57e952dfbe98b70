package harness_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	exptrace "golang.org/x/exp/trace"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
	"chokepoint/harness/capture/ebpf"
	"chokepoint/harness/internal/testbuild"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/requests"
	"chokepoint/harness/signal/stack"
)

// joinAnswer is what testdata/join says that it did.
type joinAnswer struct {
	Requests []joinSpan
	Ops      []joinOp
}

type joinSpan struct {
	GoID, Before, After int64
	Peer                string
}

type joinOp struct {
	GoID          int64
	What          string
	Before, After int64
	CPU           int64
}

// joinRecording is the program's own account and the recording of it.
type joinRecording struct {
	joinAnswer
	slow  bundle.SlowCalls
	cuts  bundle.Cuts
	peers bundle.Peers
	trace *gotrace.Summary
	ready spans // when goroutines waited for a P
	// unmatched is events of which the probes know that they missed another one. A kernel
	// may hide switches from some of its processes.
	unmatched int64
	// stolen is CPU time of the machine that a hypervisor gave to others meanwhile. Nothing in here
	// sees where, but a thread's own clock stands still.
	stolen time.Duration
}

// needSight skips the test where too much was hidden from the probes for it to tell.
func (r joinRecording) needSight(t *testing.T) {
	t.Helper()
	if r.stolen > 200*time.Millisecond || r.unmatched > int64(len(r.Ops))/20 {
		t.Skipf("a hypervisor took %v of the CPUs' time, and the kernel hid %d switches", r.stolen, r.unmatched)
	}
}

// stolen is the machine's CPU time that a hypervisor has given to others since boot.
func stolen(t *testing.T) time.Duration {
	t.Helper()
	data, err := os.ReadFile("/proc/stat")
	require.NoError(t, err)
	fields := strings.Fields(string(data)) // cpu, user, nice, system, idle, iowait, irq, softirq, steal
	require.Greater(t, len(fields), 8)
	ticks, err := strconv.ParseInt(fields[8], 10, 64)
	require.NoError(t, err)
	const tick = 10 * time.Millisecond // USER_HZ
	return time.Duration(ticks) * tick
}

// slowerThan is the threshold of slow calls in the recording. The program's
// waits are longer.
const slowerThan = 5 * time.Millisecond

func recordJoin(t *testing.T, toolchain string) joinRecording {
	t.Helper()
	built := testbuild.Build(t, testbuild.Program{Dir: "testdata/join", Toolchain: toolchain})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	traced := filepath.Join(dir, "trace.out")
	cmd := exec.CommandContext(ctx, built.Path, traced)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() {
		_ = in.Close() // it ends at the end of its input
		_ = cmd.Wait()
	}()
	out := bufio.NewReader(stdout)
	ready, err := out.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", ready)

	r := ebpf.New(ebpf.Config{Probes: []string{ebpf.Syscalls, ebpf.Sched, ebpf.Net}, Slow: slowerThan})
	defer func() { assert.NoError(t, r.Close()) }()
	require.NoError(t, r.Prepare(ctx, capture.Subject{PID: cmd.Process.Pid, Executable: built.Path}))
	require.NoError(t, r.Start(ctx))
	before := stolen(t)
	_, err = io.WriteString(in, "go\n")
	require.NoError(t, err)
	var rec joinRecording
	line, err := out.ReadBytes('\n')
	require.NoError(t, err)
	rec.stolen = stolen(t) - before
	require.NoError(t, json.Unmarshal(line, &rec.joinAnswer))
	require.NoError(t, r.Stop(ctx))
	w, err := bundle.Create(filepath.Join(dir, "bundle"), bundle.Manifest{})
	require.NoError(t, err)
	dim, err := r.Write(ctx, w)
	require.NoError(t, err)
	for _, p := range dim.Probes {
		require.True(t, p.Captured, "%s: %s", p.Name, p.Reason)
		delete(p.Lost, "stacks_cut") // of a stack that ends early the goroutine and the time are known
		rec.unmatched += p.Lost["events_unmatched"]
		delete(p.Lost, "events_unmatched")
		assert.Empty(t, p.Lost, p.Name)
	}
	for path, into := range map[string]any{bundle.EBPFSlow: &rec.slow, bundle.EBPFCuts: &rec.cuts, bundle.EBPFPeers: &rec.peers} {
		data, err := os.ReadFile(filepath.Join(dir, "bundle", path))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(data, into), path)
	}
	data, err := os.ReadFile(traced)
	require.NoError(t, err)
	rec.ready = readySpans(t, data)
	rec.trace, err = gotrace.ReadWith(bytes.NewReader(data), stack.Program{MainModule: testbuild.Module}, gotrace.Beside{Kernel: requests.NewKernel(&rec.cuts, &rec.slow)})
	require.NoError(t, err)
	require.Empty(t, rec.trace.Cut)
	return rec
}

// TestJoin holds what was joined by goroutine and time, of the execution trace and
// of the kernel's events, against a program that notes its own goroutines and
// times. docs/where.md has its figures.
func TestJoin(t *testing.T) {
	for _, c := range ebpf.Check(t.Context()) {
		if !c.OK {
			t.Skipf("%s: %s", c.Probe, c.Missing)
		}
	}
	for _, toolchain := range testbuild.Toolchains() {
		t.Run(toolchain, func(t *testing.T) {
			rec := recordJoin(t, toolchain)
			require.Len(t, rec.Requests, 480)
			require.Len(t, rec.Ops, 480)
			t.Run("slow calls", rec.slowCalls)
			t.Run("cuts", rec.everyCut)
			t.Run("off the CPU", rec.offCPU)
			t.Run("requests", rec.requests)
			t.Run("borders", rec.borders)
			t.Run("connections", rec.connections)
		})
	}
}

// at is the op that a goroutine was in all the time from one to the other.
func (r joinRecording) at(goid, from, to int64) (joinOp, bool) {
	i := slices.IndexFunc(r.Ops, func(o joinOp) bool { return o.GoID == goid && o.Before <= from && to <= o.After })
	if i < 0 {
		return joinOp{}, false
	}
	return r.Ops[i], true
}

// kernelOp reports whether the op is a system call that is long.
func kernelOp(o joinOp) bool { return o.What != "park" && o.What != "spin" }

// slowCalls: each is the call that the goroutine of its id made at that time, and
// each call that was made is there.
func (r joinRecording) slowCalls(t *testing.T) {
	right, all := 0, 0
	found := map[joinOp]bool{}
	for _, c := range r.slow.Calls {
		switch c.Syscall {
		case "clock_nanosleep", "read", "write":
		default:
			continue
		}
		all++
		if o, ok := r.at(c.GoID, c.StartNS, c.StartNS+c.NS); ok && o.What == c.Syscall {
			right++
			found[o] = true
		} else {
			t.Logf("not the program's: %+v", c)
		}
	}
	made := 0
	for _, o := range r.Ops {
		if kernelOp(o) {
			made++
		}
	}
	t.Logf("%d of %d slow calls have the goroutine and lie within its own times; %d of the %d calls made are among them", right, all, len(found), made)
	require.Positive(t, all)
	// A goroutine of the program other than a handler's may have been slow in a read
	// or write too, where others took the CPU meanwhile.
	assert.GreaterOrEqual(t, float64(right), 0.99*float64(all))
	assert.GreaterOrEqual(t, float64(len(found)), 0.99*float64(made))
}

// everyCut: a goroutine whose thread slept in a system call was in that call; one
// that was parked all the time had no thread to lose.
func (r joinRecording) everyCut(t *testing.T) {
	mine := map[int64]bool{}
	for _, o := range r.Ops {
		mine[o.GoID] = true
	}
	var slept, sleptRight, lost, lostRight int
	for _, c := range r.cuts.Intervals {
		if !mine[c.GoID] {
			continue
		}
		o, ok := r.at(c.GoID, c.LeftNS, c.BackNS)
		long := c.BackNS-c.LeftNS >= int64(time.Millisecond)
		switch name := c.Syscall; {
		case name == "clock_nanosleep" || (name == "read" || name == "write") && long:
			slept++
			if ok && o.What == name {
				sleptRight++
			} else {
				t.Logf("not the program's: %+v", c)
			}
		case c.State == "runnable" && ok:
			// It begins to park on its thread, and ends so.
			lost++
			if o.What != "park" || c.LeftNS-o.Before < int64(time.Millisecond) || o.After-c.BackNS < int64(time.Millisecond) {
				lostRight++
			}
		}
	}
	t.Logf("%d of %d sleeps are in the call that the goroutine was in; %d of %d waits for a CPU when it had a thread", sleptRight, slept, lostRight, lost)
	require.Positive(t, slept)
	require.Positive(t, lost, "more threads compute than there are CPUs")
	assert.GreaterOrEqual(t, float64(sleptRight), 0.99*float64(slept))
	assert.GreaterOrEqual(t, float64(lostRight), 0.99*float64(lost))
}

// offCPU: the time of a computation that its thread's own clock does not show is that
// for which the kernel had the thread off its CPU and that for which the runtime
// had the goroutine wait for a P. A wait in the kernel is known by its call.
func (r joinRecording) offCPU(t *testing.T) {
	ops := slices.Clone(r.Ops)
	slices.SortFunc(ops, func(a, b joinOp) int { return int(a.Before - b.Before) })
	kernel := requests.NewKernel(&r.cuts, &r.slow)
	cursors := map[int64]*requests.Cursor{}
	var truth, wrong []int64
	calls, named := 0, 0
	for _, o := range ops {
		c, ok := cursors[o.GoID]
		if !ok {
			c = kernel.Of(o.GoID)
			cursors[o.GoID] = c
		}
		off := c.In(o.Before, o.After)
		switch {
		case o.What == "spin":
			want := o.After - o.Before - o.CPU
			truth = append(truth, want)
			wrong = append(wrong, abs(off.AsleepNS+off.QueuedNS+r.ready.within(o.GoID, o.Before, o.After)-want))
		case kernelOp(o):
			calls++
			if off.Slow != nil && off.Slow.Syscall == o.What && off.AsleepNS > 0 {
				named++
			}
		}
	}
	t.Logf("without a CPU while computing: %v at p50, %v at p99 by the thread's clock; the join is wrong by %v at p50, %v at p99, %.2f%% in all",
		at(truth, 50), at(truth, 99), at(wrong, 50), at(wrong, 99), 100*float64(sum(wrong))/float64(sum(truth)))
	t.Logf("%d of %d calls are joined by name, and asleep", named, calls)
	t.Logf("of %d cuts; %d events more have no other one that they go with, and a hypervisor took %v", len(r.cuts.Intervals), r.unmatched, r.stolen)
	require.Positive(t, sum(truth))
	assert.GreaterOrEqual(t, float64(named), 0.95*float64(calls))
	r.needSight(t)
	hidden := int64(r.stolen) + r.unmatched*at(truth, 50).Nanoseconds()
	assert.Less(t, float64(sum(wrong)), 0.05*float64(sum(truth))+float64(hidden))
}

// spans are times of goroutines.
type spans map[int64][]bundle.Window

// within is the part of these times that lies within a span.
func (s spans) within(goid, from, to int64) (ns int64) {
	for _, w := range s[goid] {
		ns += max(0, min(w.EndNS, to)-max(w.StartNS, from))
	}
	return ns
}

// readySpans are when goroutines waited for a P, by the trace alone.
func readySpans(t *testing.T, data []byte) spans {
	t.Helper()
	out := spans{}
	since := map[exptrace.GoID]int64{}
	r, err := exptrace.NewReader(bytes.NewReader(data))
	require.NoError(t, err)
	for {
		ev, err := r.ReadEvent()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		if ev.Kind() != exptrace.EventStateTransition {
			continue
		}
		st := ev.StateTransition()
		if st.Resource.Kind != exptrace.ResourceGoroutine {
			continue
		}
		id, now := st.Resource.Goroutine(), int64(ev.Time())
		from, to := st.Goroutine()
		if from == exptrace.GoRunnable && to != exptrace.GoRunnable {
			out[int64(id)] = append(out[int64(id)], bundle.Window{StartNS: since[id], EndNS: now})
		}
		if to == exptrace.GoRunnable && from != to {
			since[id] = now
		}
	}
}

// requests: each is found in its goroutine and around its handler, and what the
// table attributes to the functions that make system calls is what was spent in them.
func (r joinRecording) requests(t *testing.T) {
	served := r.trace.Served.Spans()
	matched := 0
	var early, late []int64
	for _, q := range r.Requests {
		i := slices.IndexFunc(served, func(s requests.Span) bool {
			return s.Goroutine == q.GoID && s.StartNS <= q.Before && q.After <= s.EndNS
		})
		if i < 0 {
			continue
		}
		matched++
		early = append(early, q.Before-served[i].StartNS)
		late = append(late, served[i].AnsweredNS-q.After)
	}
	t.Logf("%d of %d requests are found around their handlers; they begin %v at p50, %v at p99 before it, and answer %v at p50, %v at p99 after it",
		matched, len(r.Requests), at(early, 50), at(early, 99), at(late, 50), at(late, 99))
	assert.GreaterOrEqual(t, float64(matched), 0.99*float64(len(r.Requests)))

	table := r.trace.Served.Table(requests.Want{TraceNS: r.trace.DurationNS(), OffCPU: true})
	all, ok := table.Band(requests.All)
	require.True(t, ok)
	for what, function := range map[string]string{"clock_nanosleep": "main.sleepInKernel", "read": "main.readLate", "write": "main.writeLate", "park": "main.park"} {
		// What computes is seen by samples, and no CPU profile ran.
		var spent, said, named int64
		for _, o := range r.Ops {
			if o.What == what {
				spent += o.After - o.Before
			}
		}
		for _, p := range all.Parts {
			if !strings.HasPrefix(p.Where.Function, function) || p.Kind == requests.WaitKind(stack.ChanRecv) {
				continue // the test's own wait for what it started
			}
			said += p.NS
			if p.Cause == what {
				named += p.NS
			}
		}
		t.Logf("%s: %v spent, %v attributed to the function (%+.1f%%), %v of it under that name", what, time.Duration(spent), time.Duration(said),
			100*(float64(said)/float64(spent)-1), time.Duration(named))
		assert.InEpsilon(t, spent, said, 0.1, what)
	}
	j := table.Join
	t.Logf("of the kernel's time without a CPU %v agree with the runtime's view, %v do not", time.Duration(j.AgreedNS), time.Duration(j.StrayNS))
	assert.Less(t, float64(j.StrayNS), 0.01*float64(j.AgreedNS))
}

// borders: each of the longest delays is of an op that its goroutine was in.
func (r joinRecording) borders(t *testing.T) {
	b := r.trace.Served.Borders()
	require.NotEmpty(t, b)
	right := 0
	for _, x := range b {
		for _, o := range r.Ops {
			// The runtime's interval goes a little beyond the call.
			if o.GoID == x.Goroutine && o.Before < x.StartNS+x.RuntimeNS && x.StartNS < o.After &&
				(o.What == "spin" || x.Syscall == o.What) {
				right++
				break
			}
		}
	}
	t.Logf("%d of the %d longest delays are of the op that their goroutine was in", right, len(b))
	r.needSight(t)
	assert.GreaterOrEqual(t, right+int(r.unmatched), len(b)-1)
}

// connections: whose connection a goroutine served.
func (r joinRecording) connections(t *testing.T) {
	peers := map[int64]string{}
	for _, p := range r.peers.Goroutines {
		peers[p.GoID] = p.Address
	}
	right := 0
	for _, q := range r.Requests {
		if peers[q.GoID] == q.Peer {
			right++
		}
	}
	t.Logf("of %d requests the goroutine's connection is known for %d", len(r.Requests), right)
	assert.Equal(t, len(r.Requests), right)
	assert.Zero(t, r.peers.Several)
}

func sum(ns []int64) (all int64) {
	for _, n := range ns {
		all += n
	}
	return all
}

func abs(ns int64) int64 { return max(ns, -ns) }

// at is a percentile by nearest rank.
func at(ns []int64, percent int) time.Duration {
	if len(ns) == 0 {
		return 0
	}
	ns = slices.Sorted(slices.Values(ns))
	return time.Duration(ns[(percent*len(ns)+99)/100-1])
}
