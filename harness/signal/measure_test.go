package signal_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/internal/testtrace"
	"chokepoint/harness/signal"
	"chokepoint/harness/signal/stack"
	"chokepoint/mark"
)

const second = int64(time.Second)

// recording is a bundle in the making: artifacts by path, each a []byte, a
// *profile.Profile, or a value that becomes JSON.
type recording struct {
	manifest  bundle.Manifest
	artifacts map[string]any
}

// tenSeconds is a recording of 10 s with 100 requests in flight and 50 ended a second.
func tenSeconds(artifacts map[string]any) recording {
	r := recording{
		manifest: bundle.Manifest{
			Host: bundle.Host{CPUs: 2}, Target: bundle.Target{MainModule: "app"},
			Window: bundle.Window{StartNS: 5 * second, EndNS: 15 * second},
		},
		artifacts: map[string]any{bundle.LoadSummary: bundle.Load{
			Reached:        bundle.LoadReached{InFlightMean: 100, RateHz: 50},
			Requests:       bundle.LoadRequests{Ended: 500, OK: 475},
			ResponseBytes:  bundle.Distribution{Count: 500, P50: 2000, Max: 6000},
			LatencySeconds: bundle.Distribution{Count: 500, P50: 2, P99: 3},
			Checks:         bundle.LoadChecks{Checked: 400, Foreign: 100},
		}},
	}
	for path, v := range artifacts {
		r.artifacts[path] = v
	}
	return r
}

func (r recording) write(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bundle")
	w, err := bundle.Create(dir, r.manifest)
	require.NoError(t, err)
	for path, v := range r.artifacts {
		switch v := v.(type) {
		case []byte:
			require.NoError(t, w.WriteFile(path, v))
		case *profile.Profile:
			f, err := w.Create(path)
			require.NoError(t, err)
			require.NoError(t, v.Write(f))
			require.NoError(t, f.Close())
		default:
			require.NoError(t, w.WriteJSON(path, v))
		}
	}
	require.NoError(t, w.Finish())
	return dir
}

func measure(t testing.TB, dir string) signal.Set {
	t.Helper()
	b, err := bundle.Open(dir)
	require.NoError(t, err)
	defer func() { assert.NoError(t, b.Close()) }()
	return signal.Measure(b.Evidence())
}

// A profileMaker builds a profile out of stacks of the form
// "innermost:line < ... < outermost:line"; a function's file is its package's.
type profileMaker struct {
	p         *profile.Profile
	functions map[string]*profile.Function
	locations map[string]*profile.Location
}

func newProfile(types ...string) *profileMaker {
	m := &profileMaker{p: &profile.Profile{}, functions: map[string]*profile.Function{}, locations: map[string]*profile.Location{}}
	for _, t := range types {
		m.p.SampleType = append(m.p.SampleType, &profile.ValueType{Type: t, Unit: "count"})
	}
	m.p.PeriodType = m.p.SampleType[0]
	return m
}

func (m *profileMaker) add(stack string, values ...int64) *profileMaker {
	return m.labelled(stack, nil, values...)
}

func (m *profileMaker) labelled(stack string, labels map[string][]string, values ...int64) *profileMaker {
	s := &profile.Sample{Value: values, Label: labels}
	for _, frame := range strings.Split(stack, " < ") {
		loc := m.locations[frame]
		if loc == nil {
			name, number, _ := strings.Cut(frame, ":")
			var n int64
			for _, c := range number {
				n = 10*n + int64(c-'0')
			}
			f := m.functions[name]
			if f == nil {
				f = &profile.Function{ID: uint64(len(m.functions) + 1), Name: name, Filename: file(name)}
				m.functions[name] = f
				m.p.Function = append(m.p.Function, f)
			}
			loc = &profile.Location{ID: uint64(len(m.locations) + 1), Line: []profile.Line{{Function: f, Line: n}}}
			m.locations[frame] = loc
			m.p.Location = append(m.p.Location, loc)
		}
		s.Location = append(s.Location, loc)
	}
	m.p.Sample = append(m.p.Sample, s)
	return m
}

func file(function string) string {
	if strings.HasSuffix(function, stack.KernelSuffix) {
		return ""
	}
	pkg, _, _ := strings.Cut(function, ".")
	return pkg + ".go"
}

func calls(sites ...bundle.CallSite) bundle.CallSites { return bundle.CallSites{Sites: sites} }

func call(callee, function string, line int) bundle.CallSite {
	return bundle.CallSite{Callee: callee, Function: function, File: file(function), Line: line}
}

// jsonLines writes values as JSON, one a line.
func jsonLines(t testing.TB, values ...any) []byte {
	var buf bytes.Buffer
	for _, v := range values {
		require.NoError(t, json.NewEncoder(&buf).Encode(v))
	}
	return buf.Bytes()
}

// expected is what some signals must be: a float64, "function:line" of a
// place, or missing with a text in its reason.
type (
	expected map[string]any
	missing  string
)

