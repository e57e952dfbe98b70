package health_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/health"
)

const second = int64(1e9)

// closed is a healthy recording of a closed loop: 10 s on 4 CPUs, of which the
// target took 30%, the generator 10%, the recording 2% and others 3%.
func closed() health.In {
	return health.In{
		Manifest: bundle.Manifest{
			Tool:   bundle.Tool{CPUSeconds: 0.8},
			Host:   bundle.Host{CPUs: 4},
			Window: bundle.Window{StartNS: 100 * second, EndNS: 110 * second},
		},
		Load: &bundle.Load{
			Asked:          bundle.LoadAsked{InFlight: 1000, Connections: 1000, Protocol: "http/1.1", Engine: "lean"},
			Reached:        bundle.LoadReached{InFlightMean: 999, OpenSocketsMin: 1000, InFlightAtCapture: 1000, SocketsAtCapture: 1000},
			Requests:       bundle.LoadRequests{Ended: 20_000, OK: 20_000},
			LatencySeconds: bundle.Distribution{Count: 20_000, P50: 0.5},
			Generator: bundle.GeneratorHealth{
				CPUSeconds: 4, ReachedInFlight: true,
				OwnLagSeconds: bundle.Distribution{Count: 20_000, Mean: 0.001, P99: 0.002},
				Workers:       []bundle.LoadWorker{{CPUSeconds: 2, GOMAXPROCS: 2}, {CPUSeconds: 2, GOMAXPROCS: 2}},
			},
		},
		Proc: machine(0.30, 0.55),
	}
}

// open is the same with a rate.
func open() health.In {
	in := closed()
	in.Load.Asked.InFlight, in.Load.Asked.RateHz, in.Load.Asked.AtMost = 0, 2000, 1500
	in.Load.Reached.SentRateHz = 2000
	return in
}

// machine is two samples, at both ends of the window, of 4 CPUs.
func machine(target, idle float64) []bundle.ProcSample {
	total := float64(40 * second)
	return []bundle.ProcSample{
		{MonoNS: 100 * second, UserNS: 7 * second, MachineIdleNS: 5 * second, MachineTotalNS: 9 * second},
		{
			MonoNS: 110 * second, UserNS: 7*second + int64(target*total*0.75), SystemNS: int64(target * total * 0.25),
			MachineIdleNS: 5*second + int64(idle*total), MachineTotalNS: 9*second + int64(total),
		},
	}
}

// generator sets the generator's share of the machine.
func generator(in *health.In, share float64) {
	for i := range in.Load.Generator.Workers {
		in.Load.Generator.Workers[i].CPUSeconds = share * 40 / 2
		in.Load.Generator.Workers[i].GOMAXPROCS = 4
	}
	in.Load.Generator.CPUSeconds = share * 40
}

const (
	fine    = "fine"
	fails   = "fails"
	unknown = "unknown"
	absent  = "absent"
)

func outcome(r health.Report, name string) (health.Check, string) {
	for _, c := range r.Checks {
		switch {
		case c.Name != name:
		case !c.Known:
			return c, unknown
		case c.OK:
			return c, fine
		default:
			return c, fails
		}
	}
	return health.Check{}, absent
}

func TestHealthy(t *testing.T) {
	for name, in := range map[string]health.In{"closed loop": closed(), "open loop": open()} {
		t.Run(name, func(t *testing.T) {
			r := health.Judge(in)
			assert.True(t, r.Trusted, r.Reason)
			assert.Empty(t, r.Reason)
			for _, c := range r.Checks {
				assert.True(t, c.Known && c.OK, "%+v", c)
				assert.Empty(t, c.Mend, c.Name)
			}
		})
	}
}

