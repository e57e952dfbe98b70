package reports_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal"
	"chokepoint/harness/signal/requests"
	"chokepoint/reports"
)

func TestWhereSummaries(t *testing.T) {
	whole := reports.SummarizeWhere("slow-store", slowStore())
	require.Len(t, whole.Bands, 2)
	assert.Len(t, whole.Bands[1].Parts, 3)
	assert.EqualValues(t, "lock", whole.Bands[1].Parts[0].Kind)

	// Two ways to know the same line are one part.
	w := slowStore()
	at := bundle.Frame{Function: "main.(*store).ServeHTTP", File: "/src/store.go", Line: 30}
	for i := range w.Table.Bands {
		b := &w.Table.Bands[i]
		for j, p := range b.Parts {
			if p.Kind == "lock" {
				b.Parts[j].NS -= p.NS / 4
				p.NS, p.Basis = p.NS/4, requests.ByPattern
				b.Parts = append(b.Parts, p)
				break
			}
		}
	}
	merged := reports.SummarizeWhere("slow-store", w)
	assert.Equal(t, at, merged.Bands[1].Parts[0].Where)
	assert.InDelta(t, whole.Bands[1].Parts[0].Share, merged.Bands[1].Parts[0].Share, 1e-9)

	unknown := slowStore()
	unknown.Cut, unknown.BothEnds, unknown.Table.Ranked = "after 1200 events: unexpected EOF", signal.BothEnds{Missing: "load was not captured"}, requests.BySeen
	ends := slowStore()
	ends.BothEnds.Before = signal.Times{}
	var b bytes.Buffer
	require.NoError(t, reports.WhereSummaries(&b, []reports.WhereSummary{
		whole,
		reports.SummarizeWhere("cut-store", unknown),
		reports.SummarizeWhere("old-store", ends),
		reports.SummarizeWhere("idle", &signal.Where{}),
		{Bundle: "no-trace\x1b[2J", Missing: "trace/trace.out was not captured"},
	}, reports.TextOptions{Width: 100}))
	golden(t, "where-summary.txt", b.Bytes())
	assert.NotContains(t, b.String(), "\x1b")
	assert.Error(t, reports.WhereSummaries(full{}, []reports.WhereSummary{whole}, reports.TextOptions{}))
}
