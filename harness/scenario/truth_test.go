package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGroundTruth(t *testing.T) {
	s, err := Load("testdata/module/scenarios/good.yaml")
	require.NoError(t, err)
	truth, err := s.GroundTruth()
	require.NoError(t, err)
	assert.Equal(t, []Truth{
		{Cause: "lock-contention", Function: "main.(*store).get", File: "targets/sessions/main.go", Line: 12},
		{Cause: "goroutine-leak", Function: "main.serve", File: "targets/sessions/main.go", Line: 22},
	}, truth)
}

func TestGroundTruthWithoutSource(t *testing.T) {
	s, err := Parse("x.yaml", []byte(minimal+"expect: {findings: [{cause: stalled, at: \"(*a).b\"}, {cause: gc-thrash}]}"))
	require.NoError(t, err)
	truth, err := s.GroundTruth()
	require.NoError(t, err)
	assert.Equal(t, []Truth{{Cause: "stalled", Function: "(*a).b"}, {Cause: "gc-thrash"}}, truth)
}

// truthOf looks for one expected finding in the test's own module.
func truthOf(t *testing.T, pkg, cause, at string) ([]Truth, error) {
	t.Helper()
	s, err := Parse("testdata/module/scenarios/x.yaml", fmt.Appendf(nil,
		"scenario: x\ntarget: {package: %s}\nload: {in_flight: 1}\nexpect: {findings: [{cause: %s, at: %q}]}", pkg, cause, at))
	require.NoError(t, err)
	return s.GroundTruth()
}

func TestGroundTruthNames(t *testing.T) {
	for at, want := range map[string]int{
		"(*store).get": 12, "main.(*store).get": 12, "(*store[...]).get": 12, "main.(*store[go.shape.int]).get": 12,
	} {
		truth, err := truthOf(t, "./targets/sessions", "lock-contention", at)
		require.NoError(t, err, at)
		assert.Equal(t, want, truth[0].Line, at)
	}
	truth, err := truthOf(t, "./targets/sessions", "goroutine-leak", "serve.func2")
	require.NoError(t, err)
	assert.Equal(t, Truth{Cause: "goroutine-leak", Function: "main.serve", File: "targets/sessions/main.go", Line: 22}, truth[0])
	truth, err = truthOf(t, "./targets/sessions", "heap-growth", "many")
	require.NoError(t, err)
	assert.Equal(t, 35, truth[0].Line, "a marker of another cause does not matter")
}

func TestGroundTruthBad(t *testing.T) {
	const file = "targets/sessions/main.go"
	for name, c := range map[string]struct{ pkg, cause, at, want string }{
		"no marker":        {"./targets/sessions", "gc-thrash", "serve", file + `:19: main.serve has no marker for gc-thrash; put "// chokepoint:flaw gc-thrash" at the end of its faulty line`},
		"two markers":      {"./targets/sessions", "stalled", "twice", file + ":30: main.twice has 2 markers for stalled, the first on line 29; leave the one on the faulty line"},
		"no function":      {"./targets/sessions", "lock-contention", "(*store).gte", `testdata/module/scenarios/x.yaml:4:50: expect.findings[0].at: the target has no function (*store).gte; did you mean "(*store).get"?`},
		"another function": {"./targets/sessions", "lock-contention", "somewhereElse", `testdata/module/scenarios/x.yaml:4:50: expect.findings[0].at: the target has no function somewhereElse; markers for lock-contention stand in (*store).get`},
		"no package":       {"./targets/none", "stalled", "x", "scenario x: read the target's source: open "},
		"no Go files":      {"./targets", "stalled", "x", "has no Go files"},
		"no program":       {"./targets/library", "stalled", "x", "targets/library/library.go: is package library; a target is package main"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := truthOf(t, c.pkg, c.cause, c.at)
			assert.ErrorContains(t, err, c.want)
		})
	}
}

func TestMarkersOutOfPlace(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"unknown cause": {"func main() {\n\tprintln() // chokepoint:flaw stalld\n}", `t/main.go:4:12: the marker names an unknown cause "stalld"; did you mean "stalled"?`},
		"no cause":      {"func main() {\n\tprintln() // chokepoint:flaw\n}", `t/main.go:4:12: the marker names an unknown cause ""; known: netpoll-spin`},
		"outside":       {"// chokepoint:flaw stalled\nfunc main() {}", "t/main.go:3:1: the marker stands outside of any function; put it at the end of the faulty line"},
		"own line":      {"func main() {\n\t// chokepoint:flaw stalled\n\tprintln()\n}", "t/main.go:4:2: the marker stands on a line without code; put it at the end of the faulty line"},
		"block comment": {"func main() {\n\tprintln() /* chokepoint:flaw stalled */\n}", "main.main has no marker for stalled"},
		"no Go":         {"func main( {", "t/main.go:3:"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(dir, "t"), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module m\n"), 0o644))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "t", "main.go"), []byte("package main\n\n"+c.body+"\n"), 0o644))
			s, err := Parse(filepath.Join(dir, "x.yaml"), []byte("scenario: x\ntarget: {package: ./t}\nload: {in_flight: 1}\nexpect: {findings: [{cause: stalled, at: main}]}"))
			require.NoError(t, err)
			_, err = s.GroundTruth()
			require.Error(t, err)
			assert.Contains(t, strings.ReplaceAll(err.Error(), dir+"/", ""), c.want)
		})
	}
}

func TestMatchesFunction(t *testing.T) {
	for _, c := range []struct {
		pattern, function string
		want              bool
	}{
		{"(*store).get", "main.(*store).get", true},
		{"main.(*store).get", "main.(*store).get", true},
		{"(*store).get", "example.com/app/v2.(*store).get", true},
		{"example.com/app/v2.(*store).get", "example.com/app/v2.(*store).get", true},
		{"(*store).get", "main.(*store).get.func1", true},
		{"(*store).get", "main.(*store).get.func1.2", true},
		{"(*store).get", "main.(*store).get.gowrap1", true},
		{"(*store).get", "main.(*store[...]).get", true},
		{"(*store[...]).get", "main.(*store[go.shape.string]).get", true},
		{"serve", "main.serve", true},
		{"serve", "main.serve-range1", true},
		{"serve.func1", "main.serve.func1", true},
		{"serve.func1", "main.serve.func2", false},
		{"serve.func1", "main.serve", false},
		{"get", "main.(*store).get", false},
		{"(*store).get", "main.(*store).getAll", false},
		{"(*store).get", "main.(*bigstore).get", false},
		{"store.get", "main.store.get", true},
		{"app.(*store).get", "example.com/app.(*store).get", true},
		{"app.serve", "example.com/shop/app.serve.func1", true},
		{"shop/app.serve", "example.com/shop/app.serve", false},
		{"pp.serve", "example.com/app.serve", false},
		{"other.(*store).get", "main.(*store).get", false},
		{"", "", false},
		{"", "main.serve", false},
		{"serve", "", false},
	} {
		assert.Equal(t, c.want, MatchesFunction(c.pattern, c.function), "%s on %s", c.pattern, c.function)
	}
}
