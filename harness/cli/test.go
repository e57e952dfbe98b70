package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"

	"time"

	"github.com/spf13/cobra"

	"chokepoint/harness/bundle"
	"chokepoint/harness/corpus"
	"chokepoint/harness/detector"
	"chokepoint/harness/rule"
	"chokepoint/harness/scenario"
	"chokepoint/harness/score"
	"chokepoint/harness/signal"
	"chokepoint/reports"
)

type testFlags struct {
	rules                      ruleFlags
	corpus, baseline, junit    string
	update, asJSON, corpusInfo bool
	casesOnly                  bool
	detector                   string
	timeout                    time.Duration
}

func (a *app) testCommand() *cobra.Command {
	var o testFlags
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Try every rule on its own cases and on every recording of a corpus, without load",
		Long: `Test tries every rule on its own cases, and all of them on every recording of a
corpus whose truth is known: flaws, their healthy twins, and near misses. It says
how often the first finding is the right one, cause by cause and scenario by
scenario, beside what chance would get, and compares each recording with the
baseline that was committed last. docs/benchmark.md defines the measures.

It fails (exit code 1) when a case does not hold, or when a recording is answered
worse than in the baseline: a recording that the baseline does not know must be
answered right. --update-baseline writes the baseline anew.

The corpus is the repository's own, found from the working directory; --corpus
names any other directory of recordings, with its baseline.json in it. With
--detector another program is scored in place of the rules: it is called with the
path of a bundle without its ground truth and prints findings as JSON.`,
		Example: `  chokepoint test
  chokepoint test --rules my-rules --junit report.xml
  chokepoint test --detector './my-detector --fast'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.test(cmd.Context(), o) },
	}
	f := cmd.Flags()
	o.rules.add(cmd)
	f.StringVar(&o.corpus, "corpus", "", "directory of recordings (default: the repository's own)")
	f.StringVar(&o.baseline, "baseline", "", "baseline file (default: the corpus' own; none with --detector or --only-rules)")
	f.BoolVar(&o.update, "update-baseline", false, "write the baseline anew")
	f.BoolVar(&o.asJSON, "json", false, "print one JSON document")
	f.StringVar(&o.junit, "junit", "", "write JUnit XML to this file too")
	f.BoolVar(&o.corpusInfo, "corpus-info", false, "say which machines and versions the recordings came from, and test nothing")
	f.BoolVar(&o.casesOnly, "cases-only", false, "try the rules on their own cases alone, without a corpus")
	f.StringVar(&o.detector, "detector", "", "command to score in place of the rules")
	f.DurationVar(&o.timeout, "detector-timeout", detector.DefaultTimeout, "time the detector has for one bundle")
	cmd.MarkFlagsMutuallyExclusive("detector", "rules")
	cmd.MarkFlagsMutuallyExclusive("detector", "only-rules")
	for _, flag := range []string{"detector", "corpus", "corpus-info", "baseline", "update-baseline"} {
		cmd.MarkFlagsMutuallyExclusive("cases-only", flag)
	}
	cmd.MarkFlagsMutuallyExclusive("corpus-info", "update-baseline")
	cmd.MarkFlagsMutuallyExclusive("corpus-info", "junit")
	return cmd
}

func (a *app) test(ctx context.Context, o testFlags) error {
	begun := time.Now()
	if o.timeout <= 0 {
		return fmt.Errorf("--detector-timeout %s: it must be positive", o.timeout)
	}
	list, err := o.recordings()
	if err != nil {
		return err
	}
	if o.corpusInfo {
		return a.corpusInfo(ctx, o, list)
	}
	r := reports.TestReport{
		SchemaVersion: schemaVersion, Detector: reports.RulesDetector, Notes: []string{},
		Rules: []reports.TestedRule{}, Failed: []rule.CaseResult{}, Corpus: reports.Corpus{Dir: o.corpus, Recordings: []reports.Recorded{}},
	}
	command, err := fromHere(o.detector)
	if err != nil {
		return err
	}
	ask := askDetector(detector.Detector{Command: command, Timeout: o.timeout})
	if o.detector != "" {
		r.Detector = o.detector
	} else {
		with, err := o.rules.choose()
		if err != nil {
			return err
		}
		r.Notes = append(r.Notes, with.notes...)
		r.Cases = with.set.RunCases()
		r.Rules = reports.NewTestedRules(with.set.Rules(), r.Cases)
		for _, c := range r.Cases {
			if !c.Passed {
				r.Failed = append(r.Failed, c)
			}
		}
		ask = askRules(with.set)
	}
	defer quickMemory()()
	tried, err := corpus.Each(ctx, list, runtime.GOMAXPROCS(0), func(ctx context.Context, rec corpus.Recording) (tried, error) {
		return try(ctx, rec, ask)
	})
	if err != nil {
		return err
	}
	outcomes := make([]score.Outcome, len(tried))
	for i, t := range tried {
		outcomes[i] = score.Judge(t.sample)
		r.Corpus.Recordings = append(r.Corpus.Recordings, t.recorded)
		if t.incomplete != "" {
			r.Notes = append(r.Notes, fmt.Sprintf("the recording %s is incomplete, which counts against whoever reads it: %s", t.sample.Name, t.incomplete))
		}
	}
	r.Score = score.Of(outcomes)
	if len(outcomes) > 0 && r.Score.Unanswered == len(outcomes) {
		return fmt.Errorf("the detector gave no answer to any of the %d recordings; to %s: %s", len(outcomes), outcomes[0].Recording, outcomes[0].Failed)
	}
	if err := o.hold(&r); err != nil {
		return err
	}
	r.Passed = len(r.Failed) == 0 && (r.Baseline == nil || !r.Baseline.Failed())
	if o.junit != "" {
		if err := writeWhole(o.junit, func(w io.Writer) error { return reports.JUnit(w, r) }); err != nil {
			return err
		}
	}
	if o.asJSON {
		err = a.json(r)
	} else {
		err = reports.TestText(a.out, r, a.textOptions())
		fmt.Fprintf(a.err, "recordings read: %d, in %.1f s on %d CPUs\n", len(list), time.Since(begun).Seconds(), runtime.GOMAXPROCS(0))
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if !r.Passed {
		return exitWith(ExitFail)
	}
	return nil
}

// quickMemory trades memory for time while many bundles are read one after
// another: what is kept of each is small, and collecting less often takes a
// sixth off (measured: 3.5 s of CPU against 2.9 s for 100 bundles, and 71 MB
// resident against 42). What the user asked of the collector stays.
func quickMemory() (restore func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(400)
	return func() { debug.SetGCPercent(before) }
}

// recordings lists the corpus, and settles which one and which baseline it is.
func (o *testFlags) recordings() ([]corpus.Recording, error) {
	if o.casesOnly {
		return nil, nil
	}
	// What the rules are held against says nothing of another detector.
	ours := o.detector == "" && !o.rules.only
	if o.corpus == "" {
		dir, err := corpus.Dir()
		if err != nil {
			return nil, fmt.Errorf("%w, or try the rules on their own cases alone with --cases-only", err)
		}
		if o.baseline == "" && ours {
			o.baseline = shown(filepath.Join(filepath.Dir(dir), corpus.BaselineFile))
		}
		o.corpus = shown(dir)
	} else if o.baseline == "" && ours {
		o.baseline = filepath.Join(o.corpus, corpus.BaselineFile)
		if _, err := os.Stat(o.baseline); errors.Is(err, fs.ErrNotExist) && !o.update {
			o.baseline = "" // a corpus need not have one
		}
	}
	if o.update && o.baseline == "" {
		return nil, errors.New("--update-baseline: name the file with --baseline; the corpus' own is kept for the built-in rules")
	}
	return corpus.List(o.corpus)
}

// shown is a path as a person would write it: from the working directory if it is
// below that.
func shown(path string) string {
	at, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(at, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// tried is what one recording gave.
type tried struct {
	sample   score.Sample
	recorded reports.Recorded
	// incomplete says why the recording is; empty when it is not.
	incomplete string
}

// answerer finds out what is wrong in a bundle. The error is not the detector's.
type answerer func(context.Context, *bundle.Bundle) (score.Sample, error)

// try has one recording answered, and reads the truth about it.
func try(ctx context.Context, rec corpus.Recording, ask answerer) (t tried, err error) {
	b, err := bundle.Open(rec.Path)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	truth, err := truthOf(b)
	if err != nil {
		return t, err
	}
	if t.sample, err = ask(ctx, b); err != nil {
		return t, fmt.Errorf("%s: %w", rec.Path, err)
	}
	t.sample.Name, t.sample.Truth = rec.Name, truth
	t.recorded = recorded(rec.Name, b.Manifest(), truth)
	if m := b.Manifest(); !m.Complete {
		t.incomplete = cmp.Or(m.Incomplete, "the run that made it did not say why")
	}
	return t, nil
}

// truthOf is the ground truth of a bundle. A recording whose truth is not known
// is an error: nothing can be scored by it.
func truthOf(b *bundle.Bundle) (scenario.Resolved, error) {
	data, err := b.GroundTruth()
	if errors.Is(err, bundle.ErrNoArtifact) {
		return scenario.Resolved{}, fmt.Errorf("%s has no %s, so that nobody knows what must be found in it; a corpus holds recordings whose truth is known", b.Path(), bundle.ScenarioFile)
	}
	if err != nil {
		return scenario.Resolved{}, fmt.Errorf("%s: %w", b.Path(), err)
	}
	truth, err := scenario.ReadResolved(data)
	if err != nil {
		return scenario.Resolved{}, fmt.Errorf("%s of bundle %s: %w", bundle.ScenarioFile, b.Path(), err)
	}
	if !truth.Judged() {
		return scenario.Resolved{}, fmt.Errorf("the scenario of %s expects nothing; a corpus holds recordings whose truth is known", b.Path())
	}
	return truth, nil
}

func askRules(set *rule.Set) answerer {
	return func(_ context.Context, b *bundle.Bundle) (score.Sample, error) {
		m := b.Manifest()
		result := set.Evaluate(signal.Measure(b.Evidence()), m.Captured)
		s := score.Sample{Findings: result.Findings}
		for _, u := range result.Unknown {
			s.Undecided = append(s.Undecided, u.Rule)
		}
		return s, nil
	}
}

// relative are the words of a command that are paths from the working directory:
// the program, if it is one, and what begins with ./ or ../.
var relative = regexp.MustCompile(`^[^\s/'"$=]+/[^\s'"]*|(^|\s)\.{1,2}/[^\s'"]*`)

// fromHere makes these words absolute, since the detector works elsewhere.
func fromHere(command string) (string, error) {
	here, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("--detector: %w", err)
	}
	return relative.ReplaceAllStringFunc(command, func(word string) string {
		path := strings.TrimLeft(word, " \t\n")
		space := word[:len(word)-len(path)]
		return space + "'" + strings.ReplaceAll(filepath.Join(here, path), "'", `'\''`) + "'"
	}), nil
}

func askDetector(d detector.Detector) answerer {
	return func(ctx context.Context, b *bundle.Bundle) (score.Sample, error) {
		answer, err := d.Ask(ctx, b)
		if err != nil || answer.Failed != "" {
			return score.Sample{Failed: answer.Failed}, err
		}
		findings, err := score.ParseAnswer(answer.Output)
		if err != nil {
			return score.Sample{Failed: err.Error()}, nil
		}
		return score.Sample{Findings: findings}, nil
	}
}

func recorded(name string, m bundle.Manifest, truth scenario.Resolved) reports.Recorded {
	r := reports.NewRecorded(name, m)
	r.Scenario, r.Variant, r.InFlight = truth.Scenario.Name, string(truth.Variant), truth.Scenario.Load.InFlight
	return r
}

// hold compares a report with the baseline, or writes that anew.
func (o testFlags) hold(r *reports.TestReport) error {
	if o.baseline == "" {
		return nil
	}
	data, err := os.ReadFile(o.baseline)
	var was score.Baseline
	switch {
	case err == nil:
		was, err = score.ParseBaseline(o.baseline, data)
	case errors.Is(err, fs.ErrNotExist) && !o.update:
		return fmt.Errorf("baseline: %w; --update-baseline writes it", err)
	}
	if err != nil && !o.update {
		return err
	}
	if o.update {
		now := score.NewBaseline(r.Score)
		if err := writeWhole(o.baseline, now.Encode); err != nil {
			return err
		}
		r.Notes = append(r.Notes, "the baseline in "+o.baseline+" is written anew; commit it, and say why")
		if err == nil {
			r.Notes = append(r.Notes, changeNotes(was.Compare(r.Score))...)
		}
		was = now
	}
	r.Baseline = &reports.AgainstBaseline{File: o.baseline, Comparison: was.Compare(r.Score)}
	return nil
}

// changeNotes say what a baseline written anew gives up and keeps.
func changeNotes(c score.Comparison) []string {
	var notes []string
	for _, list := range []struct {
		what    string
		changes []score.Change
	}{{"worse than before", c.Worse}, {"better than before", c.Better}, {"new", c.New}} {
		for _, change := range list.changes {
			notes = append(notes, fmt.Sprintf("%s: %s: %s", list.what, change.Recording, change.Text))
		}
	}
	return notes
}

// corpusInfo says where the recordings came from.
func (a *app) corpusInfo(ctx context.Context, o testFlags, list []corpus.Recording) error {
	all, err := corpus.Each(ctx, list, runtime.GOMAXPROCS(0), func(ctx context.Context, rec corpus.Recording) (tried, error) {
		return try(ctx, rec, func(context.Context, *bundle.Bundle) (score.Sample, error) { return score.Sample{}, nil })
	})
	if err != nil {
		return err
	}
	c := reports.Corpus{Dir: o.corpus}
	for _, t := range all {
		c.Recordings = append(c.Recordings, t.recorded)
	}
	if o.asJSON {
		return a.json(struct {
			SchemaVersion int `json:"schema_version"`
			reports.Corpus
		}{schemaVersion, c})
	}
	return reports.CorpusText(a.out, c, a.textOptions())
}
