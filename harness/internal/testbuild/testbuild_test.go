package testbuild_test

import (
	"debug/buildinfo"
	"debug/elf"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/internal/testbuild"
)

const source = `package main

func main() { println("built") }
`

const withC = `//go:build withc

package main

// int one(void) { return 1; }
import "C"

var _ = C.one
`

func program(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "c.go"), []byte(withC), 0o600))
	return dir
}

func TestBuild(t *testing.T) {
	dir := program(t)
	shapes := []testbuild.Shape{testbuild.Static, testbuild.PIE, testbuild.CGO, testbuild.CGOPIE,
		testbuild.Stripped, testbuild.StrippedPIE, testbuild.StrippedCGO}
	for i, toolchain := range testbuild.Toolchains() {
		// Each toolchain once, and each shape once.
		for _, shape := range shapes[i*2 : min(i*2+3, len(shapes))] {
			p := testbuild.Program{Dir: dir, Toolchain: toolchain, Shape: shape}
			t.Run(p.Name(), func(t *testing.T) {
				built := testbuild.Build(t, p)
				info, err := buildinfo.ReadFile(built.Path)
				require.NoError(t, err)
				if toolchain != testbuild.Present {
					assert.Equal(t, toolchain, info.GoVersion)
				}
				assert.Equal(t, testbuild.Module, info.Main.Path)
				f, err := elf.Open(built.Path)
				require.NoError(t, err)
				defer f.Close()
				assert.Equal(t, shape.PIE(), f.Type == elf.ET_DYN)
				assert.Equal(t, shape.Stripped(), f.Section(".symtab") == nil)
				libs, err := f.ImportedLibraries()
				require.NoError(t, err)
				assert.Equal(t, shape.CGO(), len(libs) > 0, "libraries %v", libs)
			})
		}
	}
}

func TestCacheBuildsOnce(t *testing.T) {
	dir := program(t)
	c := testbuild.NewCache(t)
	first := c.Build(t, testbuild.Program{Dir: dir})
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("no program any more"), 0o600))
	assert.Equal(t, first, c.Build(t, testbuild.Program{Dir: dir, Shape: testbuild.Static}))
}

func TestMissingToolchainSkips(t *testing.T) {
	dir := program(t)
	var skipped, reason = false, ""
	t.Run("skips", func(t *testing.T) {
		t.Setenv("GOPROXY", "off")
		rec := &recorder{TB: t}
		defer func() { skipped, reason = rec.skipped, rec.reason }()
		defer func() { _ = recover() }()
		testbuild.Build(rec, testbuild.Program{Dir: dir, Toolchain: "go1.24.999"})
	})
	assert.True(t, skipped)
	assert.True(t, strings.Contains(reason, "go1.24.999") && strings.Contains(reason, "cannot be fetched"), reason)
}

// recorder takes down what a test is told instead of ending it.
type recorder struct {
	testing.TB
	skipped bool
	reason  string
}

func (r *recorder) Skip(args ...any) {
	r.skipped = true
	r.reason, _ = args[0].(string)
	panic("skipped")
}
