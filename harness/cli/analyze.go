package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"chokepoint/reports"
)

func (a *app) analyzeCommand() *cobra.Command {
	var asJSON, asHTML bool
	var rules ruleFlags
	cmd := &cobra.Command{
		Use:   "analyze BUNDLE",
		Short: "Diagnose a recording, on any Linux machine and without any rights",
		Long: `Analyze reads a bundle, the directory that run wrote or a .tar.gz of it, and
says what is wrong with the server it was recorded from. The same bundle gives
the same findings, byte for byte, wherever it is analyzed.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			with, err := rules.choose()
			if err != nil {
				return err
			}
			d, err := diagnose(args[0], with)
			if err != nil {
				return err
			}
			switch {
			case asJSON:
				err = document(a.out, d.Report)
			case asHTML:
				err = reports.HTML(a.out, d.Report)
			default:
				err = a.text(d.Report)
			}
			if err != nil {
				return fmt.Errorf("write report: %w", err)
			}
			return exitWith(d.code)
		},
	}
	rules.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	cmd.Flags().BoolVar(&asHTML, "html", false, "print one HTML page")
	cmd.MarkFlagsMutuallyExclusive("json", "html")
	return cmd
}

// text prints the report for a person; in colour on a terminal only, and not
// where NO_COLOR asks for none.
func (a *app) text(r reports.Report) error { return reports.Text(a.out, r, a.textOptions()) }

func (a *app) textOptions() reports.TextOptions {
	o := reports.TextOptions{Width: 100}
	if f, ok := a.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		o.Color = os.Getenv("NO_COLOR") == ""
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			o.Width = min(w, 120)
		}
	}
	return o
}
