package reports

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/bundle"
	"chokepoint/harness/health"
)

// TestLoadFacts is about a load with everything: an open loop in stages, failures
// and badly behaved clients.
func TestLoadFacts(t *testing.T) {
	ms := func(p50 float64) bundle.Distribution {
		return bundle.Distribution{Count: 10, P50: p50, P90: 2 * p50, P99: 3 * p50, Max: 4 * p50}
	}
	r := Report{
		Window: bundle.Window{StartNS: 2e9, EndNS: 12e9}, Host: bundle.Host{CPUs: 2},
		Load: &bundle.Load{
			Asked:   bundle.LoadAsked{RateHz: 500, AtMost: 20, Connections: 40, Protocol: "http/1.1", Engine: "net/http", EngineWhy: "the target speaks TLS"},
			Reached: bundle.LoadReached{InFlightMin: 3, InFlightMean: 12.4, InFlightMax: 20, OpenSocketsMin: 40, OpenSocketsMax: 40, RateHz: 499, SentRateHz: 500, InFlightAtCapture: 5, SocketsAtCapture: 40},
			Requests: bundle.LoadRequests{
				Ended: 5000, OK: 4900, ByCode: map[string]int64{"200": 4900, "503": 40}, ByError: map[string]int64{"connection reset": 50, "timeout connecting": 10},
			},
			LatencySeconds: ms(0.01), CorrectedSeconds: ms(0.6),
			Stages: []bundle.LoadStage{
				{StartNS: 1, EndNS: 2_000_000_001, RateHz: 100, Ended: 200, LatencySeconds: ms(0.01), CorrectedSeconds: ms(0.01)},
				{StartNS: 2_000_000_001, EndNS: 12_000_000_001, RateHz: 500, Ended: 5000, Errors: 100, Captured: true, LatencySeconds: ms(0.01), CorrectedSeconds: ms(0.6)},
				{RateHz: 900},
			},
			Clients: []bundle.LoadClient{{Behaviour: "reads 1KiB/s", Share: 0.02, Ended: 7, ByError: map[string]int64{"connection reset": 1}, Seconds: ms(1)}},
			Generator: bundle.GeneratorHealth{
				CPUSeconds: 0.5, ReachedInFlight: true, SendLagP99: 1.8, OwnLagSeconds: bundle.Distribution{Count: 9, P99: 0.001}, ResultsDropped: 4,
				Workers: []bundle.LoadWorker{{PeakRSSBytes: 20 << 20}, {PeakRSSBytes: 30 << 20}},
			},
		},
		Health: &health.Report{Reason: "it was late"},
	}
	want := []fact{
		{"asked", "500 per second, at most 20 in flight, 40 connections, over HTTP/1.1"},
		{"in flight", "3 to 20 over the window, 12.4 on average, 5 when capture began"},
		{"sockets", "40 to 40 open over the window, 40 when capture began"},
		{"requests", "5,000 ended, 499 per second; 4,900 ok, 100 not; 500 sent per second"},
		{"failures", "50 connection reset, 40 status 503, 10 timeout connecting"},
		{"latency", "p50 10 ms, p90 20 ms, p99 30 ms, longest 40 ms, from when a request was sent"},
		{"corrected", "p50 600 ms, p90 1.2 s, p99 1.8 s, longest 2.4 s, from when it was due"},
		{"stage 1", "100 per second, over 2 s: 200 ended, 0 not ok; p50 10 ms, p99 30 ms, corrected p99 30 ms"},
		{"stage 2", "500 per second, over 10 s: 5,000 ended, 100 not ok; p50 10 ms, p99 30 ms, corrected p99 1.8 s; captured"},
		{"stage 3", "900 per second: it never began"},
		{"2% badly behaved", "reads 1KiB/s: 7 ended, in flight for 1 s (p50); 1 connection reset"},
		{"generator", "500 ms of CPU, 2.5% of the machine's, in 2 processes, 50 MiB of memory at most, net/http client (the target speaks TLS), p99 of send lag 1.8 s (its own part 1 ms), 4 results lost; it was late"},
	}
	assert.Equal(t, want, r.loadFacts())

	r.Load.Generator.ReachedInFlight, r.Load.Generator.Reason = false, "nobody answered"
	facts := r.loadFacts()
	assert.Contains(t, facts[len(facts)-1].Value, "what was asked for was not reached: nobody answered")
}

// TestLoadThatNeverStood: there was no window, and nothing that was not measured
// is shown as zero.
func TestLoadThatNeverStood(t *testing.T) {
	r := Report{Load: &bundle.Load{
		Asked:     bundle.LoadAsked{InFlight: 50},
		Stages:    []bundle.LoadStage{{Sent: 300, Ended: 290, Errors: 290}, {Sent: 100, Ended: 110, Errors: 109}},
		Generator: bundle.GeneratorHealth{Reason: "all requests fail"},
	}}
	assert.Equal(t, []fact{
		{"asked", "50 in flight"},
		{"requests", "400 sent, 400 ended, 399 of them not ok; there was no window to measure them in"},
		{"generator", "no window to measure it in; what was asked for was not reached: all requests fail"},
	}, r.loadFacts())
}
