package signal_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/corpus"
	"chokepoint/harness/signal"
)

// TestSources holds on a few real recordings that what has a value came from
// artifacts that are there, and from one of its own dimension among them.
func TestSources(t *testing.T) {
	for _, r := range corpus.Sample(corpus.Bundles(t), 3) {
		e := r.Open(t).Evidence()
		set, from := signal.Measure(e), signal.Sources(e)
		require.Len(t, from, len(signal.Catalogue()))
		for name, s := range set.Signals {
			require.NotEmpty(t, from[name], "%s of %s", name, r.Name)
			if slices.Equal(from[name], []string{bundle.ManifestFile}) {
				continue // it is known of the target itself, such as its CPUs
			}
			own := false
			for _, artifact := range from[name] {
				assert.True(t, e.Has(artifact), "%s of %s: %s", name, r.Name, artifact)
				own = own || strings.HasPrefix(artifact, s.Dimension+"/")
			}
			assert.True(t, own, "%s of %s comes from %v", name, r.Name, from[name])
		}
		// What was read for one signal is told of the next that uses it too.
		assert.Contains(t, from["trace.lock_wait_share"], "trace/trace.out")
		assert.Contains(t, from["trace.lock_held_share"], "trace/trace.out")
	}
}
