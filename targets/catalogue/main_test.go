package main

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/targets/kit"
	"chokepoint/targets/kit/kittest"
)

var modes = []string{"replies", "trail", "render", "budget", "shelf", "roomy"}

func options(t *testing.T, v kit.Variant, settings ...string) kit.Options {
	t.Helper()
	o, err := kit.NewOptions(service(), v, append(settings, "items=1000", "budget=1GiB")...)
	require.NoError(t, err)
	before := debug.SetMemoryLimit(-1) // -1 only asks
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	return o
}

func TestVariantsAnswerAlike(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			start := func(v kit.Variant) http.Handler {
				h, err := build(t.Context(), options(t, v, "mode="+mode, "delay=0s", "keep=4"))
				require.NoError(t, err)
				return h
			}
			flawed, fixed := start(kit.Flawed), start(kit.Fixed)
			for i := range 40 {
				path := fmt.Sprintf("/item?seq=%d", i%15) // some again, known or forgotten
				a, b := kittest.Serve(flawed, path), kittest.Serve(fixed, path)
				require.Equal(t, http.StatusOK, a.Code, a.Body)
				require.Equal(t, http.StatusOK, b.Code, b.Body)
				assert.Equal(t, b.Body.String(), a.Body.String())
				assert.Greater(t, a.Body.Len(), excerpt)
			}
		})
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	h, err := build(t.Context(), options(t, kit.Fixed, "mode=shelf", "delay=0s"))
	require.NoError(t, err)
	for _, query := range []string{"", "seq=", "seq=-1", "seq=x"} {
		assert.Equal(t, http.StatusBadRequest, kittest.Serve(h, "/item?"+query).Code, query)
	}
}

func TestOnlyTheFlawedVariantKeepsEverything(t *testing.T) {
	const asked = 100
	kept := func(v kit.Variant, mode string) int {
		p, err := newPages(options(t, v, "mode="+mode, "keep=8", "page=1KiB"))
		require.NoError(t, err)
		for seq := range uint64(asked) {
			p.page(&bytes.Buffer{}, seq)
		}
		switch p := p.(type) {
		case *replies:
			return len(p.pages)
		case *trail:
			return len(p.notes)
		default:
			return p.(*shelf).used.Len()
		}
	}
	for _, mode := range []string{"replies", "trail"} {
		assert.Equal(t, asked, kept(kit.Flawed, mode), mode)
		assert.LessOrEqual(t, kept(kit.Fixed, mode), 8, mode)
	}
	assert.Equal(t, 8, kept(kit.Fixed, "shelf"))
}

func TestOnlyTheFlawedVariantAllocatesParts(t *testing.T) {
	objects := func(v kit.Variant, mode string) float64 {
		p, err := newPages(options(t, v, "mode="+mode))
		require.NoError(t, err)
		var b bytes.Buffer
		const n = 50
		p.page(&b, 0)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for seq := range uint64(n) {
			b.Reset()
			p.page(&b, seq)
		}
		runtime.ReadMemStats(&after)
		return float64(after.Mallocs-before.Mallocs) / n
	}
	assert.GreaterOrEqual(t, objects(kit.Flawed, "render"), 2000.0)
	// Under the race detector pools lose one thing in four.
	assert.Less(t, objects(kit.Fixed, "render"), 1000.0)
	assert.GreaterOrEqual(t, objects(kit.Fixed, "roomy"), 2000.0)
}

func TestTheLimitIsSet(t *testing.T) {
	newStock(options(t, kit.Fixed, "ample=3GiB"))
	assert.EqualValues(t, 3<<30, debug.SetMemoryLimit(-1))
	newStock(options(t, kit.Flawed))
	assert.EqualValues(t, 1<<30, debug.SetMemoryLimit(-1))
	assert.Less(t, debug.SetMemoryLimit(-1), int64(math.MaxInt64))
}
