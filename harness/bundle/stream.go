package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Open opens an artifact to be read from its start to its end, after checking it
// against the manifest: for those that need not be in memory whole. The errors
// are those of ReadFile. The caller closes it.
func (e Evidence) Open(path string) (io.ReadCloser, error) {
	if !e.Has(path) {
		return nil, fmt.Errorf("%s: %w", path, ErrNoArtifact)
	}
	a := e.b.artifact[path]
	f, err := openBounded(e.b.root, path, a.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
	}
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(f, a.Bytes+1))
	if err == nil && (n != a.Bytes || hex.EncodeToString(sum.Sum(nil)) != a.SHA256) {
		err = errMismatch
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = f.Close() // it was only read
		return nil, fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
	}
	return f, nil
}

// openBounded opens a regular file of at most limit bytes.
func openBounded(root *os.Root, path string, limit int64) (*os.File, error) {
	f, err := root.Open(filepath.FromSlash(path))
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s is not a regular file", path)
	case info.Size() > limit:
		err = fmt.Errorf("%s has %d bytes, more than the %d allowed", path, info.Size(), limit)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// readBounded reads a regular file of at most limit bytes.
func readBounded(root *os.Root, path string, limit int64) ([]byte, error) {
	f, err := openBounded(root, path, limit)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}
