package corpus_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"chokepoint/harness/corpus"
	"chokepoint/harness/scenario"
)

// groundTruth is the first finding that a recording's own scenario.json says
// there is.
func groundTruth(t *testing.T, r corpus.Recording) scenario.Truth {
	t.Helper()
	data, err := r.Open(t).GroundTruth()
	require.NoError(t, err)
	resolved, err := scenario.ReadResolved(data)
	require.NoError(t, err)
	require.NotEmpty(t, resolved.Truth)
	return resolved.Truth[0]
}
