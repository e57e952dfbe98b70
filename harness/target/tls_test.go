package target

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestServerThatSpeaksTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(s.Close)
	trusted := x509.NewCertPool()
	trusted.AddCert(s.Certificate())
	address := strings.TrimPrefix(s.URL, "https://")

	// By its URL, and as a process: this one.
	for name, c := range map[string]Config{
		"url":   {URL: s.URL},
		"plain": {URL: "http://" + address},
	} {
		c.TLS, c.Ready = &tls.Config{RootCAs: trusted}, "{address}/"
		p, err := Start(t.Context(), c, "")
		if name == "plain" {
			// The URL's own scheme counts, and that server answers 400 to it.
			require.NoError(t, err)
			assert.Equal(t, "http://"+address, p.BaseURL)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, s.URL, p.BaseURL)
		require.NoError(t, p.Stop(t.Context()))
	}

	_, err := Start(t.Context(), Config{URL: s.URL, Ready: "{address}/", StartTimeout: 200 * time.Millisecond}, "")
	require.ErrorIs(t, err, ErrHangsOnStart)
	assert.ErrorContains(t, err, "certificate")
}
