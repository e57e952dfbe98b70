package rule

import (
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
	lang  *language
	rules []*Rule // by id
}

// LoadFS reads every file of fsys whose name ends in .yaml, at any depth.
// Everything wrong in any of them is reported, joined; two rules may not have
// the same id.
func LoadFS(fsys fs.FS, catalogue []signal.Definition) (*Set, error) {
	lang, err := newLanguage(catalogue)
	if err != nil {
		return nil, err
	}
	var names []string
	err = fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !entry.IsDir() && path.Ext(name) == ".yaml" {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for rules: %w", err)
	}
	slices.Sort(names)

	set := &Set{lang: lang}
	var problems []error
	files := map[string]string{} // by id of rule
	for _, name := range names {
		data, err := readBounded(fsys, name)
		if err != nil {
			problems = append(problems, fmt.Errorf("read rule: %w", err))
			continue
		}
		r, err := lang.parse(name, data)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if other, twice := files[r.ID]; twice {
			problems = append(problems, fmt.Errorf("%s: rule %q is also in %s; give one of them another id", name, r.ID, other))
			continue
		}
		files[r.ID] = name
		set.rules = append(set.rules, r)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	slices.SortFunc(set.rules, func(a, b *Rule) int { return strings.Compare(a.ID, b.ID) })
	return set, nil
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
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}

// Rules lists the rules by id. The slice is the caller's.
func (s *Set) Rules() []*Rule { return slices.Clone(s.rules) }
