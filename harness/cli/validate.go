package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"chokepoint/harness/scenario"
	"chokepoint/harness/strictyaml"
)

// validated is what became of one scenario file.
type validated struct {
	File     string `json:"file"`
	Valid    bool   `json:"valid"`
	Scenario string `json:"scenario,omitempty"`
	// Problems have their place in the file where it is known.
	Problems []*strictyaml.Error `json:"problems"`
}

func (a *app) validateCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "validate SCENARIO...",
		Short: "Check scenario files: their fields, and their expectation against the target's source",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var all []validated
			var errs []error
			for _, file := range args {
				v, err := validate(file)
				all = append(all, v)
				errs = append(errs, err)
				if v.Valid && !asJSON {
					fmt.Fprintf(a.out, "%s: %s is valid\n", file, v.Scenario)
				}
			}
			err := errors.Join(errs...)
			if !asJSON {
				return err
			}
			if err := a.json(struct {
				SchemaVersion int         `json:"schema_version"`
				Files         []validated `json:"files"`
			}{schemaVersion, all}); err != nil {
				return err
			}
			if err != nil {
				return exitError{ExitUsage} // the document tells why
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

func validate(file string) (validated, error) {
	v := validated{File: file, Problems: []*strictyaml.Error{}}
	s, err := scenario.Load(file)
	if err == nil {
		_, err = s.Resolve(scenario.Overrides{})
	}
	if err == nil {
		v.Valid, v.Scenario = true, s.Name
		return v, nil
	}
	if v.Problems = strictyaml.All(err); len(v.Problems) == 0 {
		v.Problems = []*strictyaml.Error{{File: file, Message: err.Error()}}
	}
	return v, err
}
