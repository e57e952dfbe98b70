package signal_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/bundle"
)

// TestAgain holds that what comes back with nothing is counted at the line that
// asks, and that what others are told is not laid at its door.
func TestAgain(t *testing.T) {
	const (
		spin   = "finish_task_switch.isra.0 [kernel]:1 < do_syscall_64 [kernel]:1 < internal/runtime/syscall/linux.Syscall6:1 < syscall.RawSyscall6:1 < golang.org/x/sys/unix.Recvfrom:1 < main.(*receiver).next.func1:69 < internal/poll.(*FD).RawRead:1 < net.(*rawConn).Read:1 < main.(*receiver).run:50"
		served = "internal/runtime/syscall/linux.Syscall6:1 < syscall.Read:1 < internal/poll.(*FD).Read:1 < net/http.(*conn).serve:1"
		reads  = "internal/runtime/syscall/linux.Syscall6:1 < syscall.Read:1 < internal/poll.(*FD).Read:1 < net.(*conn).Read:1 < main.(*peer).loop:12"
	)
	syscalls := func(list ...bundle.Syscall) bundle.Syscalls { return bundle.Syscalls{Calls: list} }
	call := func(name string, count, again int64) bundle.Syscall {
		return bundle.Syscall{Name: name, Count: count, Errors: map[string]int64{"EAGAIN": again, "EINTR": 1}}
	}
	profile := func(stacks ...any) *profileMaker {
		m := newProfile("calls")
		for i := 0; i < len(stacks); i += 3 {
			m.labelled(stacks[i].(string), map[string][]string{"syscall": {stacks[i+1].(string)}}, int64(stacks[i+2].(int)))
		}
		return m
	}
	cpu := newProfile("samples", "cpu").
		add(spin, 60, 60).add("main.(*receiver).run:55", 10, 10).add("main.work:3"+handler, 30, 30).p

	for name, c := range map[string]struct {
		calls bundle.Syscalls
		at    *profileMaker
		want  expected
	}{
		"a spin": {
			calls: syscalls(call("futex", 100_000, 90_000), call("recvfrom", 50_500, 50_000), call("read", 1000, 500)),
			at:    profile(spin, "recvfrom", 50_500, served, "read", 1000, "main.work:1", "futex", 100_000),
			want: expected{
				"ebpf.again_share": 50_000.0 / 50_500, "ebpf.again_per_success": 100.0, "ebpf.again_per_request": 100.0, "ebpf.again_cpu_share": 0.6,
				"ebpf.again_site": "main.(*receiver).next.func1:69", "pprof.io_call_share": 0.6, "pprof.io_call_site": "main.(*receiver).next.func1:69",
			},
		},
		"a reader that waits after each, beside idle connections of the library": {
			calls: syscalls(call("read", 10_500, 10_200)),
			at:    profile(served, "read", 10_000, reads, "read", 500),
			want:  expected{"ebpf.again_share": 0.4, "ebpf.again_per_success": 200.0 / 300, "ebpf.again_site": "main.(*peer).loop:12", "ebpf.again_cpu_share": 0.0},
		},
		"the program reads nothing itself": {
			calls: syscalls(call("read", 10_000, 9900), call("futex", 9000, 8000)),
			at:    profile(served, "read", 10_000, "main.work:1", "futex", 9000),
			want:  expected{"ebpf.again_share": 0.0, "ebpf.again_per_success": 0.0, "ebpf.again_per_request": 0.0, "ebpf.again_cpu_share": 0.0, "ebpf.again_site": missing("nothing of the kind")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			set := measure(t, tenSeconds(map[string]any{
				bundle.EBPFSyscalls: c.calls, bundle.EBPFSyscallsProfile: c.at.p, bundle.EBPFOnCPUProfile: cpu, bundle.CPUProfile: cpu,
			}).write(t))
			check(t, set, c.want)
			assert.Empty(t, set.Libraries, "the kernel is no library")
		})
	}
}

// TestPollSiteIsTheProgramsOwn holds that the runtime's poll at the end of a
// collection is not taken for one of the line that happened to end it.
func TestPollSiteIsTheProgramsOwn(t *testing.T) {
	polls := newProfile("calls").
		labelled("syscall.Syscall6:1 < runtime.netpoll:1 < runtime.startTheWorldWithSema:1 < runtime.mallocgc:1 < main.(*receiver).next:69",
			map[string][]string{"syscall": {"epoll_pwait"}}, 177)
	check(t, measure(t, tenSeconds(map[string]any{bundle.EBPFSyscallsProfile: polls.p}).write(t)), expected{"ebpf.poll_site": missing("nothing of the kind")})

	polls.labelled("syscall.Syscall6:1 < golang.org/x/sys/unix.EpollWait:1 < main.(*loop).wait:30", map[string][]string{"syscall": {"epoll_wait"}}, 9)
	check(t, measure(t, tenSeconds(map[string]any{bundle.EBPFSyscallsProfile: polls.p}).write(t)), expected{"ebpf.poll_site": "main.(*loop).wait:30"})
}
