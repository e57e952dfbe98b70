package gofunc

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

// Names gives functions the names that they are written under, as Written does, by what
// is known of a whole program: which package each directory holds, what is a type in it
// and what a function. It is filled by Learn, from whatever names functions, and then
// read by Written; a nil Names knows nothing. Reading it changes nothing.
//
// It exists because the compiler names a function literal after the function that it
// came to lie in: the literal of (*Guard).Wrap in package access, inlined into main, is
// "main.main.(*Guard).Wrap.func1", and alike "main.main.mid.Outer.Wrap.func14" through
// several. Whoever takes that for a function of package main is sent to the wrong one.
type Names struct {
	module string
	seen   map[function]bool
	dirs   map[string]map[string]int // functions of each package by directory
	types  map[string]bool           // "pkg.T"
	funcs  map[string]bool           // "pkg.F"
	main   map[string]bool           // directories of package main
	roots  map[string]bool           // of the main module
	// copies are literals that are compiled several times, by where they begin: one of
	// them has the name for all.
	copies   map[literal][]string
	begins   map[function]int
	recorded map[function]string
}

type function struct{ name, file string }

type literal struct {
	file string
	line int
}

// maxCopies bounds the copies of one literal that share a name: profiles come from others,
// and each copy is compared with each.
const maxCopies = 32

// NewNames knows nothing yet of a program whose main module is called mainModule; empty
// where that is not known.
func NewNames(mainModule string) *Names {
	return &Names{
		module: mainModule, seen: map[function]bool{}, dirs: map[string]map[string]int{},
		types: map[string]bool{}, funcs: map[string]bool{}, main: map[string]bool{}, roots: map[string]bool{},
		copies: map[literal][]string{}, begins: map[function]int{}, recorded: map[function]string{},
	}
}

// Record says what Written is of one function, found out by who knew more.
func (n *Names) Record(name, file, written string) {
	n.recorded[function{Printed(name), file}] = written
}

// Learn takes in that the program has a function of that name in that file, which begins
// at line start. The file is empty and the line 0 where they are not known.
func (n *Names) Learn(name, file string, start int) {
	fn := function{name, file}
	if madeUp(name) {
		return
	}
	if printed := (function{Printed(name), file}); start > 0 && n.begins[printed] == 0 {
		if p, ok := parse(name); ok && p.literal() {
			n.begins[printed] = start
			if at := (literal{file, start}); len(n.copies[at]) < maxCopies {
				n.copies[at] = append(n.copies[at], name)
			}
		}
	}
	if n.seen[fn] {
		return
	}
	n.seen[fn] = true
	p, ok := parse(name)
	if !ok {
		return
	}
	pkg, first := unescape(p.pkg), p.parts[0]
	if strings.HasPrefix(first.text, "(*") {
		if at := strings.IndexByte(first.text, ')'); at > 0 {
			n.types[pkg+"."+Plain(first.text[2:at])] = true
		}
	}
	switch {
	case len(p.parts) == 1, p.parts[1].made, first.body, strings.HasPrefix(p.parts[1].text, "("):
		if first.ident() {
			n.funcs[pkg+"."+Plain(cutWrapping(first.text))] = true
		}
	case len(p.parts) == 3 && first.ident() && p.parts[1].ident() && wraps(p.parts[2].text):
		// What has go and defer statements is not inlined: it is a method.
		n.types[pkg+"."+Plain(first.text)] = true
	case len(p.parts) == 2 && !p.literal() && first.ident() && !strings.HasPrefix(p.parts[1].text, "abi"):
		n.types[pkg+"."+Plain(first.text)] = true
	}
	// What is no literal lies where it is written, save wrappers and names that were
	// linked to another's, which are few.
	if p.literal() || strings.HasSuffix(name, "-fm") || !strings.Contains(file, "/") {
		return
	}
	dir := path.Dir(file)
	if n.dirs[dir] == nil {
		n.dirs[dir] = map[string]int{}
	}
	n.dirs[dir][pkg]++
	if pkg == "main" {
		n.main[dir] = true
	}
	if rel, ok := strings.CutPrefix(pkg, n.module); ok && n.module != "" && (rel == "" || rel[0] == '/') {
		if root, ok := strings.CutSuffix(dir, rel); ok {
			n.roots[root] = true
		}
	}
}

