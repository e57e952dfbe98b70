package cli

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"chokepoint/harness/bundle"
)

func (a *app) packCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "pack BUNDLE",
		Short: "Pack a recording into one file to send on",
		Long: `Pack writes a bundle as one .tar.gz, which analyze reads as it reads the
directory. The same bundle gives the same bytes. The report is left out: analyze
makes it again.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			b, err := bundle.Open(args[0])
			if err != nil {
				return err
			}
			defer b.Close()
			if out == "" {
				abs, err := filepath.Abs(args[0])
				if err != nil {
					return fmt.Errorf("name the packed bundle: %w; name it with --out", err)
				}
				out = filepath.Base(abs) + ".tar.gz"
			}
			if err := writeWhole(out, func(w io.Writer) error { return b.Pack(w) }); err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.out, out)
			return err
		},
	}
	cmd.Flags().StringVarP(&out, "out", "o", "", "file to write (default: the bundle's name with .tar.gz, here)")
	return cmd
}
