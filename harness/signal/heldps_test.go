package signal

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

func TestPsAsleepInCalls(t *testing.T) {
	site := stack.Frame{Function: "main.put", Line: 46}
	for name, c := range map[string]struct {
		did             threadTime
		asleep, unknown int64
	}{
		"a disk":                       {threadTime{slept: 180, ran: 20}, 54, 0},
		"copying":                      {threadTime{slept: 2, ran: 198}, 0, 0},
		"woken, and waits for a CPU":   {threadTime{slept: 100, queued: 80, ran: 20}, 30, 0},
		"C, or stacks that are lost":   {threadTime{ran: 30}, 0, 60},
		"nothing was seen of the line": {threadTime{}, 0, 60},
	} {
		t.Run(name, func(t *testing.T) {
			h := heldCalls{
				sites: []gotrace.SiteCount{{Where: site, NS: 100, HeldNS: 60}}, length: 1000,
				of: func(c gotrace.SiteCount) int64 { return c.HeldNS },
			}
			asleep, unknown := h.mix(map[stack.Frame]threadTime{site: c.did}, 2000)
			assert.InDelta(t, c.asleep, asleep[site], 1)
			assert.Equal(t, c.unknown, unknown)
		})
	}
}
