package reports_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/reports"
)

// costing is an eBPF dimension whose probes cost these shares of the target's
// CPU; below 0 stands for a cost that was not measured.
func costing(names []string, shares ...float64) []bundle.Dimension {
	d := bundle.Dimension{Name: bundle.DimEBPF, Captured: true}
	for i, name := range names {
		p := bundle.Probe{Name: name, Captured: true}
		if share := shares[i]; share >= 0 {
			p.Cost = &bundle.ProbeCost{TargetCPUNS: 1e9, TargetShare: share}
		}
		d.Probes = append(d.Probes, p)
	}
	return []bundle.Dimension{{Name: bundle.DimPprof, Captured: true, Probes: []bundle.Probe{{Name: "cpu", Captured: true}}}, d}
}

func TestPrice(t *testing.T) {
	three := []string{"oncpu", "sched", "syscalls"}
	for name, c := range map[string]struct {
		dimensions []bundle.Dimension
		budget     float64
		over       string
		unknown    []string
		share      float64
		none       bool
	}{
		"no budget":         {dimensions: costing(three, 0.003, 0.005, 0.011), share: 0.019},
		"within":            {dimensions: costing(three, 0.003, 0.005, 0.011), budget: 0.05, share: 0.019},
		"over":              {dimensions: costing(three, 0.003, 0.005, 0.021), budget: 0.02, share: 0.029, over: "over the budget of 2%: syscalls took most; without it, by capture.ebpf: [oncpu, sched], it would be 0.8%"},
		"over by one alone": {dimensions: costing([]string{"net"}, 0.1), budget: 0.02, share: 0.1, over: "over the budget of 2%: leave out net with capture.ebpf: [], or raise capture.budget"},
		"partly known":      {dimensions: costing(three[:2], -1, 0.01), budget: 0.02, share: 0.01, unknown: []string{"oncpu: the recording does not say"}},
		"an old recording":  {dimensions: costing(three, -1, -1, -1), none: true},
		"no ebpf":           {dimensions: costing(nil)[:1], budget: 0.02, none: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := reports.NewPrice(c.dimensions, c.budget)
			if c.none {
				assert.Nil(t, p)
				return
			}
			require.NotNil(t, p)
			assert.Equal(t, c.over, p.Over)
			assert.Equal(t, c.unknown, p.Unknown)
			assert.InDelta(t, c.share, p.Share, 1e-12)
		})
	}
}

// The price stands beside the dimension in every report, and so does the budget
// that it goes beyond.
func TestPriceIsShown(t *testing.T) {
	r := bare()
	r.Dimensions = costing([]string{"oncpu", "sched", "syscalls", "net"}, 0.003, 0.005, 0.021, -1)
	r.Dimensions[1].Probes[1].Cost.Notes = []string{"what hooks cost is not in the figures: not permitted"}
	r.Dimensions[1].Probes[3].CostReason = "the window was too short"
	r.Price = reports.NewPrice(r.Dimensions, 0.02)
	for name, render := range map[string]func(*bytes.Buffer) error{
		"price.txt":  func(b *bytes.Buffer) error { return reports.Text(b, r, reports.TextOptions{}) },
		"price.html": func(b *bytes.Buffer) error { return reports.HTML(b, r) },
		"price.json": func(b *bytes.Buffer) error { return reports.JSON(b, r) },
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, render(&b))
			golden(t, name, b.Bytes())
		})
	}
}
