package bundle_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
)

// An artifact that is read as a stream is trusted no further than one that is
// read whole.
func TestOpenArtifact(t *testing.T) {
	dir := write(t)
	full := filepath.Join(dir, filepath.FromSlash(bundle.EBPFSched))
	whole, err := os.ReadFile(full)
	require.NoError(t, err)

	f, err := open(t, dir).Evidence().Open(bundle.EBPFSched)
	require.NoError(t, err)
	got, err := io.ReadAll(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	assert.Equal(t, whole, got, "from its start")

	_, err = open(t, dir).Evidence().Open(bundle.ScenarioFile)
	assert.ErrorIs(t, err, bundle.ErrNoArtifact, "ground truth")
	for name, damaged := range map[string][]byte{
		"cut":     whole[:len(whole)/2],
		"longer":  append(bytes.Clone(whole), ' '),
		"changed": bytes.Replace(whole, []byte("7"), []byte("8"), 1),
		"empty":   nil,
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(full, damaged, 0o644))
			_, err := open(t, dir).Evidence().Open(bundle.EBPFSched)
			assert.ErrorIs(t, err, bundle.ErrDamaged)
			assert.ErrorContains(t, err, bundle.EBPFSched)
		})
	}
	t.Run("a link out of the bundle", func(t *testing.T) {
		outside := filepath.Join(t.TempDir(), "outside")
		require.NoError(t, os.WriteFile(outside, whole, 0o644))
		require.NoError(t, os.Remove(full))
		require.NoError(t, os.Symlink(outside, full))
		_, err := open(t, dir).Evidence().Open(bundle.EBPFSched)
		assert.ErrorIs(t, err, bundle.ErrDamaged)
	})
}
