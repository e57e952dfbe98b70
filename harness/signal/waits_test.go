package signal_test

import (
	"testing"

	"github.com/google/pprof/profile"

	"chokepoint/harness/bundle"
)

const (
	parkedRead  = "internal/poll.(*FD).Read:1 < net.(*conn).Read:1 < "
	parkedWrite = "internal/poll.(*FD).Write:1 < net.(*conn).Write:1 < "
	roundTrip   = "runtime.selectgo:1 < net/http.(*persistConn).roundTrip:1 < net/http.(*Transport).roundTrip:1 < "
	watching    = parkedRead + "net/http.(*connReader).backgroundRead:1"
)

func TestWaitSignals(t *testing.T) {
	goroutines := func(stacks ...any) *profile.Profile {
		m := newProfile("goroutine")
		for i := 0; i < len(stacks); i += 2 {
			m.add(stacks[i].(string), int64(stacks[i+1].(int)))
		}
		return m.p
	}
	block := func(stack string, delay int64) *profile.Profile {
		return newProfile("contentions", "delay").add(stack, 1, delay).p
	}
	files := func(samples ...bundle.ProcSample) []byte {
		var lines []any
		for _, s := range samples {
			lines = append(lines, s)
		}
		return jsonLines(t, lines...)
	}
	for name, c := range map[string]struct {
		artifacts map[string]any
		want      expected
	}{
		"a client that waits": {
			artifacts: map[string]any{
				bundle.GoroutineProfile: goroutines(
					roundTrip+"main.(*api).ask:7"+handler, 30, "time.Sleep:1 < main.(*api).get:9"+handler, 70, watching, 100,
					roundTrip+"main.poll:3", 50),
				// 30 goroutines for 10 s are 300 s; waits that ended took 60 s.
				bundle.BlockProfile: block(roundTrip+"main.(*api).ask:7"+handler, 60*second),
			},
			want: expected{"pprof.upstream_wait_share": 0.3, "pprof.upstream_wait_site": "main.(*api).ask:7", "pprof.upstream_ended_ratio": 0.2},
		},
		"a program without a block profile": {
			artifacts: map[string]any{
				bundle.GoroutineProfile: goroutines(roundTrip+"main.(*api).ask:7"+handler, 30, watching, 30),
				bundle.BlockProfile:     newProfile("contentions", "delay").p,
			},
			want: expected{"pprof.upstream_wait_share": 1.0, "pprof.upstream_ended_ratio": missing("the block profile is empty")},
		},
		"a connection that is read": {
			artifacts: map[string]any{
				bundle.GoroutineProfile: goroutines(parkedRead+"main.(*db).query:5"+handler, 30, "time.Sleep:1 < main.(*api).get:9"+handler, 70, watching, 100),
				bundle.BlockProfile:     block("runtime.selectgo:1 < main.other:1", second),
			},
			want: expected{"pprof.upstream_wait_share": 0.3, "pprof.upstream_wait_site": "main.(*db).query:5", "pprof.upstream_ended_ratio": missing("the network itself")},
		},
		"clients in goroutines that handlers wait for": {
			artifacts: map[string]any{bundle.GoroutineProfile: goroutines("sync.runtime_SemacquireWaitGroup:1 < sync.(*WaitGroup).Wait:1 < main.(*api).get:9"+handler, 70, watching, 70,
				roundTrip+"main.ask:7 < main.(*api).get.func1:3", 90)},
			want: expected{
				"pprof.upstream_wait_share": missing("90 goroutines outside of handlers wait for an answer, and 70 handlers for other goroutines"),
				"pprof.upstream_wait_site":  missing("does not relate them"), "pprof.upstream_ended_ratio": missing("does not relate them"), "pprof.write_wait_share": 0.0,
			},
		},
		"connections read in goroutines that handlers wait for": {
			artifacts: map[string]any{bundle.GoroutineProfile: goroutines("sync.runtime_SemacquireWaitGroup:1 < sync.(*WaitGroup).Wait:1 < main.(*api).get:9"+handler, 70, watching, 70,
				parkedRead+"main.ask:7 < main.(*api).get.func1:3", 90)},
			want: expected{"pprof.upstream_wait_share": missing("does not relate them")},
		},
		"some of them, where most wait in handlers": {
			artifacts: map[string]any{bundle.GoroutineProfile: goroutines("runtime.chanrecv1:1 < main.(*api).get:9"+handler, 40, roundTrip+"main.(*api).ask:7"+handler, 60, watching, 100,
				roundTrip+"main.ask:7 < main.(*api).get.func1:3", 40)},
			want: expected{"pprof.upstream_wait_share": 0.6, "pprof.upstream_wait_site": "main.(*api).ask:7"},
		},
		"one that asks in the background, while handlers wait for news": {
			artifacts: map[string]any{bundle.GoroutineProfile: goroutines("runtime.selectgo:1 < main.(*api).news:9"+handler, 100, watching, 100, roundTrip+"main.poll:3", 1)},
			want:      expected{"pprof.upstream_wait_share": 0.0},
		},
		"connections that were taken over, with a goroutine that reads": {
			artifacts: map[string]any{bundle.GoroutineProfile: goroutines("runtime.selectgo:1 < main.(*hub).serve:9"+handler, 70, "time.Sleep:1 < main.(*api).get:9"+handler, 30, watching, 30,
				parkedRead+"main.(*hub).read:7", 70)},
			want: expected{"pprof.upstream_wait_share": 0.0},
		},
		"connections that were taken over": {
			artifacts: map[string]any{bundle.GoroutineProfile: goroutines(parkedRead+"main.(*hub).listen:5"+handler, 30, "time.Sleep:1 < main.(*api).get:9"+handler, 70, watching, 72,
				"net/http/pprof.Profile:1"+handler, 2)},
			want: expected{"pprof.upstream_wait_share": 0.0, "pprof.upstream_wait_site": missing("nothing of the kind")},
		},
		"no net/http": {
			artifacts: map[string]any{bundle.GoroutineProfile: goroutines(roundTrip+"main.ask:7 < main.serve:1", 30, parkedRead+"main.serve:1", 70)},
			want:      expected{"pprof.upstream_wait_share": 0.3, "pprof.upstream_wait_site": "main.ask:7"},
		},
		"writes that wait": {
			artifacts: map[string]any{bundle.GoroutineProfile: goroutines(parkedWrite+"main.send:5"+handler, 50, "time.Sleep:1 < main.get:9"+handler, 30, watching, 80, parkedWrite+"main.pump:3", 20)},
			want:      expected{"pprof.write_wait_share": 0.7, "pprof.write_wait_site": "main.send:5", "pprof.upstream_wait_share": 0.0},
		},
		"buffers that stay full": {
			// 2^31 ns are 2.1 s, less than a quarter of the window of 10 s; 2^32 are more.
			artifacts: map[string]any{bundle.EBPFNet: bundle.Net{Sends: &bundle.NetSends{BlockedAtEnd: 60, BlockedTime: bundle.NetTimes{Log2NS: log2(31, 500, 32, 30, 33, 10)}}}},
			want:      expected{"ebpf.send_stuck_share": 0.4},
		},
		"buffers that were full": {
			artifacts: map[string]any{bundle.EBPFNet: bundle.Net{Sends: &bundle.NetSends{BlockedAtEnd: 5, BlockedTime: bundle.NetTimes{Log2NS: log2(33, 50)}}}},
			want:      expected{"ebpf.send_stuck_share": 0.05},
		},
		"sends that were not seen": {
			artifacts: map[string]any{bundle.EBPFNet: bundle.Net{Absent: map[string]string{"sends": "the kernel is too old"}}},
			want:      expected{"ebpf.send_stuck_share": missing("the kernel is too old")},
		},

		"threads that sleep": {
			artifacts: map[string]any{
				// 100 in flight for 10 s are 1,000 s.
				bundle.EBPFOffCPUProfile: newProfile("delay").
					labelled("syscall.Fsync:1 < main.save:5"+handler, map[string][]string{"state": {"disk"}}, 300*second).
					labelled("syscall.Fsync:1 < main.save:5"+handler, map[string][]string{"state": {"sleep"}}, 100*second).
					labelled("syscall.Read:1 < main.load:5"+handler, map[string][]string{"state": {"sleep"}}, 100*second).
					labelled("main.save:5"+handler, map[string][]string{"state": {"runnable"}}, 900*second).
					labelled("syscall.Fsync:1 < main.journal:8", map[string][]string{"state": {"disk"}}, 900*second).p,
				bundle.GoroutineProfile: goroutines("syscall.Syscall:1 < syscall.Fsync:1 < main.save:5"+handler, 40, "time.Sleep:1 < main.get:9"+handler, 60,
					"syscall.Syscall:1 < syscall.Fsync:1 < main.journal:8", 1),
			},
			want: expected{
				"ebpf.syscall_wait_share": 0.5, "ebpf.syscall_wait_site": "main.save:5", "ebpf.syscall_disk_share": 0.75, "ebpf.syscall_threads_asleep": 40.0,
				"pprof.syscall_wait_share": 0.4, "pprof.syscall_wait_site": "main.save:5",
			},
		},
		"threads": {
			artifacts: map[string]any{bundle.ProcSamples: files(bundle.ProcSample{Threads: 40}, bundle.ProcSample{Threads: 50}, bundle.ProcSample{Threads: 30})},
			want:      expected{"proc.threads_per_p": 25.0},
		},
		"threads of a program that may use fewer CPUs": {
			artifacts: map[string]any{
				bundle.ProcSamples: files(bundle.ProcSample{Threads: 50}),
				bundle.ProcMetrics: jsonLines(t, bundle.MetricsSample{Values: map[string]float64{"/sched/gomaxprocs:threads": 1}}),
			},
			want: expected{"proc.threads_per_p": 50.0},
		},

		"descriptors that are refused": {
			artifacts: map[string]any{
				bundle.EBPFSyscalls: bundle.Syscalls{Calls: []bundle.Syscall{
					{Name: "openat", Count: 1000, Errors: map[string]int64{"ENOENT": 500, "EMFILE": 20}},
					// 300 accepts found nobody waiting.
					{Name: "accept4", Count: 1300, Errors: map[string]int64{"EAGAIN": 300, "EMFILE": 700, "ENFILE": 50}},
				}},
				bundle.EBPFSyscallsProfile: newProfile("calls").
					labelled("syscall.Accept4:1 < main.loop:5", map[string][]string{"syscall": {"accept4"}}, 900).
					labelled("syscall.Accept4:1 < main.other:5", map[string][]string{"syscall": {"accept4"}}, 400).
					labelled("syscall.Openat:1 < main.open:5", map[string][]string{"syscall": {"openat"}}, 1000).p,
				bundle.CPUProfile: newProfile("samples", "cpu").
					add("syscall.Accept4:1 < net.(*TCPListener).Accept:1 < main.loop:5", 60, 0).
					add("syscall.Accept4:1 < net.(*TCPListener).Accept:1 < net/http.(*Server).Serve:1 < main.main:5", 20, 0).
					add("main.work:5", 20, 0).p,
				bundle.ProcSamples: files(bundle.ProcSample{FDs: 400, FDLimit: 1000}, bundle.ProcSample{FDs: 990, FDLimit: 1000}),
			},
			want: expected{
				"ebpf.fd_refused_share": 0.75, "ebpf.fd_refused_per_second": 75.0, "ebpf.fd_refused_site": "main.loop:5",
				"pprof.accept_cpu_share": 0.6, "pprof.accept_site": "main.loop:5", "proc.fd_used_share": 0.99,
			},
		},
		"descriptors enough": {
			artifacts: map[string]any{bundle.EBPFSyscalls: bundle.Syscalls{Calls: []bundle.Syscall{{Name: "openat", Count: 1000, Errors: map[string]int64{"ENOENT": 500}}}}},
			want:      expected{"ebpf.fd_refused_share": 0.0, "ebpf.fd_refused_site": missing("nothing of the kind")},
		},
		"files that stay open": {
			artifacts: map[string]any{bundle.HeapProfile: newProfile("inuse_objects", "inuse_space").
				add("os.newFile:1 < os.OpenFile:1 < os.Open:1 < main.load:5"+handler, 900, 900*512<<10).
				add("net.newFD:1 < net.(*netFD).accept:1 < net.(*TCPListener).Accept:1 < main.main:9", 500, 500*512<<10).
				add("main.cache:5", 9000, 9000*512<<10).p},
			want: expected{"pprof.fd_holder_site": "main.load:5"},
		},
		"more descriptors than there may be": {
			artifacts: map[string]any{bundle.ProcSamples: files(bundle.ProcSample{FDs: 258, FDLimit: 256})},
			want:      expected{"proc.fd_used_share": 1.0},
		},
		"responses whose bodies nobody reads": {
			// Of 260 descriptors 10 are clients', and 200 wait to be read. The heap profile has drawn too few of them.
			artifacts: map[string]any{
				bundle.LoadSummary: bundle.Load{Reached: bundle.LoadReached{OpenSocketsMax: 10}},
				bundle.ProcSamples: files(bundle.ProcSample{FDs: 260, FDLimit: 260}),
				bundle.GoroutineProfile: goroutines("runtime.gopark:1 < runtime.selectgo:1 < net/http.(*persistConn).readLoop:1", 200,
					"runtime.gopark:1 < runtime.selectgo:1 < net/http.(*persistConn).writeLoop:1", 230,
					parkedRead+"net/http.(*persistConn).Read:1 < bufio.(*Reader).Peek:1 < net/http.(*persistConn).readLoop:1", 30),
				bundle.HeapProfile: newProfile("inuse_objects", "inuse_space").
					add("os.newFile:1 < os.OpenFile:1 < os.Open:1 < main.load:5"+handler, 9, 9*512<<10).p,
				bundle.AllocsProfile: newProfile("alloc_objects", "alloc_space").
					add("net/http.(*Transport).getConn:1 < net/http.(*Transport).roundTrip:1 < net/http.(*Transport).RoundTrip:1 < main.(*agent).RoundTrip:3 < net/http.send:1 < net/http.(*Client).Do:1 < main.(*remote).do:7 < main.(*remote).fetch:9 < main.get:2"+handler, 10, 5000).
					add("net/http.(*Transport).getConn:1 < net/http.(*Transport).roundTrip:1 < net/http.(*Client).Do:1 < main.ping:7", 1, 500).p,
			},
			want: expected{
				"pprof.fd_bodies_open": 200.0, "pprof.fd_bodies_share": 0.8, "pprof.fd_bodies_site": "main.(*remote).do:7",
				"pprof.fd_bodies_caller_site": "main.(*remote).fetch:9", "pprof.fd_holder_site": "main.(*remote).do:7",
			},
		},
		"of two that ask, the one whose responses are in memory": {
			artifacts: map[string]any{
				bundle.LoadSummary:      bundle.Load{Reached: bundle.LoadReached{OpenSocketsMax: 10}},
				bundle.ProcSamples:      files(bundle.ProcSample{FDs: 260, FDLimit: 260}),
				bundle.GoroutineProfile: goroutines("runtime.gopark:1 < runtime.selectgo:1 < net/http.(*persistConn).readLoop:1", 200),
				bundle.HeapProfile: newProfile("inuse_objects", "inuse_space").
					add("net/http.setRequestCancel:1 < net/http.(*Transport).roundTrip:1 < net/http.(*Client).Do:1 < main.fetch:7"+handler, 9, 9*512<<10).p,
				bundle.AllocsProfile: newProfile("alloc_objects", "alloc_space").
					add("net/http.(*Transport).getConn:1 < net/http.(*Transport).roundTrip:1 < net/http.(*Client).Do:1 < main.fetch:7"+handler, 10, 5000).
					add("net/http.(*Transport).getConn:1 < net/http.(*Transport).roundTrip:1 < net/http.(*Client).Do:1 < main.ping:7", 100, 50000).p,
			},
			want: expected{"pprof.fd_bodies_site": "main.fetch:7", "pprof.fd_bodies_caller_site": missing("nothing of the kind")},
		},
		"some bodies that are being read, and files that stay open": {
			artifacts: map[string]any{
				bundle.LoadSummary:      bundle.Load{Reached: bundle.LoadReached{OpenSocketsMax: 10}},
				bundle.ProcSamples:      files(bundle.ProcSample{FDs: 260, FDLimit: 260}),
				bundle.GoroutineProfile: goroutines("runtime.gopark:1 < runtime.selectgo:1 < net/http.(*persistConn).readLoop:1", 20),
				bundle.HeapProfile: newProfile("inuse_objects", "inuse_space").
					add("os.newFile:1 < os.OpenFile:1 < os.Open:1 < main.load:5"+handler, 200, 200*512<<10).p,
			},
			want: expected{"pprof.fd_bodies_open": 20.0, "pprof.fd_bodies_share": 0.08, "pprof.fd_bodies_site": missing("nothing of the kind"), "pprof.fd_holder_site": "main.load:5"},
		},
		"bodies that are open, of how many descriptors is not known": {
			artifacts: map[string]any{bundle.LoadSummary: []byte("{"), bundle.GoroutineProfile: goroutines("runtime.gopark:1 < runtime.selectgo:1 < net/http.(*persistConn).readLoop:1", 200)},
			want:      expected{"pprof.fd_bodies_open": 200.0, "pprof.fd_bodies_share": missing("was not captured"), "pprof.fd_bodies_site": missing("was not captured")},
		},
		"responses that stay open": {
			artifacts: map[string]any{
				bundle.HeapProfile: newProfile("inuse_objects", "inuse_space").
					add("bufio.NewReaderSize:1 < net/http.(*Transport).dialConn:1 < net/http.(*Transport).dialConnFor:1", 900, 900*512<<10).p,
				bundle.AllocsProfile: newProfile("alloc_objects", "alloc_space").
					add("net/http.(*Transport).getConn:1 < net/http.(*Transport).roundTrip:1 < net/http.(*Client).Do:1 < main.fetch:7"+handler, 10, 5000).
					add("net/http.(*Transport).getConn:1 < net/http.(*Transport).roundTrip:1 < net/http.(*Client).Do:1 < main.ping:7", 1, 500).
					add("main.work:5"+handler, 10, 90000).p,
			},
			want: expected{"pprof.fd_holder_site": "main.fetch:7"},
		},
	} {
		t.Run(name, func(t *testing.T) { check(t, measure(t, tenSeconds(c.artifacts).write(t)), c.want) })
	}
}

// log2 is a histogram with these counts in these slots.
func log2(slotsAndCounts ...int64) []int64 {
	out := make([]int64, 36)
	for i := 0; i < len(slotsAndCounts); i += 2 {
		out[slotsAndCounts[i]] = slotsAndCounts[i+1]
	}
	return out
}
