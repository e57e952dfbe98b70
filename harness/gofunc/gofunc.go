// Package gofunc reads the names that the Go toolchain gives to functions, as
// they stand in profiles, traces and symbol tables: which package a function
// belongs to, whether that is the standard library, and how to show it.
//
// It works on names alone, so that what is live and what is pure share one
// answer to the question whose code a frame is.
package gofunc

import (
	_ "embed"
	"strings"
	"sync"
)

// stdList is the output of `go list std` of Go 1.24, 1.25 and 1.26 together,
// experiments included. A list is needed because nothing in a path tells: a
// program's module may be called `chokepoint` or `myapp`, with no dot in it.
//
//go:embed std.txt
var stdList string

var standard = sync.OnceValue(func() map[string]struct{} {
	set := make(map[string]struct{}, 512)
	for path := range strings.Lines(stdList) {
		set[strings.TrimSpace(path)] = struct{}{}
	}
	return set
})

// Package is the import path of the package that holds the function called
// name: "net/http" of "net/http.(*conn).serve", "gopkg.in/yaml.v3" of
// "gopkg.in/yaml%2ev3.X". It is empty for what belongs to no package: assembly
// entry points, C functions, and what the compiler and linker make up
// ("type:.eq.main.x", "go.(*struct { sync.Mutex }).Lock").
func Package(name string) string {
	escaped, _ := split(name)
	return unescape(escaped)
}

// Standard reports whether the function called name belongs to Go itself
// rather than to the program or its libraries: its package is in the standard
// library, or it has none. A function without a package has no Go source that
// anybody could change, so it is never where a finding should point.
func Standard(name string) bool {
	pkg := Package(name)
	if pkg == "" {
		return true
	}
	_, ok := standard()[pkg]
	return ok
}

// CGO reports whether cgo made the function called name: what Go calls in place of a C
// function ("main._Cfunc_usleep"), what C calls in place of a Go function, and checks
// of pointers. Nobody wrote it, though it is in the package of those who did.
func CGO(name string) bool {
	_, rest := split(name)
	rest = strings.TrimPrefix(rest, ".")
	for _, made := range []string{"_Cfunc_", "_C2func_", "_Cmacro_", "_Cgo_", "_cgo"} {
		if strings.HasPrefix(rest, made) {
			return true
		}
	}
	return false
}

// Printed is name as the Go runtime prints it in stacks, profiles and traces:
// with "[...]" in place of type arguments. Symbol tables spell them out.
func Printed(name string) string {
	open := strings.IndexByte(name, '[')
	if open < 0 {
		return name
	}
	end := strings.LastIndexByte(name, ']')
	if end <= open {
		return name
	}
	return name[:open] + "[...]" + name[end+1:]
}

// Plain is name without type arguments: "sync/atomic.(*Pointer).Load" of
// "sync/atomic.(*Pointer[...]).Load". Two instances of one generic function
// have the same plain name.
func Plain(name string) string {
	if strings.IndexByte(name, '[') < 0 {
		return name
	}
	var b strings.Builder
	depth := 0
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '[':
			depth++
		case c == ']' && depth > 0:
			depth--
		case depth == 0:
			b.WriteByte(c)
		}
	}
	if depth != 0 {
		return name // not a name with type arguments after all
	}
	return b.String()
}

// Base is the function that a person wrote and named: name without type
// arguments and without the suffixes of closures and wrappers inside it
// (".func1", ".func1.2", ".gowrap1", ".deferwrap1", "-fm", "-range1", ".abi0").
// "main.(*store).get.func1.gowrap2" is "main.(*store).get".
func Base(name string) string {
	pkg, rest := split(name)
	if pkg == "" {
		return name
	}
	rest = Plain(rest)
	// Names come out of recordings of others: each round costs no more than
	// the component that it takes off, however long the name.
	for {
		dot := strings.LastIndexByte(rest, '.')
		last := cutWrapping(rest[dot+1:])
		rest = rest[:dot+1+len(last)]
		// Directly behind the package or a receiver in parentheses stands the
		// function itself, whatever it is called.
		if dot <= 0 || rest[dot-1] == ')' {
			return pkg + rest
		}
		switch {
		case last == "abi0" || last == "abiinternal" || closure(last):
			rest = rest[:dot]
		case digits(last):
			// A closure in a closure has only a number; so has an init function.
			outer := enclosingClosure(rest[:dot])
			if outer <= 0 {
				return pkg + rest
			}
			rest = rest[:outer]
		default:
			return pkg + rest
		}
	}
}

