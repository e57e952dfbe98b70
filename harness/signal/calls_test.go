package signal_test

import (
	"testing"

	"chokepoint/harness/bundle"
)

// An event loop sleeps in a poll when it has nothing to do, and nobody waits for it. A handler that
// waits for descriptors does wait.
func TestAnIdleEventLoopIsNoWait(t *testing.T) {
	const poll = "syscall.Syscall6:1 < golang.org/x/sys/unix.EpollWait:1 < "
	sleep := map[string][]string{"state": {"sleep"}}
	loop := poll + "example.org/loop.(*Poller).Polling:77 < main.serve:9 < runtime.goexit:1"
	handler := poll + "main.(*meter).read:30" + " < net/http.HandlerFunc.ServeHTTP:5 < net/http.serverHandler.ServeHTTP:6 < net/http.(*conn).serve:7"
	write := "syscall.Syscall:1 < syscall.write:1 < main.serve:12 < runtime.goexit:1"
	for name, c := range map[string]struct {
		off, goroutines *profileMaker
		want            expected
	}{
		"idle": {
			newProfile("delay").labelled(loop, sleep, 900*second), newProfile("goroutine").add(loop, 2),
			expected{"ebpf.syscall_wait_share": 0.0, "pprof.syscall_wait_share": 0.0},
		},
		"it sleeps in another call": {
			newProfile("delay").labelled(loop, sleep, 500*second).labelled(write, sleep, 400*second), newProfile("goroutine").add(loop, 1).add(write, 1),
			expected{"ebpf.syscall_wait_share": 0.4, "ebpf.syscall_wait_site": "main.serve:12", "pprof.syscall_wait_share": 0.5, "pprof.syscall_wait_site": "main.serve:12"},
		},
		"in a handler": {
			newProfile("delay").labelled(handler, sleep, 900*second), newProfile("goroutine").add(handler, 2),
			expected{"ebpf.syscall_wait_share": 0.9, "ebpf.syscall_wait_site": "main.(*meter).read:30", "pprof.syscall_wait_share": 1.0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := tenSeconds(map[string]any{bundle.EBPFOffCPUProfile: c.off.p, bundle.GoroutineProfile: c.goroutines.p})
			check(t, measure(t, r.write(t)), c.want)
		})
	}
}

// A stack that ends in C does not say which line called it: what is under no line is unknown then, not nothing.
func TestSleepThatEndsInC(t *testing.T) {
	const handler = " < main.(*api).seal:3 < net/http.HandlerFunc.ServeHTTP:1 < net/http.(*conn).serve:1"
	sleep, disk, runnable := map[string][]string{"state": {"sleep"}}, map[string][]string{"state": {"disk"}}, map[string][]string{"state": {"runnable"}}
	parked := func() *profileMaker {
		// Threads that stand by are the runtime's, and hide nothing.
		return newProfile("delay").labelled("runtime.futex:1 < runtime.notesleep:1 < runtime.stopm:1 < runtime.mcall:1", sleep, 5000*second)
	}
	const unknown = missing("has no Go function on its stack")
	for name, c := range map[string]struct {
		off  *profileMaker
		want expected
	}{
		"most of it": {
			parked().labelled("[libc.so.6]:1 < [unknown]:1", sleep, 950*second).labelled("hsm_sign:8", sleep, 10*second).labelled("syscall.Read:1 < main.load:5"+handler, sleep, 5*second),
			expected{"ebpf.syscall_wait_share": unknown, "ebpf.syscall_wait_site": unknown, "ebpf.syscall_threads_asleep": unknown, "ebpf.syscall_disk_share": unknown},
		},
		"none of it seen": {
			parked().labelled("[libc.so.6]:1 < [unknown]:1", sleep, 50*second),
			expected{"ebpf.syscall_wait_share": missing("1% of the time"), "ebpf.syscall_threads_asleep": unknown},
		},
		"stacks that are lost": {
			parked().labelled("[stack lost]:1", disk, 50*second),
			expected{"ebpf.syscall_wait_share": unknown},
		},
		"less than is seen": {
			parked().labelled("[libc.so.6]:1 < [unknown]:1", sleep, 90*second).labelled("syscall.Fsync:1 < main.save:5"+handler, disk, 100*second),
			expected{"ebpf.syscall_wait_share": 0.1, "ebpf.syscall_wait_site": "main.save:5", "ebpf.syscall_disk_share": 1.0},
		},
		"a helper or two": {
			parked().labelled("[librdkafka.so.1]:1 < [unknown]:1", sleep, 20*second),
			expected{"ebpf.syscall_wait_share": 0.0},
		},
		"no sleep": {
			parked().labelled("[libc.so.6]:1", runnable, 500*second),
			expected{"ebpf.syscall_wait_share": 0.0},
		},
		"C that keeps frame pointers": {
			parked().labelled("[libc.so.6]:1 < hsm_sign:8 < runtime.asmcgocall:1 < runtime.cgocall:1 < main._Cfunc_hsm_sign:69 < main.(*card).sign:5"+handler, sleep, 900*second),
			expected{"ebpf.syscall_wait_share": 0.9, "ebpf.syscall_wait_site": "main.(*card).sign:5"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, measure(t, tenSeconds(map[string]any{bundle.EBPFOffCPUProfile: c.off.p}).write(t)), c.want)
		})
	}
}
