// Package corpus reads recorded bundles whose truth is known: the ones that the
// repository keeps (real recordings of each flaw, its twin and its near misses,
// as scripts/record-fixtures made them and as nobody has edited them since), and
// those of anybody else in a directory.
package corpus

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"chokepoint/harness/bundle"
)

const (
	folder = "harness/corpus/testdata"
	packed = ".tar.gz"

	// BaselineFile is how well a corpus was told when that was last committed. It
	// stands in the corpus' directory, and of the repository's own beside it.
	BaselineFile = "baseline.json"
)

// Recording is one recorded bundle.
type Recording struct {
	Name     string // of the file, without folder and ending: "lock-contention-sleep-flawed"
	Scenario string // file in scenarios, without ending: "lock-contention-sleep"
	Flawed   bool   // or its twin, or a near miss
	Path     string // bundle.Open reads it
}

// List finds the bundles below dir, packed ones and directories, by name.
func List(dir string) ([]Recording, error) {
	var list []Recording
	add := func(path, name string) {
		r := Recording{Name: filepath.ToSlash(name), Path: path}
		if r.Scenario, r.Flawed = strings.CutSuffix(r.Name, "-flawed"); !r.Flawed {
			r.Scenario = strings.TrimSuffix(r.Name, "-fixed")
		}
		list = append(list, r)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if !d.IsDir() {
			if base, ok := strings.CutSuffix(name, packed); ok {
				add(path, base)
			}
			return nil
		}
		if _, err := os.Stat(filepath.Join(path, bundle.ManifestFile)); err == nil {
			add(path, name)
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the recordings of %s: %w", dir, err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("list the recordings of %s: it holds no bundle: neither a %s file nor a directory with a %s", dir, packed, bundle.ManifestFile)
	}
	slices.SortFunc(list, func(a, b Recording) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Dir is the directory of the repository's own corpus, found from the working
// directory or any above it.
func Dir() (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the corpus: %w", err)
	}
	for dir := at; ; dir = filepath.Dir(dir) {
		corpus := filepath.Join(dir, filepath.FromSlash(folder))
		if info, err := os.Stat(corpus); err == nil && info.IsDir() {
			return corpus, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find the corpus: no %s at or above %s; name a directory of recordings with --corpus", folder, at)
		}
	}
}

// Each calls do for every recording, some at a time, and gives what it returned
// in the order of the list. Everything that went wrong is reported, joined.
func Each[T any](ctx context.Context, list []Recording, workers int, do func(context.Context, Recording) (T, error)) ([]T, error) {
	out := make([]T, len(list))
	errs := make([]error, len(list))
	next := make(chan int)
	var all sync.WaitGroup
	for range min(max(workers, 1), len(list)) {
		all.Go(func() {
			for i := range next {
				out[i], errs[i] = do(ctx, list[i])
			}
		})
	}
feed:
	for i := range list {
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	all.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return out, errors.Join(errs...)
}