func TestChecks(t *testing.T) {
	for _, tt := range []struct {
		check    string
		name     string
		open     bool
		change   func(*health.In)
		want     string
		measured string // part of it
	}{
		{"reached before capture", "not", false, func(in *health.In) { in.Load.Generator.ReachedInFlight = false }, fails, "1,000 requests in flight over 1,000 sockets"},

		{"in flight", "just enough", false, func(in *health.In) { in.Load.Reached.InFlightMean = 950 }, fine, "950 of 1,000 requests (95%)"},
		{"in flight", "just too few", false, func(in *health.In) { in.Load.Reached.InFlightMean = 949.9 }, fails, "(94.99%)"},
		{"in flight", "too few because the target fails", false, func(in *health.In) {
			in.Load.Reached.InFlightMean = 500
			in.Load.Requests.ByError = map[string]int64{"connection reset": 1001}
		}, fine, "500 of 1,000 requests (50%)"},
		{"in flight", "too few, and the target hardly fails", false, func(in *health.In) {
			in.Load.Reached.InFlightMean = 500
			in.Load.Requests.ByError = map[string]int64{"connection reset": 1000}
		}, fails, "(50%)"},
		{"in flight", "too few, and the failures are the generator's", false, func(in *health.In) {
			in.Load.Reached.InFlightMean = 500
			in.Load.Requests.ByError = map[string]int64{"no free local port": 15_000}
		}, fails, "(50%)"},
		{"in flight", "too few because the target takes the machine", false, func(in *health.In) {
			in.Load.Reached.InFlightMean = 500
			in.Proc = machine(0.8, 0.02)
		}, fine, "(50%)"},
		{"in flight", "no window", false, func(in *health.In) { in.Manifest.Window, in.Load.Reached.InFlightMean = bundle.Window{}, 0 }, unknown, ""},
		{"rate", "no window", true, func(in *health.In) { in.Manifest.Window, in.Load.Reached.SentRateHz = bundle.Window{}, 0 }, unknown, ""},
		{"open sockets", "no window", false, func(in *health.In) { in.Manifest.Window, in.Load.Reached.OpenSocketsMin = bundle.Window{}, 0 }, unknown, ""},
		{"in flight", "not asked for", true, func(*health.In) {}, absent, ""},
		{"in flight", "asked for in an open loop", true, func(in *health.In) {
			in.Load.Asked.InFlight, in.Load.Reached.InFlightMean = 1000, 900
		}, fails, "900 of 1,000 requests (90%)"},
		{"in flight", "an older open loop", true, func(in *health.In) {
			in.Load.Asked.InFlight, in.Load.Reached.InFlightMean = 1000, 900
			in.Load.Generator.Workers = nil
		}, unknown, ""},

		{"rate", "just enough", true, func(in *health.In) { in.Load.Reached.SentRateHz = 1900 }, fine, "1,900 of 2,000 requests sent a second (95%)"},
		{"rate", "just too low", true, func(in *health.In) { in.Load.Reached.SentRateHz = 1899.8 }, fails, "(94.99%)"},
		{"rate", "a twentieth of the clients hangs up", true, func(in *health.In) {
			in.Load.Reached.SentRateHz, in.Load.Clients = 1880, []bundle.LoadClient{{Share: 0.06}}
		}, fine, "1,880 of 1,880 requests sent a second (100%)"},
		{"rate", "a tenth does, and too few are sent for the others", true, func(in *health.In) {
			in.Load.Reached.SentRateHz, in.Load.Clients = 1700, []bundle.LoadClient{{Share: 0.1}}
		}, fails, "1,700 of 1,800 requests sent a second (94.44%)"},
		{"rate", "too low, late by itself", true, func(in *health.In) {
			in.Load.Reached.SentRateHz = 1000
			in.Load.Generator.SendLagSeconds = bundle.Distribution{Count: 10_000, Mean: 2}
			in.Load.Generator.OwnLagSeconds = bundle.Distribution{Count: 10_000, Mean: 1.01}
		}, fails, "(50%)"},
		{"rate", "too low, the target holds every place", true, func(in *health.In) {
			in.Load.Reached.SentRateHz = 1000
			in.Load.Generator.SendLagSeconds = bundle.Distribution{Count: 10_000, Mean: 2}
			in.Load.Generator.OwnLagSeconds = bundle.Distribution{Count: 10_000, Mean: 0.99}
		}, fine, "(50%)"},
		{"rate", "too low, every place taken by requests that have not ended", true, func(in *health.In) {
			in.Load.Reached.SentRateHz, in.Load.Reached.InFlightMax = 1400, 1500
			in.Load.Generator.SendLagSeconds = bundle.Distribution{Count: 648, Mean: 0.00088, P99: 0.017}
			in.Load.Generator.OwnLagSeconds = bundle.Distribution{Count: 648, Mean: 0.00059, P99: 0.0011}
		}, fine, ""},
		{"rate", "nothing sent, the target holds every place", true, func(in *health.In) {
			in.Load.Reached.SentRateHz, in.Load.Reached.InFlightMax = 0, 1500
			in.Load.Generator.OwnLagSeconds = bundle.Distribution{}
		}, fine, "0 of 2,000 requests sent a second (0%)"},
		{"rate", "nothing sent, with places free", true, func(in *health.In) {
			in.Load.Reached.SentRateHz, in.Load.Reached.InFlightMax = 0, 1499
			in.Load.Generator.OwnLagSeconds = bundle.Distribution{}
		}, fails, "(0%)"},
		{"rate", "too low because the target takes the machine", true, func(in *health.In) {
			in.Load.Reached.SentRateHz = 1000
			in.Proc = machine(0.8, 0.02)
		}, fine, "(50%)"},
		{"rate", "a closed loop", false, func(*health.In) {}, absent, ""},
		{"rate", "an older recording", true, func(in *health.In) { in.Load.Generator.Workers = nil }, unknown, ""},

		{"own lag", "just within a tenth of the service time", false, func(in *health.In) { in.Load.Generator.OwnLagSeconds.P99 = 0.05 }, fine, "p99 50 ms"},
		{"own lag", "just above it", false, func(in *health.In) { in.Load.Generator.OwnLagSeconds.P99 = 0.0502 }, fails, "p99 50.2 ms"},
		{"own lag", "just within what a scheduler takes", false, func(in *health.In) {
			in.Load.LatencySeconds.P50, in.Load.Generator.OwnLagSeconds.P99 = 0.0005, 0.010
		}, fine, "p99 10 ms"},
		{"own lag", "just above that", false, func(in *health.In) {
			in.Load.LatencySeconds.P50, in.Load.Generator.OwnLagSeconds.P99 = 0.0005, 0.0101
		}, fails, "p99 10.1 ms"},
		{"own lag", "large because the target takes the machine", false, func(in *health.In) {
			in.Load.Generator.OwnLagSeconds.P99 = 0.2
			in.Proc = machine(0.51, 0.04)
		}, fine, "p99 200 ms"},
		{"own lag", "large while the target takes half of the machine", false, func(in *health.In) {
			in.Load.Generator.OwnLagSeconds.P99 = 0.2
			in.Proc = machine(0.50, 0.04)
		}, fails, "p99 200 ms"},
		{"own lag", "large while the target takes most of what is busy", false, func(in *health.In) {
			in.Load.Generator.OwnLagSeconds.P99 = 0.2
			in.Proc = machine(0.51, 0.06)
		}, fails, "p99 200 ms"},
		{"own lag", "too few ended to have a 99th percentile", false, func(in *health.In) {
			in.Load.Generator.OwnLagSeconds = bundle.Distribution{Count: 99, P99: 0.0502, Max: 0.0502}
		}, unknown, ""},
		{"own lag", "as many as it takes", false, func(in *health.In) {
			in.Load.Generator.OwnLagSeconds = bundle.Distribution{Count: 100, P99: 0.0502, Max: 0.0502}
		}, fails, "p99 50.2 ms"},
		{"own lag", "few ended, and none of them late", false, func(in *health.In) {
			in.Load.Generator.OwnLagSeconds = bundle.Distribution{Count: 20, P99: 0.002, Max: 0.002}
		}, fine, "p99 2 ms"},
		{"own lag", "nothing ended", false, func(in *health.In) { in.Load.Generator.OwnLagSeconds = bundle.Distribution{} }, unknown, ""},
		{"own lag", "an older recording", false, func(in *health.In) { in.Load.Generator.Workers = nil }, unknown, ""},

		{"open sockets", "just enough", false, func(in *health.In) { in.Load.Reached.OpenSocketsMin = 950 }, fine, "at least 950 of 1,000 sockets open"},
		{"open sockets", "just too few", false, func(in *health.In) { in.Load.Reached.OpenSocketsMin = 949 }, fails, "(94.9%)"},
		{"open sockets", "too few because the target fails", false, func(in *health.In) {
			in.Load.Reached.OpenSocketsMin = 10
			in.Load.Requests.ByError = map[string]int64{"connection closed before a response": 5000}
		}, fine, "(1%)"},
		{"open sockets", "some belong to badly behaved clients", false, func(in *health.In) {
			in.Load.Clients = []bundle.LoadClient{{Share: 0.1}, {Share: 0.1}}
			in.Load.Reached.OpenSocketsMin = 760
		}, fine, "at least 760 of 800 sockets open"},
		{"open sockets", "too few for the others", false, func(in *health.In) {
			in.Load.Clients = []bundle.LoadClient{{Share: 0.1}, {Share: 0.1}}
			in.Load.Reached.OpenSocketsMin = 759
		}, fails, "at least 759 of 800 sockets open"},
		{"open sockets", "all belong to badly behaved clients", false, func(in *health.In) {
			in.Load.Clients = []bundle.LoadClient{{Share: 0.7}, {Share: 0.3}}
		}, absent, ""},
		{"open sockets", "HTTP/2", false, func(in *health.In) {
			in.Load.Reached.OpenSocketsMin, in.Load.Asked.Protocol = 10, "http/2"
		}, absent, ""},
		{"open sockets", "not asked for", false, func(in *health.In) { in.Load.Asked.Connections = 0 }, absent, ""},

		{"CPU of the busiest worker", "just within", false, func(in *health.In) { in.Load.Generator.Workers[1].CPUSeconds = 18 }, fine, "worker 2 of 2 used 18 s of CPU in 10 s, 90% of the 2 CPUs"},
		{"CPU of the busiest worker", "just above", false, func(in *health.In) { in.Load.Generator.Workers[1].CPUSeconds = 18.002 }, fails, "90.01% of the 2 CPUs"},
		{"CPU of the busiest worker", "a worker that may use more CPUs than there are", false, func(in *health.In) {
			in.Load.Generator.Workers = []bundle.LoadWorker{{CPUSeconds: 37, GOMAXPROCS: 64}}
		}, fails, "92.5% of the 4 CPUs"},
		{"CPU of the busiest worker", "an older recording", false, func(in *health.In) { in.Load.Generator.Workers = nil }, unknown, ""},
		{"CPU of the busiest worker", "GOMAXPROCS not told", false, func(in *health.In) {
			in.Load.Generator.Workers = []bundle.LoadWorker{{CPUSeconds: 19}}
		}, unknown, ""},

		{"CPU taken from the target", "idle is just enough", false, func(in *health.In) {
			in.Proc = machine(0.40, 0.05)
			generator(in, 0.50)
		}, fine, "generator 50%, target 40%, all others 5%, idle 5%"},
		{"CPU taken from the target", "idle is just too little", false, func(in *health.In) {
			in.Proc = machine(0.40, 0.049)
			generator(in, 0.50)
		}, fails, "idle 4.9%"},
		{"CPU taken from the target", "the target takes as much", false, func(in *health.In) {
			in.Proc = machine(0.45, 0.01)
			generator(in, 0.45)
		}, fine, "generator 45%, target 45%"},
		{"CPU taken from the target", "the target spins", false, func(in *health.In) {
			in.Proc = machine(0.94, 0)
			generator(in, 0.05)
		}, fine, "target 94%"},
		{"CPU taken from the target", "others take more than either", false, func(in *health.In) {
			in.Proc = machine(0.04, 0.01)
			generator(in, 0.06)
		}, fine, "all others 89%"},
		{"CPU taken from the target", "no samples", false, func(in *health.In) { in.Proc = nil }, unknown, ""},
		{"CPU taken from the target", "samples of a sliver of the window", false, func(in *health.In) { in.Proc[1].MonoNS = 104 * second }, unknown, ""},
		{"CPU taken from the target", "samples outside the window", false, func(in *health.In) {
			in.Proc[0].MonoNS, in.Proc[1].MonoNS = 50*second, 60*second
		}, unknown, ""},
		{"CPU taken from the target", "no figures of the machine", false, func(in *health.In) {
			for i := range in.Proc {
				in.Proc[i].MachineIdleNS, in.Proc[i].MachineTotalNS = 0, 0
			}
		}, unknown, ""},
		{"CPU taken from the target", "an older recording", false, func(in *health.In) { in.Load.Generator.Workers = nil }, unknown, ""},

		// Target 30%, generator 10%, recording 2%: the others have what idle leaves.
		{"CPU of other processes", "just within", false, func(in *health.In) { in.Proc = machine(0.39, 0.29) }, fine, "20% of the machine's CPU time, with 29% idle"},
		{"CPU of other processes", "more, and as much idle as may be taken", false, func(in *health.In) { in.Proc = machine(0.30, 0.20) }, fine, "38% of the machine's CPU time, with 20% idle"},
		{"CPU of other processes", "more, and just too little idle", false, func(in *health.In) { in.Proc = machine(0.30, 0.1999) }, fails, "38.01% of the machine's CPU time, with 19.99% idle"},
		{"CPU of other processes", "just above, nothing idle", false, func(in *health.In) { in.Proc = machine(0.6799, 0) }, fails, "20.01% of"},
		{"CPU of other processes", "just below, nothing idle", false, func(in *health.In) { in.Proc = machine(0.6801, 0) }, fine, "19.99% of"},
		{"CPU of other processes", "figures of different moments", false, func(in *health.In) { in.Proc = machine(1.2, 0.3) }, fine, "0% of"},
		{"CPU of other processes", "the recording's own CPU is not told", false, func(in *health.In) { in.Manifest.Tool.CPUSeconds = 0 }, unknown, ""},
		{"CPU of other processes", "no samples", false, func(in *health.In) { in.Proc = nil }, unknown, ""},

		{"results dropped", "just within", false, func(in *health.In) { in.Load.Generator.ResultsDropped = 200 }, fine, "200 of 20,000 (1%)"},
		{"results dropped", "just above", false, func(in *health.In) { in.Load.Generator.ResultsDropped = 202 }, fails, "202 of 20,000 (1.01%)"},
		{"results dropped", "all", false, func(in *health.In) {
			in.Load.Requests = bundle.LoadRequests{}
			in.Load.Generator.ResultsDropped = 3
		}, fails, "3 of 0 (100%)"},

		{"failures of the generator's own", "just within", false, func(in *health.In) {
			in.Load.Requests.ByError = map[string]int64{"no free local port": 150, "too many open files in the load generator": 50, "timeout": 9000}
		}, fine, "200 of 20,000 requests (1%)"},
		{"failures of the generator's own", "just above", false, func(in *health.In) {
			in.Load.Requests.ByError = map[string]int64{"no free local port": 152, "too many open files in the load generator": 50}
		}, fails, "202 of 20,000 requests (1.01%)"},
		{"failures of the generator's own", "nothing ended", false, func(in *health.In) { in.Load.Requests = bundle.LoadRequests{} }, absent, ""},
	} {
		t.Run(tt.check+"/"+tt.name, func(t *testing.T) {
			in := closed()
			if tt.open {
				in = open()
			}
			tt.change(&in)
			r := health.Judge(in)
			c, got := outcome(r, tt.check)
			require.Equal(t, tt.want, got, "%+v", c)
			assert.Contains(t, c.Measured, tt.measured)
			switch got {
			case fails:
				assert.False(t, r.Trusted)
				assert.NotEmpty(t, c.Why)
				assert.NotEmpty(t, c.Mend)
			case unknown:
				assert.True(t, r.Trusted, r.Reason)
				assert.NotEmpty(t, c.Why)
			}
		})
	}
}

