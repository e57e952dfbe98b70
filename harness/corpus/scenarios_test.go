package corpus_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/scenario"
)

// TestScenariosDifferInTheTraceAlone holds the scenarios that exist for the sake
// of small recordings to those they stand in for.
func TestScenariosDifferInTheTraceAlone(t *testing.T) {
	files, err := filepath.Glob("scenarios/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		resolve := func(file string) scenario.Resolved {
			s, err := scenario.Load(file)
			require.NoError(t, err)
			r, err := s.Resolve(scenario.Overrides{})
			require.NoError(t, err)
			return r
		}
		small, whole := resolve(file), resolve(filepath.Join("../../scenarios", filepath.Base(file)))
		assert.Less(t, small.Scenario.Capture.Trace.For, whole.Scenario.Capture.Trace.For, file)
		small.Scenario.Capture.Trace.For = whole.Scenario.Capture.Trace.For
		want, got := text(t, whole), text(t, small)
		assert.Equal(t, string(want), string(got), file)
	}
}
