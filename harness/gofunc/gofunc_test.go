package gofunc_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/gofunc"
)

func TestNames(t *testing.T) {
	tests := []struct {
		name     string
		pkg      string
		standard bool
		short    string
		base     string
	}{
		{"main.main", "main", false, "main.main", "main.main"},
		{"main.(*store).get", "main", false, "main.(*store).get", "main.(*store).get"},
		{"main.(*store).get.func1", "main", false, "main.(*store).get.func1", "main.(*store).get"},
		{"main.(*store).get.func1.2", "main", false, "main.(*store).get.func1.2", "main.(*store).get"},
		{"main.(*store).get.func1.gowrap2", "main", false, "main.(*store).get.func1.gowrap2", "main.(*store).get"},
		{"main.(*store).get.deferwrap1", "main", false, "main.(*store).get.deferwrap1", "main.(*store).get"},
		{"main.(*store).get-fm", "main", false, "main.(*store).get-fm", "main.(*store).get"},
		{"main.walk-range1", "main", false, "main.walk-range1", "main.walk"},
		{"main.walk.func1-range2", "main", false, "main.walk.func1-range2", "main.walk"},
		{"main.walk.func1-range2.3", "main", false, "main.walk.func1-range2.3", "main.walk"},
		{"main.store.value", "main", false, "main.store.value", "main.store.value"},
		{"main.init", "main", false, "main.init", "main.init"},
		{"main.init.0", "main", false, "main.init.0", "main.init.0"},
		{"main.init.0.func1", "main", false, "main.init.0.func1", "main.init.0"},
		{"main.init.func1", "main", false, "main.init.func1", "main.init"},
		{"main.func1", "main", false, "main.func1", "main.func1"},
		{"main.(*t).func1", "main", false, "main.(*t).func1", "main.(*t).func1"},
		{"main.function", "main", false, "main.function", "main.function"},
		{"main.a.functional", "main", false, "main.a.functional", "main.a.functional"},
		{"main.start.abi0", "main", false, "main.start.abi0", "main.start"},
		{"main.Map[...]", "main", false, "main.Map", "main.Map"},
		{"main.Map[...].func1", "main", false, "main.Map.func1", "main.Map"},
		{"main.Map[go.shape.struct { a/b.T }]", "main", false, "main.Map", "main.Map"},
		{"main.Map[go.shape.[]int,go.shape.map[string]a/b.T]", "main", false, "main.Map", "main.Map"},
		{"main.(*Set[go.shape.struct { a/b.T }]).Add", "main", false, "main.(*Set).Add", "main.(*Set).Add"},

		// Modules whose path has no dot, or begins as a standard package does.
		{"myapp.Serve", "myapp", false, "myapp.Serve", "myapp.Serve"},
		{"chokepoint/targets/kit.Run", "chokepoint/targets/kit", false, "kit.Run", "chokepoint/targets/kit.Run"},
		{"sync2/store.Get", "sync2/store", false, "store.Get", "sync2/store.Get"},
		{"netx.Dial", "netx", false, "netx.Dial", "netx.Dial"},
		{"runtime/mine.F", "runtime/mine", false, "mine.F", "runtime/mine.F"},
		{"golang.org/x/net/http2.(*Server).ServeConn", "golang.org/x/net/http2", false, "http2.(*Server).ServeConn", "golang.org/x/net/http2.(*Server).ServeConn"},
		{"github.com/x/y/store.(*Store[...]).get", "github.com/x/y/store", false, "store.(*Store).get", "github.com/x/y/store.(*Store).get"},
		{"github.com/a/b%2ev2.F", "github.com/a/b.v2", false, "b.F", "github.com/a/b%2ev2.F"},
		{"github.com/a/b/v2.F", "github.com/a/b/v2", false, "b.F", "github.com/a/b/v2.F"},
		{"gopkg.in/yaml%2ev3.X", "gopkg.in/yaml.v3", false, "yaml.X", "gopkg.in/yaml%2ev3.X"},
		{"example%2ecom.F", "example.com", false, "example.com.F", "example%2ecom.F"},
		{"v2.F", "v2", false, "v2.F", "v2.F"},

		{"net/http.(*conn).serve", "net/http", true, "http.(*conn).serve", "net/http.(*conn).serve"},
		{"net/http.HandlerFunc.ServeHTTP", "net/http", true, "http.HandlerFunc.ServeHTTP", "net/http.HandlerFunc.ServeHTTP"},
		{"sync/atomic.(*Pointer[...]).Load", "sync/atomic", true, "atomic.(*Pointer).Load", "sync/atomic.(*Pointer).Load"},
		{"sync/atomic.(*Pointer[go.shape.struct { x/y.T }]).Load", "sync/atomic", true, "atomic.(*Pointer).Load", "sync/atomic.(*Pointer).Load"},
		{"internal/sync.(*Mutex).lockSlow", "internal/sync", true, "sync.(*Mutex).lockSlow", "internal/sync.(*Mutex).lockSlow"},
		{"sync.runtime_SemacquireRWMutexR", "sync", true, "sync.runtime_SemacquireRWMutexR", "sync.runtime_SemacquireRWMutexR"},
		{"runtime.goexit", "runtime", true, "runtime.goexit", "runtime.goexit"},
		{"vendor/golang.org/x/net/http2/hpack.(*Decoder).Write", "vendor/golang.org/x/net/http2/hpack", true, "hpack.(*Decoder).Write", "vendor/golang.org/x/net/http2/hpack.(*Decoder).Write"},
		{"crypto/internal/entropy/v1%2e0%2e0.Seed", "crypto/internal/entropy/v1.0.0", true, "v1.0.0.Seed", "crypto/internal/entropy/v1%2e0%2e0.Seed"},
		{"encoding/json/v2.Unmarshal", "encoding/json/v2", true, "json.Unmarshal", "encoding/json/v2.Unmarshal"},

		// What has no package has no source that could be changed.
		{"type:.eq.main.x", "", true, "type:.eq.main.x", "type:.eq.main.x"},
		{"type:.hash.[2]interface {}", "", true, "type:.hash.[2]interface {}", "type:.hash.[2]interface {}"},
		{"go:buildid", "", true, "go:buildid", "go:buildid"},
		{"go.shape.int", "", true, "go.shape.int", "go.shape.int"},
		{"go.(*struct { sync.Mutex; x int }).Lock", "", true, "go.(*struct { sync.Mutex; x int }).Lock", "go.(*struct { sync.Mutex; x int }).Lock"},
		{"_rt0_amd64_linux", "", true, "_rt0_amd64_linux", "_rt0_amd64_linux"},
		{"malloc", "", true, "malloc", "malloc"},
		{"", "", true, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.pkg, gofunc.Package(tt.name), "package")
			assert.Equal(t, tt.standard, gofunc.Standard(tt.name), "standard")
			assert.Equal(t, tt.short, gofunc.Short(tt.name), "short")
			assert.Equal(t, tt.base, gofunc.Base(tt.name), "base")
		})
	}
}