func TestReason(t *testing.T) {
	in := closed()
	in.Load.Generator.Workers[0].CPUSeconds = 19
	in.Load.Reached.InFlightMean = 700 // a symptom: the cause is what is named
	r := health.Judge(in)
	assert.Equal(t, "the load generator is not to be trusted: CPU of the busiest worker: worker 1 of 2 used 19 s of CPU in 10 s, "+
		"95% of the 2 CPUs it may use, and the limit is at most 90% of the CPUs it may use: the generator was its own bottleneck, "+
		"so its waiting stands in the latency and the load is lighter than asked; "+
		"run more workers, let each use more CPUs (gomaxprocs), or ask for less load", r.Reason)

	in.Load.Generator.ReachedInFlight = false
	in.Load.Generator.Reason = "asked for 1,000, reached 7"
	assert.Equal(t, "asked for 1,000, reached 7", health.Judge(in).Reason, "what the generator said goes first, as it is")

	r = health.Judge(health.In{})
	assert.False(t, r.Trusted)
	assert.Equal(t, "the bundle has no account of the load", r.Reason)
}

func TestJSON(t *testing.T) {
	text, err := json.Marshal(health.Judge(health.In{}))
	require.NoError(t, err)
	assert.JSONEq(t, `{"checks": [], "trusted": false, "reason": "the bundle has no account of the load"}`, string(text), "an empty list is no null")
}

// FuzzJudge holds that no summary, however odd, breaks the judge, and that what
// it says fits together.
func FuzzJudge(f *testing.F) {
	for _, in := range []health.In{closed(), open(), {Load: &bundle.Load{}}} {
		text, err := json.Marshal(in)
		require.NoError(f, err)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var in health.In
		if json.Unmarshal(text, &in) != nil {
			return
		}
		r := health.Judge(in)
		failed := in.Load == nil
		for _, c := range r.Checks {
			failed = failed || c.Failed()
			require.NotEmpty(t, c.Why, c.Name)
			require.False(t, c.OK && !c.Known, c.Name)
			require.Equal(t, c.Failed(), c.Mend != "", c.Name)
			for _, part := range []string{"NaN", "Inf"} {
				require.False(t, strings.Contains(c.Measured+c.Limit, part), "%+v", c)
			}
		}
		require.Equal(t, !failed, r.Trusted)
		require.Equal(t, failed, r.Reason != "")
	})
}
