package corpus_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/corpus"
	"chokepoint/harness/signal"
)

// TestSlots holds that it is told how many there are of a resource, which the
// scenarios set. Nothing in a trace says so: most waits that ended there have lasted
// since before it.
func TestSlots(t *testing.T) {
	want := map[string]float64{ // conns or turns
		"pool-exhaustion-catalogue-flawed": 8,
		"pool-exhaustion-checkout-flawed":  4,
		"pool-exhaustion-images-flawed":    8,
		"pool-exhaustion-reviews-flawed":   8,
	}
	seen := 0
	for _, r := range corpus.Bundles(t) {
		slots, ok := want[r.Name]
		if !ok {
			continue
		}
		seen++
		t.Run(r.Name, func(t *testing.T) {
			set := signal.Read(r.Open(t).Evidence()).Measure()
			require.Contains(t, set.Signals, "trace.resource_slots", set.Missing["trace.resource_slots"])
			assert.InEpsilon(t, slots, set.Signals["trace.resource_slots"].Value, 0.1)
		})
	}
	assert.Equal(t, len(want), seen)
}
