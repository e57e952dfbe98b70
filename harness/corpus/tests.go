package corpus

import (
	"cmp"
	"crypto/sha256"
	"slices"

	"chokepoint/harness/bundle"
)

// TB is what the tests that use the corpus are: a part of testing.TB, so that
// the command, which reads a corpus too, need not link package testing.
type TB interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Cleanup(func())
}

// Bundles lists the repository's own recordings by name. It ends the test if
// there are none.
func Bundles(tb TB) []Recording {
	tb.Helper()
	dir, err := Dir()
	if err != nil {
		tb.Fatal(err)
	}
	list, err := List(dir)
	if err != nil {
		tb.Fatalf("%v; scripts/record-fixtures makes them", err)
	}
	for _, r := range list {
		if r.Scenario == r.Name {
			tb.Fatalf("%s: its name says neither -flawed nor -fixed", r.Path)
		}
	}
	return list
}

// Sample picks n recordings, the same ones each time and whatever is added
// beside them: those whose names have the lowest checksums. It is for properties
// that hold of the code rather than of a recording, and that take long to try.
func Sample(list []Recording, n int) []Recording {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Recording) int {
		x, y := sha256.Sum256([]byte(a.Name)), sha256.Sum256([]byte(b.Name))
		return cmp.Or(slices.Compare(x[:], y[:]), cmp.Compare(a.Name, b.Name))
	})
	list = list[:min(n, len(list))]
	slices.SortFunc(list, func(a, b Recording) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Open opens a recording for the length of the test.
func (r Recording) Open(tb TB) *bundle.Bundle {
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