// Names come out of recordings: a hostile one must not hold up the reader.
func TestLongNamesTakeLinearTime(t *testing.T) {
	const n = 1 << 18
	for _, part := range []string{"-fm", "-range1", ".func1", ".1", ".abi0", "[]", "%2e", "/v2"} {
		name := "a/main.f.func1" + strings.Repeat(part, n)
		// Quadratic time would be hours; the limit on tests catches it.
		gofunc.Base(name)
		gofunc.Short(name)
		gofunc.Printed(name)
		gofunc.Standard(name)
	}
}

func TestPrinted(t *testing.T) {
	for name, want := range map[string]string{
		"main.f": "main.f",
		"main.Map[go.shape.int,go.shape.[]string]":   "main.Map[...]",
		"main.(*Set[go.shape.struct { a/b.T }]).Add": "main.(*Set[...]).Add",
		"main.Map[...].func1":                        "main.Map[...].func1",
		"odd]name[":                                  "odd]name[",
	} {
		assert.Equal(t, want, gofunc.Printed(name))
	}
}

// A package that the toolchain in use has must be in the list; one that is not
// would be taken for the program's own.
func TestListHoldsThisToolchain(t *testing.T) {
	out, err := exec.Command("go", "list", "std").Output()
	if err != nil {
		t.Skipf("go list std: %v", err)
	}
	var missing []string
	for path := range strings.FieldsSeq(string(out)) {
		// Symbols have the dots of the last element escaped.
		dir, last := path[:strings.LastIndexByte(path, '/')+1], path[strings.LastIndexByte(path, '/')+1:]
		if !gofunc.Standard(dir + strings.ReplaceAll(last, ".", "%2e") + ".F") {
			missing = append(missing, path)
		}
	}
	assert.Empty(t, missing, "add these to std.txt")
}

func TestListIsSortedAndHoldsNothingElse(t *testing.T) {
	text, err := os.ReadFile("std.txt")
	require.NoError(t, err)
	last := ""
	for path := range strings.Lines(string(text)) {
		assert.Less(t, last, path)
		assert.NotContains(t, strings.SplitN(path, "/", 2)[0], ".")
		last = path
	}
}

func FuzzNames(f *testing.F) {
	for _, seed := range []string{
		"main.(*store).get.func1.gowrap2", "gopkg.in/yaml%2ev3.X", "main.Map[go.shape.struct { a/b.T }]-range1",
		"type:.eq.main.x", "a/b.", ".", "/.", "%2e.%", "x.y.func1.2.3-fm", "][", "a[].b-range",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		pkg := gofunc.Package(name)
		if pkg == "" && !gofunc.Standard(name) {
			t.Errorf("%q has no package and is not standard", name)
		}
		base := gofunc.Base(name)
		if again := gofunc.Base(base); again != base {
			t.Errorf("Base(%q) = %q, and Base of that is %q", name, base, again)
		}
		if name != "" && base == "" {
			t.Errorf("Base(%q) is empty", name)
		}
		// No name has a slash behind its brackets; with one, the path would grow.
		grown := strings.Count(base, "/") != strings.Count(pkg, "/")
		if p := gofunc.Package(base); pkg != "" && p != pkg && !grown {
			t.Errorf("Base(%q) = %q moves it from package %q to %q", name, base, pkg, p)
		}
		if p := gofunc.Printed(name); gofunc.Printed(p) != p {
			t.Errorf("Printed(%q) = %q is not printed", name, p)
		}
		if short := gofunc.Short(name); utf8.ValidString(name) && !strings.Contains(name, "%") && !utf8.ValidString(short) {
			t.Errorf("Short(%q) = %q is not UTF-8", name, short)
		}
	})
}
