package scenario

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"chokepoint/harness/cause"
	"chokepoint/harness/gofunc"
	"chokepoint/harness/strictyaml"
)

// Marker begins the comment at the end of a lab target's faulty line; the
// cause follows it.
const Marker = "chokepoint:flaw"

// Truth is what an expected finding must name.
type Truth struct {
	Cause string `json:"cause"`
	// Function is the declared function, as the runtime names it:
	// "main.(*store).get". For a target without source it is the expectation's
	// pattern.
	Function string `json:"function,omitempty"`
	// File is slash-separated and relative to the module; empty when not known.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"` // 0 when not known
}

// GroundTruth finds, for each expected finding and in their order, the marked
// line in the target's source. Its error joins one *strictyaml.Error for each
// problem; each names the line of the source or of the scenario, and the mend.
func (s *Scenario) GroundTruth() ([]Truth, error) {
	truth := make([]Truth, 0, len(s.Expect.Findings))
	if s.Target.Package == "" {
		for _, f := range s.Expect.Findings {
			truth = append(truth, Truth{Cause: f.Cause, Function: f.At})
		}
		return truth, nil
	}
	module, err := ModuleDir(s.File())
	if err != nil {
		return nil, err
	}
	src, err := readSource(module, s.Target.Package)
	if err != nil {
		return nil, fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	problems := src.problems
	for i, f := range s.Expect.Findings {
		t, problem := src.find(f)
		if problem != nil {
			if problem.File == "" { // it is the scenario's
				message := problem.Message
				hint := problem.Hint
				problem = s.problem(fmt.Sprintf("expect.findings[%d].at", i), message)
				problem.Hint = hint
			}
			problems = append(problems, problem)
			continue
		}
		truth = append(truth, t)
	}
	if len(problems) > 0 {
		return nil, strictyaml.Join(problems)
	}
	return truth, nil
}

// problem places a message at a field of the scenario file.
func (s *Scenario) problem(field, message string) *strictyaml.Error {
	if s.origin == nil {
		return &strictyaml.Error{Field: field, Message: message}
	}
	return s.origin.doc.Errorf(field, "%s", message)
}

// MatchesFunction reports whether function, as the Go runtime names it, is the
// one that pattern means: it equals pattern as a whole, after its package, or with the
// package's name alone, as in "app.serve" for "example.com/app.serve".
// Type arguments do not matter, and function literals count as the function
// they stand in.
func MatchesFunction(pattern, function string) bool {
	pattern = gofunc.Plain(pattern)
	if pattern == "" {
		return false
	}
	for _, name := range []string{gofunc.Plain(function), gofunc.Base(function)} {
		of, within := splitPackage(name)
		if pattern == name || pattern == within || pattern == of+"."+within {
			return true
		}
	}
	return false
}

// splitPackage is "app" and "(*store).get" of "example.com/app.(*store).get".
func splitPackage(name string) (of, within string) {
	head := name
	if i := strings.IndexAny(head, "([{ "); i >= 0 {
		head = head[:i]
	}
	slash := strings.LastIndexByte(head, '/') + 1
	if dot := strings.IndexByte(head[slash:], '.'); dot >= 0 {
		return name[slash : slash+dot], name[slash+dot+1:]
	}
	return "", name
}

// source is what matters of a target's Go files.
type source struct {
	functions []function
	problems  []*strictyaml.Error // with markers, wherever they stand
}

type function struct {
	name    string // "main.(*store).get"
	file    string // slash-separated, relative to the module
	line    int
	markers []marker
}

type marker struct {
	cause string
	line  int
}

// readSource reads the files of one main package, tests left out.
func readSource(module, pkg string) (*source, error) {
	dir := filepath.Join(module, filepath.FromSlash(pkg))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the target's source: %w", err)
	}
	src := &source{}
	files := 0
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		full := filepath.Join(dir, e.Name())
		rel, err := filepath.Rel(module, full)
		if err != nil {
			return nil, fmt.Errorf("read the target's source: %w", err)
		}
		if err := src.addFile(full, filepath.ToSlash(rel)); err != nil {
			return nil, fmt.Errorf("read the target's source: %w", err)
		}
		files++
	}
	if files == 0 {
		return nil, fmt.Errorf("read the target's source: %s has no Go files", dir)
	}
	return src, nil
}

