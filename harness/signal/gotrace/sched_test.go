package gotrace

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/exp/trace"
	"golang.org/x/sys/unix"

	"chokepoint/harness/bundle"
	"chokepoint/harness/internal/testtrace"
	"chokepoint/harness/signal/requests"
)

func computing(n int) (sum int) {
	for i := range n {
		sum += i * i
	}
	return sum
}

var sink int

func TestLongRunsAndStops(t *testing.T) {
	s := read(t, testtrace.Record(t, func() {
		// In a goroutine of its own: the one that starts the trace is the recording's.
		times(1, func(int) {
			for start := time.Now(); time.Since(start) < 60*time.Millisecond; {
				sink += computing(1 << 16)
			}
		})
		for range 3 {
			runtime.GC()
		}
	}))
	c := s.Scheduler
	assert.Equal(t, runtime.GOMAXPROCS(0), c.Procs)
	assert.LessOrEqual(t, c.RunningNS, int64(c.Procs)*s.DurationNS())
	assert.LessOrEqual(t, c.IdleWhileRunnableNS, s.DurationNS())
	assert.LessOrEqual(t, c.WastedPNS, int64(c.Procs)*s.DurationNS())
	// The runtime asks after 10 ms, and on a busy machine does not get to it sooner.
	require.NotEmpty(t, c.LongRuns)
	assert.Greater(t, c.LongRuns[0].NS, int64(5*time.Millisecond))
	assert.Contains(t, c.LongRuns[0].Where.Function, pkg)
	assert.True(t, slices.IsSortedFunc(c.LongRuns, func(a, b LongRun) int { return int(b.NS - a.NS) }))
	// Each collection stops the world twice; starting the trace does too.
	assert.GreaterOrEqual(t, c.StopCount, int64(6))
	assert.Equal(t, s.GC.StopNS, c.StopNS)
	require.NotEmpty(t, c.Stops)
	for _, x := range c.Stops {
		assert.Contains(t, x.Reason, "stop-the-world")
		assert.LessOrEqual(t, x.StoppingNS, x.NS)
		assert.GreaterOrEqual(t, x.StartNS, s.StartNS)
		assert.LessOrEqual(t, x.StartNS+x.NS, s.EndNS)
	}
}

// Step by step, as no program can be made to do it on the nanosecond.
func TestTimeOfPs(t *testing.T) {
	c := newScheduler(nil)
	c.last = 1
	c.proc(0, trace.ProcRunning, 100)
	c.proc(1, trace.ProcIdle, 100)
	c.transition(trace.GoNotExist, trace.GoRunnable, 200) // one waits, one P is idle
	c.transition(trace.GoNotExist, trace.GoRunnable, 250) // two wait, one P is idle
	c.proc(1, trace.ProcRunning, 300)
	c.transition(trace.GoRunnable, trace.GoRunning, 300) // one waits, and all Ps are busy
	c.stopped("stop-the-world (test)", 400)
	c.proc(0, trace.ProcIdle, 450)
	c.proc(1, trace.ProcIdle, 480) // idle because they must be
	c.started(500)
	assert.EqualValues(t, 40, c.stoppedIn(460, 600))
	assert.EqualValues(t, 0, c.stoppedIn(500, 600))
	assert.EqualValues(t, 10, c.stoppedIn(300, 410))
	s := c.finish(500)
	assert.Equal(t, 2, s.Procs)
	assert.EqualValues(t, 100, s.IdleWhileRunnableNS)
	assert.EqualValues(t, 100, s.WastedPNS)
	assert.EqualValues(t, 50+2*50+200, s.RunnableNS)
	assert.EqualValues(t, 350+180, s.RunningNS)
	assert.Equal(t, []Stop{{Reason: "stop-the-world (test)", StartNS: 400, NS: 100, StoppingNS: 80}}, s.Stops)
}

func TestStopIsNoWaitForAP(t *testing.T) {
	s := served(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		for range 3 {
			runtime.GC() // stops the world that the request is in
		}
	}), plain, func(srv *httptest.Server) {
		times(4, func(int) { get(t, srv.Client(), srv.URL) })
	})
	all := band(t, table(s), requests.All)
	assert.Positive(t, all.NS(requests.Stopped))
	assert.LessOrEqual(t, all.NS(requests.Stopped), 4*s.Scheduler.StopNS)
}

func TestAssistsByLine(t *testing.T) {
	s := read(t, testtrace.Record(t, func() { times(4, func(int) { allocating() }) }))
	if len(s.Scheduler.Assists) == 0 {
		t.Skip("the collector kept up without help, on this machine and this time")
	}
	var sum int64
	for _, a := range s.Scheduler.Assists {
		sum += a.NS
	}
	assert.LessOrEqual(t, sum, s.GC.AssistNS, "an assist that the end of the trace cuts is in neither")
	assert.Contains(t, s.Scheduler.Assists[0].Where.Function, pkg+"allocating")
}

type node struct{ next *node }

