package target

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// keepUnused is how long an executable that no run has asked for stays in the cache.
const keepUnused = 7 * 24 * time.Hour

// Build makes the executable of a target and returns its path. Only a Package
// is compiled; a Command is looked up, a PID's is found, and a URL has none,
// which is the empty path.
//
// What is compiled lies in the user's cache directory under a name that
// follows from its content, so that it never changes below a running target,
// with its symbols and debug information. A compile error is an ErrBuild and
// holds all that the compiler said.
func Build(ctx context.Context, c Config) (string, error) {
	c, err := c.withDefaults()
	if err != nil {
		return "", err
	}
	switch {
	case c.Package != "":
		return compile(ctx, c)
	case len(c.Command) > 0:
		return lookUp(c)
	case c.PID != 0:
		return executableOf(c.PID)
	}
	return "", nil
}

// lookUp finds the executable of a command as a shell in Dir would.
func lookUp(c Config) (string, error) {
	written := strings.ReplaceAll(c.Command[0], "{variant}", c.Variant)
	name := written
	if strings.ContainsRune(name, filepath.Separator) && !filepath.IsAbs(name) {
		dir, err := filepath.Abs(c.Dir)
		if err != nil {
			return "", fmt.Errorf("command %s: %w", name, err)
		}
		name = filepath.Join(dir, name)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%w: command %s: build or install it, or correct its path: %w", ErrConfig, written, err)
	}
	return filepath.Abs(path)
}

// executableOf finds the file a process runs. Where that file was replaced or
// lies in another mount namespace, the name in /proc reaches it still.
func executableOf(pid int) (string, error) {
	inProc := fmt.Sprintf("/proc/%d/exe", pid)
	running, err := os.Stat(inProc)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("%w: no process has the pid %d", ErrConfig, pid)
	case errors.Is(err, os.ErrPermission):
		return "", fmt.Errorf("%w: the executable of pid %d may not be read: run as root or as the user it belongs to: %w", ErrConfig, pid, err)
	case err != nil:
		return "", fmt.Errorf("find the executable of pid %d: %w", pid, err)
	}
	path, err := os.Readlink(inProc)
	if err != nil {
		return "", fmt.Errorf("find the executable of pid %d: %w", pid, err)
	}
	if onDisk, err := os.Stat(path); err == nil && os.SameFile(onDisk, running) {
		return path, nil
	}
	return inProc, nil
}

func compile(ctx context.Context, c Config) (string, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", c.Package, err)
	}
	cache, err := cacheDir()
	if err != nil {
		return "", fmt.Errorf("build %s: %w", c.Package, err)
	}
	prune(filepath.Join(cache, "bin"), time.Now().Add(-keepUnused))

	// go build compares what is at its output with what it would make, and
	// links only when they differ; so each package has an output of its own,
	// and one build of it goes on at a time.
	name := filepath.Base(filepath.ToSlash(c.Package))
	if name == "." || name == ".." || name == "/" {
		name = filepath.Base(filepath.Join(dir, c.Package))
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%t", dir, c.Package, c.GoRelease, c.Strip))
	work := filepath.Join(cache, "build", hex.EncodeToString(key[:8]))
	if err := os.MkdirAll(work, 0o700); err != nil {
		return "", fmt.Errorf("build %s: %w", c.Package, err)
	}
	unlock, err := lock(ctx, filepath.Join(work, "lock"))
	if err != nil {
		return "", fmt.Errorf("build %s: %w", c.Package, err)
	}
	defer unlock()
	output := filepath.Join(work, name)
	var env, flags []string
	if c.GoRelease != "" {
		if env, flags, err = olderModule(ctx, c, dir, work); err != nil {
			return "", err
		}
	}
	if c.Strip {
		flags = append(flags, "-ldflags=-s -w")
	}
	if err := goBuild(ctx, c.Package, dir, output, env, flags); err != nil {
		return "", err
	}
	path, err := byContent(output, filepath.Join(cache, "bin"))
	if err != nil {
		return "", fmt.Errorf("build %s: keep the executable: %w", c.Package, err)
	}
	return path, nil
}