func check(t *testing.T, set signal.Set, want expected) {
	t.Helper()
	for name, w := range want {
		s, ok := set.Signals[name]
		if m, isMissing := w.(missing); isMissing {
			assert.False(t, ok, "%s has a value: %v %v", name, s.Value, s.Where)
			assert.Contains(t, set.Missing[name], string(m), name)
			continue
		}
		if !assert.True(t, ok, "%s is missing: %s", name, set.Missing[name]) {
			continue
		}
		switch w := w.(type) {
		case float64:
			assert.InDelta(t, w, s.Value, 1e-9, name)
		case string:
			function, line, _ := strings.Cut(w, ":")
			got := signal.Location{Function: s.Where.Function, File: s.Where.File}
			assert.Equal(t, signal.Location{Function: function, File: file(function)}, got, name)
			assert.Equal(t, line, jsonNumber(s.Where.Line), name)
		default:
			t.Fatalf("%s: expected of type %T", name, w)
		}
	}
}

func jsonNumber(n int) string {
	data, _ := json.Marshal(n)
	return string(data)
}

const handler = " < net/http.HandlerFunc.ServeHTTP:1 < net/http.serverHandler.ServeHTTP:1 < net/http.(*conn).serve:1"

func TestSignals(t *testing.T) {
	mutex := func(stacks ...any) *profile.Profile {
		m := newProfile("contentions", "delay")
		for i := 0; i < len(stacks); i += 2 {
			m.add(stacks[i].(string), 1, int64(stacks[i+1].(int)))
		}
		return m.p
	}
	const unlock = "sync.(*Mutex).Unlock:5 < "

	for name, c := range map[string]struct {
		artifacts map[string]any
		change    func(*bundle.Manifest)
		want      expected
	}{
		"load": {want: expected{
			"load.foreign_share": 0.25, "load.error_share": 0.05, "load.response_spread": 3.0,
			"load.in_flight": 100.0, "load.latency_p50": 2.0, "load.latency_p99": 3.0,
		}},
		"load without bodies, checks or requests": {
			artifacts: map[string]any{bundle.LoadSummary: bundle.Load{}},
			want: expected{
				"load.foreign_share": missing("does not check"), "load.error_share": missing("nothing of the kind"),
				"load.response_spread": missing("no body"), "load.latency_p50": missing("nothing of the kind"), "load.in_flight": 0.0,
			},
		},

		"mutex": {
			artifacts: map[string]any{
				// 100 in flight for 10 s are 1,000 s; 600 s are waited for app locks.
				bundle.MutexProfile: mutex(
					unlock+"main.(*store).get:42"+handler, 400*int(second),
					unlock+"main.(*store).get.func1:47"+handler, 50*int(second),
					unlock+"main.put:9"+handler, 150*int(second),
					"runtime.unlock:1 < runtime.findRunnable:2", 900*int(second),
					unlock+"net/http/pprof.Index:1", 900*int(second)),
				bundle.TargetCallSites: calls(
					call("sync.(*Mutex).Lock", "main.(*store).get", 50),
					call("sync.(*Mutex).Lock", "main.(*store).get", 30),
					call("sync.(*RWMutex).RLock", "main.(*store).get", 40),
					call("sync.(*Mutex).Lock", "main.(*store).get", 20),
					call("sync.(*Mutex).Lock", "main.put", 41),
					call("sync.(*Mutex).Unlock", "main.(*store).get", 41)),
			},
			want: expected{
				"pprof.mutex_wait_share": 0.6, "pprof.mutex_top_share": 0.75, "pprof.mutex_top_site": "main.(*store).get:40",
				"pprof.mutex_caller_site": missing("nothing of the kind"), // it handles requests itself
			},
		},
		"mutex, of a helper": {
			artifacts: map[string]any{bundle.MutexProfile: mutex(
				unlock+"main.(*store).get:42 < main.show:9"+handler, 300*int(second),
				unlock+"main.(*store).get:42 < main.show:9 < main.all:3"+handler, 20*int(second),
				unlock+"main.(*store).get:44 < main.list:5"+handler, 310*int(second),
				unlock+"main.put:9 < main.change:3"+handler, 600*int(second))},
			want: expected{"pprof.mutex_top_site": "main.(*store).get:42", "pprof.mutex_caller_site": "main.show:9"},
		},
		"mutex, locks only below the unlock": {
			artifacts: map[string]any{
				bundle.MutexProfile:    mutex(unlock+"main.loop:10", int(second)),
				bundle.TargetCallSites: calls(call("sync.(*Mutex).Lock", "main.loop", 14), call("sync.(*Mutex).Lock", "main.loop", 12)),
			},
			want: expected{"pprof.mutex_top_site": "main.loop:14"},
		},
		"mutex, no call sites": {
			artifacts: map[string]any{bundle.MutexProfile: mutex(unlock+"main.loop.func2:10", 2000*int(second))},
			want:      expected{"pprof.mutex_top_site": "main.loop:10", "pprof.mutex_wait_share": 1.0},
		},
		"mutex, its own window": {
			artifacts: map[string]any{bundle.MutexProfile: mutex(unlock+"main.loop:10", 100*int(second))},
			change: func(m *bundle.Manifest) {
				m.Dimensions = []bundle.Dimension{{Name: bundle.DimPprof, Captured: true, Probes: []bundle.Probe{{
					Name: "mutex", Captured: true, Artifacts: []string{bundle.MutexProfile}, Window: bundle.Window{StartNS: 5 * second, EndNS: 7 * second},
				}}}}
			},
			want: expected{"pprof.mutex_wait_share": 0.5},
		},
		"mutex without waits": {
			artifacts: map[string]any{bundle.MutexProfile: mutex()},
			want: expected{
				"pprof.mutex_wait_share": missing("the mutex profile is empty"), "pprof.mutex_top_share": missing("runtime.SetMutexProfileFraction"),
				"pprof.mutex_top_site": missing("the mutex profile is empty"),
			},
		},
		"mutex without waits, and a block profile that holds none for locks": {
			artifacts: map[string]any{bundle.MutexProfile: mutex(), bundle.BlockProfile: mutex("runtime.selectgo:1 < main.wait:3"+handler, int(second))},
			want: expected{
				"pprof.mutex_wait_share": 0.0, "pprof.mutex_top_share": 0.0, "pprof.mutex_top_site": missing("nothing of the kind"), "pprof.block_lock_share": 0.0,
			},
		},
		"mutex without waits, which the block profile holds": {
			artifacts: map[string]any{bundle.MutexProfile: mutex(), bundle.BlockProfile: mutex("sync.(*Mutex).Lock:1 < main.(*store).get:3"+handler, int(second))},
			want:      expected{"pprof.mutex_wait_share": missing("the mutex profile is empty")},
		},
		"block without waits": {
			artifacts: map[string]any{bundle.BlockProfile: mutex()},
			want:      expected{"pprof.block_lock_share": missing("runtime.SetBlockProfileRate"), "pprof.finalizer_block_share": missing("the block profile is empty")},
		},
		"block with waits of the recording's own alone": {
			artifacts: map[string]any{bundle.BlockProfile: mutex("runtime.selectgo:1 < net/http/pprof.sleep:1 < net/http/pprof.Profile:1"+handler, int(second))},
			want:      expected{"pprof.block_lock_share": 0.0, "pprof.finalizer_block_share": 0.0},
		},
		"block": {
			artifacts: map[string]any{bundle.BlockProfile: mutex(
				"sync.(*Mutex).Lock:1 < main.(*store).get:3"+handler, 300*int(second),
				"sync.(*RWMutex).RLock:1 < main.(*store).view:3", 100*int(second),
				"runtime.selectgo:1 < main.wait:3"+handler, 500*int(second))},
			want: expected{"pprof.block_lock_share": 0.4},
		},

		"finalizers": {
			artifacts: map[string]any{bundle.GoroutineProfile: newProfile("goroutine").
				add("runtime.gopark:1 < time.Sleep:1 < main.release:7 < main.(*conn).close.func1:9 < runtime.runFinalizers:1", 1).
				add("runtime.gopark:1 < runtime.runCleanups:1", 4).
				add("runtime.gopark:1 < time.Sleep:1 < main.release:7"+handler, 8).p},
			want: expected{"pprof.finalizer_in_program": 1.0, "pprof.finalizer_site": "main.(*conn).close:9"},
		},

		"cpu": {
			artifacts: map[string]any{bundle.CPUProfile: newProfile("samples", "cpu").
				add("net.(*TCPListener).Accept:1 < main.loop:12", 40, 400).
				add("internal/poll.(*FD).SetDeadline:1 < net.(*TCPListener).SetDeadline:1 < main.loop:11", 5, 50).
				add("syscall.Syscall6:1 < syscall.EpollWait:1 < main.poll:30", 20, 200).
				add("runtime.gcDrain:1 < runtime.gcBgMarkWorker:1", 10, 100).
				add("runtime.mallocgc:1 < main.fresh:4 < sync.(*Pool).Get:1 < main.render:8"+handler, 15, 150).
				add("main.compute:2"+handler, 10, 100).
				add("runtime/pprof.profileWriter:1", 90, 900).p},
			want: expected{
				"pprof.netio_spin_share": 0.45, "pprof.netio_spin_site": "main.loop:12", "pprof.polling_share": 0.2,
				"pprof.polling_site": "main.poll:30", "pprof.cpu_gc_share": 0.1, "pprof.cpu_pool_new_share": 0.15,
			},
		},
		"real I/O is no spin": {
			artifacts: map[string]any{bundle.CPUProfile: newProfile("samples", "cpu").
				add("internal/poll.(*FD).Write:1 < net.(*conn).Write:1 < main.send:12", 40, 400).
				add("syscall.Syscall:1 < syscall.write:1 < internal/poll.(*FD).Write:1 < net.(*conn).Write:1 < main.send:12", 60, 600).p},
			want: expected{"pprof.netio_spin_share": 0.0, "pprof.netio_spin_site": missing("nothing of the kind")},
		},
		"cpu without samples": {
			artifacts: map[string]any{bundle.CPUProfile: newProfile("samples", "cpu").p},
			want:      expected{"pprof.netio_spin_share": missing("no samples"), "pprof.cpu_gc_share": missing("no samples")},
		},

		"allocations": {
			artifacts: map[string]any{
				bundle.AllocsProfile: newProfile("alloc_objects", "alloc_space").
					// Most bytes are made new at one line, most objects at another.
					add("main.fresh:4 < sync.(*Pool).Get:1 < main.render:8"+handler, 1000, 500_000).
					add("main.small:4 < sync.(*Pool).Get:1 < main.tag:3"+handler, 2000, 100_000).
					add("sync.(*Pool).pinSlow:1 < sync.(*Pool).pin:1 < sync.(*Pool).Get:1 < main.render:8"+handler, 250, 50_000).
					// A box is made by the line that calls Put, and is small.
					add("main.release:20 < main.render:9"+handler, 1500, 36_000).
					add("main.release:20 < main.render:9"+handler, 10, 64_000).
					add("main.release:21 < main.render:9"+handler, 240, 250_000).p,
				bundle.TargetCallSites: calls(call("sync.(*Pool).Put", "main.release", 20), call("sync.(*Pool).Get", "main.render", 8)),
			},
			want: expected{
				"pprof.pool_new_share": 0.5, "pprof.pool_new_per_request": 2.0, "pprof.pool_new_site": "main.render:8",
				"pprof.pool_setup_per_request": 0.5, "pprof.pool_setup_site": "main.render:8",
				"pprof.pool_box_share": 0.3, "pprof.pool_box_per_request": 3.0, "pprof.pool_box_bytes": 24.0, "pprof.pool_box_site": "main.release:20",
				"pprof.pools_in_requests": 1.0, "pprof.pool_get_site": "main.render:8",
			},
		},
		"a part of a new value, drawn once": {
			artifacts: map[string]any{
				bundle.AllocsProfile: newProfile("alloc_objects", "alloc_space").
					add("main.block:4 < sync.(*Pool).Get:1 < main.render:8"+handler, 400, 400*65_536).
					add("main.block:4 < sync.(*Pool).Get:1 < main.render:8"+handler, 100, 100*16_384).
					// The header of a slice, of which one draw makes as many as fill 512 KiB.
					add("main.block:4 < sync.(*Pool).Get:1 < main.render:8"+handler, 21_845, 21_845*24).p,
			},
			want: expected{"pprof.pool_new_per_request": 1.0, "pprof.pool_new_site": "main.render:8"},
		},
		"a pool of Go's own": {
			artifacts: map[string]any{bundle.AllocsProfile: newProfile("alloc_objects", "alloc_space").
				add("bufio.NewWriterSize:4 < sync.(*Pool).Get:1 < net/http.(*conn).serve:1", 400, 400*4096).p},
			want: expected{"pprof.pool_new_share": 0.0, "pprof.pool_new_per_request": 0.0, "pprof.pool_new_site": missing("nothing of the kind")},
		},
		"allocations without call sites": {
			artifacts: map[string]any{bundle.AllocsProfile: newProfile("alloc_objects", "alloc_space").add("main.f:1", 1, 1).p},
			want: expected{
				"pprof.pool_new_share": 0.0, "pprof.pool_box_share": missing("target/callsites.json was not captured"),
				"pprof.pools_in_requests": missing("target/callsites.json was not captured"),
			},
		},

		"memory kept": {
			artifacts: map[string]any{
				bundle.HeapProfile: newProfile("inuse_objects", "inuse_space").
					add("bytes.growSlice:1 < bytes.(*Buffer).Write:1 < main.encode:4 < main.render:15"+handler, 10, 600_000).
					add("main.render:14"+handler, 30, 150_000).
					add("main.cache:3", 1, 250_000).p,
				bundle.AllocsProfile: newProfile("alloc_objects", "alloc_space").
					add("main.render:14"+handler, 10, 500_000).
					add("main.cache:3", 1, 9_000_000).p,
				bundle.TargetCallSites: calls(
					call("sync.(*Pool).Put", "main.render", 12),
					call("sync.(*Pool).Put", "main.render", 25),
					call("sync.(*Pool).Put", "main.render", 19),
					call("sync.(*Pool).Put", "main.other", 15)),
			},
			want: expected{
				"pprof.pool_kept_share": 0.75, "pprof.pool_kept_object_bytes": 60_000.0, "pprof.pool_kept_to_response": 30.0,
				"pprof.pool_kept_site": "main.render:19", "pprof.pool_kept_to_allocated": 1.5,
			},
		},
		"memory kept, Put only above and in a closure": {
			artifacts: map[string]any{
				bundle.HeapProfile: newProfile("inuse_objects", "inuse_space").add("main.render:14"+handler, 10, 1000).p,
				bundle.TargetCallSites: calls(call("sync.(*Pool).Put", "main.render", 3), call("sync.(*Pool).Put", "main.render.func1", 9),
					call("sync.(*Pool).Put", "main.render", 5)),
			},
			want: expected{
				"pprof.pool_kept_site": "main.render:9", "pprof.pool_kept_share": 1.0,
				"pprof.pool_kept_to_allocated": missing("allocs-delta"),
			},
		},
		"pools in requests, by CPU": {
			artifacts: map[string]any{
				bundle.CPUProfile: newProfile("samples", "cpu").
					add("main.a:3 < main.handle:1"+handler, 10, 100).
					add("main.b:3 < main.handle:1"+handler, 30, 300).
					add("main.background:3", 90, 900).p,
				bundle.TargetCallSites: calls(call("sync.(*Pool).Get", "main.a", 2), call("sync.(*Pool).Get", "main.b", 7),
					call("sync.(*Pool).Get", "main.background", 1)),
			},
			want: expected{"pprof.pools_in_requests": 2.0, "pprof.pool_get_site": "main.b:7", "pprof.pool_library_site": missing("nothing of the kind")},
		},
		"pools of a router and of a client, both libraries'": {
			artifacts: map[string]any{
				bundle.CPUProfile: newProfile("samples", "cpu").
					add("example.com/router.(*Mux).ServeHTTP:80"+handler, 20, 200).
					add("main.handle:1 < example.com/router.(*Mux).ServeHTTP:81"+handler, 60, 600).
					add("example.com/client.(*Request).body:31 < example.com/client.(*Request).Post:9 < main.forward:12 < main.handle:2 < example.com/router.(*Mux).ServeHTTP:81"+handler, 5, 50).p,
				bundle.TargetCallSites: calls(call("sync.(*Pool).Get", "example.com/router.(*Mux).ServeHTTP", 80), call("sync.(*Pool).Get", "example.com/client.(*Request).body", 30)),
			},
			want: expected{"pprof.pools_in_requests": 2.0, "pprof.pool_get_site": "main.forward:12", "pprof.pool_library_site": "example.com/client.(*Request).body:30"},
		},
		"a router's pool alone": {
			artifacts: map[string]any{
				bundle.CPUProfile: newProfile("samples", "cpu").
					add("main.handle:1 < example.com/router.(*Mux).ServeHTTP:81"+handler, 60, 600).p,
				bundle.TargetCallSites: calls(call("sync.(*Pool).Get", "example.com/router.(*Mux).ServeHTTP", 80)),
			},
			want: expected{"pprof.pools_in_requests": 1.0, "pprof.pool_get_site": "example.com/router.(*Mux).ServeHTTP:80"},
		},

		"ebpf": {
			artifacts: map[string]any{
				bundle.EBPFSyscallsProfile: newProfile("calls", "time").
					labelled(unlock+"main.(*store).get:42"+handler, map[string][]string{"syscall": {"futex"}, "op": {"wake"}}, 300, 1).
					labelled("runtime.futexwakeup:1 < runtime.wakep:1", map[string][]string{"syscall": {"futex"}, "op": {"wake"}}, 100, 1).
					labelled("runtime.futexsleep:1 < runtime.findRunnable:1", map[string][]string{"syscall": {"futex"}, "op": {"wait"}}, 800, 1).
					labelled("syscall.EpollWait:1 < main.poll:30", map[string][]string{"syscall": {"epoll_pwait"}}, 50, 1).
					labelled("syscall.EpollCtl:1 < main.add:30", map[string][]string{"syscall": {"epoll_ctl"}}, 500, 1).
					labelled("syscall.accept4:1 < net.(*TCPListener).Accept:1 < main.loop:12", map[string][]string{"syscall": {"accept4"}}, 80, 1).p,
				bundle.EBPFOnCPUProfile: newProfile("samples", "cpu").
					add("net.(*TCPListener).Accept:1 < main.loop:12", 40, 40e6).
					add("do_epoll_wait [kernel]:0 < syscall.EpollWait:1 < main.poll:30", 20, 20e6).
					add("runtime.gcDrain:1 < runtime.gcBgMarkWorker:1", 10, 10e6).
					add("runtime.mallocgc:1 < main.fresh:4 < sync.(*Pool).Get:1 < main.render:8", 30, 30e6).p,
				bundle.EBPFSyscalls: bundle.Syscalls{Epoll: bundle.EpollFacts{ProgramWaits: 100, ProgramZeroTimeout: 90, ProgramReturnedEvents: 20, ProgramTotalNS: 5000}},
				bundle.EBPFSched:    bundle.Sched{CPUs: 2, TargetOnCPUNS: 15 * second, IdleNS: 2 * second, RunQueueNS: 5 * second},
			},
			want: expected{
				"ebpf.futex_wake_unlock_share": 0.75, "ebpf.futex_wake_unlock_per_request": 0.6, "ebpf.futex_wake_unlock_site": "main.(*store).get:42",
				"ebpf.poll_empty_share": 0.9, "ebpf.polls_per_event": 5.0, "ebpf.poll_call_ns": 50.0, "ebpf.poll_site": "main.poll:30", "ebpf.polling_share": 0.2,
				"ebpf.netio_spin_share": 0.4, "ebpf.netio_spin_site": "main.loop:12", "ebpf.netio_calls_per_cpu_ms": 2.0,
				"ebpf.cpu_gc_share": 0.1, "ebpf.cpu_alloc_share": 0.4, "ebpf.cpu_pool_new_share": 0.3,
				"ebpf.target_cpu_share": 0.75, "ebpf.machine_idle_share": 0.1, "ebpf.run_queue_share": 0.25,
			},
		},

		"proc": {
			artifacts: map[string]any{
				bundle.ProcSamples: jsonLines(t,
					bundle.ProcSample{MonoNS: 5 * second, UserNS: second, SystemNS: second, RSSBytes: 10},
					bundle.ProcSample{MonoNS: 10 * second, RSSBytes: 99},
					bundle.ProcSample{MonoNS: 15 * second, UserNS: 9 * second, SystemNS: 3 * second, RSSBytes: 20}),
				bundle.ProcMetrics: jsonLines(t,
					bundle.MetricsSample{MonoNS: 5 * second, Values: map[string]float64{"/gc/finalizers/queued:finalizers": 100, "/gc/finalizers/executed:finalizers": 50}},
					bundle.MetricsSample{MonoNS: 15 * second, Values: map[string]float64{"/gc/finalizers/queued:finalizers": 400, "/gc/finalizers/executed:finalizers": 100}}),
			},
			want: expected{
				"proc.cpu_share": 0.5, "proc.rss_bytes": 20.0, "proc.finalizers_done_share": 0.25, "proc.finalizers_waiting_per_second": 25.0,
				// From 50 to 300 waited, of those 50 and the 300 that came.
				"proc.finalizers_waiting_share": 0.5, "proc.cleanups_waiting_share": missing("no metric /gc/cleanups/executed:cleanups"),
				"proc.cleanups_done_share": missing("no metric /gc/cleanups/executed:cleanups"),
			},
		},
		"proc, a queue that is empty at the end": {
			artifacts: map[string]any{
				bundle.ProcMetrics: jsonLines(t,
					bundle.MetricsSample{MonoNS: 5 * second, Values: map[string]float64{"/gc/finalizers/queued:finalizers": 10_200, "/gc/finalizers/executed:finalizers": 10_000}},
					bundle.MetricsSample{MonoNS: 14 * second, Values: map[string]float64{"/gc/finalizers/queued:finalizers": 10_400, "/gc/finalizers/executed:finalizers": 10_000}},
					bundle.MetricsSample{MonoNS: 15 * second, Values: map[string]float64{"/gc/finalizers/queued:finalizers": 10_400, "/gc/finalizers/executed:finalizers": 10_400}}),
			},
			want: expected{"proc.finalizers_done_share": 1.0, "proc.finalizers_waiting_share": (300*9.0 + 200) / 10 / 400},
		},
		"proc, nothing queued": {
			artifacts: map[string]any{
				bundle.ProcMetrics: jsonLines(t,
					bundle.MetricsSample{MonoNS: 5 * second, Values: map[string]float64{"/gc/finalizers/queued:finalizers": 7, "/gc/finalizers/executed:finalizers": 7}},
					bundle.MetricsSample{MonoNS: 15 * second, Values: map[string]float64{"/gc/finalizers/queued:finalizers": 7, "/gc/finalizers/executed:finalizers": 7}}),
			},
			want: expected{"proc.finalizers_waiting_share": 0.0},
		},
		"proc, one sample": {
			artifacts: map[string]any{bundle.ProcSamples: jsonLines(t, bundle.ProcSample{RSSBytes: 7})},
			want:      expected{"proc.cpu_share": missing("nothing of the kind"), "proc.rss_bytes": 7.0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := tenSeconds(c.artifacts)
			if c.change != nil {
				c.change(&r.manifest)
			}
			check(t, measure(t, r.write(t)), c.want)
		})
	}
}

