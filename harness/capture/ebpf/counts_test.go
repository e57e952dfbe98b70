package ebpf

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
	"chokepoint/harness/internal/testbuild"
)

// counted is what testdata/counts says that it did.
type counted struct {
	Calls []struct {
		Syscall, Function string
		GoID, Count       int64
		Errors            map[syscall.Errno]int64
	}
	Reads []struct {
		Syscall, Function  string
		GoID, Count, Ended int64
	}
	Sleeps struct {
		Function                       string
		GoID, Asked, Took, Interrupted int64
		Calls                          []sleep
	}
	Burns []struct {
		Function  string
		GoID, CPU int64
	}
	GCs, Pool int64
}

// sleep is one call that sleeps.
type sleep struct {
	Start, End, Asked int64 // CLOCK_MONOTONIC and nanoseconds
	Switches          int   // times that its thread gave the CPU up
	Interrupted       bool
}

// counts is a recording of testdata/counts.
type counts struct {
	recording
	counted
	seen map[string]int64 // events that each probe's programs counted as theirs
}

// recordCounts records the program with every probe, their maps holding no
// more than room says.
func recordCounts(t *testing.T, p testbuild.Program, room map[string]uint32) counts {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p.Dir = "testdata/counts"
	path := testbuild.Build(t, p).Path
	c := startCrash(t, path, "")
	r := New(Config{})
	r.room = room
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	require.NoError(t, r.Prepare(ctx, capture.Subject{PID: c.pid(), Executable: path}))
	require.NoError(t, r.Start(ctx))
	c.tell(t)
	var out counts
	require.NoError(t, json.Unmarshal([]byte(c.line(t)), &out.counted))
	require.NoError(t, r.Stop(ctx))
	c.tell(t)
	c.awaitEnd(t, "exit status 0")

	out.dir = filepath.Join(t.TempDir(), "bundle")
	w, err := bundle.Create(out.dir, bundle.Manifest{})
	require.NoError(t, err)
	out.dim, err = r.Write(ctx, w)
	require.NoError(t, err)
	out.seen = map[string]int64{}
	for _, s := range r.probes {
		if p, ok := s.probe.(interface{ events() uint64 }); ok {
			out.seen[s.probe.name()] = int64(p.events())
		}
	}
	for _, p := range out.dim.Probes {
		require.True(t, p.Captured, "%s: %s", p.Name, p.Reason)
		require.NotContains(t, p.Lost, "events_missed", p.Name)
		t.Logf("%s: %d events, lost %v", p.Name, out.seen[p.Name], p.Lost)
	}
	return out
}

func (c counts) lost(t *testing.T, probe, kind string) int64 {
	t.Helper()
	i := slices.IndexFunc(c.dim.Probes, func(p bundle.Probe) bool { return p.Name == probe })
	require.GreaterOrEqual(t, i, 0, probe)
	return c.dim.Probes[i].Lost[kind]
}

// Each probe counts what the program counts, for each Go and build.
func TestCountsAreTheProgramsOwn(t *testing.T) {
	needBPF(t)
	shapes := []testbuild.Shape{testbuild.Static, testbuild.PIE, testbuild.CGO, testbuild.Stripped}
	for n, toolchain := range testbuild.Toolchains() {
		for m, shape := range shapes {
			if *crashCells != "all" && toolchain != testbuild.Present && (n+m)%2 != 0 {
				continue // each shape by one of the older ones
			}
			p := testbuild.Program{Toolchain: toolchain, Shape: shape}
			t.Run(p.Name(), func(t *testing.T) {
				c := recordCounts(t, p, nil)
				for _, p := range c.dim.Probes {
					assert.NotContains(t, p.Lost, "map_full", p.Name)
				}
				t.Run("syscalls", c.checkCalls)
				t.Run("reads", c.checkReads)
				t.Run("sleeps", c.checkSleeps)
				t.Run("goroutines", c.checkGoroutines)
				t.Run("sums", c.checkSums)
			})
		}
	}
}

