package cli

import (
	"github.com/spf13/cobra"

	"chokepoint/harness/rule"
	"chokepoint/harness/scenario"
)

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "schema scenario|rule|finding",
		Short:     "Print the JSON Schema of a scenario file, a rule file or a finding",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"scenario", "rule", "finding"},
		RunE: func(_ *cobra.Command, args []string) error {
			schema := map[string]func() ([]byte, error){
				"scenario": scenario.Schema, "rule": rule.Schema, "finding": rule.FindingSchema,
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