type vault struct {
	mu     sync.Mutex
	opened int
}

func (v *vault) open() {
	v.mu.Lock()
	time.Sleep(3 * time.Millisecond)
	v.mu.Unlock()
}

func contended() {
	runtime.GC() // so that the trace tells the heap's goal
	var v vault
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				v.open()
			}
		})
	}
	wg.Wait()
}

func TestTraceSignals(t *testing.T) {
	r := tenSeconds(map[string]any{bundle.TraceOut: testtrace.Record(t, contended)})
	r.manifest.Target.MainModule = "chokepoint"
	set := measure(t, r.write(t))
	for _, name := range []string{"trace.lock_holder_site", "trace.lock_waiter_site", "trace.lock_holder_blocked_site"} {
		assert.Equal(t, "chokepoint/harness/signal_test.(*vault).open", set.Signals[name].Where.Function, set.Missing[name])
	}
	assert.NotEqual(t, set.Signals["trace.lock_holder_site"].Where.Line, set.Signals["trace.lock_holder_blocked_site"].Where.Line)
	assert.Greater(t, set.Signals["trace.lock_wait_share"].Value, 0.2)
	assert.Equal(t, 1.0, set.Signals["trace.lock_holder_share"].Value)
	assert.Greater(t, set.Signals["trace.lock_holder_asleep_share"].Value, 0.5)
	assert.Zero(t, set.Signals["trace.lock_holder_io_share"].Value)
	assert.Contains(t, set.Missing["trace.finalizer_site"], "nothing of the kind")
	assert.Contains(t, set.Missing["trace.netio_spin_share"], "no CPU samples")
	for name, s := range set.Signals {
		if s.Unit == signal.Share {
			assert.True(t, s.Value >= 0 && s.Value <= 1, "%s is %v", name, s.Value)
		}
	}
}