// Written is name, after the function that its code is written in: for what the
// compiler names after the function that it came to lie in ("main.main.New.func5") the
// package of the file and the last function in name ("github.com/x/y.New.func5"). Its
// number is the compiler's, counted in the outer function, unless Learn knows a
// better: literals of one line that were compiled several times have one name.
//
// What is not known stays: without the file's package the name as a whole, and
// "main.a.b.func1", which may be a literal of b inlined into a or of a method b of type
// a, where neither is known. Type arguments are as Printed has them.
func (n *Names) Written(name, file string) string {
	if madeUp(name) {
		return name
	}
	if n != nil {
		if w, ok := n.recorded[function{Printed(name), file}]; ok {
			return w
		}
	}
	w, changed := n.written(name, file)
	if n == nil {
		return w
	}
	if start := n.begins[function{Printed(name), file}]; start > 0 && changed {
		return n.oneOf(w, literal{file, start})
	}
	return w
}

// oneOf is the name for all copies of a literal: that of the function itself if it was
// compiled too, else the one that sorts first.
func (n *Names) oneOf(w string, at literal) string {
	base, form := Base(w), shape(w)
	best, original := "", false
	for _, copied := range n.copies[at] {
		c, changed := n.written(copied, at.file)
		if Base(c) != base || shape(c) != form {
			continue
		}
		switch {
		case best == "" || !changed && !original:
			best, original = c, !changed
		case changed && original:
		case cmp.Or(cmp.Compare(len(c), len(best)), strings.Compare(c, best)) < 0:
			best = c
		}
	}
	if best == "" {
		return w // copies are many, and none of those kept is of it
	}
	return best
}

// shape tells a literal from one inside it, which may begin on the same line.
func shape(name string) string {
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, strings.TrimPrefix(Plain(name), Base(name)))
}

func (n *Names) written(name, file string) (written string, changed bool) {
	p, ok := parse(name)
	if !ok || file == "" || !p.literal() {
		return Printed(name), false
	}
	of := n.packageOf(p, file)
	if of == "" {
		return Printed(name), false
	}
	last := p.last()
	at, ok := n.begin(p, last, of)
	if !ok || at == 0 {
		return Printed(name), false // nothing was inlined
	}
	var b strings.Builder
	b.WriteString(escape(of))
	literal := false
	for i, part := range p.parts[at:] {
		text := part.text
		if i > last-at && !literal && part.made && digits(cutWrapping(text)) {
			// In a literal what was inlined has numbers alone: func1.Wrap.1.
			text = "func" + text
		}
		literal = literal || part.made
		b.WriteByte('.')
		b.WriteString(Printed(text))
	}
	return b.String(), true
}

// begin is the part at which the function begins whose name ends with part last.
func (n *Names) begin(p parsed, last int, of string) (at int, ok bool) {
	if last == 0 || !p.parts[last].ident() {
		return last, true // a method with its receiver in parentheses is one part
	}
	before := p.parts[last-1]
	if !before.ident() || before.body {
		return last, true
	}
	// Two words: a method of a type, or a function in a function.
	word := Plain(before.text)
	first := last == 1
	foreign := of != unescape(p.pkg)
	switch {
	case first && (foreign || word == "init" || strings.HasPrefix(word, "init.") || word == "main" && p.pkg == "main"):
		return last, true
	case first && n == nil:
		return 0, false
	case n == nil:
		return last, true
	case n.types[of+"."+word]:
		return last - 1, true
	case n.funcs[of+"."+word], !first:
		return last, true
	}
	return 0, false
}