// checkCalls compares calls and errors, and the stacks of those that have any.
func (c counts) checkCalls(t *testing.T) {
	var doc bundle.Syscalls
	c.json(t, bundle.EBPFSyscalls, &doc)
	seen := map[string]bundle.Syscall{}
	for _, call := range doc.Calls {
		seen[call.Name] = call
	}
	stacks := c.profile(t, bundle.EBPFSyscallsProfile)
	placed := 0
	require.NotEmpty(t, c.Calls)
	for _, own := range c.Calls {
		if own.Syscall == "" {
			assert.Equal(t, own.Count, c.lost(t, Syscalls, "events_unknown"), "calls without a number")
			continue
		}
		got := seen[own.Syscall]
		assert.Equal(t, own.Count, got.Count, own.Syscall)
		var slots int64
		for _, n := range got.Log2NS {
			slots += n
		}
		assert.Equal(t, own.Count, slots, "%s: its histogram", own.Syscall)
		errors := map[string]int64{}
		for errno, n := range own.Errors {
			errors[unix.ErrnoName(errno)] = n
		}
		if len(errors) == 0 {
			assert.Empty(t, got.Errors, own.Syscall)
		} else {
			assert.Equal(t, errors, got.Errors, own.Syscall)
		}
		if at := sum(stacks, 0, "", map[string]string{"syscall": own.Syscall}); at > 0 {
			placed++
			assert.Equal(t, own.Count, at, "%s: its stacks", own.Syscall)
			assert.Equal(t, own.Count-stackless(stacks, own.Syscall), sum(stacks, 0, own.Function, map[string]string{"syscall": own.Syscall}), own.Function)
			assert.Equal(t, got.TotalNS, sum(stacks, 1, "", map[string]string{"syscall": own.Syscall}), "%s: its time", own.Syscall)
		}
		checkGoID(t, stacks, own.Function, own.GoID)
	}
	assert.Equal(t, 3, placed, "calls with stacks")
}

// checkReads compares calls that read, and those of them that found an end, in all and by
// the function that made them: two take turns at each system call, and one of
// them finds nothing but ends.
func (c counts) checkReads(t *testing.T) {
	var doc bundle.Syscalls
	c.json(t, bundle.EBPFSyscalls, &doc)
	stacks := c.profile(t, bundle.EBPFSyscallsProfile)
	require.NotEmpty(t, c.Reads)
	count, ended := map[string]int64{}, map[string]int64{}
	for _, own := range c.Reads {
		count[own.Syscall] += own.Count
		ended[own.Syscall] += own.Ended
		of := map[string]string{"syscall": own.Syscall}
		at := map[string]string{"syscall": own.Syscall, "op": "end"}
		assert.Equal(t, own.Count, sum(stacks, 0, own.Function, of), "%s by %s", own.Syscall, own.Function)
		assert.Equal(t, own.Ended, sum(stacks, 0, own.Function, at), "%s by %s, at an end", own.Syscall, own.Function)
		checkGoID(t, stacks, own.Function, own.GoID)
	}
	for name, calls := range count {
		i := slices.IndexFunc(doc.Calls, func(s bundle.Syscall) bool { return s.Name == name })
		require.GreaterOrEqual(t, i, 0, name)
		got := doc.Calls[i]
		require.Positive(t, ended[name], name)
		assert.Equal(t, calls, got.Count, name)
		require.NotNil(t, got.Ended, name)
		assert.Equal(t, ended[name], *got.Ended, "%s at an end", name)
		of := map[string]string{"syscall": name}
		assert.Equal(t, got.Count, sum(stacks, 0, "", of), "%s: its stacks", name)
		assert.Equal(t, got.TotalNS, sum(stacks, 1, "", of), "%s: its time", name)
	}
	for _, call := range doc.Calls {
		reads := slices.ContainsFunc(endCalls(), func(nr uint32) bool { return syscallName(nr) == call.Name })
		assert.Equal(t, reads, call.Ended != nil, "%s: said how often it found an end", call.Name)
		if !reads {
			continue
		}
		assert.Equal(t, *call.Ended, sum(stacks, 0, "", map[string]string{"syscall": call.Name, "op": "end"}), "%s: its stacks at an end", call.Name)
	}
}

