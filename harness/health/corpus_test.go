package health_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/corpus"
	"chokepoint/harness/health"
)

// TestRecordings holds that recordings of before this judge stay trusted: what
// they do not hold is not known, and never held against them.
func TestRecordings(t *testing.T) {
	for _, r := range corpus.Bundles(t) {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			b := r.Open(t)
			in := health.In{Manifest: b.Manifest(), Load: &bundle.Load{}}
			require.NoError(t, b.Evidence().ReadJSON(bundle.LoadSummary, in.Load))
			var err error
			in.Proc, err = bundle.ReadLines[bundle.ProcSample](b.Evidence(), bundle.ProcSamples)
			require.NoError(t, err)

			report := health.Judge(in)
			assert.True(t, report.Trusted, report.Reason)
			for _, name := range []string{"reached before capture", "in flight", "results dropped"} {
				_, got := outcome(report, name)
				assert.Equal(t, fine, got, name)
			}
			if len(in.Load.Generator.Workers) > 0 {
				return
			}
			for _, name := range []string{"CPU of the busiest worker", "CPU taken from the target", "CPU of other processes", "own lag"} {
				_, got := outcome(report, name)
				assert.Equal(t, unknown, got, name)
			}
		})
	}
}
