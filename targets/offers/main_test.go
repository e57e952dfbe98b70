package main

import (
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/targets/kit"
	"chokepoint/targets/kit/kittest"
)

func TestMain(m *testing.M) {
	kit.Companions(companions())
	os.Exit(m.Run())
}

// Both variants of every mode give the same service.
func TestEveryModeServes(t *testing.T) {
	tests := []struct{ mode, path, want string }{
		{"supplier", "/stock?product=7", "product 7: stock 1\n"},
		{"prices", "/price?product=7", "product 7: price 107\n"},
		{"changes", "/changes?since=7", "nothing since 7\n"},
		{"channel", "/channel?since=7", "nothing since 7\n"},
	}
	for _, tt := range tests {
		for _, variant := range []kit.Variant{kit.Flawed, kit.Fixed} {
			t.Run(tt.mode+"/"+string(variant), func(t *testing.T) {
				server := kittest.Server(t, service(), variant, "mode="+tt.mode, "delay=1ms", "answer=1ms", "poll=5ms", "patience=30s")
				for range 3 {
					status, body := kittest.Get(t, server.URL+tt.path)
					assert.Equal(t, http.StatusOK, status)
					assert.Equal(t, tt.want, body)
				}
				status, _ := kittest.Get(t, server.URL+tt.path[:len(tt.path)-1]+"-1")
				assert.Equal(t, http.StatusBadRequest, status)
			})
		}
	}
}

// The fixed variant does without an answer that does not come.
func TestPatienceEnds(t *testing.T) {
	for mode, path := range map[string]string{"supplier": "/stock?product=8", "prices": "/price?product=8"} {
		t.Run(mode, func(t *testing.T) {
			server := kittest.Server(t, service(), kit.Fixed, "mode="+mode, "delay=1ms", "patience=20ms")
			status, body := kittest.Get(t, server.URL+path)
			assert.Equal(t, http.StatusOK, status)
			assert.Contains(t, body, "unknown")
		})
	}
}
