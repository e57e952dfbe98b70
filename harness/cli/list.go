package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"chokepoint/harness/scenario"
)

// listed is one scenario of a directory.
type listed struct {
	File     string   `json:"file"`
	Scenario string   `json:"scenario"`
	Causes   []string `json:"causes"`
	NearMiss []string `json:"near_miss_of,omitempty"` // causes that it only looks like
	InFlight int      `json:"in_flight"`
	RateHz   float64  `json:"rate_hz,omitempty"` // requests a second of an open loop
	About    string   `json:"about,omitempty"`
}

func (a *app) listCommand() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the scenarios",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			all, broken := scenarios(dir)
			if len(all) == 0 && broken != nil {
				return broken
			}
			if asJSON {
				return errors.Join(a.json(struct {
					SchemaVersion int      `json:"schema_version"`
					Scenarios     []listed `json:"scenarios"`
				}{schemaVersion, all}), broken)
			}
			a.printScenarios(all)
			return broken
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "scenarios", "directory of the scenario files")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

// scenarios reads those of a directory; the error is of those that cannot be read.
func scenarios(dir string) ([]listed, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, fmt.Errorf("list scenarios: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("list scenarios: %s holds no .yaml file; name the directory with --dir", dir)
	}
	var all []listed
	var errs []error
	for _, file := range files {
		s, err := scenario.Load(file)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		l := listed{File: file, Scenario: s.Name, Causes: []string{}, InFlight: s.Load.InFlight, RateHz: s.Load.Rate.Hz(), NearMiss: s.Expect.NearMissOf, About: strings.TrimSpace(s.About)}
		if at := s.Load.Captured(); at >= 0 {
			l.InFlight, l.RateHz = max(l.InFlight, s.Load.Stages[at].InFlight), s.Load.Stages[at].Rate.Hz()
		}
		for _, f := range s.Expect.Findings {
			l.Causes = append(l.Causes, f.Cause)
		}
		all = append(all, l)
	}
	return all, errors.Join(errs...)
}

// load is what the captured stage asks for.
func (l listed) load() string {
	var asked []string
	if l.RateHz > 0 {
		asked = append(asked, fmt.Sprintf("%g/s", l.RateHz))
	}
	if l.InFlight > 0 {
		asked = append(asked, fmt.Sprintf("%d in flight", l.InFlight))
	}
	return strings.Join(asked, ", ")
}

// shows is what a diagnosis ought to find, or not fall for.
func (l listed) shows() string {
	if len(l.NearMiss) > 0 {
		return "none, nearly " + strings.Join(l.NearMiss, ", ")
	}
	return strings.Join(l.Causes, ", ")
}

func (a *app) printScenarios(all []listed) {
	t := table.NewWriter()
	t.SetOutputMirror(a.out)
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	t.SetColumnConfigs([]table.ColumnConfig{{Name: "about", WidthMax: 70, WidthMaxEnforcer: text.WrapSoft}})
	t.AppendHeader(table.Row{"file", "scenario", "causes", "load", "about"})
	for _, l := range all {
		t.AppendRow(table.Row{l.File, l.Scenario, l.shows(), l.load(), l.About})
	}
	t.Render()
}
