package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/targets/kit"
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
				s := service()
				o, err := kit.NewOptions(s, variant, "mode="+mode, "delay=1ms")
				require.NoError(t, err)
				h, err := s.Build(t.Context(), o)
				require.NoError(t, err)
				server := httptest.NewUnstartedServer(h)
				server.Listener, err = s.Listen(t.Context(), o, server.Listener)
				require.NoError(t, err)
				server.Start()
				t.Cleanup(server.Close)

				pictures := map[string]string{"3": "none", "8": "none", "4": "none"}
				if mode == "pictures" {
					pictures["4"] = "[4]"
				}
				for id, picture := range pictures {
					status, body := get(t, server.URL+"/reports?id="+id)
					assert.Equal(t, http.StatusOK, status)
					assert.Equal(t, "report "+id+": picture "+picture+"\n", body)
				}
				status, _ := get(t, server.URL+"/reports?id=-1")
				assert.Equal(t, http.StatusBadRequest, status)
			})
		}
	}
}

func TestLimitAboveThePermitted(t *testing.T) {
	assert.ErrorContains(t, limitFiles(1<<40), "knob files: ")
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}
