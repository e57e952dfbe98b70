package main

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/targets/kit"
	"chokepoint/targets/kit/kittest"
)

var modes = []string{"never-put", "per-request", "oversized", "boxed", "dirty"}

// start builds the service without its waits.
func start(t *testing.T, v kit.Variant, mode string) http.Handler {
	t.Helper()
	return kittest.Handler(t, service(), v, "mode="+mode, "delay=0s", "spool=0s")
}

func TestVariantsAnswerAlike(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			flawed, fixed := start(t, kit.Flawed, mode), start(t, kit.Fixed, mode)
			for seq := range 20 {
				path := fmt.Sprintf("/render?seq=%d&token=ref-%d&rows=%d", seq, seq, 10*seq)
				a, b := kittest.Serve(flawed, path), kittest.Serve(fixed, path)
				require.Equal(t, http.StatusOK, a.Code, a.Body)
				require.Equal(t, http.StatusOK, b.Code, b.Body)
				assert.Equal(t, b.Body.String(), a.Body.String())
				assert.Contains(t, a.Body.String(), fmt.Sprintf("ref-%d", seq))
			}
		})
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	h := start(t, kit.Fixed, "never-put")
	for _, query := range []string{"", "seq=", "seq=-1", "seq=x", "seq=1&rows=-1", "seq=1&rows=x", "seq=1&rows=32769"} {
		w := kittest.Serve(h, "/render?"+query)
		assert.Equal(t, http.StatusBadRequest, w.Code, query)
		assert.Regexp(t, `^(seq|rows): `, w.Body.String(), query)
	}
	assert.Equal(t, http.StatusOK, kittest.Serve(h, "/render?seq=1&rows=0").Code)
}

func TestDocumentIsAsLongAsItsRows(t *testing.T) {
	var b bytes.Buffer
	for _, seq := range []uint64{0, 1, 1 << 40} {
		for _, i := range []int{0, 9, 10, maxRows - 1} {
			b.Reset()
			writeRow(&b, order{seq: seq}, i)
			assert.Equal(t, rowSize, b.Len(), "seq %d row %d: %q", seq, i, b.String())
			assert.Equal(t, 1, strings.Count(b.String(), "\n"))
		}
	}
	large := kittest.Serve(start(t, kit.Flawed, "oversized"), "/render?seq=1&rows=16384")
	assert.Greater(t, large.Body.Len(), 1<<20)
	assert.Less(t, large.Body.Len(), 1<<20+200)
}

// TestReceiptsOfOthers fills in receipts side by side, one in five signed for:
// without the reset, names of others stand on those that are not.
func TestReceiptsOfOthers(t *testing.T) {
	foreign := func(v kit.Variant) (n int) {
		h := start(t, v, "dirty")
		var (
			callers sync.WaitGroup
			mu      sync.Mutex
		)
		for caller := range 4 {
			callers.Go(func() {
				for i := range 250 {
					token := fmt.Sprintf("ref-%d-%d.", caller, i)
					path := fmt.Sprintf("/render?seq=%d&token=%s&rows=1&signed=%t", i, token, i%5 == 0)
					body := kittest.Serve(h, path).Body.String()
					own := strings.Count(body, token)
					all := strings.Count(body, "ref-")
					assert.Positive(t, own, body)
					if i%5 == 0 {
						assert.Equal(t, 2, own, "a signed receipt names its caller twice")
					}
					if all > own {
						mu.Lock()
						n++
						mu.Unlock()
					}
				}
			})
		}
		callers.Wait()
		return n
	}
	assert.Zero(t, foreign(kit.Fixed))
	assert.Greater(t, foreign(kit.Flawed), 10, "of 1,000 receipts, 1 in 100 at the least must show the flaw")
}

// sink is a ResponseWriter that allocates nothing.
type sink struct{ header http.Header }

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }

// perDocument is what rendering one document allocates on average.
func perDocument(t *testing.T, mode string, v kit.Variant) (bytes, objects float64) {
	t.Helper()
	o, err := kit.NewOptions(service(), v, "mode="+mode, "spool=0s")
	require.NoError(t, err)
	r, err := newRenderer(t.Context(), o)
	require.NoError(t, err)
	const n = 500
	w := &sink{header: http.Header{}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for seq := range uint64(n) {
		rows := usualRows
		if mode == "oversized" && seq%100 == 0 {
			rows = 16 << 10
		}
		require.NoError(t, r.render(t.Context(), w, order{seq: seq, token: "ref", rows: rows}))
	}
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc-before.TotalAlloc) / n, float64(after.Mallocs-before.Mallocs) / n
}

func TestAllocationTellsTheVariantsApart(t *testing.T) {
	for mode, minBytes := range map[string]float64{
		"never-put":   invoiceRoom,
		"per-request": sectionRoom,
		"boxed":       24 * fieldsPerRow * usualRows,
	} {
		t.Run(mode, func(t *testing.T) {
			flawedBytes, flawedObjects := perDocument(t, mode, kit.Flawed)
			fixedBytes, fixedObjects := perDocument(t, mode, kit.Fixed)
			assert.GreaterOrEqual(t, flawedBytes, minBytes)
			// It is next to nothing, but under the race detector, which has pools
			// lose one thing in four.
			assert.Less(t, fixedBytes, 0.75*flawedBytes)
			if mode == "boxed" {
				assert.GreaterOrEqual(t, flawedObjects, float64(fieldsPerRow*usualRows))
				assert.Less(t, fixedObjects, flawedObjects)
			}
		})
	}
}

func TestStatementsKeepLargeBuffersInTheFlawedVariantOnly(t *testing.T) {
	kept := func(v kit.Variant) (large int) {
		o, err := kit.NewOptions(service(), v, "mode=oversized", "spool=0s")
		require.NoError(t, err)
		r, err := newRenderer(t.Context(), o)
		require.NoError(t, err)
		for seq := range uint64(50) {
			require.NoError(t, r.render(t.Context(), &sink{header: http.Header{}}, order{seq: seq, rows: 16 << 10}))
			if r.(*statements).buffers.Get().(*bytes.Buffer).Cap() >= 1<<20 {
				large++
			}
		}
		return large
	}
	assert.Zero(t, kept(kit.Fixed))
	assert.Positive(t, kept(kit.Flawed))
}
