package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/targets/kit"
	"chokepoint/targets/kit/kittest"
)

func TestMain(m *testing.M) {
	kit.Companions(companions())
	os.Exit(m.Run())
}

// Both variants of every mode give the same service.
func TestEveryModeServes(t *testing.T) {
	tests := []struct {
		mode, want string
		bytes      int
	}{
		{"export", "account 7\n", 10 + 32<<10},
		{"mirror", "account 7: 32768 bytes, mirrored\n", 33},
	}
	for _, tt := range tests {
		for _, variant := range []kit.Variant{kit.Flawed, kit.Fixed} {
			t.Run(tt.mode+"/"+string(variant), func(t *testing.T) {
				server := kittest.Server(t, service(), variant, "mode="+tt.mode, "delay=1ms", "size=32KiB", "grace=30s")
				for range 3 {
					resp, err := http.Get(server.URL + "/statements?account=7")
					require.NoError(t, err)
					body, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
					resp.Body.Close()
					assert.Len(t, body, tt.bytes)
					assert.Equal(t, tt.want, string(body[:len(tt.want)]))
				}
				resp, err := http.Get(server.URL + "/statements?account=-1")
				require.NoError(t, err)
				resp.Body.Close()
				assert.Equal(t, http.StatusBadRequest, resp.StatusCode)
			})
		}
	}
}

// The fixed variant drops a client that does not read, and the flawed one does not.
func TestGraceEnds(t *testing.T) {
	server := kittest.Server(t, service(), kit.Fixed, "mode=export", "delay=1ms", "size=8MiB", "grace=20ms")
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	_, err = fmt.Fprintf(c, "GET /statements?account=7 HTTP/1.1\r\nHost: feed\r\n\r\n")
	require.NoError(t, err)
	time.Sleep(100 * time.Millisecond)
	n, _ := io.Copy(io.Discard, c) // however it ends
	assert.Less(t, n, int64(8<<20), "the answer is cut short")
}

// A mirror that does not read is done without.
func TestMirrorIsDoneWithout(t *testing.T) {
	server := kittest.Server(t, service(), kit.Fixed, "mode=mirror", "delay=1ms", "size=1MiB", "grace=50ms", "silent=7")
	resp, err := http.Get(server.URL + "/statements?account=7")
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "account 7: 1048576 bytes, here alone\n", string(body))
}
