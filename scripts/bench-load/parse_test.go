package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The samples in testdata are what the tools wrote: "ok" against a healthy
// server, "bad" against one that answers every tenth request with 503 and hangs
// up on others, "refused" with nothing listening.
func TestParse(t *testing.T) {
	byCommand := map[string]contender{}
	for _, c := range contenders() {
		byCommand[c.command] = c
	}
	for _, test := range []struct {
		sample string
		inFile string // the name in the scratch folder; none where it is stdout
		want   claim
	}{
		{"bombardier/ok", "", claim{41487, 0, 24950 * time.Microsecond}},
		{"bombardier/bad", "", claim{5785 + 683, 683, 33827 * time.Microsecond}},
		{"bombardier/refused", "", claim{0, 53485, 1181 * time.Microsecond}},
		{"fortio/ok", "", claim{68788, 0, 15870368 * time.Nanosecond}},
		{"fortio/bad", "", claim{12159 + 1435, 1435 + 138, 10603076 * time.Nanosecond}},
		{"hey/ok", "", claim{21941, 0, 33300 * time.Microsecond}},
		{"hey/bad", "", claim{5439 + 642, 642 + 9, 21600 * time.Microsecond}},
		{"hey/refused", "", claim{0, 24949, 0}},
		{"k6/ok", "summary.json", claim{12024, 0, 46207818 * time.Nanosecond}},
		{"k6/bad", "summary.json", claim{1655, 202, 137963889 * time.Nanosecond}},
		{"k6/refused", "summary.json", claim{0, 11992, 0}},
		{"vegeta/bad", "results", claim{40, 4, 1404306 * time.Nanosecond}},
		{"vegeta/refused", "results", claim{0, 5, 0}},
		{"wrk/ok", "", claim{77057, 0, 28750 * time.Microsecond}},
		{"wrk/bad", "", claim{10717, 599 + 1131, 22170 * time.Microsecond}},
	} {
		t.Run(test.sample, func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join("testdata", test.sample))
			require.NoError(t, err)
			c, known := byCommand[filepath.Dir(test.sample)]
			require.True(t, known)
			j := job{scratch: t.TempDir()}
			stdout := raw
			if test.inFile != "" {
				stdout = nil
				require.NoError(t, os.WriteFile(j.file(test.inFile), raw, 0o600))
			}
			got, err := c.parse(stdout, j)
			require.NoError(t, err)
			assert.Equal(t, test.want.requests, got.requests, "requests")
			assert.Equal(t, test.want.errors, got.errors, "errors")
			if test.want.p99 != 0 {
				assert.InDelta(t, test.want.p99, got.p99, float64(time.Microsecond), "p99")
			}
		})
	}
}

// A tool that says nothing, or something else, has not run well.
func TestParseRefuses(t *testing.T) {
	for _, c := range contenders() {
		for _, stdout := range []string{"", "unable to connect to 127.0.0.1:1 Connection refused\n"} {
			if c.command == "vegeta" {
				continue // no result at all is an empty file with it
			}
			_, err := c.parse([]byte(stdout), job{scratch: t.TempDir()})
			assert.Error(t, err, "%s: %q", c.name, stdout)
		}
	}
	_, err := parseVegeta(nil, job{scratch: t.TempDir()})
	require.ErrorIs(t, err, os.ErrNotExist)

	_, err = parseFortio([]byte(`{"RetCodes":{"200":1},"DurationHistogram":{}}`), job{})
	require.ErrorContains(t, err, "percentile 99")
	_, err = parseBombardier([]byte(`{"result":{"req2xx":1}}`), job{})
	require.ErrorContains(t, err, "percentile 99")
}
