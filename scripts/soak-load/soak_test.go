package main

import (
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
)

func TestTCPSockets(t *testing.T) {
	sockets, timeWait := tcpSockets([]byte(`  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C000 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 0 10 -1
   2: 0100007F:C001 0100007F:1F90 06 00000000:00000000 03:00001000 00000000     0        0 0 3 0
`))
	assert.Equal(t, 2, sockets)
	assert.Equal(t, 1, timeWait)
}

func TestProcessesAreKnownByTheirEnvironment(t *testing.T) {
	cmd := exec.Command("/bin/sleep", "60")
	cmd.Env = append(os.Environ(), "CHOKEPOINT_SOAK_TEST=it")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	require.Eventually(t, func() bool { // until it has become sleep
		all, err := marked("CHOKEPOINT_SOAK_TEST=it")
		return err == nil && len(all) == 1
	}, 5*time.Second, 10*time.Millisecond)
	all, err := marked("CHOKEPOINT_SOAK_TEST=i")
	require.NoError(t, err)
	assert.Empty(t, all)
}

func TestJudgement(t *testing.T) {
	good := bundle.Load{Generator: bundle.GeneratorHealth{ReachedInFlight: true}}
	before := left{sockets: 3, timeWait: 2, fds: 9}
	tests := map[string]struct {
		own  bool
		o    outcome
		code int
		left string
	}{
		"nothing left":             {true, outcome{load: good, left: before}, 0, nothing},
		"could not tell, but held": {true, outcome{code: 3, load: good, left: before}, 0, nothing},
		"a few in TIME_WAIT":       {true, outcome{load: good, left: left{sockets: 3, timeWait: 2 + fewTimeWait, fds: 9}}, 0, nothing},
		"many in TIME_WAIT":        {true, outcome{load: good, left: left{sockets: 3, timeWait: 10_002, fds: 9}}, 1, "10000 sockets in TIME_WAIT"},
		"a socket":                 {true, outcome{load: good, left: left{sockets: 4, timeWait: 2, fds: 9}}, 1, "1 sockets"},
		"a socket of somebody":     {false, outcome{load: good, left: left{sockets: 4, timeWait: 2, fds: 9}}, 0, "1 sockets"},
		"a process":                {false, outcome{load: good, left: left{processes: []string{"7 chokepoint"}}}, 1, "1 processes (7 chokepoint)"},
		"a file":                   {true, outcome{load: good, left: left{files: []string{"x"}}}, 1, "1 temporary files"},
		"not reached":              {true, outcome{left: before}, 1, nothing},
		"no figures":               {true, outcome{load: good, failed: "no bundle", left: before}, 1, nothing},
		"failed requests": {true, outcome{left: before, load: bundle.Load{
			Generator: good.Generator, Requests: bundle.LoadRequests{ByError: map[string]int64{"no free local port": 1}},
		}}, 1, nothing},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := soak{own: tc.own, out: io.Discard}
			assert.Equal(t, tc.code, s.judge(before, []outcome{{load: good, left: before}, tc.o}))
			assert.Equal(t, tc.left, tc.o.left.beyond(before))
		})
	}
}

func TestOptions(t *testing.T) {
	for _, args := range [][]string{{"-runs", "0"}, {"-in-flight", "0"}, {"-window", "1ms"}, {"scenario.yaml"}, {"-nonsense"}} {
		_, err := parseOptions(args, io.Discard)
		assert.Error(t, err, "%v", args)
	}
	o, err := parseOptions(nil, io.Discard)
	require.NoError(t, err)
	assert.Equal(t, 50, o.runs)
	assert.Equal(t, 10_000, o.inFlight)
}