func allocating() {
	var head *node
	for i := range 300000 {
		head = &node{next: head}
		if i%50000 == 0 {
			head = nil
		}
	}
	runtime.KeepAlive(head)
}

// The kernel's word on when a thread had no CPU splits what the runtime takes
// for running, to the nanosecond.
func TestRunningWithoutACPU(t *testing.T) {
	data := testtrace.Record(t, func() {
		srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { spin(40 * time.Millisecond) }))
		defer srv.Close()
		get(t, srv.Client(), srv.URL)
	})
	before := read(t, data)
	spans := before.Served.Spans()
	require.Len(t, spans, 1)
	at := spans[0]
	const ms = int64(time.Millisecond)
	cuts := &bundle.Cuts{Intervals: []bundle.Cut{
		{GoID: at.Goroutine, LeftNS: at.StartNS + 5*ms, BackNS: at.StartNS + 15*ms, State: "runnable"},
		{GoID: at.Goroutine, LeftNS: at.StartNS + 20*ms, WokenNS: at.StartNS + 23*ms, BackNS: at.StartNS + 25*ms, State: "disk"},
		{GoID: at.Goroutine + 1_000_000, LeftNS: at.StartNS, BackNS: at.EndNS, State: "runnable"},
	}}
	s, err := ReadWith(bytes.NewReader(data), thisProgram, Beside{Kernel: requests.NewKernel(cuts, nil)})
	require.NoError(t, err)
	sound(t, s)
	tab := s.Served.Table(requests.Want{OffCPU: true})
	all, was := band(t, tab, requests.All), band(t, table(before), requests.All)
	assert.Equal(t, was.TotalNS, all.TotalNS)
	// The goroutine may have lost its P as well in those 15 ms, on a busy machine.
	assert.Equal(t, 15*ms, tab.Join.AgreedNS+tab.Join.StrayNS)
	assert.Positive(t, tab.Join.AgreedNS)
	assert.Equal(t, tab.Join.AgreedNS, all.NS(requests.RunQueue)+all.NS(requests.ThreadAsleep))
	assert.Equal(t, was.NS(requests.Running)-all.NS(requests.Running)+was.NS(requests.Syscall)-all.NS(requests.Syscall), tab.Join.AgreedNS)
	require.NotEmpty(t, tab.Borders)
	b := tab.Borders[0]
	assert.Equal(t, at.Goroutine, b.Goroutine)
	assert.Equal(t, at.StartNS, b.RequestStartNS)
	assert.Equal(t, at.EndNS-at.StartNS, b.RequestNS)
	assert.LessOrEqual(t, b.RunQueueNS+b.AsleepNS, b.RuntimeNS)
	assert.Positive(t, at.EndNS-b.StartNS)
	assert.Empty(t, table(before).Borders)
}

// A slow system call is known to both by its own name.
func TestSlowCallsByName(t *testing.T) {
	data := testtrace.Record(t, func() {
		srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { sleepInTheKernel(20 * time.Millisecond) }))
		defer srv.Close()
		get(t, srv.Client(), srv.URL)
	})
	before := read(t, data)
	at := before.Served.Spans()[0]
	const ms = int64(time.Millisecond)
	from := at.StartNS + 5*ms
	k := requests.NewKernel(
		&bundle.Cuts{Intervals: []bundle.Cut{{GoID: at.Goroutine, LeftNS: from, WokenNS: from + 8*ms, BackNS: from + 9*ms, State: "sleep", Syscall: "nanosleep"}}},
		&bundle.SlowCalls{Calls: []bundle.SlowCall{{GoID: at.Goroutine, StartNS: from - ms, NS: 12 * ms, Syscall: "nanosleep"}}})
	s, err := ReadWith(bytes.NewReader(data), thisProgram, Beside{Kernel: k})
	require.NoError(t, err)
	sound(t, s)
	all := band(t, table(s), requests.All)
	var named int64
	for _, p := range all.Parts {
		if p.Kind == requests.Syscall && p.Cause == "nanosleep" {
			named += p.NS
			assert.Contains(t, p.Where.Function, pkg+"sleepInTheKernel")
		}
	}
	assert.Greater(t, named, 10*ms)
	assert.Equal(t, ms, all.NS(requests.RunQueue))
	b := table(s).Borders[0]
	assert.Equal(t, "nanosleep", b.Syscall)
	assert.Equal(t, 12*ms, b.SyscallNS)
	assert.Equal(t, "syscall", b.State)
	assert.Equal(t, []int64{8 * ms, ms}, []int64{b.AsleepNS, b.RunQueueNS})
	assert.GreaterOrEqual(t, b.RuntimeNS, 20*ms)
	assert.Zero(t, band(t, table(before), requests.All).NS(requests.RunQueue))
}

// sleepInTheKernel sleeps in a system call, and not as time.Sleep does.
func sleepInTheKernel(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	for unix.Nanosleep(&ts, &ts) == unix.EINTR {
	}
}