// What the program marks is measured by name and place, and its marks do not make
// its requests the recording's own.
func TestPathSignals(t *testing.T) {
	r := tenSeconds(map[string]any{bundle.TraceOut: testtrace.Record(t, func() {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mark.Do(r.Context(), "ask the bank", func() { time.Sleep(20 * time.Millisecond) }, mark.String("bank", "north"))
			time.Sleep(2 * time.Millisecond)
		}))
		defer server.Close()
		for range 3 {
			resp, err := server.Client().Get(server.URL)
			if assert.NoError(t, err) {
				resp.Body.Close()
			}
		}
	})})
	r.manifest.Target.MainModule = "chokepoint"
	set := measure(t, r.write(t))
	top := set.Signals["trace.path_top_share"]
	assert.Equal(t, "ask the bank", top.Of, set.Missing[top.Name])
	assert.Greater(t, top.Value, 0.5)
	assert.Equal(t, top.Value, set.Signals["trace.path_share"].Value, "it is the only region")
	assert.Equal(t, "chokepoint/harness/signal_test.TestPathSignals", set.Signals["trace.path_top_site"].Where.Function, set.Missing)
	assert.Less(t, set.Signals["trace.path_top_running_share"].Value, 0.9)
	assert.Zero(t, set.Signals["trace.path_top_conn_wait_share"].Value)

	r = tenSeconds(map[string]any{bundle.TraceOut: testtrace.Record(t, contended)})
	r.manifest.Target.MainModule = "chokepoint"
	assert.Contains(t, measure(t, r.write(t)).Missing["trace.path_top_share"], "nothing of the kind")
}