// olderModule makes a module file with which another Go release builds the
// package: the module's own may ask for a newer one, and for modules that do though
// the package does not need them. It returns what the go command needs besides.
func olderModule(ctx context.Context, c Config, dir, work string) (env, flags []string, err error) {
	failed := func(err error) error {
		return fmt.Errorf("%w: %s with Go %s: %w", ErrBuild, c.Package, c.GoRelease, err)
	}
	list := exec.CommandContext(ctx, "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}} {{.Version}} {{.Main}}{{end}}", c.Package)
	list.Dir = dir
	out, err := list.Output()
	if err != nil {
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
		}
		return nil, nil, failed(err)
	}
	module, require := "", map[string]bool{}
	for line := range strings.Lines(string(out)) {
		switch f := strings.Fields(line); {
		case len(f) == 2 && f[1] == "true": // the main module has no version
			module = f[0]
		case len(f) == 3:
			require[f[0]+" "+f[1]] = true
		}
	}
	minor, _, _ := strings.Cut(strings.TrimPrefix(c.GoRelease, "1."), ".")
	text := fmt.Sprintf("module %s\n\ngo 1.%s\n", module, minor)
	for _, r := range slices.Sorted(maps.Keys(require)) {
		text += "require " + r + "\n"
	}
	name := filepath.Join(work, "older.mod")
	sums, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = os.WriteFile(name, []byte(text), 0o600)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(work, "older.sum"), sums, 0o600)
	}
	if err != nil {
		return nil, nil, failed(err)
	}
	return []string{"GOTOOLCHAIN=go" + c.GoRelease}, []string{"-modfile=" + name, "-mod=mod"}, nil
}

func goBuild(ctx context.Context, pkg, dir, output string, env, flags []string) error {
	// The empty linker flags override any in GOFLAGS that would strip symbols:
	// without them no finding can name a line.
	args := append([]string{"build", "-buildvcs=false", "-ldflags="}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", output, pkg)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	// go runs compilers below it; they end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	said, err := cmd.CombinedOutput()
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return fmt.Errorf("build %s: %w", pkg, context.Cause(ctx))
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%w: %s: the go command is not on PATH: install Go or give a command instead of a package", ErrBuild, pkg)
	default:
		return fmt.Errorf("%w: %s: mend what go says, or try it with `cd %s && go build %s`:\n%s",
			ErrBuild, pkg, dir, pkg, bytes.TrimRight(said, "\n"))
	}
	if !isELF(output) {
		return fmt.Errorf("%w: %s is not one package main; name the package that has the server's main function", ErrBuild, pkg)
	}
	return nil
}

// isELF tells an executable from the archive or nothing that go build leaves
// for a package that is no program.
func isELF(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var magic [4]byte
	_, err = io.ReadFull(f, magic[:])
	return err == nil && string(magic[:]) == "\x7fELF"
}

// byContent copies an executable to a path that its content decides.
func byContent(path, into string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	dir := filepath.Join(into, hex.EncodeToString(sum.Sum(nil)[:8]))
	kept := filepath.Join(dir, filepath.Base(path))
	if _, err := os.Stat(kept); err == nil {
		now := time.Now()
		return kept, os.Chtimes(dir, now, now) // for prune
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	tmp, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(tmp, f)
	if err = errors.Join(err, tmp.Chmod(0o700), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), kept)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(tmp.Name()))
	}
	return kept, nil
}

// cacheDir is the harness's own folder in the user's cache; one in the
// temporary directory where the user has none.
func cacheDir() (string, error) {
	if base, err := os.UserCacheDir(); err == nil {
		dir := filepath.Join(base, "chokepoint")
		if err := os.MkdirAll(dir, 0o700); err == nil {
			return dir, nil
		}
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("chokepoint-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make a cache for executables: %w", err)
	}
	// Others can make names in the temporary directory: run nothing from a
	// folder that is not this user's alone.
	info, err := os.Lstat(dir)
	if err != nil {
		return "", fmt.Errorf("make a cache for executables: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(owner.Uid) != os.Getuid() || info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("make a cache for executables: %s is not a folder of this user alone: remove it, or set HOME or XDG_CACHE_HOME", dir)
	}
	return dir, nil
}

// prune removes executables that were last asked for before then. The cache is
// a convenience: what cannot be removed stays.
func prune(dir string, before time.Time) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.ModTime().Before(before) {
			_ = os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
}

// lock waits for the lock file at path, which other harnesses heed as well.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for another build to end: %w", context.Cause(ctx))
		}
	}
}
