package signal_test

import (
	"testing"

	"chokepoint/harness/bundle"
)

// Of goroutines left behind in system calls the kernel sees the threads.
func TestThreadsLeft(t *testing.T) {
	const (
		calls  = "syscall.Syscall6:1 < syscall.recvfrom:1 < syscall.Recvfrom:1 < other.org/links.(*Socket).Receive:632 < other.org/links.subscribe.func2:1890"
		parked = "runtime.gopark:1 < runtime.chanrecv:1 < runtime.chanrecv1:1 < other.org/links.(*Socket).Receive:640 < other.org/links.subscribe.func2:1890"
	)
	sleep := map[string][]string{"state": {"sleep"}}
	off := func() *profileMaker {
		return newProfile("delay").labelled("runtime.futex:1 < runtime.notesleep:1 < runtime.stopm:1", sleep, 500*second)
	}
	none := missing("nothing of the kind")
	for name, c := range map[string]struct {
		grown map[string]int64
		off   *profileMaker
		want  expected
	}{
		"each has a thread": {
			map[string]int64{calls: 250}, off().labelled(calls, sleep, 1500*second),
			expected{"pprof.threads_grown_per_request": 0.5, "ebpf.goroutine_threads_asleep": 0.6},
		},
		"most have one": {
			map[string]int64{calls: 150, parked: 100}, off().labelled(calls, sleep, 750*second),
			expected{"pprof.threads_grown_per_request": 0.3, "ebpf.goroutine_threads_asleep": 0.5},
		},
		"few do": {
			map[string]int64{calls: 100, parked: 150}, off().labelled(calls, sleep, 750*second),
			expected{"pprof.threads_grown_per_request": none, "ebpf.goroutine_threads_asleep": 0.0},
		},
		"nobody does": {
			map[string]int64{parked: 250}, off(),
			expected{"pprof.threads_grown_per_request": none, "ebpf.goroutine_threads_asleep": 0.0},
		},
		"the calls run": {
			map[string]int64{calls: 250}, off().labelled(calls, map[string][]string{"state": {"runnable"}}, 1500*second),
			expected{"pprof.threads_grown_per_request": 0.5, "ebpf.goroutine_threads_asleep": 0.0},
		},
		"nothing is left": {
			nil, off(),
			expected{"pprof.threads_grown_per_request": none, "ebpf.goroutine_threads_asleep": 0.0},
		},
		"the kernel was not asked": {
			map[string]int64{calls: 250}, nil,
			expected{"pprof.threads_grown_per_request": 0.5, "ebpf.goroutine_threads_asleep": missing("offcpu")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			delta := newProfile("goroutine").add("runtime.gopark:1 < main.tick:3", 1)
			for stack, n := range c.grown {
				delta.add(stack, n)
			}
			artifacts := map[string]any{bundle.GoroutineDeltaProfile: delta.p, bundle.GoroutineProfile: delta.p}
			if c.off != nil {
				artifacts[bundle.EBPFOffCPUProfile] = c.off.p
			}
			check(t, measure(t, tenSeconds(artifacts).write(t)), c.want)
		})
	}
}
