package corpus_test

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/scenario"
)

// TestScenariosDifferInTraceOrKnobsAlone holds the scenarios that exist for the sake
// of small recordings to those they stand in for: the trace may be shorter, and where
// it takes load to be sick, a request may be more work so that fewer are as much.
func TestScenariosDifferInTraceOrKnobsAlone(t *testing.T) {
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
		assert.LessOrEqual(t, small.Scenario.Capture.Trace.For, whole.Scenario.Capture.Trace.For, file)
		assert.Equal(t, slices.Sorted(maps.Keys(whole.Scenario.Target.Knobs)), slices.Sorted(maps.Keys(small.Scenario.Target.Knobs)), file)
		before := text(t, small)
		small.Scenario.Capture.Trace.For = whole.Scenario.Capture.Trace.For
		small.Scenario.Target.Knobs = whole.Scenario.Target.Knobs
		// The knobs of a command stand in its words.
		assert.Len(t, small.Scenario.Target.Command, len(whole.Scenario.Target.Command), file)
		small.Scenario.Target.Command = whole.Scenario.Target.Command
		assert.NotEqual(t, string(before), string(text(t, whole)), "%s differs in nothing", file)
		want, got := text(t, whole), text(t, small)
		assert.Equal(t, string(want), string(got), file)
	}
}
