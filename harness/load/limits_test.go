package load

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/load/client"
)

// A badly behaved client is net/http's, whatever sends the polite requests: a limit
// made for the lean client would have the collector run all the time.
func TestMemoryOfAWorker(t *testing.T) {
	const each = 5000 // of 10,000 in flight
	tests := []struct {
		name       string
		behaviours []client.Behaviour
		want       int64
	}{
		{"polite", nil, memoryBase + each*memoryLean},
		{"slow readers", []client.Behaviour{{Share: 1, ReadsPerSecond: 6 << 10}}, memoryBase + each*(memoryLean+memoryFull)},
		{"some of two kinds", []client.Behaviour{{Share: 0.25, ReadsPerSecond: 6 << 10}, {Share: 0.25, StopsReadingAfter: 1}}, memoryBase + each*memoryLean + each/2*memoryFull},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := closed("http://127.0.0.1:8080", 2*each)
			c.Workers, c.Client.MaxInFlight, c.Client.Behaviours = 2, 2*each, tt.behaviours
			assert.Equal(t, tt.want, c.limits(1).MemoryBytes)
		})
	}
	c := closed("http://127.0.0.1:8080", 2*each)
	c.Workers, c.Limits.MemoryBytes = 1, 1<<20
	assert.EqualValues(t, 1<<20, c.limits(0).MemoryBytes, "what is asked for stands")
}