// stackless is calls whose stack found no room.
func stackless(p *profile.Profile, name string) int64 {
	return sum(p, 0, frameLost, map[string]string{"syscall": name})
}

// checkGoID asserts that what is said of the goroutine of a function is right,
// and gives how much that is said of. A thread that has just put the goroutine
// aside runs none, and its stack still leads there, by way of runtime.mcall.
func checkGoID(t *testing.T, p *profile.Profile, function string, goid int64) (said int64) {
	t.Helper()
	for _, s := range p.Sample {
		id, ok := s.NumLabel["goid"]
		if through := frames(s); ok && slices.Contains(through, function) {
			if !slices.Equal(id, []int64{0}) || !slices.Contains(through, "runtime.mcall") {
				assert.Equal(t, []int64{goid}, id, "goroutine of %s in %v", function, through)
			}
			said += s.Value[0]
		}
	}
	return said
}

// checkSleeps: each time the thread gave the CPU up in a call is known, where it was
// and for how long.
//
// A call that sleeps for 2 ms need not give the CPU up for 2 ms, nor at all: the timer
// runs from before that, and an interrupt, or a hypervisor that runs another guest, may
// take the CPU meanwhile. So what is asserted of a wait is that it ended no sooner than
// asked after the call began, and that there are as many as the kernel counted. A few may
// be ended sooner: a wake-up of a futex that comes after its waiter has gone on is taken
// for that of the next call, which sleeps again for what is left.
func (c counts) checkSleeps(t *testing.T) {
	const call = "clock_nanosleep"
	var doc bundle.Syscalls
	c.json(t, bundle.EBPFSyscalls, &doc)
	i := slices.IndexFunc(doc.Calls, func(s bundle.Syscall) bool { return s.Name == call })
	require.GreaterOrEqual(t, i, 0)
	got := doc.Calls[i]
	assert.EqualValues(t, len(c.Sleeps.Calls), got.Count)
	// The program is told EINTR, of what the kernel calls a restart until then.
	assert.Equal(t, c.Sleeps.Interrupted, got.Errors["ERESTART_RESTARTBLOCK"]+got.Errors["EINTR"])
	if c.Sleeps.Interrupted == 0 { // what is left after a signal is rounded
		assert.GreaterOrEqual(t, got.TotalNS, c.Sleeps.Asked)
	}
	assert.LessOrEqual(t, got.TotalNS, c.Sleeps.Took)

	off := c.profile(t, bundle.EBPFOffCPUProfile)
	slept := sum(off, len(off.SampleType)-1, c.Sleeps.Function, map[string]string{"state": "sleep"})
	checkGoID(t, off, c.Sleeps.Function, c.Sleeps.GoID)
	if slices.ContainsFunc(c.dim.Probes, func(p bundle.Probe) bool { return strings.Contains(p.Reason, "goroutines are not known") }) {
		assert.Positive(t, slept)
		return // cuts are of goroutines
	}
	var cuts bundle.Cuts
	c.json(t, bundle.EBPFCuts, &cuts)
	waits := make([]int, len(c.Sleeps.Calls))
	var ns, unplaced, unplacedNS int64
	soon := 0
	for _, w := range cuts.Intervals {
		if w.State != "sleep" || w.Syscall != call {
			continue
		}
		ns += w.WokenNS - w.LeftNS
		assert.Equal(t, c.Sleeps.GoID, w.GoID)
		in := slices.IndexFunc(c.Sleeps.Calls, func(s sleep) bool { return s.Start <= w.LeftNS && w.BackNS <= s.End })
		if !assert.GreaterOrEqual(t, in, 0, "a wait in no call: %+v", w) {
			continue
		}
		waits[in]++
		if s := c.Sleeps.Calls[in]; !s.Interrupted && w.WokenNS-s.Start < s.Asked {
			soon++
			t.Logf("woken after %v of %v: %+v", time.Duration(w.WokenNS-s.Start), time.Duration(s.Asked), w)
		}
		stack := cuts.Stacks[w.Stack]
		if !slices.ContainsFunc(stack, func(f bundle.Frame) bool { return f.Function == c.Sleeps.Function }) {
			// Allowed if it is said.
			unplaced++
			unplacedNS += w.WokenNS - w.LeftNS
			assert.Equal(t, frameCut, stack[len(stack)-1].Function, "%v", stack)
		}
	}
	assert.LessOrEqual(t, 10*soon, len(c.Sleeps.Calls), "woken too soon")
	// The kernel counts each time that the thread gave its CPU up. Nearly always that is
	// the wait; it may have waited for memory on its way there or back as well, which is
	// no wait in the call.
	all, gaveUp := 0, 0
	for i, s := range c.Sleeps.Calls {
		all += waits[i]
		if s.Switches > 0 {
			gaveUp++
		}
		assert.LessOrEqual(t, waits[i], s.Switches, "waits in %+v", s)
	}
	assert.GreaterOrEqual(t, 10*all, 9*gaveUp, "waits in all")
	if c.lost(t, Sched, "events_unmatched") == 0 {
		assert.Equal(t, ns, slept+unplacedNS, "time asleep")
	} else { // of a thread that comes back unseen the sleep is known, and no cut
		assert.LessOrEqual(t, ns, slept+unplacedNS, "time asleep")
	}
	assert.LessOrEqual(t, unplaced, c.lost(t, Sched, "stacks_cut"))
	t.Logf("%v asked for, %v asleep in %d waits of %d calls", time.Duration(c.Sleeps.Asked), time.Duration(ns), all, len(c.Sleeps.Calls))
}

