package bundle

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Bounds on what a reader accepts. The largest artifact in use is the trace,
// which a scenario bounds to 64 MiB; the bounds leave room above that and keep
// a hostile bundle from filling memory or disk.
const (
	MaxManifestBytes = 8 << 20
	MaxScenarioBytes = 1 << 20
	MaxJSONBytes     = 64 << 20
	MaxArtifactBytes = 1 << 30
	MaxArtifacts     = 4096
)

// Errors that a caller tells apart with errors.Is.
var (
	// ErrNotBundle means that there is no readable manifest.
	ErrNotBundle = errors.New("not a bundle")
	// ErrNoArtifact means that the bundle does not hold the artifact.
	ErrNoArtifact = errors.New("no such artifact in the bundle")
	// ErrDamaged means that an artifact is not what the manifest says it is.
	ErrDamaged = errors.New("damaged artifact")

	errMismatch = errors.New("its size or checksum is not what the manifest says")
)

// Bundle is an opened recording.
type Bundle struct {
	path     string
	manifest Manifest
	root     *os.Root
	artifact map[string]Artifact
	cleanup  func() error
}

// Open opens the bundle at path: a directory, or a .tar.gz that Pack made,
// which is unpacked to a temporary directory until Close.
func Open(path string) (*Bundle, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	if info.IsDir() {
		return openDir(path, path, func() error { return nil })
	}
	dir, err := os.MkdirTemp("", "chokepoint-bundle-")
	if err != nil {
		return nil, fmt.Errorf("open bundle %s: %w", path, err)
	}
	remove := func() error { return os.RemoveAll(dir) }
	if err := unpack(path, dir); err != nil {
		return nil, errors.Join(fmt.Errorf("open bundle %s: %w", path, err), remove())
	}
	b, err := openDir(path, dir, remove)
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	return b, nil
}

func openDir(path, dir string, cleanup func() error) (*Bundle, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open bundle %s: %w", path, err)
	}
	b := &Bundle{path: path, root: root, artifact: map[string]Artifact{}, cleanup: cleanup}
	if err := b.readManifest(); err != nil {
		return nil, errors.Join(fmt.Errorf("open bundle %s: %w", path, err), root.Close())
	}
	return b, nil
}

func (b *Bundle) readManifest() error {
	data, err := readBounded(b.root, ManifestFile, MaxManifestBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: it has no %s; name a directory that `chokepoint run` wrote", ErrNotBundle, ManifestFile)
	}
	if err != nil {
		return err
	}
	m, err := ParseManifest(data)
	if err != nil {
		return err
	}
	b.manifest = m
	for _, a := range m.Artifacts {
		b.artifact[a.Path] = a
	}
	return nil
}

// ParseManifest reads and checks the text of a manifest.
func ParseManifest(data []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return Manifest{}, fmt.Errorf("%w: %s: %w", ErrNotBundle, ManifestFile, err)
	}
	switch {
	case m.Schema <= 0:
		return Manifest{}, fmt.Errorf("%w: %s has no schema version", ErrNotBundle, ManifestFile)
	case m.Schema > SchemaVersion:
		return Manifest{}, fmt.Errorf("%s has schema version %d, this chokepoint reads up to %d: use a newer one", ManifestFile, m.Schema, SchemaVersion)
	case len(m.Artifacts) > MaxArtifacts:
		return Manifest{}, fmt.Errorf("%s lists %d artifacts, more than the %d a bundle may have", ManifestFile, len(m.Artifacts), MaxArtifacts)
	}
	seen := map[string]bool{}
	for _, a := range m.Artifacts {
		if err := checkPath(a.Path); err != nil {
			return Manifest{}, fmt.Errorf("%s: %w", ManifestFile, err)
		}
		if seen[a.Path] {
			return Manifest{}, fmt.Errorf("%s lists artifact %s twice", ManifestFile, a.Path)
		}
		seen[a.Path] = true
		if a.Bytes < 0 || a.Bytes > MaxArtifactBytes {
			return Manifest{}, fmt.Errorf("%s: artifact %s has %d bytes, outside 0 to %d", ManifestFile, a.Path, a.Bytes, int64(MaxArtifactBytes))
		}
	}
	return m, nil
}

