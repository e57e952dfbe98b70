package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/targets/kit"
)

func TestEveryModeServes(t *testing.T) {
	states := map[string]map[string]bool{}
	for _, mode := range []string{"check", "rank", "views"} {
		states[mode] = map[string]bool{}
		for _, variant := range []kit.Variant{kit.Flawed, kit.Fixed} {
			t.Run(mode+"/"+string(variant), func(t *testing.T) {
				s := service()
				o, err := kit.NewOptions(s, variant, "mode="+mode, "delay=1ms", "pause=1ms", "snapshot=3MiB", "page=1KiB", "pages=1000")
				require.NoError(t, err)
				h, err := s.Build(t.Context(), o)
				require.NoError(t, err)
				ask := func(path string) (int, string) {
					w := httptest.NewRecorder()
					h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
					return w.Code, w.Body.String()
				}
				status, body := ask("/page?n=7")
				assert.Equal(t, http.StatusOK, status)
				assert.Equal(t, "page 7, 1024 letters\n", body)
				status, _ = ask("/page?n=-1")
				assert.Equal(t, http.StatusBadRequest, status)
				require.Eventually(t, func() bool { _, body = ask("/state"); return body != "\n" }, 30*time.Second, time.Millisecond)
				states[mode][body] = true
			})
		}
		assert.Len(t, states[mode], 1, "both variants find the same")
	}
}

func TestChecksums(t *testing.T) {
	s, err := newSnapshot(segment + 1)
	require.NoError(t, err)
	require.Len(t, s.data, 2*segment)
	assert.Equal(t, s.data[:segment], s.data[segment:])
	assert.NotEqual(t, s.data[:8], make([]byte, 8))
	assert.Equal(t, s.checksum(), s.checksumByPieces())
	s.data = s.data[:piece+1]
	assert.Equal(t, s.checksum(), s.checksumByPieces())
}

func TestRankSumsToOne(t *testing.T) {
	g := newGraph(500)
	highest := g.rank(30)
	var sum float64
	for _, s := range g.score {
		sum += s
	}
	assert.InDelta(t, 1, sum, 1e-9)
	assert.Greater(t, highest, 1.0)
}

func BenchmarkPasses(b *testing.B) {
	s, err := newSnapshot(1 << 30)
	require.NoError(b, err)
	g := newGraph(100000)
	for name, pass := range map[string]func(){
		"whole": func() { s.checksum() }, "pieces": func() { s.checksumByPieces() }, "rank": func() { g.rank(passes) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				pass()
			}
		})
	}
}
