package main

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/targets/kit"
	"chokepoint/targets/kit/kittest"
)

func handler(t testing.TB, variant kit.Variant, settings ...string) http.Handler {
	t.Helper()
	return kittest.Handler(t, service(), variant, append([]string{"delay=1ms"}, settings...)...)
}

func ask(h http.Handler, path string) (int, string) {
	w := kittest.Serve(h, path)
	return w.Code, w.Body.String()
}

func TestEveryModeServes(t *testing.T) {
	for _, tt := range []struct{ mode, path, want string }{
		{"reviews", "/review?product=7&text=lovely", "product 7: the review of 6 letters is taken\n"},
		{"reviews", "/review?product=7&text=" + url.QueryEscape("a Banned_word41, that"), "product 7: the review breaks house rule 41\n"},
		{"related", "/related?product=7", "product 7: 7086 related, first [217 4601 1774]\n"},
		{"all", "/review?product=7&text=" + url.QueryEscape("a Banned_word41, that"), "product 7: the review breaks house rule 41\n"},
		{"all", "/related?product=7", "product 7: 7086 related, first [217 4601 1774]\n"},
		{"vouchers", "/voucher?n=7", "voucher 7 has seal " + seal(7, 40000) + "\n"},
	} {
		for _, variant := range []kit.Variant{kit.Flawed, kit.Fixed} {
			t.Run(tt.mode+"/"+string(variant), func(t *testing.T) {
				h := handler(t, variant, "mode="+tt.mode, "baskets=100")
				status, body := ask(h, tt.path)
				assert.Equal(t, http.StatusOK, status)
				assert.Equal(t, tt.want, body)
				status, _ = ask(h, tt.path[:len("/review")]+"?product=x")
				assert.NotEqual(t, http.StatusOK, status)
			})
		}
	}
}

func TestMergeTakesEachOnceInOrder(t *testing.T) {
	baskets := [][]uint32{{3, 1, 3}, {}, {1, 2}}
	assert.Equal(t, []uint32{3, 1, 2}, unique(baskets))
	assert.Equal(t, []uint32{3, 1, 2}, distinct(baskets))
}

func BenchmarkModes(b *testing.B) {
	for _, mode := range []string{"reviews", "related"} {
		for _, variant := range []kit.Variant{kit.Flawed, kit.Fixed} {
			b.Run(mode+"/"+string(variant), func(b *testing.B) {
				h := handler(b, variant, "mode="+mode, "delay=0s")
				path := map[string]string{"reviews": "/review?product=7&text=lovely+and+well+made", "related": "/related?product=7"}[mode]
				for b.Loop() {
					ask(h, path)
				}
			})
		}
	}
}
