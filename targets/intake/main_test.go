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
	for _, mode := range []string{"gate", "pictures"} {
		for _, variant := range []kit.Variant{kit.Flawed, kit.Fixed} {
			t.Run(mode+"/"+string(variant), func(t *testing.T) {
				server := kittest.Server(t, service(), variant, "mode="+mode, "delay=1ms")
				pictures := map[string]string{"3": "none", "8": "none", "4": "none"}
				if mode == "pictures" {
					pictures["4"] = "[4]"
				}
				for id, picture := range pictures {
					status, body := kittest.Get(t, server.URL+"/reports?id="+id)
					assert.Equal(t, http.StatusOK, status)
					assert.Equal(t, "report "+id+": picture "+picture+"\n", body)
				}
				status, _ := kittest.Get(t, server.URL+"/reports?id=-1")
				assert.Equal(t, http.StatusBadRequest, status)
			})
		}
	}
}

func TestLimitAboveThePermitted(t *testing.T) {
	assert.ErrorContains(t, limitFiles(1<<40), "knob files: ")
}
