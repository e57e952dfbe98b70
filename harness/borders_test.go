package harness_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "chokepoint/"

// The two sides of the bundle, as docs/architecture.md draws them: what touches a
// live system, and what turns a recording into an answer. A path stands for the
// packages below it too.
var (
	live = []string{"bpf", "harness/affinity", "harness/binary", "harness/capture", "harness/detector", "harness/load", "harness/overhead", "harness/procfs", "harness/run", "harness/sockdiag", "harness/target", "targets"}
	pure = []string{"harness/corpus", "harness/health", "harness/heatmap", "harness/matrix", "harness/rule", "harness/score", "harness/signal", "harness/verdict", "reports"}

	// meets are the only packages that may know both sides.
	meets = []string{"harness/cli"}
)

// TestBorders holds what makes a recording worth as much as a live system: what
// diagnoses reaches nothing live, and what records knows of no diagnosis. Tests
// of a package may import what they like.
func TestBorders(t *testing.T) {
	imports := packages(t)
	for _, side := range slices.Concat(live, pure, meets) {
		if side != "targets" { // none may be listed here that is not there
			assert.True(t, slices.ContainsFunc(slices.Collect(maps.Keys(imports)), func(p string) bool { return below(p, []string{side}) }),
				"%s is listed as one side of the border, and there is no such package", side)
		}
	}
	for _, from := range slices.Sorted(maps.Keys(imports)) {
		var reached []string
		for _, to := range reach(imports, from) {
			switch {
			case below(from, pure) && below(to, live):
				t.Errorf("%s diagnoses and imports %s, which is live (by way of %s)", from, to, way(imports, from, to))
			case below(from, live) && below(to, pure):
				t.Errorf("%s is live and imports %s, which diagnoses (by way of %s)", from, to, way(imports, from, to))
			case below(to, meets) && (below(from, live) || below(from, pure)):
				t.Errorf("%s imports %s, which knows both sides", from, to)
			case below(to, live) || below(to, pure):
				reached = append(reached, to)
			}
		}
		both := slices.ContainsFunc(reached, func(p string) bool { return below(p, live) }) &&
			slices.ContainsFunc(reached, func(p string) bool { return below(p, pure) })
		if both && !below(from, meets) && !slices.ContainsFunc(reach(imports, from), func(p string) bool { return below(p, meets) }) {
			t.Errorf("%s imports both what is live and what diagnoses; only %s may", from, strings.Join(meets, ", "))
		}
	}
}

// packages maps the module's packages to those of the module that they import,
// all without the module's path.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	list := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	list.Dir = ".."
	out, err := list.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		t.Fatalf("go list: %v\n%s", err, failed.Stderr)
	}
	require.NoError(t, err)
	imports := map[string][]string{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p struct {
			ImportPath string
			Imports    []string
		}
		require.NoError(t, dec.Decode(&p))
		own := []string{}
		for _, i := range p.Imports {
			if path, ok := strings.CutPrefix(i, module); ok {
				own = append(own, path)
			}
		}
		imports[strings.TrimPrefix(p.ImportPath, module)] = own
	}
	return imports
}

// reach lists what a package imports, directly or by way of others.
func reach(imports map[string][]string, from string) []string {
	seen := map[string]bool{}
	var visit func(string)
	visit = func(p string) {
		for _, next := range imports[p] {
			if !seen[next] {
				seen[next] = true
				visit(next)
			}
		}
	}
	visit(from)
	return slices.Sorted(maps.Keys(seen))
}

// way is the direct import by which one package reaches another.
func way(imports map[string][]string, from, to string) string {
	for _, next := range imports[from] {
		if next == to || slices.Contains(reach(imports, next), to) {
			return next
		}
	}
	return "nothing"
}

func below(path string, roots []string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		return path == root || strings.HasPrefix(path, root+"/")
	})
}

// ordinary are names that give no target away although a target declares them:
// net/http has the first two under the same name, and the others are words that
// rules need.
var ordinary = []string{"ServeHTTP", "bounded", "conn", "exchange", "handler", "hold", "link", "peer", "peers", "scratch", "size"}

