package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"chokepoint/harness/rule"
	"chokepoint/harness/rule/builtin"
	"chokepoint/harness/signal"
)

// ruleFlags are the flags by which a user's rules come in.
type ruleFlags struct {
	dir  string
	only bool
}

func (f *ruleFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dir, "rules", "", "directory with rules of your own, beside the built-in ones; a rule with the id of a built-in one replaces it")
	cmd.Flags().BoolVar(&f.only, "only-rules", false, "leave the built-in rules out")
}

// chosen are rules ready for use, and what a report must say of them. The zero
// value stands for the built-in rules.
type chosen struct {
	set   *rule.Set
	notes []string
}

// choose loads the rules that the flags ask for.
func (f ruleFlags) choose() (chosen, error) {
	set, err := f.load()
	if err != nil {
		return chosen{}, err
	}
	return chosen{set, f.notes(set)}, nil
}

// own reports whether the rules are not those built in.
func (f ruleFlags) own() bool { return f.dir != "" }

// load reads the rules that the flags ask for.
func (f ruleFlags) load() (*rule.Set, error) {
	if f.only && f.dir == "" {
		return nil, errors.New("--only-rules leaves no rule; name a directory with --rules")
	}
	var sources []rule.Source
	if !f.only {
		sources = append(sources, rule.Source{FS: builtin.FS()})
	}
	if f.dir != "" {
		info, err := os.Stat(f.dir)
		if err != nil {
			return nil, fmt.Errorf("--rules: %w", err)
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("--rules %s: it is a file; name the directory it is in", f.dir)
		}
		sources = append(sources, rule.Source{Dir: f.dir, FS: os.DirFS(f.dir)})
	}
	set, err := rule.Load(signal.Catalogue(), sources...)
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	return set, nil
}

// notes say how the rules differ from the built-in ones.
func (f ruleFlags) notes(set *rule.Set) []string {
	if !f.own() {
		return nil
	}
	notes := []string{"with the rules of " + f.dir}
	if f.only {
		notes = []string{"with the rules of " + f.dir + " alone; the built-in ones are left out"}
	}
	for _, r := range set.Replaced() {
		notes = append(notes, fmt.Sprintf("%s replaces the built-in rule %s", r.By, r.Rule))
	}
	return notes
}
