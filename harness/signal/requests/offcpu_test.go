package requests

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/bundle"
)

func TestOffCPU(t *testing.T) {
	k := NewKernel(&bundle.Cuts{Intervals: []bundle.Cut{
		{GoID: 7, LeftNS: 100, BackNS: 200}, {GoID: 7, LeftNS: 300, BackNS: 350}, {GoID: 8, LeftNS: 0, BackNS: 1000},
	}}, nil)
	for _, tt := range []struct{ goroutine, from, to, want int64 }{
		{7, 0, 50, 0}, {7, 0, 1000, 150}, {7, 150, 320, 70}, {7, 200, 300, 0}, {7, 120, 130, 10}, {9, 0, 1000, 0},
	} {
		assert.Equal(t, tt.want, k.OffCPU(tt.goroutine, tt.from, tt.to), "%+v", tt)
	}
	assert.Zero(t, (*Kernel)(nil).OffCPU(7, 0, 1000))
}