// Path is the path the bundle was opened by.
func (b *Bundle) Path() string { return b.path }

// Manifest is the bundle's manifest.
func (b *Bundle) Manifest() Manifest { return b.manifest }

// Close releases the bundle.
func (b *Bundle) Close() error { return errors.Join(b.root.Close(), b.cleanup()) }

// GroundTruth is the text of scenario.json: what was run and what must be
// found. Only a verdict and the header of a report have business with it. It
// is ErrNoArtifact for a bundle that carries none.
func (b *Bundle) GroundTruth() ([]byte, error) {
	if _, ok := b.artifact[ScenarioFile]; !ok {
		return nil, fmt.Errorf("%s: %w", ScenarioFile, ErrNoArtifact)
	}
	data, err := readBounded(b.root, ScenarioFile, MaxScenarioBytes)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ScenarioFile, err)
	}
	return data, nil
}

// Evidence is the bundle without its ground truth.
func (b *Bundle) Evidence() Evidence { return Evidence{b} }

// Evidence is all that signals and rules may see of a bundle. It cannot reach
// the scenario's name, its variant, its knobs or its expectation.
type Evidence struct{ b *Bundle }

// Manifest is the bundle's manifest, which holds no ground truth.
func (e Evidence) Manifest() Manifest { return e.b.manifest }

// Has reports whether the bundle holds the artifact.
func (e Evidence) Has(path string) bool {
	_, ok := e.b.artifact[path]
	return ok && path != ScenarioFile
}

// ReadFile returns an artifact whole, after checking it against the manifest.
// The error is ErrNoArtifact or ErrDamaged where that is the reason.
func (e Evidence) ReadFile(path string) ([]byte, error) {
	if !e.Has(path) {
		return nil, fmt.Errorf("%s: %w", path, ErrNoArtifact)
	}
	a := e.b.artifact[path]
	data, err := readBounded(e.b.root, path, a.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
	}
	sum := sha256.Sum256(data)
	if int64(len(data)) != a.Bytes || hex.EncodeToString(sum[:]) != a.SHA256 {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrDamaged, errMismatch)
	}
	return data, nil
}

// ReadJSON decodes an artifact that is one JSON document.
func (e Evidence) ReadJSON(path string, into any) error {
	data, err := e.readJSONText(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
	}
	return nil
}

func (e Evidence) readJSONText(path string) ([]byte, error) {
	if a, ok := e.b.artifact[path]; ok && a.Bytes > MaxJSONBytes {
		return nil, fmt.Errorf("%s: %w: %d bytes, more than the %d a JSON artifact may have", path, ErrDamaged, a.Bytes, MaxJSONBytes)
	}
	return e.ReadFile(path)
}

// ReadLines decodes an artifact of one JSON document a line.
func ReadLines[T any](e Evidence, path string) ([]T, error) {
	data, err := e.readJSONText(path)
	if err != nil {
		return nil, err
	}
	var out []T
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 4<<20)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var v T
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			return out, fmt.Errorf("%s:%d: %w: %w", path, n, ErrDamaged, err)
		}
		out = append(out, v)
	}
	if err := lines.Err(); err != nil {
		return out, fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
	}
	return out, nil
}

// Dimension finds a dimension in the manifest by name.
func (m Manifest) Dimension(name string) (Dimension, bool) {
	for _, d := range m.Dimensions {
		if d.Name == name {
			return d, true
		}
	}
	return Dimension{}, false
}

// Captured says of a dimension whether any of it was captured, and if not why.
func (m Manifest) Captured(dimension string) (captured bool, reason string) {
	d, ok := m.Dimension(dimension)
	if !ok {
		return false, "the recording has nothing of it"
	}
	return d.Captured, d.Reason
}

// Probe finds the probe of a dimension that wrote the artifact, or was to.
func (m Manifest) Probe(artifact string) (Probe, bool) {
	for _, d := range m.Dimensions {
		for _, p := range d.Probes {
			for _, a := range p.Artifacts {
				if a == artifact {
					return p, true
				}
			}
		}
	}
	return Probe{}, false
}
