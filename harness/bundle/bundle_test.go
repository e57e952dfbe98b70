package bundle_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
)

func write(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "b")
	w, err := bundle.Create(dir, bundle.Manifest{Host: bundle.Host{CPUs: 2}})
	require.NoError(t, err)
	require.NoError(t, w.WriteJSON(bundle.EBPFSched, bundle.Sched{CPUs: 2, Switches: 7}))
	require.NoError(t, w.WriteFile(bundle.ProcSamples, []byte("{\"threads\":3}\n\n{\"threads\":4}\n")))
	require.NoError(t, w.WriteFile(bundle.ScenarioFile, []byte(`{"secret":true}`)))
	require.NoError(t, w.Finish())
	return dir
}

func open(t *testing.T, path string) *bundle.Bundle {
	t.Helper()
	b, err := bundle.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	return b
}

func TestRoundTrip(t *testing.T) {
	dir := write(t)
	packed := filepath.Join(t.TempDir(), "b.tar.gz")
	var first, second bytes.Buffer
	b := open(t, dir)
	require.NoError(t, b.Pack(&first))
	require.NoError(t, b.Pack(&second))
	assert.Equal(t, first.Bytes(), second.Bytes(), "packing is deterministic")
	require.NoError(t, os.WriteFile(packed, first.Bytes(), 0o644))

	for _, path := range []string{dir, packed} {
		b := open(t, path)
		assert.True(t, b.Manifest().Complete)
		e := b.Evidence()
		var s bundle.Sched
		require.NoError(t, e.ReadJSON(bundle.EBPFSched, &s))
		assert.Equal(t, bundle.Sched{CPUs: 2, Switches: 7}, s)
		lines, err := bundle.ReadLines[bundle.ProcSample](e, bundle.ProcSamples)
		require.NoError(t, err)
		assert.Len(t, lines, 2)
		truth, err := b.GroundTruth()
		require.NoError(t, err)
		assert.JSONEq(t, `{"secret":true}`, string(truth))
	}
}

func TestEvidenceCannotReachGroundTruth(t *testing.T) {
	e := open(t, write(t)).Evidence()
	assert.False(t, e.Has(bundle.ScenarioFile))
	_, err := e.ReadFile(bundle.ScenarioFile)
	assert.ErrorIs(t, err, bundle.ErrNoArtifact)
}

func TestDiedRunOpensAndSaysSo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "b")
	w, err := bundle.Create(dir, bundle.Manifest{})
	require.NoError(t, err)
	f, err := w.Create(bundle.TraceOut)
	require.NoError(t, err)
	_, err = f.Write(make([]byte, 200_000))
	require.NoError(t, err)
	// The run dies here: the artifact was never closed.
	b := open(t, dir)
	assert.False(t, b.Manifest().Complete)
	assert.NotEmpty(t, b.Manifest().Incomplete)
	assert.False(t, b.Evidence().Has(bundle.TraceOut), "a half-written file is no artifact")
}

func TestDamageIsNamedAndLocal(t *testing.T) {
	dir := write(t)
	full := filepath.Join(dir, filepath.FromSlash(bundle.EBPFSched))
	data, err := os.ReadFile(full)
	require.NoError(t, err)
	for name, damaged := range map[string][]byte{
		"cut":     data[:len(data)/2],
		"longer":  append(bytes.Clone(data), ' '),
		"changed": bytes.Replace(data, []byte("7"), []byte("8"), 1),
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(full, damaged, 0o644))
			e := open(t, dir).Evidence()
			var s bundle.Sched
			err := e.ReadJSON(bundle.EBPFSched, &s)
			assert.ErrorIs(t, err, bundle.ErrDamaged)
			assert.ErrorContains(t, err, bundle.EBPFSched)
			_, err = e.ReadFile(bundle.ProcSamples)
			assert.NoError(t, err, "the others still read")
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	tgz := func(name string, kind byte) []byte {
		var buf bytes.Buffer
		gz := gzip.NewWriter(&buf)
		tw := tar.NewWriter(gz)
		require.NoError(t, tw.WriteHeader(&tar.Header{Name: name, Typeflag: kind, Linkname: "/etc/passwd", Mode: 0o644}))
		require.NoError(t, tw.Close())
		require.NoError(t, gz.Close())
		return buf.Bytes()
	}
	for name, c := range map[string]struct {
		file string
		data []byte
		says string
	}{
		"no manifest":     {"x", nil, "name a directory that `chokepoint run` wrote"},
		"manifest broken": {bundle.ManifestFile, []byte("{"), "not a bundle"},
		"no schema":       {bundle.ManifestFile, []byte("{}"), "no schema version"},
		"from the future": {bundle.ManifestFile, []byte(`{"schema":99}`), "use a newer one"},
		"path climbs":     {bundle.ManifestFile, []byte(`{"schema":1,"artifacts":[{"path":"../x"}]}`), "inside the bundle"},
		"path twice":      {bundle.ManifestFile, []byte(`{"schema":1,"artifacts":[{"path":"x"},{"path":"x"}]}`), "twice"},
		"size negative":   {bundle.ManifestFile, []byte(`{"schema":1,"artifacts":[{"path":"x","bytes":-1}]}`), "outside"},
		"plain file":      {"packed:x.tar.gz", []byte("hello"), "not a bundle"},
		"tar climbs":      {"packed:x.tar.gz", tgz("../x", tar.TypeReg), "inside the bundle"},
		"tar link":        {"packed:x.tar.gz", tgz("manifest.json", tar.TypeSymlink), "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := dir
			file := c.file
			if f, ok := bytes.CutPrefix([]byte(file), []byte("packed:")); ok {
				file = string(f)
				path = filepath.Join(dir, file)
			}
			require.NoError(t, os.WriteFile(filepath.Join(dir, file), c.data, 0o644))
			_, err := bundle.Open(path)
			assert.ErrorContains(t, err, c.says)
		})
	}
}

func TestLinkOutOfTheBundleIsNotFollowed(t *testing.T) {
	dir := write(t)
	full := filepath.Join(dir, filepath.FromSlash(bundle.EBPFSched))
	data, err := os.ReadFile(full)
	require.NoError(t, err)
	outside := filepath.Join(t.TempDir(), "outside")
	require.NoError(t, os.WriteFile(outside, data, 0o644))
	require.NoError(t, os.Remove(full))
	require.NoError(t, os.Symlink(outside, full))
	_, err = open(t, dir).Evidence().ReadFile(bundle.EBPFSched)
	assert.ErrorIs(t, err, bundle.ErrDamaged)
}

func TestCreateRefusesAUsedDirectory(t *testing.T) {
	_, err := bundle.Create(write(t), bundle.Manifest{})
	assert.ErrorContains(t, err, "name a new directory")
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"schema":1,"complete":true,"artifacts":[{"path":"a/b","bytes":1,"sha256":"x"}]}`))
	f.Add([]byte(`{"schema":1,"dimensions":[{"name":"ebpf","probes":[{"name":"p"}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := bundle.ParseManifest(data)
		if err != nil {
			return
		}
		for _, a := range m.Artifacts {
			require.NotContains(t, a.Path, "..")
		}
	})
}
