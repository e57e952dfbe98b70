package builtin_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"chokepoint/harness/rule"
	"chokepoint/harness/rule/builtin"
	"chokepoint/harness/signal"
)

func TestRulesHoldTheirCases(t *testing.T) {
	set, err := rule.LoadFS(builtin.FS(), signal.Catalogue())
	require.NoError(t, err)
	for _, c := range set.RunCases() {
		t.Run(c.Rule+"/"+c.Case, func(t *testing.T) {
			require.True(t, c.Passed, "%s:%d: %s", c.File, c.Line, c.Why)
		})
	}
}
