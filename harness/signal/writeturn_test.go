package signal_test

import (
	"testing"

	"chokepoint/harness/bundle"
)

func TestQueuesToWrite(t *testing.T) {
	const (
		handler = " < net/http.HandlerFunc.ServeHTTP:1 < net/http.serverHandler.ServeHTTP:1 < net/http.(*conn).serve:1"
		write   = "internal/poll.(*FD).Write:1 < net.(*netFD).Write:1 < net.(*conn).Write:1 < main.(*relay).send:30 < main.serve:9" + handler
		turn    = "runtime.gopark:1 < runtime.semacquire1:1 < internal/poll.runtime_Semacquire:1 < internal/poll.(*fdMutex).rwlock:1 < " + write
		full    = "runtime.gopark:1 < runtime.netpollblock:1 < internal/poll.runtime_pollWait:1 < internal/poll.(*pollDesc).wait:1 < " + write
		asks    = "runtime.gopark:1 < runtime.selectgo:1 < main.ask:5 < main.serve:8" + handler
	)
	for name, c := range map[string]struct {
		parked *profileMaker
		want   expected
	}{
		"behind one that waits for room": {newProfile("goroutine").add(turn, 900).add(full, 4).add(asks, 96), expected{"pprof.write_turn_share": 0.9, "pprof.write_turn_site": "main.(*relay).send:30"}},
		"behind one that does not":       {newProfile("goroutine").add(turn, 900).add(asks, 100), expected{"pprof.write_turn_share": 0.0}},
		"each on its own":                {newProfile("goroutine").add(full, 900).add(asks, 100), expected{"pprof.write_turn_share": 0.0}},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, measure(t, tenSeconds(map[string]any{bundle.GoroutineProfile: c.parked.p}).write(t)), c.want)
		})
	}
	t.Run("buffers", func(t *testing.T) {
		net := bundle.Net{Sends: &bundle.NetSends{BlockedTime: bundle.NetTimes{TotalNS: 40 * second}}}
		check(t, measure(t, tenSeconds(map[string]any{bundle.EBPFNet: net}).write(t)), expected{"ebpf.sends_full": 4.0})
	})
}
