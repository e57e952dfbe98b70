package cli

import (
	"path/filepath"
	"strings"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal"
	"chokepoint/reports"
)

// whereSummary says of each bundle where the time of its requests went. One that
// does not tell is named, and the others are told nonetheless.
func (a *app) whereSummary(paths []string, asJSON bool) error {
	var list []reports.WhereSummary
	fell := false
	for _, path := range paths {
		s, err := summarize(path)
		if err != nil {
			return err
		}
		fell = fell || s.Missing != ""
		list = append(list, s)
	}
	var err error
	if asJSON {
		err = a.json(struct {
			SchemaVersion int                    `json:"schema_version"`
			Bundles       []reports.WhereSummary `json:"bundles"`
		}{schemaVersion, list})
	} else {
		err = reports.WhereSummaries(a.out, list, a.textOptions())
	}
	if err == nil && fell {
		return exitWith(ExitCouldNotTell)
	}
	return err
}

// summarize reads one bundle. That it is no bundle is an error; that it has no
// trace is part of the summary.
func summarize(path string) (reports.WhereSummary, error) {
	b, err := bundle.Open(path)
	if err != nil {
		return reports.WhereSummary{}, err
	}
	defer b.Close()
	name := strings.TrimSuffix(filepath.Base(filepath.Clean(path)), ".tar.gz")
	w, err := signal.Read(b.Evidence()).Where("")
	if err != nil {
		return reports.WhereSummary{Bundle: name, Missing: err.Error()}, nil
	}
	return reports.SummarizeWhere(name, w), nil
}
