package http1

import (
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkRoundTrip compares the two clients on one connection: allocations, and
// time by its ratio. The server allocates nothing.
func BenchmarkRoundTrip(b *testing.B) {
	p := newPeer(b, func(c net.Conn, _ int32) {
		const answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nDate: Wed, 25 Nov 2026 04:00:00 GMT\r\nContent-Length: 6\r\n\r\nhello\n"
		in := make([]byte, 4<<10)
		for {
			if _, err := c.Read(in); err != nil {
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
	mine, err := New(Options{Addr: p.addr, MaxConns: 1, ShareHeaders: true})
	require.NoError(b, err)
	defer func() { require.NoError(b, mine.Close()) }()
	for _, c := range []struct {
		name string
		rt   http.RoundTripper
	}{{"http1", mine}, {"net-http", theirs(b)}} {
		b.Run(c.name, func(b *testing.B) {
			req := request(b, http.MethodGet, "http://"+p.addr+"/session?account=123456", nil, func(r *http.Request) { r.Header.Set("X-Vegeta-Seq", "123456") })
			b.ReportAllocs()
			for b.Loop() {
				resp, err := c.rt.RoundTrip(req)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					b.Fatal(err)
				}
				_ = resp.Body.Close()
			}
		})
	}
}
