package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"chokepoint/harness/bundle"
	"chokepoint/harness/heatmap"
	"chokepoint/reports"
)

func (a *app) heatmapCommand() *cobra.Command {
	var asJSON bool
	var out, from string
	cmd := &cobra.Command{
		Use:   "heatmap BUNDLE",
		Short: "Draw requests by time and latency, and say what happened when they were slow",
		Long: `Heatmap lays the requests of a bundle out by time and latency, finds the bands
and the spells in which they stand apart, and names what else happened in a spell
if chance would rarely have put it there. It prints that for a person, or writes
the map as one SVG file that asks for nothing else, or as data.

Requests are what the client saw: single results where they were all kept
(load.results: whole), else the histograms of each second. With --from trace they
are the tasks that the program marked in its execution trace.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			b, err := bundle.Open(args[0])
			if err != nil {
				return err
			}
			defer b.Close()
			in, err := heatmap.Read(b.Evidence(), from, nil)
			if err != nil {
				return err
			}
			m := heatmap.New(in)
			if out != "" {
				if err := writeWhole(out, func(w io.Writer) error { return reports.HeatmapSVG(w, m) }); err != nil {
					return err
				}
			}
			if asJSON {
				return a.json(m)
			}
			if err := reports.HeatmapText(a.out, m); err != nil {
				return fmt.Errorf("write heat map: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "write the map as an SVG file")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	cmd.Flags().StringVar(&from, "from", heatmap.FromLoad, "where requests are taken from: load or trace")
	return cmd
}
