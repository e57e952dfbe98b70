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

func (a *app) listCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the scenarios",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
			if err != nil {
				return fmt.Errorf("list scenarios: %w", err)
			}
			if len(files) == 0 {
				return fmt.Errorf("list scenarios: %s holds no .yaml file; name the directory with --dir", dir)
			}
			t := table.NewWriter()
			t.SetOutputMirror(a.out)
			style := table.StyleDefault
			style.Options = table.OptionsNoBordersAndSeparators
			style.Format.Header = text.FormatDefault
			t.SetStyle(style)
			t.SetColumnConfigs([]table.ColumnConfig{{Name: "about", WidthMax: 70, WidthMaxEnforcer: text.WrapSoft}})
			t.AppendHeader(table.Row{"file", "scenario", "causes", "in flight", "about"})
			var errs []error
			for _, file := range files {
				s, err := scenario.Load(file)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				var causes []string
				for _, f := range s.Expect.Findings {
					causes = append(causes, f.Cause)
				}
				t.AppendRow(table.Row{file, s.Name, strings.Join(causes, ", "), s.Load.InFlight, strings.TrimSpace(s.About)})
			}
			t.Render()
			return errors.Join(errs...)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "scenarios", "directory of the scenario files")
	return cmd
}

func (a *app) validateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate SCENARIO...",
		Short: "Check scenario files: their fields, and their expectation against the target's source",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var errs []error
			for _, file := range args {
				s, err := scenario.Load(file)
				if err == nil {
					_, err = s.Resolve(scenario.Overrides{})
				}
				if err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintf(a.out, "%s: %s is valid\n", file, s.Name)
			}
			return errors.Join(errs...)
		},
	}
}
