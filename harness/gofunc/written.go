package gofunc

import (
	"path"
	"strings"
)

// Written is name, after the function that its code is written in. The compiler names
// a function literal after the function that it came to lie in when the one around it
// was inlined: "main.main.New.func5" may be a literal of New in a library. The file tells
// where that is so, if it is of the standard library or in a module's directory of the
// module cache ("@v1.2.3"): then the name begins with the package of the file and the
// last function in name, "github.com/x/y.New.func5". Type arguments are as Printed has
// them. Where the file does not tell, it is Printed.
func Written(name, file string) string {
	if open := strings.IndexByte(name, '['); open == 0 || open > 0 && name[open-1] == ' ' {
		return name // made up by who recorded it: "[libc.so.6]", "schedule [kernel]"
	}
	name = Printed(name)
	pkg, rest := split(name)
	if pkg == "" || file == "" || !strings.Contains(rest, ".func") {
		return name
	}
	of := packageOf(file)
	if of == "" || of == unescape(pkg) {
		return name
	}
	base := strings.TrimPrefix(Base(name), pkg)
	suffix := strings.TrimPrefix(Plain(rest), base)
	if suffix == "" || suffix == Plain(rest) {
		return name
	}
	// base is ".(*api).stream.(*Store).Lines": what matters stands last.
	at := strings.LastIndexByte(base, '.')
	if at > 0 && base[at-1] == ')' {
		at = strings.LastIndexByte(base[:at], '(') - 1
	}
	if at <= 0 || base[at] != '.' {
		return name // it is no function in a function
	}
	return escape(of) + base[at:] + suffix
}

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
