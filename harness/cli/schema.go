package cli

import (
	"github.com/spf13/cobra"

	"chokepoint/harness/rule"
	"chokepoint/harness/scenario"
	"chokepoint/reports"
)

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "schema scenario|rule|finding|test",
		Short:     "Print the JSON Schema of a scenario file, a rule file, a finding, or what test --json prints",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"scenario", "rule", "finding", "test"},
		RunE: func(_ *cobra.Command, args []string) error {
			schema := map[string]func() ([]byte, error){
				"scenario": scenario.Schema, "rule": rule.Schema, "finding": rule.FindingSchema, "test": reports.TestSchema,
			}[args[0]]
			doc, err := schema()
			if err != nil {
				return err
			}
			_, err = a.out.Write(doc)
			return err
		},
	}
}
