package rule

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"chokepoint/harness/signal"
	"chokepoint/harness/strictyaml"
)

// Set is a set of rules over one catalogue of signals. It is safe for use by
// several goroutines.
type Set struct {
	lang     *language
	rules    []*Rule // by id
	replaced []Replaced
}

// Source is a place that rules come from.
type Source struct {
	// Dir stands before the names of its files in errors and in Rule.File; empty
	// for the rules built into the program.
	Dir string
	FS  fs.FS
}

// Replaced says that a rule of one source stands in for one of an earlier source
// that has the same id.
type Replaced struct {
	Rule string `json:"rule"` // id
	Was  string `json:"was"`  // file that is not used
	By   string `json:"by"`   // file that is
}

// LoadFS reads every file of fsys whose name ends in .yaml, at any depth.
// Everything wrong in any of them is reported, joined; two rules may not have
// the same id.
func LoadFS(fsys fs.FS, catalogue []signal.Definition) (*Set, error) {
	return Load(catalogue, Source{FS: fsys})
}

// Load reads the rules of several sources into one set, each as LoadFS does. A
// rule that has the id of one of an earlier source replaces it, and
// Set.Replaced says so; within one source two rules may not have the same id.
func Load(catalogue []signal.Definition, sources ...Source) (*Set, error) {
	lang, err := newLanguage(catalogue)
	if err != nil {
		return nil, err
	}
	set := &Set{lang: lang}
	by := map[string]*Rule{}
	var problems []error
	for _, source := range sources {
		rules, err := lang.load(source)
		problems = append(problems, err)
		for _, r := range rules {
			if was, twice := by[r.ID]; twice {
				set.replaced = append(set.replaced, Replaced{Rule: r.ID, Was: was.File, By: r.File})
			}
			by[r.ID] = r
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if err := link(by); err != nil {
		return nil, err
	}
	for _, r := range by {
		set.rules = append(set.rules, r)
	}
	slices.SortFunc(set.rules, func(a, b *Rule) int { return strings.Compare(a.ID, b.ID) })
	return set, nil
}

// load reads the rules of one source, in the order of their files.
func (l *language) load(source Source) ([]*Rule, error) {
	var names []string
	var problems []error
	err := fs.WalkDir(source.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return nil
		}
		switch path.Ext(name) {
		case ".yaml":
			names = append(names, name)
		case ".yml": // it would be left out without a word
			problems = append(problems, fmt.Errorf("%s: a rule's file ends in .yaml; rename it", path.Join(source.Dir, name)))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for rules in %s: %w", cmp.Or(source.Dir, "the program"), err)
	}
	if len(names) == 0 && len(problems) == 0 {
		return nil, fmt.Errorf("look for rules in %s: it holds no .yaml file", cmp.Or(source.Dir, "the program"))
	}
	slices.Sort(names)

	var rules []*Rule
	files := map[string]string{} // by id of rule
	for _, name := range names {
		file := path.Join(source.Dir, name)
		data, err := readBounded(source.FS, name)
		if err != nil {
			problems = append(problems, fmt.Errorf("read rule %s: %w", file, err))
			continue
		}
		r, err := l.parse(file, data)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if other, twice := files[r.ID]; twice {
			problems = append(problems, fmt.Errorf("%s: rule %q is also in %s; give one of them another id", file, r.ID, other))
			continue
		}
		files[r.ID] = file
		rules = append(rules, r)
	}
	return rules, errors.Join(problems...)
}

// readBounded reads no more of a file than a rule may have.
func readBounded(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, strictyaml.MaxBytes+1))
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Rules lists the rules by id. The slice is the caller's.
func (s *Set) Rules() []*Rule { return slices.Clone(s.rules) }

// Replaced lists the rules that one of a later source stands in for, in the
// order they were read. The slice is the caller's.
func (s *Set) Replaced() []Replaced { return slices.Clone(s.replaced) }

// Rule finds a rule by its id. The error names the nearest id, or the rules of
// the cause where id is only that.
func (s *Set) Rule(id string) (*Rule, error) {
	var ids, of []string
	for _, r := range s.rules {
		if r.ID == id {
			return r, nil
		}
		ids = append(ids, r.ID)
		if r.Cause == id {
			of = append(of, r.ID)
		}
	}
	switch near := strictyaml.Nearest(id, ids); {
	case len(of) > 0:
		return nil, fmt.Errorf("there is no rule %q; the rules of that cause are %s", id, strings.Join(of, ", "))
	case near != "":
		return nil, fmt.Errorf("there is no rule %q; did you mean %q?", id, near)
	}
	return nil, fmt.Errorf("there is no rule %q; there are %s", id, strings.Join(ids, ", "))
}
