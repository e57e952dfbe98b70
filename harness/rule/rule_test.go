package rule

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func loadTestdata(t *testing.T) *Set {
	t.Helper()
	set, err := LoadFS(os.DirFS("testdata/rules"), catalogue())
	require.NoError(t, err)
	return set
}

func TestRunCasesOfTestdata(t *testing.T) {
	results := loadTestdata(t).RunCases()
	require.Len(t, results, 6)
	for _, r := range results {
		require.True(t, r.Passed, "%s:%d: %s: %s", r.File, r.Line, r.Case, r.Why)
	}
}
