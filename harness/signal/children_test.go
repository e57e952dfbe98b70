package signal_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"chokepoint/harness/bundle"
	"chokepoint/harness/clock"
	"chokepoint/harness/internal/testtrace"
)

// childWaits is a system call that waits, and childLooks one that does not.
func childWaits(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil)
}

func childLooks() { _ = unix.Access("/", unix.R_OK) }

// childLine is the line of this file, and its name, that holds a call.
func childLine(t testing.TB, call string) (file string, line int) {
	t.Helper()
	_, file, _, _ = runtime.Caller(0)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	before, _, found := strings.Cut(string(data), call)
	require.True(t, found)
	return file, 1 + strings.Count(before, "\n")
}

// Who waits for a goroutine, neither the kernel nor a profile says; how much of the
// time at its line requests waited for, the trace does.
func TestCallsOfGoroutinesThatRequestsWaitFor(t *testing.T) {
	const here = "chokepoint/harness/signal_test."
	for name, c := range map[string]struct {
		work     func()
		function string
		call     string
		awaited  bool
	}{
		"that wait":   {func() { childWaits(40 * time.Millisecond) }, here + "childWaits", "unix.Nanosleep(", true},
		"that do not": {func() { childLooks(); time.Sleep(40 * time.Millisecond) }, here + "childLooks", "unix.Access(", false},
	} {
		t.Run(name, func(t *testing.T) {
			const asking = 8
			file, line := childLine(t, c.call)
			srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				var wg sync.WaitGroup
				wg.Go(c.work)
				wg.Go(c.work)
				wg.Wait()
			}))
			defer srv.Close()
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: asking}}
			defer client.CloseIdleConnections()
			window := bundle.Window{StartNS: clock.MonoNS()}
			data := testtrace.Record(t, func() {
				var wg sync.WaitGroup
				for range asking {
					wg.Go(func() {
						for range 6 {
							if res, err := client.Get(srv.URL); assert.NoError(t, err) {
								_ = res.Body.Close()
							}
						}
					})
				}
				wg.Wait()
			})
			window.EndNS = clock.MonoNS()

			sleep := map[string][]string{"state": {"sleep"}}
			whole := asking * (window.EndNS - window.StartNS)
			child := fmt.Sprintf("%s:%d < sync.(*WaitGroup).Go.func1:1", c.function, line)
			offCPU := newProfile("delay").labelled("syscall.Syscall6:1 < "+child, sleep, 2*whole*8/10).
				labelled("syscall.Syscall6:1 < "+here+"childJournal:7", sleep, whole).
				labelled("syscall.Read:1 < "+here+"childAnswer:3 < net/http.HandlerFunc.ServeHTTP:1 < net/http.serverHandler.ServeHTTP:1 < net/http.(*conn).serve:1", sleep, whole/1000)
			parked := newProfile("goroutine").add("runtime.gopark:1 < sync.(*WaitGroup).Wait:1 < "+here+"childAll:1 < net/http.HandlerFunc.ServeHTTP:1 < net/http.serverHandler.ServeHTTP:1 < net/http.(*conn).serve:1", asking).
				add("syscall.Syscall:1 < syscall.Syscall6:1 < "+child, 2*asking).
				add("syscall.Syscall:1 < syscall.Syscall6:1 < "+here+"childJournal:7", asking)
			for _, p := range []*profile.Profile{offCPU.p, parked.p} {
				for _, f := range p.Function {
					f.Filename = file
				}
			}
			set := measure(t, recording{
				manifest: bundle.Manifest{Host: bundle.Host{CPUs: 2}, Target: bundle.Target{MainModule: "chokepoint"}, Window: window},
				artifacts: map[string]any{
					bundle.TraceOut: data, bundle.EBPFOffCPUProfile: offCPU.p, bundle.GoroutineProfile: parked.p,
					bundle.LoadSummary: bundle.Load{Reached: bundle.LoadReached{InFlightMean: asking}},
				},
			}.write(t))
			for _, dim := range []string{"trace", "ebpf", "pprof"} {
				share, site := dim+".syscall_wait_share", set.Signals[dim+".syscall_wait_site"].Where
				if !c.awaited {
					assert.Contains(t, set.Signals, share)
					assert.Less(t, set.Signals[share].Value, 0.01, share)
					continue
				}
				assert.Greater(t, set.Signals[share].Value, 0.3, share)
				assert.LessOrEqual(t, set.Signals[share].Value, 1.0, share)
				if assert.NotNil(t, site, dim) {
					assert.Equal(t, c.function, site.Function, dim)
					assert.Equal(t, line, site.Line, dim)
				}
			}
		})
	}
}
