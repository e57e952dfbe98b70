package signal_test

import (
	"testing"

	"chokepoint/harness/bundle"
)

// TestFilesBesideClients holds which line is named where the load's connections are most of
// what is open: that of the files which the program holds beside them, if these are in number.
func TestFilesBesideClients(t *testing.T) {
	const accept, open = "main.main:9", "main.(*spool).create:29"
	heap := newProfile("inuse_objects", "inuse_space").
		add("net.newFD:1 < net.(*netFD).accept:1 < net.(*TCPListener).Accept:1 < "+accept, 500, 500*512<<10).p
	opens := func(line string, n int64) *profileMaker {
		return newProfile("calls", "time").
			labelled("syscall.openat:1 < os.OpenFile:1 < "+line+handler, map[string][]string{"syscall": {"openat"}}, n, 1).
			labelled("syscall.accept4:1 < net.(*TCPListener).Accept:1 < "+accept, map[string][]string{"syscall": {"accept4"}}, 9, 1)
	}
	calls := func(opens, refusedOpens, refusedAccepts int64) bundle.Syscalls {
		return bundle.Syscalls{Calls: []bundle.Syscall{
			{Name: "openat", Count: opens, Errors: map[string]int64{"EMFILE": refusedOpens}},
			{Name: "accept4", Count: 2 * refusedAccepts, Errors: map[string]int64{"EMFILE": refusedAccepts}},
		}}
	}
	for name, tt := range map[string]struct {
		fds, sockets int
		calls        bundle.Syscalls
		opens        *profileMaker
		want         any
	}{
		"opens are refused":                             {1400, 1000, calls(500, 300, 0), opens(open, 500), open},
		"accepts are, and files come and go":            {1400, 1000, calls(900, 10, 90), opens(open, 900), open},
		"accepts are, and files are those of before":    {1400, 1000, calls(5, 0, 90), opens(open, 5), accept},
		"accepts are, and there are hardly any files":   {1012, 1000, calls(900, 10, 90), opens(open, 900), accept},
		"opens are refused, and files are everybody's":  {1400, 1000, calls(900, 300, 0), opens(open, 300).labelled("syscall.openat:1 < main.a:1", map[string][]string{"syscall": {"openat"}}, 299, 1).labelled("syscall.openat:1 < main.b:1", map[string][]string{"syscall": {"openat"}}, 299, 1), accept},
		"what is beside the clients is sockets, mostly": {1400, 1300, calls(500, 300, 0), opens(open, 500), accept},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, measure(t, tenSeconds(map[string]any{
				bundle.LoadSummary: bundle.Load{Reached: bundle.LoadReached{OpenSocketsMax: 1000}},
				bundle.ProcSamples: jsonLines(t,
					bundle.ProcSample{MonoNS: 1, FDs: tt.fds, FDLimit: 1400, Sockets: map[string]int{"ESTABLISHED": tt.sockets - 1, "LISTEN": 1}},
					bundle.ProcSample{MonoNS: 2, FDs: tt.fds, FDLimit: 1400}),
				bundle.HeapProfile:         heap,
				bundle.EBPFSyscalls:        tt.calls,
				bundle.EBPFSyscallsProfile: tt.opens.p,
			}).write(t)), expected{"pprof.fd_holder_site": tt.want})
		})
	}
}

// TestConnectionsThatWaitToBeAccepted holds that these are none of the target's descriptors.
func TestConnectionsThatWaitToBeAccepted(t *testing.T) {
	check(t, measure(t, tenSeconds(map[string]any{
		bundle.LoadSummary: bundle.Load{Reached: bundle.LoadReached{OpenSocketsMax: 1000}},
		bundle.ProcSamples: jsonLines(t, bundle.ProcSample{MonoNS: 1, FDs: 1000, FDLimit: 1000, Sockets: map[string]int{"ESTABLISHED": 600}}),
	}).write(t)), expected{"proc.fd_beyond_clients_share": 0.4})
}
