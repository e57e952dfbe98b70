package target

import (
	"context"
	"debug/buildinfo"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ownCache gives a test a cache of executables of its own, and go build the
// compile cache it would have had.
func ownCache(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOCACHE").Output()
	require.NoError(t, err)
	t.Setenv("GOCACHE", strings.TrimSpace(string(out)))
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", dir)
	return filepath.Join(dir, "chokepoint")
}

// module writes a Go module and returns its folder.
func module(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module example.com/m\n\ngo 1.26\n"
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return dir
}

func TestBuild(t *testing.T) {
	cache := ownCache(t)
	t.Setenv("GOFLAGS", "-ldflags=-s") // would strip what findings need
	dir := module(t, map[string]string{"svc/main.go": "package main\n\nfunc main() { println(1) }\n"})
	c := Config{Package: "./svc", Dir: dir}
	first, err := Build(t.Context(), c)
	require.NoError(t, err)
	assert.Equal(t, "svc", filepath.Base(first))
	assert.True(t, strings.HasPrefix(first, cache))
	f, err := elf.Open(first)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.DWARF()
	assert.NoError(t, err, "debug information is kept")
	_, err = f.Symbols()
	assert.NoError(t, err, "symbols are kept")

	again, err := Build(t.Context(), c)
	require.NoError(t, err)
	assert.Equal(t, first, again)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "svc/main.go"), []byte("package main\n\nfunc main() { println(2) }\n"), 0o644))
	changed, err := Build(t.Context(), c)
	require.NoError(t, err)
	assert.NotEqual(t, first, changed, "an executable never changes below those that run it")
	assert.FileExists(t, first)
}

func TestBuildErrors(t *testing.T) {
	ownCache(t)
	dir := module(t, map[string]string{
		"broken/main.go": "package main\n\nfunc main() {\n\tundefined1()\n\tundefined2()\n}\n",
		"lib/lib.go":     "package lib\n",
	})
	tests := []struct {
		pkg  string
		says []string
	}{
		{"./broken", []string{"./broken", "undefined: undefined1", "undefined: undefined2", "main.go:4"}},
		{"./lib", []string{"./lib", "not one package main"}},
		{"./nowhere", []string{"./nowhere", "directory not found"}},
	}
	for _, tt := range tests {
		t.Run(tt.pkg, func(t *testing.T) {
			_, err := Build(t.Context(), Config{Package: tt.pkg, Dir: dir})
			require.ErrorIs(t, err, ErrBuild)
			for _, s := range tt.says {
				assert.ErrorContains(t, err, s)
			}
		})
	}
	t.Run("no go", func(t *testing.T) {
		t.Setenv("PATH", "/nonexistent")
		_, err := Build(t.Context(), Config{Package: "./lib", Dir: dir})
		require.ErrorIs(t, err, ErrBuild)
		assert.ErrorContains(t, err, "install Go")
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := Build(ctx, Config{Package: "./lib", Dir: dir})
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("command that is not there", func(t *testing.T) {
		_, err := Build(t.Context(), Config{Command: []string{"./nowhere"}, Dir: dir})
		require.ErrorIs(t, err, ErrConfig)
		assert.ErrorContains(t, err, "./nowhere")
	})
}

func TestBuildWaitsForItsTurn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = lock(ctx, path)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	unlock()
	unlock, err = lock(t.Context(), path)
	require.NoError(t, err)
	unlock()
}

func TestPruneKeepsWhatIsUsed(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"old", "new"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
	}
	now := time.Now()
	require.NoError(t, os.Chtimes(filepath.Join(dir, "old"), now.Add(-time.Hour), now.Add(-time.Hour)))
	prune(dir, now.Add(-time.Minute))
	assert.NoDirExists(t, filepath.Join(dir, "old"))
	assert.DirExists(t, filepath.Join(dir, "new"))
}

// The module may ask for a newer Go than the release that builds the package.
func TestBuildWithAnotherRelease(t *testing.T) {
	if testing.Short() {
		t.Skip("it fetches a Go toolchain")
	}
	ownCache(t)
	dir := module(t, map[string]string{"svc/main.go": "package main\n\nfunc main() { println(1) }\n"})
	built, err := Build(t.Context(), Config{Package: "./svc", Dir: dir, GoRelease: "1.24.0", Strip: true})
	if err != nil && strings.Contains(err.Error(), "toolchain not available") {
		t.Skipf("Go 1.24.0 cannot be had: %v", err)
	}
	require.NoError(t, err)
	info, err := buildinfo.ReadFile(built)
	require.NoError(t, err)
	assert.Equal(t, "go1.24.0", info.GoVersion)
	assert.Equal(t, "example.com/m", info.Main.Path)
	f, err := elf.Open(built)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.Symbols()
	assert.Error(t, err, "symbols are left out")

	here, err := Build(t.Context(), Config{Package: "./svc", Dir: dir})
	require.NoError(t, err)
	assert.NotEqual(t, built, here, "one build does not take the place of another")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "svc/main.go"), []byte("package main\n\nimport \"sync\"\n\nfunc main() { var w sync.WaitGroup; w.Go(func() {}) }\n"), 0o644))
	_, err = Build(t.Context(), Config{Package: "./svc", Dir: dir, GoRelease: "1.24.0"})
	require.ErrorIs(t, err, ErrBuild)
	assert.ErrorContains(t, err, "w.Go undefined")
}
