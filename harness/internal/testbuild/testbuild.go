// Package testbuild compiles the programs that tests look at: with each Go
// release that targets are built with, and in each shape that makes an
// executable different to look into.
//
// A program is a folder of one package main that imports nothing but the
// standard library. It is copied into a module of its own, since the module of
// this repository asks for a newer Go than the oldest that targets are built with.
package testbuild

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Module is the path of the module that programs are built in.
const Module = "program"

// language is what the module asks for: the oldest of Toolchains.
const language = "1.24"

// Present is the toolchain that the tests themselves are built with.
const Present = "local"

// Toolchains is what targets are built with, oldest first: as GOTOOLCHAIN takes
// them. The first release of each version before the present stands for it, as
// layouts do not change within one.
func Toolchains() []string { return []string{"go1.24.0", "go1.25.0", Present} }

// Shape is a way of building that makes executables differ.
type Shape string

// The shapes.
const (
	Static      Shape = "static" // as the Go linker makes it unless told otherwise
	PIE         Shape = "pie"
	CGO         Shape = "cgo" // C code in it, put together by the C linker, with thread-local variables if the program has any
	CGOPIE      Shape = "cgo-pie"
	Stripped    Shape = "stripped" // neither symbols nor DWARF
	StrippedPIE Shape = "stripped-pie"
	StrippedCGO Shape = "stripped-cgo"
)

// CGO reports whether C code is linked in.
func (s Shape) CGO() bool { return strings.Contains(string(s), "cgo") }

// PIE reports whether the executable is position independent.
func (s Shape) PIE() bool { return strings.Contains(string(s), "pie") }

// Stripped reports whether symbols and DWARF are left out.
func (s Shape) Stripped() bool { return strings.Contains(string(s), "stripped") }

func (s Shape) flags() []string {
	var flags []string
	if s.PIE() {
		flags = append(flags, "-buildmode=pie")
	}
	if s.Stripped() {
		flags = append(flags, "-ldflags=-s -w")
	}
	return flags
}

// Program says what to build.
type Program struct {
	Dir       string   // holds package main
	Toolchain string   // one of Toolchains; Present when empty
	Shape     Shape    // Static when empty
	Flags     []string // further flags for go build
}

// Name is "go1.24.0 pie".
func (p Program) Name() string {
	shape := p.Shape
	if shape == "" {
		shape = Static
	}
	toolchain := p.Toolchain
	if toolchain == "" {
		toolchain = Present
	}
	return toolchain + " " + string(shape)
}

// Built is an executable and where its source lies, as its line tables tell it.
type Built struct {
	Path string
	Dir  string
}

// Build compiles a program. Cgo programs are built with the tag withc. The test
// is skipped, with the reason, when the toolchain or the C compiler that the
// program asks for cannot be had; a program that does not compile fails it.
func Build(t testing.TB, p Program) Built {
	t.Helper()
	dir := t.TempDir()
	built, missing, err := build(p, dir)
	switch {
	case err != nil:
		t.Fatal(err)
	case missing != "":
		t.Skip(missing)
	}
	return built
}

// A Cache builds each program once, for tests that ask for it again and again.
// What it built is removed when the test that made it ends.
type Cache struct {
	dir string

	mu   sync.Mutex
	done map[string]outcome
}

type outcome struct {
	built   Built
	missing string
	err     error
}

// NewCache makes a cache that lives as long as t.
func NewCache(t testing.TB) *Cache {
	t.Helper()
	return &Cache{dir: t.TempDir(), done: map[string]outcome{}}
}

// Build is Build of what was not built before.
func (c *Cache) Build(t testing.TB, p Program) Built {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	key := fmt.Sprintf("%q %q %q", p.Dir, p.Name(), p.Flags)
	o, ok := c.done[key]
	if !ok {
		dir := filepath.Join(c.dir, fmt.Sprint(len(c.done)))
		if o.err = os.Mkdir(dir, 0o755); o.err == nil {
			o.built, o.missing, o.err = build(p, dir)
		}
		c.done[key] = o
	}
	switch {
	case o.err != nil:
		t.Fatal(o.err)
	case o.missing != "":
		t.Skip(o.missing)
	}
	return o.built
}

// build compiles p in dir; missing says what the machine lacks for it.
func build(p Program, dir string) (b Built, missing string, err error) {
	env := append(os.Environ(), "GOFLAGS=-buildvcs=false", "GOWORK=off", "CGO_ENABLED=0")
	if p.Toolchain != "" {
		env = append(env, "GOTOOLCHAIN="+p.Toolchain)
	}
	args := append([]string{"build", "-o", "program.exe"}, p.Shape.flags()...)
	args = append(args, p.Flags...)
	if p.Shape.CGO() {
		if _, err := exec.LookPath("gcc"); err != nil {
			return b, "no gcc: cannot build a program with C in it", nil
		}
		env = append(env, "CGO_ENABLED=1")
		args = append(args, "-tags=withc")
	}
	if missing := lacks(dir, env, p.Toolchain); missing != "" {
		return b, missing, nil
	}
	if err := copyProgram(p.Dir, dir); err != nil {
		return b, "", fmt.Errorf("copy program %s: %w", p.Dir, err)
	}
	cmd := exec.Command("go", append(args, ".")...)
	cmd.Dir, cmd.Env = dir, env
	if text, err := cmd.CombinedOutput(); err != nil {
		return b, "", fmt.Errorf("build %s as %s: go %s: %w\n%s", p.Dir, p.Name(), strings.Join(args, " "), err, text)
	}
	// Line tables have the path without links.
	if b.Dir, err = filepath.EvalSymlinks(dir); err != nil {
		return b, "", err
	}
	b.Path = filepath.Join(dir, "program.exe")
	return b, "", nil
}

// lacks says why a toolchain cannot be had; empty when it can. Asking for it
// makes the go command fetch it, as a module, when it is not there yet.
func lacks(dir string, env []string, toolchain string) string {
	if toolchain == "" || toolchain == Present {
		return ""
	}
	cmd := exec.Command("go", "version")
	cmd.Dir, cmd.Env = dir, env
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Sprintf("toolchain %s is not here and cannot be fetched: %v: %s", toolchain, err, strings.TrimSpace(string(text)))
	}
	return ""
}

func copyProgram(from, to string) error {
	files, err := filepath.Glob(filepath.Join(from, "*.go"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("%s has no Go files", from)
	}
	packages, err := filepath.Glob(filepath.Join(from, "*", "*.go")) // beside main
	if err != nil {
		return err
	}
	for _, path := range append(files, packages...) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(to, filepath.Dir(name)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), data, 0o644); err != nil {
			return err
		}
	}
	mod := "module " + Module + "\n\ngo " + language + "\n"
	return os.WriteFile(filepath.Join(to, "go.mod"), []byte(mod), 0o644)
}
