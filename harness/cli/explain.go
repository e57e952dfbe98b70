package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"chokepoint/harness/bundle"
	"chokepoint/harness/rule"
	"chokepoint/harness/signal"
	"chokepoint/reports"
)

func (a *app) explainCommand() *cobra.Command {
	var rules ruleFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain BUNDLE RULE",
		Short: "Say what each term of a rule comes to in a recording, and why it fires or does not",
		Long: `Explain evaluates one rule on one bundle, whole and part by part: each condition
with the values of its signals, which artifacts those were taken from, what is
missing and why, and which terms decided.`,
		Example: `  chokepoint explain runs/BUNDLE lock-contention
  chokepoint explain runs/BUNDLE lock-contention/mine --rules my-rules`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			set, err := rules.load()
			if err != nil {
				return err
			}
			r, err := set.Rule(args[1])
			if err != nil {
				return err
			}
			b, err := bundle.Open(args[0])
			if err != nil {
				return err
			}
			defer b.Close()
			x := r.Explain(signal.Measure(b.Evidence()), b.Manifest().Captured, signal.Sources(b.Evidence()))
			if asJSON {
				err = a.json(struct {
					SchemaVersion int `json:"schema_version"`
					rule.Explanation
				}{schemaVersion, x})
			} else {
				err = reports.ExplainText(a.out, args[0], x, a.textOptions())
			}
			if err != nil {
				return fmt.Errorf("write explanation: %w", err)
			}
			return nil
		},
	}
	rules.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}
