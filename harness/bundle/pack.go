package bundle

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// maxUnpackedBytes bounds what a packed bundle may unpack to.
const maxUnpackedBytes = 2 << 30

// Pack writes the bundle as one .tar.gz: the same bundle gives the same bytes.
func (b *Bundle) Pack(w io.Writer) error {
	gz := gzip.NewWriter(w)
	tw := tar.NewWriter(gz)
	paths := []string{ManifestFile}
	for _, a := range b.manifest.Artifacts {
		paths = append(paths, a.Path)
	}
	for _, path := range paths {
		data, err := readBounded(b.root, path, MaxArtifactBytes)
		if err != nil {
			return fmt.Errorf("pack %s: %w", path, err)
		}
		h := &tar.Header{Name: path, Mode: 0o644, Size: int64(len(data)), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("pack %s: %w", path, err)
		}
		if _, err := tw.Write(data); err != nil {
			return fmt.Errorf("pack %s: %w", path, err)
		}
	}
	return errors.Join(tw.Close(), gz.Close())
}

// unpack writes the files of a packed bundle below dir, and nothing elsewhere.
func unpack(path, dir string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	gz, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		return fmt.Errorf("%w: neither a directory nor a gzip file: %w", ErrNotBundle, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	left := int64(maxUnpackedBytes)
	tr := tar.NewReader(gz)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNotBundle, err)
		}
		if n > MaxArtifacts+1 {
			return fmt.Errorf("%w: more than %d files", ErrNotBundle, MaxArtifacts)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		if h.Typeflag != tar.TypeReg {
			return fmt.Errorf("%w: %q is not a regular file", ErrNotBundle, h.Name)
		}
		if err := checkPath(h.Name); err != nil {
			return fmt.Errorf("%w: %w", ErrNotBundle, err)
		}
		if left -= h.Size; left < 0 {
			return fmt.Errorf("%w: unpacks to more than %d bytes", ErrNotBundle, int64(maxUnpackedBytes))
		}
		if err := unpackFile(root, h.Name, tr); err != nil {
			return fmt.Errorf("unpack %s: %w", h.Name, err)
		}
	}
}

func unpackFile(root *os.Root, name string, from io.Reader) error {
	if err := root.MkdirAll(filepath.Dir(filepath.FromSlash(name)), 0o755); err != nil {
		return err
	}
	out, err := root.Create(filepath.FromSlash(name))
	if err != nil {
		return err
	}
	_, err = io.Copy(out, from)
	return errors.Join(err, out.Close())
}
