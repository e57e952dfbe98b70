package main

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/targets/kit"
)

// The variants answer alike, whatever work they are given.
func TestEveryModeServes(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	answers := map[string]bool{}
	for _, mode := range []string{"limit", "plain"} {
		for _, variant := range []kit.Variant{kit.Flawed, kit.Fixed} {
			s := service()
			o, err := kit.NewOptions(s, variant, "mode="+mode, "delay=4ms", "pricing=200us")
			require.NoError(t, err)
			runtime.GOMAXPROCS(before)
			h, err := s.Build(t.Context(), o)
			require.NoError(t, err)
			if mode == "limit" && variant == kit.Flawed {
				assert.Equal(t, 1, runtime.GOMAXPROCS(0))
			} else {
				assert.Equal(t, before, runtime.GOMAXPROCS(0))
			}
			for range 3 {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/offers?shipment=7", nil))
				require.Equal(t, http.StatusOK, w.Code, w.Body)
				answers[w.Body.String()] = true
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/offers?shipment=-1", nil))
			assert.Equal(t, http.StatusBadRequest, w.Code)
		}
	}
	require.Len(t, answers, 1)
	for a := range answers {
		assert.Contains(t, a, "shipment 7 goes with carrier-0 for ")
	}
}

func TestPriceOfParcels(t *testing.T) {
	steps := parse("1:100;4:150;16:300;")
	assert.Equal(t, []step{{1, 100}, {4, 150}, {16, 300}}, steps)
	assert.EqualValues(t, 100+150+300+300, price(steps, []int{1, 2, 5, 99}), "above the last step the last price holds")
}
