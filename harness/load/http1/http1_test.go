package http1

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBodiesGoThereAndBack(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		io.WriteString(w, r.Method+r.URL.String()+" ")
		w.Write(b)
	}))
	defer s.Close()
	tr, err := New(Options{Addr: s.Listener.Addr().String(), MaxConns: 2})
	require.NoError(t, err)
	for i := range 5 {
		var body io.Reader
		if i > 1 {
			body = strings.NewReader(strings.Repeat("x", 1<<(5*i)))
		}
		req, _ := http.NewRequest("POST", s.URL+"/a?b", body)
		resp, err := tr.RoundTrip(req)
		require.NoError(t, err)
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		want := "POST/a?b "
		if i > 1 {
			want += strings.Repeat("x", 1<<(5*i))
		}
		require.Equal(t, want, string(got))
		require.Equal(t, 1, tr.open)
	}
	require.NoError(t, tr.Close())
	require.Zero(t, tr.open)
}
