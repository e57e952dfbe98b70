package signal_test

import (
	"testing"

	"chokepoint/harness/bundle"
)

// TestUnread holds that polls which did not sleep are held against the calls that could have
// handled what they returned, and that the line is the program's which runs the loop.
func TestUnread(t *testing.T) {
	const (
		wait    = "internal/runtime/syscall/linux.Syscall6:1 < syscall.EpollWait:1 < example.org/own/loop/internal.(*Poll).Wait:57"
		loop    = wait + " < example.org/own/loop.run:310 < example.org/own/loop.Serve.gowrap1:1 < runtime.goexit:1"
		own     = "syscall.Syscall6:1 < golang.org/x/sys/unix.EpollWait:1 < main.(*reactor).loop:44 < main.main.gowrap1:9"
		second  = "syscall.Syscall6:1 < golang.org/x/sys/unix.EpollWait:1 < main.(*timers).loop:80 < main.main.gowrap2:10"
		selects = "syscall.Syscall6:1 < syscall.Select:1 < main.(*port).loop:21"
		runtime = "syscall.Syscall6:1 < runtime.netpoll:1 < runtime.findRunnable:1 < runtime.schedule:1"
		reads   = "syscall.Syscall:1 < syscall.read:1 < main.(*reactor).read:70"
		served  = "syscall.Syscall:1 < syscall.read:1 < internal/poll.(*FD).Read:1 < net.(*conn).Read:1 < net/http.(*connReader).Read:1 < bufio.(*Reader).fill:1 < net/http.(*conn).serve:1"
		handler = "syscall.Syscall:1 < syscall.read:1 < main.(*device).read:7 < main.(*device).ServeHTTP:5 < net/http.serverHandler.ServeHTTP:1 < net/http.(*conn).serve:1"
	)
	// quick and slow calls of a system call; quick ones are of 256 ns to 4 µs.
	call := func(name string, quick, slow int64) bundle.Syscall {
		h := make([]int64, 20)
		h[8], h[11], h[12], h[19] = quick-quick/10, quick/10, slow/2, slow-slow/2
		return bundle.Syscall{Name: name, Count: quick + slow, Log2NS: h}
	}
	type at struct {
		stack, call string
		n           int64
	}
	main := "sync.(*Cond).Wait:1 < example.org/own/loop.(*server).wait:9 < example.org/own/loop.Serve:80 < main.main:96 < runtime.main:1"
	for name, c := range map[string]struct {
		calls  []bundle.Syscall
		at     []at
		parked []string
		want   expected
	}{
		"a library's loop that nobody reads for": {
			calls:  []bundle.Syscall{call("epoll_wait", 90_000, 10), call("epoll_pwait", 500, 9000), call("futex", 5000, 5000), call("read", 1100, 0), call("epoll_ctl", 100, 0), call("clock_gettime", 90_000, 0)},
			at:     []at{{loop, "epoll_wait", 90_010}, {runtime, "epoll_pwait", 9500}, {served, "read", 300}, {reads, "read", 800}},
			parked: []string{main, "main.(*server).data:30 < example.org/own/loop.run:330"},
			want: expected{
				"ebpf.polls_at_once": 9000.0, "ebpf.poll_at_once_share": 90_000.0 / 90_010, "ebpf.polls_at_once_per_call": 100.0, "ebpf.poll_at_once_cpu_share": 0.7,
				"ebpf.poll_at_once_site": "example.org/own/loop/internal.(*Poll).Wait:57", "ebpf.poll_loop_library_site": "example.org/own/loop/internal.(*Poll).Wait:57",
				"ebpf.poll_loop_site": "main.main:96",
			},
		},
		"run by another goroutine, and called back": {
			calls: []bundle.Syscall{call("epoll_wait", 1000, 0)},
			at:    []at{{loop, "epoll_wait", 1000}},
			parked: []string{
				"sync.(*WaitGroup).Wait:1 < example.org/own/loop.Serve:80 < main.(*front).run:31 < main.main.gowrap1:12",
				"sync.(*Mutex).Lock:1 < example.org/own/loop.(*conn).Wake:7 < main.(*front).data:60 < example.org/own/loop.run:330",
				"time.Sleep:1 < example.org/other/pool.(*Pool).Wait:7 < main.main:99 < runtime.main:1",
			},
			want: expected{"ebpf.poll_loop_site": "main.(*front).run:31"},
		},
		"started by who has gone on": {
			calls:  []bundle.Syscall{call("epoll_wait", 1000, 0)},
			at:     []at{{loop, "epoll_wait", 1000}},
			parked: []string{"time.Sleep:1 < main.main:99 < runtime.main:1"},
			want:   expected{"ebpf.poll_loop_site": "example.org/own/loop/internal.(*Poll).Wait:57"},
		},
		"two lines that call the library": {
			calls: []bundle.Syscall{call("epoll_wait", 1000, 0)},
			at:    []at{{loop, "epoll_wait", 1000}},
			parked: []string{
				"sync.(*Mutex).Lock:1 < example.org/own/loop.(*conn).Wake:7 < main.(*front).answer:60",
				"sync.(*WaitGroup).Wait:1 < example.org/own/loop.Serve:80 < main.(*front).run:31",
			},
			want: expected{"ebpf.poll_loop_site": "example.org/own/loop/internal.(*Poll).Wait:57"},
		},
		"the program's own loop, and a read of each": {
			calls: []bundle.Syscall{call("epoll_wait", 6000, 4000), call("read", 10_000, 0), call("write", 10_000, 0)},
			at:    []at{{own, "epoll_wait", 10_000}, {reads, "read", 10_000}},
			want: expected{
				"ebpf.poll_at_once_share": 0.6, "ebpf.polls_at_once_per_call": 0.3, "ebpf.poll_at_once_site": "main.(*reactor).loop:44", "ebpf.poll_loop_site": "main.(*reactor).loop:44",
				"ebpf.poll_loop_library_site": missing("nothing of the kind"), "ebpf.poll_at_once_cpu_share": 0.2,
			},
		},
		"a device that is waited for, and read in handlers": {
			calls: []bundle.Syscall{call("epoll_wait", 1000, 0), call("read", 3000, 0)},
			at:    []at{{own, "epoll_wait", 1000}, {served, "read", 2000}, {handler, "read", 1000}},
			want:  expected{"ebpf.polls_at_once_per_call": 1.0},
		},
		"quick polls that may have been another's": {
			calls: []bundle.Syscall{call("epoll_wait", 900, 600), call("read", 100, 0)},
			at:    []at{{own, "epoll_wait", 1000}, {second, "epoll_wait", 500}, {reads, "read", 100}},
			want:  expected{"ebpf.poll_at_once_share": 0.4, "ebpf.polls_at_once_per_call": 4.0},
		},
		"select": {
			calls: []bundle.Syscall{call("epoll_wait", 10, 1000), call("select", 40_000, 0), call("read", 50, 0)},
			at:    []at{{own, "epoll_wait", 1010}, {selects, "select", 40_000}, {reads, "read", 50}},
			want:  expected{"ebpf.polls_at_once_per_call": 800.0, "ebpf.poll_loop_site": "main.(*port).loop:21"},
		},
		"the runtime's polls alone": {
			calls: []bundle.Syscall{call("epoll_pwait", 90_000, 500), call("read", 50, 0)},
			at:    []at{{runtime, "epoll_pwait", 90_500}, {served, "read", 50}},
			want: expected{
				"ebpf.polls_at_once": 0.0, "ebpf.poll_at_once_share": 0.0, "ebpf.polls_at_once_per_call": 0.0, "ebpf.poll_at_once_cpu_share": 0.0,
				"ebpf.poll_at_once_site": missing("nothing of the kind"), "ebpf.poll_loop_site": missing("nothing of the kind"), "ebpf.poll_loop_library_site": missing("nothing of the kind"),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			sys := newProfile("calls")
			for _, a := range c.at {
				sys.labelled(a.stack, map[string][]string{"syscall": {a.call}}, a.n)
			}
			parked := newProfile("goroutine")
			for _, p := range c.parked {
				parked.add(p, 1)
			}
			cpu := newProfile("samples", "cpu").add("do_epoll_wait [kernel]:1 < "+loop, 70, 70).add(own, 20, 20).add("main.work:3", 10, 10)
			r := tenSeconds(map[string]any{
				bundle.EBPFSyscalls: bundle.Syscalls{Calls: c.calls}, bundle.EBPFSyscallsProfile: sys.p, bundle.EBPFOnCPUProfile: cpu.p,
				bundle.GoroutineProfile: parked.p,
			})
			r.manifest.Target.MainModule = "example.net/app"
			check(t, measure(t, r.write(t)), c.want)
		})
	}
}