// Short is name for display: the package's own name in place of its path, and
// no type arguments. "github.com/x/y/store.(*Store[...]).get" becomes
// "store.(*Store).get". For paths that end in a version the package's name is
// guessed, by the convention of modules: "github.com/x/y/v2.F" becomes "y.F".
func Short(name string) string {
	escaped, rest := split(name)
	if escaped == "" {
		return name
	}
	return shortPackage(unescape(escaped)) + Plain(rest)
}

// split cuts name after its package path, which stays escaped. The rest keeps
// its leading dot. The path is empty when the name has no package.
func split(name string) (pkg, rest string) {
	// The compiler's and linker's own names hold a colon where an import path
	// cannot; methods promoted through unnamed types have "go" for a package.
	if strings.HasPrefix(name, "type:") || strings.HasPrefix(name, "go:") || strings.HasPrefix(name, "go.") ||
		strings.HasPrefix(name, "type..") {
		return "", name
	}
	// Receivers and type arguments hold paths of their own.
	head := name
	if i := strings.IndexAny(head, "([{ "); i >= 0 {
		head = head[:i]
	}
	dot := strings.LastIndexByte(head, '/') + 1
	i := strings.IndexByte(head[dot:], '.')
	if i <= 0 {
		return "", name
	}
	return name[:dot+i], name[dot+i:]
}

// unescape undoes what the linker does to import paths in symbol names: %xx
// for dots in the last element, for controls, quotes and what is not ASCII.
func unescape(path string) string {
	if strings.IndexByte(path, '%') < 0 {
		return path
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && i+2 < len(path) {
			hi, okHi := unhex(path[i+1])
			lo, okLo := unhex(path[i+2])
			if okHi && okLo {
				b.WriteByte(hi<<4 | lo)
				i += 2
				continue
			}
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func shortPackage(path string) string {
	parent, last := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		parent, last = path[:i], path[i+1:]
	}
	if major(last) && parent != "" {
		return parent[strings.LastIndexByte(parent, '/')+1:]
	}
	if i := strings.LastIndexByte(last, '.'); i > 0 && major(last[i+1:]) {
		return last[:i]
	}
	return last
}

// major reports whether s is a major version as it ends an import path: "v2".
func major(s string) bool {
	return len(s) > 1 && s[0] == 'v' && digits(s[1:])
}

// cutWrapping takes the marks of method values and range-over-func bodies off
// the last component of a name.
func cutWrapping(last string) string {
	for {
		if s, ok := strings.CutSuffix(last, "-fm"); ok && s != "" {
			last = s
			continue
		}
		i := strings.LastIndex(last, "-range")
		if i <= 0 || !digits(last[i+len("-range"):]) {
			return last
		}
		last = last[:i]
	}
}

// closure reports whether s is a name the compiler gives to a function
// literal or to the wrapper of a go or defer statement.
func closure(s string) bool {
	for _, prefix := range []string{"func", "gowrap", "deferwrap"} {
		if n, ok := strings.CutPrefix(s, prefix); ok && digits(n) {
			return true
		}
	}
	return false
}

// enclosingClosure is where the closure begins that rest ends in, numbered ones
// inside it passed over; 0 or less when it ends in no closure.
func enclosingClosure(rest string) int {
	for {
		dot := strings.LastIndexByte(rest, '.')
		if dot <= 0 || rest[dot-1] == ')' {
			return 0
		}
		last := cutWrapping(rest[dot+1:])
		if closure(last) {
			return dot
		}
		if !digits(last) {
			return 0
		}
		rest = rest[:dot]
	}
}

func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
