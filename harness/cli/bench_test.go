package cli

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// bundleDir names the bundle of BenchmarkAnalyze: one that a run left, with all
// artifacts of a window at 10,000 in flight, is too large for the repository.
const bundleDir = "CHOKEPOINT_BENCH_BUNDLE"

// BenchmarkAnalyze takes a bundle to its report, as analyze does.
func BenchmarkAnalyze(b *testing.B) {
	path := os.Getenv(bundleDir)
	if path == "" {
		b.Skipf("%s names no bundle", bundleDir)
	}
	for b.Loop() {
		_, err := diagnose(path, chosen{})
		require.NoError(b, err)
	}
}