// full is a recording with an artifact of every kind.
func full(t testing.TB) recording {
	lock := newProfile("contentions", "delay")
	cpu := newProfile("samples", "cpu")
	allocs := newProfile("alloc_objects", "alloc_space")
	heap := newProfile("inuse_objects", "inuse_space")
	sys := newProfile("calls", "time")
	// Many sites of equal weight: an order left to a map would show.
	for i := range 20 {
		f := string(rune('a' + i))
		lock.add("sync.(*Mutex).Unlock:1 < main."+f+":5"+handler, 1, second)
		cpu.add("net.(*conn).Read:1 < main."+f+":5"+handler, 1, 10)
		allocs.add("main.n:1 < sync.(*Pool).Get:1 < main."+f+":5"+handler, 10, 10)
		allocs.add("sync.(*Pool).pinSlow:1 < main."+f+":5"+handler, 10, 10)
		allocs.add("main."+f+":6"+handler, 10, 10)
		heap.add("main."+f+":5"+handler, 10, 10)
		sys.labelled("sync.(*Mutex).Unlock:1 < main."+f+":5", map[string][]string{"syscall": {"futex"}, "op": {"wake"}}, 5, 5)
		sys.labelled("syscall.EpollWait:1 < main."+f+":5", map[string][]string{"syscall": {"epoll_wait"}}, 5, 5)
	}
	var sites []bundle.CallSite
	for i := range 20 {
		f := "main." + string(rune('a'+i))
		sites = append(sites, call("sync.(*Pool).Put", f, 6), call("sync.(*Pool).Get", f, 5), call("sync.(*Mutex).Lock", f, 4))
	}
	r := tenSeconds(map[string]any{
		bundle.MutexProfile: lock.p, bundle.BlockProfile: lock.p, bundle.CPUProfile: cpu.p, bundle.AllocsProfile: allocs.p,
		bundle.HeapProfile: heap.p, bundle.EBPFSyscallsProfile: sys.p, bundle.EBPFOnCPUProfile: cpu.p,
		bundle.GoroutineProfile: newProfile("goroutine").
			add("main.x:1 < runtime.runFinalizers:1", 1).add("main.y:1 < runtime.runCleanups:1", 1).p,
		bundle.EBPFSyscalls:    bundle.Syscalls{Epoll: bundle.EpollFacts{ProgramWaits: 1}},
		bundle.EBPFSched:       bundle.Sched{CPUs: 2, TargetOnCPUNS: 1},
		bundle.TargetCallSites: calls(sites...),
		bundle.ProcSamples:     jsonLines(t, bundle.ProcSample{MonoNS: 1}, bundle.ProcSample{MonoNS: 2}),
		bundle.ProcMetrics:     jsonLines(t, bundle.MetricsSample{MonoNS: 1}),
		bundle.TraceOut:        testtrace.Record(t, contended),
	})
	r.manifest.Target.MainModule = "chokepoint"
	return r
}