// packageOf is the import path of the package that the file belongs to; empty where that
// is not known.
func (n *Names) packageOf(p parsed, file string) string {
	if pkg := packageOf(file); pkg != "" || n == nil {
		return pkg
	}
	dir := path.Dir(file)
	best, most, second := "", 0, 0
	for pkg, count := range n.dirs[dir] {
		switch {
		case count > most:
			best, most, second = pkg, count, most
		case count > second:
			second = count
		}
	}
	if most > 0 {
		if most == second {
			return ""
		}
		return best
	}
	if n.module == "" || p.pkg == "main" && len(n.main) == 0 {
		return "" // it may be package main's, wherever that is
	}
	if at := strings.LastIndex(dir, "/vendor/"); at >= 0 {
		return dir[at+len("/vendor/"):]
	}
	if !strings.HasPrefix(dir, "/") { // built with -trimpath
		if dir == n.module || strings.HasPrefix(dir, n.module+"/") {
			return dir
		}
		return ""
	}
	root, ok := n.root()
	if !ok {
		return ""
	}
	if rel, ok := strings.CutPrefix(dir, root); ok && (rel == "" || rel[0] == '/') {
		return n.module + rel
	}
	return ""
}

// root is the directory of the main module.
func (n *Names) root() (string, bool) {
	roots := n.roots
	if len(roots) == 0 {
		// Package main says it where it lies as is the custom.
		roots = map[string]bool{}
		for dir := range n.main {
			if at := strings.LastIndex(dir, "/cmd/"); at >= 0 {
				roots[dir[:at]] = true
			} else if shortPackage(n.module) == path.Base(dir) {
				roots[dir] = true
			}
		}
	}
	if len(roots) != 1 {
		return "", false
	}
	for root := range roots {
		return root, true
	}
	return "", false
}

// wraps reports whether the compiler made it for a go or defer statement.
func wraps(part string) bool {
	return strings.HasPrefix(part, "gowrap") || strings.HasPrefix(part, "deferwrap")
}

// madeUp reports whether a name was made up by who recorded it: "[libc.so.6]",
// "schedule [kernel]".
func madeUp(name string) bool {
	open := strings.IndexByte(name, '[')
	return open == 0 || open > 0 && name[open-1] == ' '
}

// parsed is the name of a function, cut where the compiler puts it together.
type parsed struct {
	pkg   string // escaped
	parts []part
}

// part is one part of a name: "main", "(*Guard).Wrap", "func1", "2", "walk-range1".
type part struct {
	text string
	made bool // by the compiler, for a literal or a wrapper: func1, gowrap2, 3
	body bool // it is the body of a loop over a function: walk-range1
}

// ident reports whether it is one word that a person wrote.
func (p part) ident() bool { return !p.made && p.text != "" && p.text[0] != '(' }

func (p parsed) literal() bool {
	end := p.parts[len(p.parts)-1]
	return end.made || end.body
}

// last is the last part that a person wrote.
func (p parsed) last() int {
	for i, part := range slices.Backward(p.parts) {
		if !part.made {
			return i
		}
	}
	return 0
}

// parse cuts a name; false for what has no package.
func parse(name string) (parsed, bool) {
	pkg, rest := split(name)
	if pkg == "" || !strings.HasPrefix(rest, ".") || len(rest) < 2 {
		return parsed{}, false
	}
	p := parsed{pkg: pkg}
	depth, from := 0, 1
	add := func(to int) {
		text := rest[from:to]
		from = to + 1
		if last := len(p.parts) - 1; last >= 0 && strings.HasPrefix(p.parts[last].text, "(") && strings.HasSuffix(p.parts[last].text, ")") {
			p.parts[last].text += "." + text
			p.parts[last].body = cutWrapping(text) != text && !strings.HasSuffix(text, "-fm")
			return
		}
		part := part{text: text}
		if i := strings.LastIndex(text, "-range"); i > 0 && digits(text[i+len("-range"):]) {
			part.body = true
		}
		// A function may be called func1; the first part is one that a person wrote.
		word := cutWrapping(text)
		part.made = len(p.parts) > 0 && (closure(word) || digits(word))
		p.parts = append(p.parts, part)
	}
	for i := 1; i < len(rest); i++ {
		switch rest[i] {
		case '[', '(', '{':
			depth++
		case ']', ')', '}':
			depth--
		case '.':
			if depth == 0 {
				add(i)
			}
		}
	}
	add(len(rest))
	// init.0 and map.init.0 are functions of their own, numbered.
	for i := 1; i < len(p.parts); i++ {
		if p.parts[i-1].text == "init" && digits(p.parts[i].text) {
			p.parts[i-1].text += "." + p.parts[i].text
			p.parts = slices.Delete(p.parts, i, i+1)
			break
		}
	}
	return p, depth == 0
}
