package corpus_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"chokepoint/harness/corpus"
	"chokepoint/harness/scenario"
)

// groundTruth is the scenario that a recording was made of, with the findings
// that a flaw must show.
func groundTruth(t *testing.T, r corpus.Recording) scenario.Resolved {
	t.Helper()
	data, err := r.Open(t).GroundTruth()
	require.NoError(t, err)
	resolved, err := scenario.ReadResolved(data)
	require.NoError(t, err)
	if r.Flawed {
		require.NotEmpty(t, resolved.Truth)
	}
	return resolved
}