func (src *source) addFile(full, rel string) error {
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, full, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	if f.Name.Name != "main" {
		return fmt.Errorf("%s: is package %s; a target is package main", rel, f.Name.Name)
	}
	first := len(src.functions)
	spans := map[int]*ast.FuncDecl{}
	for _, d := range f.Decls {
		if decl, ok := d.(*ast.FuncDecl); ok {
			spans[len(src.functions)] = decl
			src.functions = append(src.functions, function{
				name: "main." + funcName(decl), file: rel, line: set.Position(decl.Pos()).Line,
			})
		}
	}
	for _, group := range f.Comments {
		for _, c := range group.List {
			text, isMarker := strings.CutPrefix(strings.TrimSpace(strings.TrimPrefix(c.Text, "//")), Marker)
			if !isMarker || !strings.HasPrefix(c.Text, "//") {
				continue
			}
			at := set.Position(c.Pos())
			problem := func(format string, args ...any) *strictyaml.Error {
				e := &strictyaml.Error{File: rel, Line: at.Line, Column: at.Column, Message: fmt.Sprintf(format, args...)}
				src.problems = append(src.problems, e)
				return e
			}
			id := strings.TrimSpace(text)
			if !cause.Known(id) {
				e := problem("the marker names an unknown cause %q", id)
				if e.Hint = strictyaml.Nearest(id, cause.IDs()); e.Hint == "" {
					e.Message += "; known: " + strings.Join(cause.IDs(), ", ")
				}
				continue
			}
			holder := -1
			for i := first; i < len(src.functions); i++ {
				if spans[i].Pos() <= c.Pos() && c.Pos() < spans[i].End() {
					holder = i
				}
			}
			switch {
			case holder < 0:
				problem("the marker stands outside of any function; put it at the end of the faulty line")
			case !codeOn(set, spans[holder], at.Line):
				problem("the marker stands on a line without code; put it at the end of the faulty line")
			default:
				h := &src.functions[holder]
				h.markers = append(h.markers, marker{cause: id, line: at.Line})
			}
		}
	}
	return nil
}

// codeOn reports whether a piece of the function's syntax begins or ends on line.
func codeOn(set *token.FileSet, decl *ast.FuncDecl, line int) bool {
	found := false
	ast.Inspect(decl, func(n ast.Node) bool {
		if n == nil || found {
			return false
		}
		switch n.(type) {
		case *ast.Comment, *ast.CommentGroup:
			return false
		}
		found = set.Position(n.Pos()).Line == line || set.Position(n.End()-1).Line == line
		return !found
	})
	return found
}

// funcName names a declared function as the runtime does, without package and
// type arguments: "(*store).get".
func funcName(decl *ast.FuncDecl) string {
	if decl.Recv == nil || len(decl.Recv.List) == 0 {
		return decl.Name.Name
	}
	t, pointer := decl.Recv.List[0].Type, false
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t, pointer = x.X, true
		case *ast.ParenExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			if pointer {
				return "(*" + x.Name + ")." + decl.Name.Name
			}
			return x.Name + "." + decl.Name.Name
		default:
			return decl.Name.Name
		}
	}
}

// find is the marked line that f expects. A problem without a file is the
// scenario's.
func (src *source) find(f ExpectedFinding) (Truth, *strictyaml.Error) {
	var names []string
	for _, fn := range src.functions {
		_, name := splitPackage(fn.name)
		names = append(names, name)
		// A pattern may name a function literal: the marker counts for it.
		if !MatchesFunction(f.At, fn.name) && !MatchesFunction(gofunc.Base(literalOwner(f.At)), fn.name) {
			continue
		}
		var lines []int
		for _, m := range fn.markers {
			if m.cause == f.Cause {
				lines = append(lines, m.line)
			}
		}
		switch len(lines) {
		case 1:
			return Truth{Cause: f.Cause, Function: fn.name, File: fn.file, Line: lines[0]}, nil
		case 0:
			return Truth{}, &strictyaml.Error{File: fn.file, Line: fn.line, Message: fmt.Sprintf(
				"%s has no marker for %s; put \"// %s %s\" at the end of its faulty line", fn.name, f.Cause, Marker, f.Cause)}
		default:
			return Truth{}, &strictyaml.Error{File: fn.file, Line: lines[1], Message: fmt.Sprintf(
				"%s has %d markers for %s, the first on line %d; leave the one on the faulty line", fn.name, len(lines), f.Cause, lines[0])}
		}
	}
	e := &strictyaml.Error{Message: fmt.Sprintf("the target has no function %s", f.At)}
	if e.Hint = strictyaml.Nearest(f.At, names); e.Hint == "" {
		if marked := src.marked(f.Cause); len(marked) > 0 {
			e.Message += "; markers for " + f.Cause + " stand in " + strings.Join(marked, ", ")
		}
	}
	return Truth{}, e
}

// literalOwner gives a pattern a package, so that what is generated can be cut
// off it by the rules for full names.
func literalOwner(pattern string) string {
	if strings.HasPrefix(pattern, "main.") {
		return pattern
	}
	return "main." + pattern
}

// marked lists the functions that hold a marker for the cause.
func (src *source) marked(id string) []string {
	var names []string
	for _, fn := range src.functions {
		if slices.ContainsFunc(fn.markers, func(m marker) bool { return m.cause == id }) {
			_, name := splitPackage(fn.name)
			names = append(names, name)
		}
	}
	return names
}
