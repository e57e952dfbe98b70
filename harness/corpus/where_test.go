package corpus_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/cli"
	"chokepoint/harness/corpus"
	"chokepoint/harness/signal"
	"chokepoint/harness/signal/requests"
)

// TestWhereTimeWent holds that of the time of the slow requests of every recording
// at least 95% is attributed, and that the requests found in the trace are those
// that the client had in flight: neither is so by construction.
func TestWhereTimeWent(t *testing.T) {
	for _, r := range corpus.Bundles(t) {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			w, err := signal.Read(r.Open(t).Evidence()).Where("")
			require.NoError(t, err)
			assert.Equal(t, "requests", w.Source)
			assert.Zero(t, w.Table.Counts.RestNS)
			p99, ok := w.Table.Band(requests.P99)
			require.True(t, ok)
			inferred := map[requests.Basis]int64{}
			for _, p := range p99.Parts {
				inferred[p.Basis] += p.NS
			}
			share := func(b requests.Basis) float64 { return float64(inferred[b]) / float64(p99.TotalNS) }
			t.Logf("p99: %d requests, %d cut, explained %.2f%%, of it by pattern %.1f%%, by profile %.1f%%; in flight %.2f at the client, %.2f served",
				p99.Requests, p99.Cut, 100*p99.ExplainedShare(), 100*share(requests.ByPattern), 100*share(requests.ByProfile), w.Outside.InFlight, w.Outside.Served)
			if w.Table.TraceNS >= int64(2*time.Second) { // in less, many goroutines show nothing of themselves
				assert.Greater(t, p99.ExplainedShare(), 0.95)
			}
			assert.Empty(t, w.Outside.Missing)
			var load bundle.Load
			require.NoError(t, r.Open(t).Evidence().ReadJSON(bundle.LoadSummary, &load))
			assert.LessOrEqual(t, w.Outside.Served, 1.01*w.Outside.InFlight)
			// Clients that read slowly have requests in flight that the server is done
			// with, and of a server that is short of CPU or of descriptors some that it
			// has not seen yet.
			if len(load.Clients) == 0 && w.Scheduler.RunnableNS < w.Table.TraceNS && !refuses(t, r) {
				assert.InEpsilon(t, w.Outside.InFlight, w.Outside.Served, 0.01)
			}
		})
	}
}

// refuses reports whether the target refuses connections for want of descriptors.
func refuses(t *testing.T, r corpus.Recording) bool {
	return signal.Measure(r.Open(t).Evidence()).Signals["ebpf.fd_refused_share"].Value > 0
}

// TestWhereTwiceGivesTheSameBytes holds that the account does not depend on the
// order of maps.
func TestWhereTwiceGivesTheSameBytes(t *testing.T) {
	r := corpus.Bundles(t)[0]
	run := func(args ...string) string {
		var stdout, stderr bytes.Buffer
		require.Equal(t, cli.ExitPass, cli.Main(append(args, r.Path), &stdout, &stderr), stderr.String())
		return stdout.String()
	}
	text, doc := run("where"), run("where", "--json")
	for range 3 {
		require.Equal(t, text, run("where"))
		require.Equal(t, doc, run("where", "--json"))
	}
}
