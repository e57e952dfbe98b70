package main

import (
	"net/http"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/targets/kit"
	"chokepoint/targets/kit/kittest"
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
				server := kittest.Server(t, service(), variant, "mode="+mode, "delay=1ms", "pieces=4", "device=1ms", "watchers=2")
				var sent sync.WaitGroup
				for range 8 {
					sent.Go(func() {
						status, body := kittest.Get(t, server.URL+"/documents?id=7")
						assert.Equal(t, http.StatusOK, status, body)
						assert.Contains(t, body, want)
					})
				}
				sent.Wait()
				status, _ := kittest.Get(t, server.URL+"/documents?id=-1")
				assert.Equal(t, http.StatusBadRequest, status)
			})
		}
	}
}
