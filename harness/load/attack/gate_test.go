package attack

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGateTellsSinceWhenAPlaceIsFree(t *testing.T) {
	g := newGate(3)
	g.resize(2, 10)
	g.resize(3, 20)
	for _, want := range []int64{10, 10, 20} {
		since, ok := g.take()
		require.True(t, ok)
		assert.Equal(t, want, since)
	}
	assert.True(t, g.full())
	assert.False(t, g.giveBack(30), "nobody waits")
	assert.False(t, g.giveBack(40))
	since, _ := g.take()
	assert.EqualValues(t, 30, since, "the oldest first")
	since, _ = g.take()
	assert.EqualValues(t, 40, since)
}

func TestGateThatNarrows(t *testing.T) {
	g := newGate(4)
	g.resize(4, 1)
	for range 4 {
		_, ok := g.take()
		require.True(t, ok)
	}
	g.resize(2, 2)
	g.giveBack(3)
	g.giveBack(4)
	assert.True(t, g.full(), "two in flight beyond the two places have ended")
	g.giveBack(5)
	assert.False(t, g.full())
	since, _ := g.take()
	assert.EqualValues(t, 5, since)

	// Narrower than what stands free, and wide again.
	g.giveBack(6)
	g.resize(0, 7)
	assert.True(t, g.full())
	g.resize(4, 8)
	since, _ = g.take()
	assert.Contains(t, []int64{6, 8}, since)
}

func TestGateKeepsAPlaceThatIsLeft(t *testing.T) {
	g := newGate(2)
	g.resize(2, 1)
	for range 2 {
		_, ok := g.take()
		require.True(t, ok)
	}
	assert.True(t, g.keep())
	g.resize(1, 2)
	assert.False(t, g.keep(), "one of two in flight is too many")
	assert.True(t, g.keep(), "the other is not")
	g.shutDown()
	assert.False(t, g.keep())
	assert.Zero(t, g.taken)
}

// TestGateHolds has many goroutines pass a gate whose width changes all the time.
func TestGateHolds(t *testing.T) {
	const most = 20
	g := newGate(most)
	var in, over, passed atomic.Int64
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			for {
				if _, ok := g.take(); !ok {
					return
				}
				if in.Add(1) > most {
					over.Add(1)
				}
				passed.Add(1)
				in.Add(-1)
				g.giveBack(passed.Load())
			}
		})
	}
	for i := range 2000 {
		g.resize(rand.IntN(most+1), int64(i))
	}
	g.resize(most, 2000)
	for passed.Load() < 10_000 {
		g.resize(1+rand.IntN(most), 3000)
	}
	g.shutDown()
	all.Wait()
	assert.Zero(t, over.Load())
	assert.Zero(t, g.taken)
	_, ok := g.take()
	assert.False(t, ok)
}
