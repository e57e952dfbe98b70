package corpus_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/corpus"
	"chokepoint/harness/signal"
)

// TestBothEnds holds that the requests the client saw are found in the trace one by
// one, and that what lies between the two ends is small in a recording of a server
// that answers long before it is out of CPU. What is left unpaired is at the
// trace's own ends. Neither is so by construction: the trace knows nothing of the
// client.
func TestBothEnds(t *testing.T) {
	var compared atomic.Int64
	t.Cleanup(func() { assert.Greater(t, compared.Load(), int64(20), "recordings with single requests of both ends") })
	for _, r := range corpus.Bundles(t) {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			w, err := signal.Read(r.Open(t).Evidence()).Where("")
			require.NoError(t, err)
			b := w.BothEnds
			if b.Missing != "" { // few of many requests were written down, or none ended
				assert.Contains(t, b.Missing, "load/results.gob")
				return
			}
			compared.Add(1)
			us := func(ns int64) time.Duration { return time.Duration(ns).Round(time.Microsecond) }
			t.Logf("%d of %d of the client's paired, %d of %d by time sure; before the server saw it p50 %v, p99 %v of %d; after p50 %v, p99 %v of %d; longer at the client p50 %v, p99 %v of %d",
				b.Client.Paired, b.Client.Requests, b.Sure, b.ByTime, us(b.Before.P50NS), us(b.Before.P99NS), b.Before.Count,
				us(b.After.P50NS), us(b.After.P99NS), b.After.Count, us(b.Longer.P50NS), us(b.Longer.P99NS), b.Longer.Count)
			assert.Equal(t, b.Client.Paired, b.Served.Paired)
			assert.Equal(t, b.Client.Paired, b.ByConnection+b.ByTime)
			assert.GreaterOrEqual(t, float64(b.Client.Paired), 0.99*float64(b.Client.Requests)-2)
			assert.Greater(t, float64(b.Sure+b.ByConnection), 0.3*float64(b.Client.Paired))
			assert.Less(t, b.After.P50NS, int64(time.Millisecond))
			if b.Before.Count > 0 {
				assert.Less(t, b.Before.P50NS, int64(time.Millisecond))
			}
		})
	}
}