// checkGoroutines: every sample of a function is its goroutine's.
func (c counts) checkGoroutines(t *testing.T) {
	p := c.profile(t, bundle.EBPFOnCPUProfile)
	for _, b := range c.Burns {
		taken := sum(p, 1, b.Function, nil)
		require.Positive(t, taken, b.Function)
		said := checkGoID(t, p, b.Function, b.GoID)
		if said == 0 { // by a program that does not tell where g is
			i := slices.IndexFunc(c.dim.Probes, func(p bundle.Probe) bool { return p.Name == OnCPU })
			assert.Contains(t, c.dim.Probes[i].Reason, "samples have no goroutine id")
		} else {
			assert.Equal(t, sum(p, 0, b.Function, nil), said, "samples of %s without a goroutine", b.Function)
		}
		t.Logf("%s took %v by its thread's clock, %v by samples", b.Function, time.Duration(b.CPU), time.Duration(taken))
	}
}

// checkSums: what the programs saw is what stands in the artifacts and what is
// told as lost, for each probe.
func (c counts) checkSums(t *testing.T) {
	var doc bundle.Syscalls
	c.json(t, bundle.EBPFSyscalls, &doc)
	var all, placeable int64
	for _, call := range doc.Calls {
		all += call.Count
		if slices.ContainsFunc(stackCalls(), func(nr uint32) bool { return syscallName(nr) == call.Name }) {
			placeable += call.Count
		}
	}
	assert.Equal(t, c.seen[Syscalls], all, "system calls")
	stacks := c.profile(t, bundle.EBPFSyscallsProfile)
	assert.Equal(t, placeable, sum(stacks, 0, "", nil)+c.lost(t, Syscalls, "map_full"), "stacks of system calls")

	var sched bundle.Sched
	c.json(t, bundle.EBPFSched, &sched)
	assert.Equal(t, c.seen[Sched], sched.Switches, "switches")
	var byThread int64
	for _, t := range sched.ByThread {
		byThread += t.Switches
	}
	assert.Equal(t, sched.Switches, byThread+c.lost(t, Sched, "map_full"), "switches by thread")

	samples := c.profile(t, bundle.EBPFOnCPUProfile)
	assert.Equal(t, c.seen[OnCPU], sum(samples, 0, "", nil)+c.lost(t, OnCPU, "map_full"), "samples")
}

