package load

import (
	"bufio"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"chokepoint/harness/bundle/latency"
)

// resultFile keeps what one worker sends of its results in a file without a
// name, so that nothing is left behind however this process ends.
type resultFile struct {
	mu   sync.Mutex
	file *os.File
	err  error
}

func newResultFile() (*resultFile, error) {
	file, err := os.CreateTemp("", "chokepoint-results-*.gob")
	if err != nil {
		return nil, fmt.Errorf("temporary file for results: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, fmt.Errorf("temporary file for results: %w", errors.Join(err, file.Close()))
	}
	return &resultFile{file: file}, nil
}

// Write keeps the first error, and everything after it is lost.
func (f *resultFile) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.file.Write(b)
	if err != nil {
		f.err = fmt.Errorf("write results to %s: %w", os.TempDir(), err)
	}
	return n, f.err
}

func (f *resultFile) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *resultFile) close() {
	if f != nil {
		_ = f.file.Close() // it has no name, so that nothing of it stays
	}
}

// writeResults writes the results of all files as one stream.
func writeResults(w io.Writer, files []*resultFile) error {
	readers := make([]io.Reader, 0, len(files))
	for _, f := range files {
		if _, err := f.file.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("read results back: %w", err)
		}
		readers = append(readers, bufio.NewReaderSize(f.file, 256<<10))
	}
	if len(readers) == 1 {
		if _, err := io.Copy(w, readers[0]); err != nil {
			return fmt.Errorf("copy results: %w", err)
		}
		return nil
	}
	// Each stream begins with what describes its types, so that they cannot simply
	// be put one after another.
	encode := gob.NewEncoder(w)
	for _, r := range readers {
		decode := gob.NewDecoder(r)
		for {
			var result latency.Result
			err := decode.Decode(&result)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return fmt.Errorf("read results back: %w", err)
			}
			if err := encode.Encode(&result); err != nil {
				return fmt.Errorf("merge results: %w", err)
			}
		}
	}
	return nil
}