// TestSignalsAndRulesNameNoTarget holds that a diagnosis cannot know a lab
// target by its names: neither what the targets declare nor what the scenarios
// are called stands in the code that measures or in the rules. In Go, names of
// functions can only stand in literals, so these are read; of a rule file, all
// but its id and its cases, which decide nothing.
func TestSignalsAndRulesNameNoTarget(t *testing.T) {
	names := declared(t, "../targets")
	require.Greater(t, len(names), 50, "the targets declare more than this")
	whole := append(scenarioNames(t), "targets/")
	rules := ruleIDs(t)

	word := regexp.MustCompile(`[\pL_][\pL\pN_]*`)
	read := 0
	for _, root := range []string{"signal", "rule/builtin"} {
		require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
				return err
			}
			var texts []string
			switch filepath.Ext(path) {
			case ".go":
				texts = literals(t, path)
			case ".yaml":
				data, err := os.ReadFile(path)
				require.NoError(t, err)
				text := notDeciding.ReplaceAllString(string(data), "")
				texts = []string{asksRules.ReplaceAllStringFunc(text, func(list string) string { return withoutRules(list, rules) })}
			}
			for _, text := range texts {
				read++
				for _, w := range word.FindAllString(text, -1) {
					if at, ok := names[w]; ok && !slices.Contains(ordinary, w) {
						t.Errorf("%s names %s, which %s declares", path, w, at)
					}
				}
				for _, s := range whole {
					if strings.Contains(text, s) {
						t.Errorf("%s names %s", path, s)
					}
				}
			}
			return nil
		}))
	}
	require.Greater(t, read, 100, "literals and rules were read")
}

// notDeciding are the parts of a rule file that take no part in a diagnosis: its
// id, which may be the name of the scenario about the same flaw, and its cases,
// which stand last.
var notDeciding = regexp.MustCompile(`(?ms)^rule:[^\n]*$|^cases:.*\z`)

// asksRules is where a rule names other rules, to leave a finding to them. An id that
// stands there decides by what that rule finds, not by what it is called.
var asksRules = regexp.MustCompile(`(?m)fires: \[[^\]\n]*\]`)

// withoutRules is such a list without the ids of rules that there are; whatever else stands in
// it is left.
func withoutRules(list string, ids []string) string {
	return regexp.MustCompile(`[^\s\[\],]+`).ReplaceAllStringFunc(list, func(word string) string {
		if slices.Contains(ids, word) {
			return ""
		}
		return word
	})
}

// ruleIDs are the ids of the built-in rules.
func ruleIDs(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("rule/builtin/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var ids []string
	for _, path := range files {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		id := regexp.MustCompile(`(?m)^rule: *(\S+)`).FindSubmatch(data)
		require.NotNil(t, id, "%s has no id", path)
		ids = append(ids, string(id[1]))
	}
	return ids
}

func TestWithoutRules(t *testing.T) {
	ids := []string{"pool-misuse/boxed", "gc-thrash"}
	require.Equal(t, "fires: [, ]", withoutRules("fires: [gc-thrash, pool-misuse/boxed]", ids))
	require.Contains(t, withoutRules("fires: [gc-thrash, pool-misuse/near-large]", ids), "pool-misuse/near-large", "a scenario that is no rule")
}

// literals are the string and character literals of a Go file.
func literals(t *testing.T, path string) []string {
	t.Helper()
	src, err := os.ReadFile(path)
	require.NoError(t, err)
	set := token.NewFileSet()
	var s scanner.Scanner
	s.Init(set.AddFile(path, -1, len(src)), src, nil, 0)
	var texts []string
	for {
		_, tok, lit := s.Scan()
		switch tok {
		case token.EOF:
			return texts
		case token.STRING, token.CHAR:
			texts = append(texts, lit)
		}
	}
}

// declared maps names that targets declare to the file that does: of types, and
// of functions and methods in several words. A method of one word (get, wait)
// is a word of the language; what it belongs to gives it away.
func declared(t *testing.T, dir string) map[string]string {
	t.Helper()
	names := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, decl := range f.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if name := decl.Name.Name; strings.IndexFunc(name[1:], unicode.IsUpper) >= 0 {
					names[name] = path
				}
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					if typ, ok := spec.(*ast.TypeSpec); ok {
						names[typ.Name.Name] = path
					}
				}
			}
		}
		return nil
	}))
	return names
}

// scenarioNames are the names of the scenarios and of their files.
func scenarioNames(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../scenarios/*.yaml")
	require.NoError(t, err)
	line := regexp.MustCompile(`(?m)^scenario: *(\S+)`)
	var names []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		m := line.FindSubmatch(data)
		require.NotNil(t, m, "%s has no name", file)
		names = append(names, string(m[1]), strings.TrimSuffix(filepath.Base(file), ".yaml"))
	}
	return names
}
