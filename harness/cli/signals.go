package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"chokepoint/harness/bundle"
	"chokepoint/harness/rule"
	"chokepoint/harness/signal"
)

func (a *app) signalsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "signals [BUNDLE]",
		Short: "List the signals that rules are written in, with their values in a bundle",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.catalogue(asJSON)
			}
			b, err := bundle.Open(args[0])
			if err != nil {
				return err
			}
			defer b.Close()
			set := signal.Measure(b.Evidence())
			if asJSON {
				return a.json(struct {
					SchemaVersion int `json:"schema_version"`
					signal.Set
				}{schemaVersion, set})
			}
			for _, d := range signal.Catalogue() {
				fmt.Fprintf(a.out, "%-38s %s\n", d.Name, value(set, d))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

func (a *app) catalogue(asJSON bool) error {
	if asJSON {
		return a.json(struct {
			SchemaVersion int                 `json:"schema_version"`
			Signals       []signal.Definition `json:"signals"`
		}{schemaVersion, signal.Catalogue()})
	}
	for _, d := range signal.Catalogue() {
		unit := string(d.Unit)
		if d.Kind == signal.Place {
			unit = "place"
		}
		fmt.Fprintf(a.out, "%s (%s)\n    %s\n", d.Name, unit, d.Meaning)
	}
	return nil
}

func value(set signal.Set, d signal.Definition) string {
	s, ok := set.Signals[d.Name]
	switch {
	case !ok:
		return "no value: " + set.Missing[d.Name]
	case d.Kind == signal.Place:
		return fmt.Sprintf("%s %s:%d", s.Where.Function, s.Where.File, s.Where.Line)
	}
	text := rule.Figure{Signal: d.Name, Value: s.Value, Unit: d.Unit}.String()
	if s.Of != "" {
		text += fmt.Sprintf(" (%q)", s.Of)
	}
	return text
}
