// Package corpus offers the recorded bundles that the repository keeps to the
// tests of what diagnoses them: real recordings, of each flaw and its twin, as
// scripts/record-fixtures made them and as nobody has edited them since.
package corpus

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chokepoint/harness/bundle"
)

const (
	folder = "harness/corpus/testdata"
	packed = ".tar.gz"
)

// Recording is one packed bundle.
type Recording struct {
	Name     string // of the file, without folder and ending: "lock-contention-sleep-flawed"
	Scenario string // file in scenarios, without ending: "lock-contention-sleep"
	Flawed   bool   // or its twin, or a near miss
	Path     string // absolute; bundle.Open reads it
}

// Bundles lists the recordings by name. It ends the test if there are none.
func Bundles(tb testing.TB) []Recording {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(module(tb), filepath.FromSlash(folder), "*"+packed))
	if err != nil {
		tb.Fatalf("list recorded bundles: %v", err)
	}
	if len(files) == 0 {
		tb.Fatalf("%s holds no recorded bundle; scripts/record-fixtures makes them", folder)
	}
	list := make([]Recording, 0, len(files))
	for _, file := range files {
		r := Recording{Name: strings.TrimSuffix(filepath.Base(file), packed), Path: file}
		var fixed bool
		if r.Scenario, r.Flawed = strings.CutSuffix(r.Name, "-flawed"); !r.Flawed {
			if r.Scenario, fixed = strings.CutSuffix(r.Name, "-fixed"); !fixed {
				tb.Fatalf("%s: its name says neither -flawed nor -fixed", file)
			}
		}
		list = append(list, r)
	}
	return list
}

// Open opens a recording for the length of the test.
func (r Recording) Open(tb testing.TB) *bundle.Bundle {
	tb.Helper()
	b, err := bundle.Open(r.Path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Errorf("close %s: %v", r.Path, err)
		}
	})
	return b
}

// module is the root of the module. Tests run in their package's directory,
// which is below it.
func module(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatalf("find the recorded bundles: %v", err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		_, err := os.Stat(filepath.Join(at, "go.mod"))
		switch {
		case err == nil:
			return at
		case !errors.Is(err, fs.ErrNotExist), at == filepath.Dir(at):
			tb.Fatalf("find the recorded bundles: no go.mod at or above %s", dir)
		}
	}
}
