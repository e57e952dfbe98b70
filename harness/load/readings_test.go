package load

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/load/account"
)

// Readings of several workers make the same account of a load as it makes of
// itself when it ends.
func TestReadingsMakeSpans(t *testing.T) {
	base, _ := startServer(t, 20*time.Millisecond)
	c := closed(base, 20)
	c.Workers = 2
	g, err := New(c)
	require.NoError(t, err)
	_, err = g.Readings(t.Context())
	assert.ErrorContains(t, err, "it has not been started")

	g = start(t, c)
	reach(t, g)
	first, err := g.Readings(t.Context())
	require.NoError(t, err)
	require.Len(t, first, 2)
	time.Sleep(300 * time.Millisecond)
	second, err := g.Readings(t.Context())
	require.NoError(t, err)
	spans := make([]account.Span, len(first))
	for i := range first {
		spans[i] = second[i].Since(first[i])
		assert.Greater(t, spans[i].Length, 250*time.Millisecond)
		assert.InDelta(t, 10, spans[i].InFlight, 1)
	}
	all := account.Join(spans)
	assert.Positive(t, all.Ended)
	assert.Zero(t, all.Errors)
	assert.Equal(t, all.Ended, all.Service.Count)
	assert.Positive(t, all.CPU)
	assert.GreaterOrEqual(t, all.Service.At(50)[0], int64(20_000), "µs: no answer comes earlier")
}