func TestMeasuringTwiceGivesTheSame(t *testing.T) {
	dir := full(t).write(t)
	first := measure(t, dir)
	for range 10 {
		require.Equal(t, first, measure(t, dir))
	}
}

// Every signal has a finite value or a reason, whatever was recorded.
func TestEverySignalIsAccountedFor(t *testing.T) {
	for name, r := range map[string]recording{"nothing": {}, "all": full(t)} {
		t.Run(name, func(t *testing.T) {
			set := measure(t, r.write(t))
			for _, d := range signal.Catalogue() {
				s, measured := set.Signals[d.Name]
				reason, lost := set.Missing[d.Name]
				assert.NotEqual(t, measured, lost, d.Name)
				assert.False(t, math.IsNaN(s.Value) || math.IsInf(s.Value, 0), "%s is %v", d.Name, s.Value)
				if lost {
					assert.NotEmpty(t, reason, d.Name)
				} else {
					assert.Equal(t, d, s.Definition)
					assert.Equal(t, d.Kind == signal.Place, !s.Where.IsZero(), d.Name)
				}
			}
			if name == "nothing" {
				assert.Empty(t, set.Signals)
			}
		})
	}
}

func TestMissingArtifactsSayWhy(t *testing.T) {
	r := tenSeconds(nil)
	r.manifest.Dimensions = []bundle.Dimension{
		{Name: bundle.DimEBPF, Reason: "not root: run with sudo"},
		{Name: bundle.DimPprof, Captured: true, Probes: []bundle.Probe{
			{Name: "mutex", Reason: "the debug endpoint answered 404", Artifacts: []string{bundle.MutexProfile}},
			{Name: "cpu", Captured: true},
		}},
	}
	check(t, measure(t, r.write(t)), expected{
		"ebpf.target_cpu_share":  missing("ebpf was not captured"),
		"ebpf.polling_share":     missing("ebpf was not captured"),
		"pprof.mutex_wait_share": missing("pprof: the mutex probe was not captured: the debug endpoint answered 404"),
		"pprof.cpu_gc_share":     missing("pprof: pprof/cpu.pb.gz was not captured"),
		"trace.lock_wait_share":  missing("trace: trace/trace.out was not captured"),
		"load.in_flight":         100.0,
	})
}