// A map that is full loses events, and each of them is told.
func TestFullMapsAreTold(t *testing.T) {
	needBPF(t)
	t.Run("calls and samples", func(t *testing.T) {
		c := recordCounts(t, testbuild.Program{}, map[string]uint32{"calls": 4, "samples": 1})
		assert.Positive(t, c.lost(t, Syscalls, "map_full"))
		assert.Positive(t, c.lost(t, OnCPU, "map_full"))
		c.checkSums(t)
	})
	t.Run("failures", func(t *testing.T) {
		c := recordCounts(t, testbuild.Program{}, map[string]uint32{"failures": 2})
		var doc bundle.Syscalls
		c.json(t, bundle.EBPFSyscalls, &doc)
		var failed, seen int64
		for _, own := range c.Calls {
			if own.Syscall == "" {
				continue
			}
			for _, n := range own.Errors {
				failed += n
			}
			for _, call := range doc.Calls {
				if call.Name == own.Syscall {
					assert.Equal(t, own.Count, call.Count, "calls themselves are not lost")
					for _, n := range call.Errors {
						seen += n
					}
				}
			}
		}
		// The runtime's own calls fail too, and may have been lost as well.
		assert.Less(t, seen, failed)
		assert.GreaterOrEqual(t, seen+c.lost(t, Syscalls, "map_full"), failed)
	})
	t.Run("waits", func(t *testing.T) {
		c := recordCounts(t, testbuild.Program{}, map[string]uint32{"waits": 1})
		assert.Positive(t, c.lost(t, Sched, "map_full"))
		var doc bundle.Sched
		c.json(t, bundle.EBPFSched, &doc)
		var off int64
		for _, ns := range doc.OffCPUNS {
			off += ns
		}
		assert.GreaterOrEqual(t, off, c.Sleeps.Asked/2, "the totals do not need the map")
		p := c.profile(t, bundle.EBPFOffCPUProfile)
		assert.Less(t, sum(p, len(p.SampleType)-1, "", nil), off)
	})
	t.Run("threads", func(t *testing.T) {
		c := recordCounts(t, testbuild.Program{}, map[string]uint32{"threads": 1, "others": 1})
		assert.Positive(t, c.lost(t, Sched, "map_full"))
	})
}

// Stacks that find no room are told, and keep their events.
func TestStacksWithoutRoomAreTold(t *testing.T) {
	needBPF(t)
	c := recordCounts(t, testbuild.Program{}, map[string]uint32{"stacks": 1})
	c.checkSums(t)
	p := c.profile(t, bundle.EBPFSyscallsProfile)
	var each, all int64
	for _, own := range c.Calls {
		at := sum(p, 0, "", map[string]string{"syscall": own.Syscall})
		if own.Syscall == "" || at == 0 {
			continue
		}
		assert.Equal(t, own.Count, at, own.Syscall)
		each += stackless(p, own.Syscall)
	}
	all = sum(p, 0, frameLost, nil)
	lost := c.lost(t, Syscalls, "stacks_full")
	assert.Positive(t, each)
	assert.Positive(t, lost)
	// One walk that finds no room stands for one call, or for several.
	assert.LessOrEqual(t, lost, all)

	samples := c.profile(t, bundle.EBPFOnCPUProfile)
	assert.Positive(t, sum(samples, 0, frameLost, nil))
	assert.GreaterOrEqual(t, c.lost(t, OnCPU, "stacks_full"), sum(samples, 0, frameLost, nil))
}
