package gofunc

import (
	"path"
	"strings"
)

// Written is name, after the function that its code is written in, as far as the name
// and the file tell: see Names, which may know more.
func Written(name, file string) string { return (*Names)(nil).Written(name, file) }

// packageOf is the import path of the package that a source file belongs to, where
// its path tells; else empty. It is of the standard library where the path ends as
// such a file's does.
func packageOf(file string) string {
	dir := path.Dir(file)
	// /usr/local/go/src, /usr/lib/go-1.26/src, .../hostedtoolcache/go/1.26.0/x64/src
	if at := strings.LastIndex(dir, "/src/"); at >= 0 && strings.Contains(dir[:at], "/go") {
		if _, ok := standard()[dir[at+len("/src/"):]]; ok {
			return dir[at+len("/src/"):]
		}
	}
	at := strings.IndexByte(dir, '@')
	if at < 0 {
		if _, ok := standard()[dir]; ok { // built with -trimpath
			return dir
		}
		return ""
	}
	module, rest := dir[:at], ""
	if slash := strings.IndexByte(dir[at:], '/'); slash >= 0 {
		rest = dir[at+slash:]
	}
	if mod := strings.LastIndex(module, "/pkg/mod/"); mod >= 0 {
		module = module[mod+len("/pkg/mod/"):]
	} else if strings.HasPrefix(module, "/") {
		return ""
	}
	return unbang(module) + rest
}

// unbang undoes what the module cache does to capitals: "!burnt!sushi".
func unbang(module string) string {
	var b strings.Builder
	up := false
	for _, c := range module {
		switch {
		case c == '!':
			up = true
			continue
		case up:
			b.WriteString(strings.ToUpper(string(c)))
		default:
			b.WriteRune(c)
		}
		up = false
	}
	return b.String()
}

// escape writes an import path as symbol names have it: with %2e for dots in the last
// element.
func escape(pkg string) string {
	slash := strings.LastIndexByte(pkg, '/') + 1
	return pkg[:slash] + strings.ReplaceAll(pkg[slash:], ".", "%2e")
}