// What rests on an artifact says its name when it is damaged; all else keeps its value.
func TestDamageCostsOnlyItsOwnSignals(t *testing.T) {
	r := full(t)
	whole := measure(t, r.write(t))
	// The artifacts that also relate others to requests or lines of the program.
	shared := map[string]bool{bundle.LoadSummary: true, bundle.TargetCallSites: true, bundle.CPUProfile: true, bundle.ProcMetrics: true, bundle.TraceOut: true}
	for path := range r.artifacts {
		for kind, damage := range map[string]func(string) error{
			"checksum": func(full string) error { return os.WriteFile(full, []byte("damaged"), 0o600) },
			"gone":     os.Remove,
		} {
			t.Run(path+" "+kind, func(t *testing.T) {
				dir := r.write(t)
				require.NoError(t, damage(filepath.Join(dir, filepath.FromSlash(path))))
				set := measure(t, dir)
				lost := 0
				for name, s := range whole.Signals {
					if got, ok := set.Signals[name]; ok {
						if !shared[path] {
							assert.Equal(t, s, got)
						}
						continue
					}
					lost++
					assert.Contains(t, set.Missing[name], path, name)
				}
				assert.Positive(t, lost+len(whole.Missing))
			})
		}
	}
	for path, content := range map[string][]byte{
		bundle.TraceOut:     []byte("go 1.26 trace\x00\x00\x00nonsense"),
		bundle.CPUProfile:   []byte("nonsense"),
		bundle.EBPFSched:    []byte("{"),
		bundle.ProcSamples:  []byte("{}\n{\n"),
		bundle.LoadSummary:  []byte(`{"reached": 7}`),
		bundle.MutexProfile: encoded(t, newProfile("samples", "cpu").p),
	} {
		t.Run(path+" nonsense", func(t *testing.T) {
			r := r // with the same trace, as another one may lack what this one has
			r.artifacts = maps.Clone(r.artifacts)
			r.artifacts[path] = content
			set := measure(t, r.write(t))
			lost := 0
			for name := range whole.Signals {
				if reason, ok := set.Missing[name]; ok {
					assert.Contains(t, reason, path, name)
					lost++
				}
			}
			assert.Positive(t, lost)
		})
	}
}

