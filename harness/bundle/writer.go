package bundle

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sort"
	"sync"
)

// Writer makes a bundle in a directory. Its methods may be called from several
// goroutines, for different artifacts.
type Writer struct {
	dir string

	mu        sync.Mutex
	manifest  Manifest
	artifacts map[string]Artifact
}

// Create makes a bundle in dir, which must not exist or be empty, and writes a
// first manifest that says the bundle is incomplete.
func Create(dir string, m Manifest) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create bundle: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("create bundle: %w", err)
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("create bundle: %s is not empty; name a new directory", dir)
	}
	m.Schema = SchemaVersion
	m.Complete = false
	m.Incomplete = "the run has not ended, or died before it could say why"
	w := &Writer{dir: dir, manifest: m, artifacts: map[string]Artifact{}}
	return w, w.save()
}

// Dir is the directory the bundle is written to.
func (w *Writer) Dir() string { return w.dir }

// Update changes the manifest and saves it.
func (w *Writer) Update(change func(*Manifest)) error {
	w.mu.Lock()
	change(&w.manifest)
	w.mu.Unlock()
	return w.save()
}

// Create begins the artifact at path, slash-separated inside the bundle. It
// belongs to the bundle, with its size and checksum, once it is closed.
func (w *Writer) Create(path string) (io.WriteCloser, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	full := filepath.Join(w.dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return nil, fmt.Errorf("create artifact %s: %w", path, err)
	}
	f, err := os.Create(full)
	if err != nil {
		return nil, fmt.Errorf("create artifact %s: %w", path, err)
	}
	a := &artifactWriter{w: w, path: path, f: f, sum: sha256.New()}
	a.buf = bufio.NewWriterSize(io.MultiWriter(f, a.sum), 64<<10)
	return a, nil
}

// WriteFile makes an artifact of data.
func (w *Writer) WriteFile(path string, data []byte) error {
	f, err := w.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// WriteJSON makes an artifact of v as indented JSON.
func (w *Writer) WriteJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("artifact %s: %w", path, err)
	}
	return w.WriteFile(path, append(data, '\n'))
}

// Finish declares the bundle complete.
func (w *Writer) Finish() error {
	return w.Update(func(m *Manifest) { m.Complete, m.Incomplete = true, "" })
}

// Abandon leaves the bundle incomplete and says why.
func (w *Writer) Abandon(why string) error {
	return w.Update(func(m *Manifest) { m.Complete, m.Incomplete = false, why })
}

// save writes the manifest so that a reader sees the old one or the new one,
// never a part.
func (w *Writer) save() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.manifest.Artifacts = w.manifest.Artifacts[:0]
	for _, a := range w.artifacts {
		w.manifest.Artifacts = append(w.manifest.Artifacts, a)
	}
	sort.Slice(w.manifest.Artifacts, func(i, j int) bool {
		return w.manifest.Artifacts[i].Path < w.manifest.Artifacts[j].Path
	})
	data, err := json.MarshalIndent(w.manifest, "", "  ")
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	tmp := filepath.Join(w.dir, ManifestFile+".tmp")
	if err := os.WriteFile(tmp, append(data, '\n'), 0o644); err != nil {
		return errors.Join(fmt.Errorf("write manifest: %w", err), os.Remove(tmp))
	}
	if err := os.Rename(tmp, filepath.Join(w.dir, ManifestFile)); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

type artifactWriter struct {
	w    *Writer
	path string
	f    *os.File
	buf  *bufio.Writer
	sum  hash.Hash
	n    int64
	err  error
}

func (a *artifactWriter) Write(p []byte) (int, error) {
	n, err := a.buf.Write(p)
	a.n += int64(n)
	if err != nil && a.err == nil {
		a.err = fmt.Errorf("write artifact %s: %w", a.path, err)
	}
	return n, a.err
}

// Close enters the artifact into the manifest. One that could not be written
// whole is removed: a missing artifact is told, a half one would mislead.
func (a *artifactWriter) Close() error {
	if a.f == nil {
		return nil
	}
	err := errors.Join(a.err, a.buf.Flush(), a.f.Close())
	name := a.f.Name()
	a.f = nil
	if err != nil {
		return errors.Join(fmt.Errorf("write artifact %s: %w", a.path, err), os.Remove(name))
	}
	a.w.mu.Lock()
	a.w.artifacts[a.path] = Artifact{Path: a.path, Bytes: a.n, SHA256: hex.EncodeToString(a.sum.Sum(nil))}
	a.w.mu.Unlock()
	return a.w.save()
}
