package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/targets/kit"
)

func TestMain(m *testing.M) {
	kit.Companions(companions())
	os.Exit(m.Run())
}

// Both variants of every mode give the same service, to many at once.
func TestEveryModeServes(t *testing.T) {
	tests := map[string]string{
		"save":  "document 7: 1024 bytes saved\n",
		"sign":  "document 7: signature 538453d7\n",
		"read":  "document 7: checksum ",
		"audit": "document 7: read\n",
	}
	for mode, want := range tests {
		for _, variant := range []kit.Variant{kit.Flawed, kit.Fixed} {
			t.Run(mode+"/"+string(variant), func(t *testing.T) {
				s := service()
				o, err := kit.NewOptions(s, variant, "mode="+mode, "delay=1ms", "pieces=4", "device=1ms", "watchers=2")
				require.NoError(t, err)
				h, err := s.Build(t.Context(), o)
				require.NoError(t, err)
				server := httptest.NewServer(h)
				t.Cleanup(server.Close)
				var sent sync.WaitGroup
				for range 8 {
					sent.Go(func() {
						status, body := get(t, server.URL+"/documents?id=7")
						assert.Equal(t, http.StatusOK, status, body)
						assert.Contains(t, body, want)
					})
				}
				sent.Wait()
				status, _ := get(t, server.URL+"/documents?id=-1")
				assert.Equal(t, http.StatusBadRequest, status)
			})
		}
	}
}

func get(t *testing.T, url string) (status int, body string) {
	resp, err := http.Get(url)
	if !assert.NoError(t, err) {
		return 0, ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	assert.NoError(t, err)
	return resp.StatusCode, string(b)
}