func encoded(t testing.TB, p *profile.Profile) []byte {
	var buf bytes.Buffer
	require.NoError(t, p.Write(&buf))
	return buf.Bytes()
}

func TestCatalogue(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range signal.Catalogue() {
		assert.False(t, seen[d.Name], "%s is there twice", d.Name)
		seen[d.Name] = true
		assert.True(t, strings.HasPrefix(d.Name, d.Dimension+"."), "%s of %s", d.Name, d.Dimension)
		assert.Contains(t, []string{bundle.DimEBPF, bundle.DimPprof, bundle.DimTrace, bundle.DimProc, bundle.DimLoad}, d.Dimension)
		assert.True(t, strings.HasSuffix(d.Meaning, "."), d.Name)
		switch d.Kind {
		case signal.Number:
			assert.NotEqual(t, signal.NoUnit, d.Unit, d.Name)
			assert.False(t, strings.HasSuffix(d.Name, "_site"), d.Name)
		case signal.Place:
			assert.Equal(t, signal.NoUnit, d.Unit, d.Name)
			assert.True(t, strings.HasSuffix(d.Name, "_site"), d.Name)
		default:
			t.Errorf("%s is of kind %q", d.Name, d.Kind)
		}
		if d.Unit == signal.Share {
			assert.Contains(t, d.Meaning, "hare", "the meaning of %s names its denominator", d.Name)
		}
	}
	assert.Equal(t, signal.Catalogue(), signal.Catalogue())
}

// BenchmarkMeasure measures a bundle whose trace has about 8 MB.
func BenchmarkMeasure(b *testing.B) {
	r := full(b)
	var v vault
	r.artifacts[bundle.TraceOut] = testtrace.Record(b, func() {
		var wg sync.WaitGroup
		for range 8 {
			c := make(chan int)
			wg.Go(func() {
				for range c {
					v.mu.Lock()
					v.opened++
					v.mu.Unlock()
				}
			})
			wg.Go(func() {
				for i := range 60_000 {
					c <- i
				}
				close(c)
			})
		}
		wg.Wait()
	})
	dir := r.write(b)
	b.SetBytes(int64(len(r.artifacts[bundle.TraceOut].([]byte))))
	for b.Loop() {
		measure(b, dir)
	}
	b.ReportMetric(float64(len(r.artifacts[bundle.TraceOut].([]byte)))/1e6, "MB-trace")
}
