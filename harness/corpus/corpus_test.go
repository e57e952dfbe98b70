package corpus_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/corpus"
)

func TestList(t *testing.T) {
	dir := t.TempDir()
	_, err := corpus.List(filepath.Join(dir, "nowhere"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = corpus.List(dir)
	require.ErrorContains(t, err, "it holds no bundle")

	for _, name := range []string{"b-flawed.tar.gz", "deep/a-fixed.tar.gz", "notes.txt", "live/run-1/manifest.json", "live/run-1/inner.tar.gz"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	list, err := corpus.List(dir)
	require.NoError(t, err)
	assert.Equal(t, []corpus.Recording{
		{Name: "b-flawed", Scenario: "b", Flawed: true, Path: filepath.Join(dir, "b-flawed.tar.gz")},
		{Name: "deep/a-fixed", Scenario: "deep/a", Path: filepath.Join(dir, "deep/a-fixed.tar.gz")},
		{Name: "live/run-1", Scenario: "live/run-1", Path: filepath.Join(dir, "live/run-1")},
	}, list, "what is inside a bundle is none")
}

func TestDirIsFoundFromBelow(t *testing.T) {
	dir, err := corpus.Dir()
	require.NoError(t, err)
	assert.Equal(t, "testdata", filepath.Base(dir))
	t.Chdir(t.TempDir())
	_, err = corpus.Dir()
	require.ErrorContains(t, err, "name a directory of recordings with --corpus")
}

// TestSampleStays holds that what is added to the corpus takes at most its own
// places in a sample.
func TestSampleStays(t *testing.T) {
	list := corpus.Bundles(t)
	require.Greater(t, len(list), 10)
	few := corpus.Sample(list, 8)
	require.Len(t, few, 8)
	assert.True(t, slices.IsSortedFunc(few, func(a, b corpus.Recording) int { return slices.Compare([]byte(a.Name), []byte(b.Name)) }))
	more := corpus.Sample(append(slices.Clone(list), corpus.Recording{Name: "one more"}), 8)
	kept := 0
	for _, r := range few {
		if slices.Contains(more, r) {
			kept++
		}
	}
	assert.GreaterOrEqual(t, kept, 7)
	assert.Len(t, corpus.Sample(list, len(list)+5), len(list))
}

func TestEach(t *testing.T) {
	list := corpus.Bundles(t)[:9]
	names, err := corpus.Each(t.Context(), list, 3, func(_ context.Context, r corpus.Recording) (string, error) { return r.Name, nil })
	require.NoError(t, err)
	for i, r := range list {
		assert.Equal(t, r.Name, names[i], "in the order of the list")
	}

	_, err = corpus.Each(t.Context(), list, 2, func(_ context.Context, r corpus.Recording) (bool, error) {
		if r.Flawed {
			return false, errors.New(r.Name)
		}
		return true, nil
	})
	for _, r := range list {
		if r.Flawed {
			require.ErrorContains(t, err, r.Name, "all that went wrong is reported")
		}
	}

	stop := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	_, err = corpus.Each(ctx, list, 2, func(context.Context, corpus.Recording) (bool, error) { return true, nil })
	require.ErrorIs(t, err, stop)
}

// TestRecordingsSayWhereTheyCameFrom holds that a recording can be made again:
// each says machine, kernel, Go and its own size.
func TestRecordingsSayWhereTheyCameFrom(t *testing.T) {
	const most = 900 << 10 // bytes: they live in the repository
	for _, r := range corpus.Bundles(t) {
		b, err := bundle.Open(r.Path)
		require.NoError(t, err)
		m := b.Manifest()
		require.NoError(t, b.Close())
		assert.NotEmpty(t, m.Host.Kernel, r.Name)
		assert.Positive(t, m.Host.CPUs, r.Name)
		assert.NotEmpty(t, m.Tool.Go, r.Name)
		assert.NotEmpty(t, m.Target.GoVersion, r.Name)
		assert.False(t, m.Clock.Wall.IsZero(), r.Name)
		info, err := os.Stat(r.Path)
		require.NoError(t, err)
		assert.Less(t, info.Size(), int64(most), r.Name)
	}
}
