package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
	"github.com/spf13/cobra"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal"
	"chokepoint/harness/signal/requests"
	"chokepoint/reports"
)

func (a *app) whereCommand() *cobra.Command {
	var band, endpoint, pprof, offCPU string
	var asJSON, summary bool
	bands := []string{requests.All, requests.P50, requests.P90, requests.P99, requests.Slowest}
	cmd := &cobra.Command{
		Use:   "where BUNDLE [BUNDLE...]",
		Short: "Say where the time of each request went",
		Long: `Where reads the execution trace of a bundle, and what the kernel saw of the same
goroutines, and accounts for the time of every request of net/http, fasthttp or gRPC:
running, without a CPU, waiting for a P, blocked or in a system call, by the
program's line. Bands are requests around a percentile of their length: p50 is
the 45th to the 55th, p90 the 85th to the 95th, p99 the 98.5th to the 99.5th,
slowest the ten longest. With --summary it tells of any number of bundles what
took most of p50 and p99.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if summary {
				return cobra.MinimumNArgs(1)(cmd, args)
			}
			return cobra.ExactArgs(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if summary {
				for _, other := range []string{"band", "endpoint", "pprof"} {
					if cmd.Flags().Changed(other) {
						return fmt.Errorf("--summary tells of all requests of p50 and p99: it does not go with --%s", other)
					}
				}
				return a.whereSummary(args, asJSON)
			}
			if !slices.Contains(bands, band) {
				return fmt.Errorf("--band %q: there are %s", band, strings.Join(bands, ", "))
			}
			b, err := bundle.Open(args[0])
			if err != nil {
				return err
			}
			defer b.Close()
			read := signal.Read(b.Evidence())
			w, err := read.Where(endpoint)
			if err != nil {
				// The recording fell short, not who asks.
				fmt.Fprintf(a.err, "chokepoint: %s: %v\n", args[0], err)
				return exitWith(ExitCouldNotTell)
			}
			if endpoint != "" && len(w.Table.Endpoints) == 0 {
				return noEndpoint(read, args[0], endpoint)
			}
			for _, f := range []struct {
				path string
				make func() *profile.Profile
				none error
			}{{pprof, w.Profile, errNoRequests}, {offCPU, w.OffCPUProfile, errNoOffCPU}} {
				if f.path == "" {
					continue
				}
				p := f.make()
				if p == nil {
					return fmt.Errorf("%s: %w", args[0], f.none)
				}
				if err := writeWhole(f.path, func(w io.Writer) error { return p.Write(w) }); err != nil {
					return err
				}
			}
			if asJSON {
				return a.json(struct {
					SchemaVersion int `json:"schema_version"`
					*signal.Where
				}{schemaVersion, w})
			}
			return reports.Where(a.out, w, band, a.textOptions())
		},
	}
	cmd.Flags().StringVar(&band, "band", requests.P99, "band that is told by line: "+strings.Join(bands, ", "))
	cmd.Flags().StringVar(&endpoint, "endpoint", "", "only requests that the function of this name handles")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	cmd.Flags().BoolVar(&summary, "summary", false, "what took most of p50 and p99, of each of several bundles")
	cmd.Flags().StringVar(&pprof, "pprof", "", "also write request time by stack to this file, for go tool pprof")
	cmd.Flags().StringVar(&offCPU, "off-cpu", "", "also write goroutines' time without a CPU, by reason and stack, to this file")
	return cmd
}

var (
	errNoRequests = errors.New("no requests in the trace")
	errNoOffCPU   = errors.New("no goroutine of the program was without a CPU in the trace")
)

// noEndpoint says which endpoints there are.
func noEndpoint(read *signal.Reading, path, endpoint string) error {
	all, err := read.Where("")
	if err != nil {
		return err
	}
	var names []string
	for _, e := range all.Table.Endpoints {
		names = append(names, e.Name)
	}
	if len(names) == 0 {
		return fmt.Errorf("%s: %w", path, errNoRequests)
	}
	return fmt.Errorf("%s: no request of endpoint %q; there are %s", path, endpoint, strings.Join(names, ", "))
}
