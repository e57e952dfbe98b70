package signal_test

import (
	"testing"

	"chokepoint/harness/bundle"
)

// TestEnded holds that reads which find the end are counted at the line that makes them, and
// held against what the same line read and what the process closed.
func TestEnded(t *testing.T) {
	const (
		follow = "internal/runtime/syscall/linux.Syscall6:1 < syscall.read:1 < internal/poll.(*FD).Read:1 < net.(*conn).Read:1 < bufio.(*Reader).ReadString:1 < main.(*relay).follow:41"
		load   = "internal/runtime/syscall/linux.Syscall6:1 < syscall.read:1 < internal/poll.(*FD).Read:1 < os.(*File).Read:1 < os.ReadFile:1 < main.(*pages).load:12" + handler
		served = "internal/runtime/syscall/linux.Syscall6:1 < syscall.read:1 < internal/poll.(*FD).Read:1 < net/http.(*connReader).backgroundRead:1"
		pass   = "internal/runtime/syscall/linux.Syscall6:1 < syscall.splice:1 < internal/poll.Splice:1 < net.(*TCPConn).ReadFrom:1 < io.Copy:1 < main.(*tunnel).pass:30"
	)
	type at struct {
		stack, call, op string
		n               int64
	}
	call := func(name string, count, ended int64) bundle.Syscall {
		return bundle.Syscall{Name: name, Count: count, Ended: &ended}
	}
	const record = "not counted when this was recorded"
	for name, c := range map[string]struct {
		calls []bundle.Syscall
		at    []at
		want  expected
	}{
		"a loop that does not leave at the end": {
			calls: []bundle.Syscall{call("read", 80_700, 80_200), {Name: "close", Count: 400}, {Name: "pread64", Count: 7}},
			at:    []at{{follow, "read", "end", 80_000}, {follow, "read", "", 100}, {served, "read", "", 400}, {load, "read", "end", 200}},
			want: expected{
				"ebpf.ended_reads": 8000.0, "ebpf.ended_reads_at_most": 8010.0, "ebpf.ended_per_success": 800.0, "ebpf.ended_per_close": 200.0,
				"ebpf.ended_site": "main.(*relay).follow:41", "ebpf.ended_cpu_share": 0.6,
			},
		},
		"nothing is read, and nothing closed": {
			calls: []bundle.Syscall{call("read", 5000, 5000)},
			at:    []at{{follow, "read", "end", 5000}},
			want:  expected{"ebpf.ended_per_success": 5000.0, "ebpf.ended_per_close": 5000.0},
		},
		"files read to their end at each request, beside clients that close": {
			calls: []bundle.Syscall{call("read", 5000, 3000), {Name: "close", Count: 3000}},
			at:    []at{{load, "read", "end", 1000}, {load, "read", "", 1000}, {served, "read", "end", 2000}, {served, "read", "", 1000}},
			want: expected{
				"ebpf.ended_per_success": 1.0, "ebpf.ended_per_close": 1000.0 / 3000, "ebpf.ended_site": "main.(*pages).load:12", "ebpf.ended_cpu_share": 0.0,
			},
		},
		"a copy that is begun again": {
			calls: []bundle.Syscall{call("splice", 900, 900), call("read", 500, 20), {Name: "close", Count: 10}},
			at:    []at{{pass, "splice", "end", 900}, {follow, "read", "", 480}, {follow, "read", "end", 20}},
			want:  expected{"ebpf.ended_per_success": 900.0, "ebpf.ended_per_close": 90.0, "ebpf.ended_site": "main.(*tunnel).pass:30"},
		},
		"the program reads nothing itself": {
			calls: []bundle.Syscall{call("read", 500, 100), {Name: "close", Count: 100}},
			at:    []at{{served, "read", "", 400}, {served, "read", "end", 100}},
			want: expected{
				"ebpf.ended_reads": 0.0, "ebpf.ended_reads_at_most": 0.0, "ebpf.ended_per_success": 0.0, "ebpf.ended_per_close": 0.0, "ebpf.ended_cpu_share": 0.0,
				"ebpf.ended_site": missing("nothing of the kind"),
			},
		},
		"nothing is read at all": {
			calls: []bundle.Syscall{{Name: "futex", Count: 9}},
			want:  expected{"ebpf.ended_reads": 0.0, "ebpf.ended_per_success": 0.0},
		},
		"recorded when ends were not counted": {
			calls: []bundle.Syscall{{Name: "read", Count: 80_000, Errors: map[string]int64{"EAGAIN": 400, "EINTR": 100}}, {Name: "close", Count: 3}},
			at:    []at{{follow, "read", "", 79_800}, {served, "read", "", 200}},
			want: expected{
				"ebpf.ended_reads_at_most": 7950.0,
				"ebpf.ended_reads":         missing(record), "ebpf.ended_per_success": missing(record), "ebpf.ended_per_close": missing(record),
				"ebpf.ended_cpu_share": missing(record), "ebpf.ended_site": missing(record),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			sys := newProfile("calls")
			for _, a := range c.at {
				labels := map[string][]string{"syscall": {a.call}}
				if a.op != "" {
					labels["op"] = []string{a.op}
				}
				sys.labelled(a.stack, labels, a.n)
			}
			cpu := newProfile("samples", "cpu").add("finish_task_switch.isra.0 [kernel]:1 < "+follow, 60, 60).add("main.(*relay).follow:45", 10, 10).add("main.work:3"+handler, 30, 30)
			check(t, measure(t, tenSeconds(map[string]any{
				bundle.EBPFSyscalls: bundle.Syscalls{Calls: c.calls}, bundle.EBPFSyscallsProfile: sys.p, bundle.EBPFOnCPUProfile: cpu.p,
			}).write(t)), c.want)
		})
	}
}
