package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// arrived is a request as it came over the wire.
type arrived struct {
	head string // byte for byte
	body string // decoded
	err  bool   // the server could not read it, or nothing came
}

// recorder is a server that answers each request and tells what came.
func recorder(t testing.TB) (addr string, requests <-chan arrived) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	came := make(chan arrived, 1)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			came <- record(c)
			_ = c.Close()
		}
	}()
	return listener.Addr().String(), came
}

func record(c net.Conn) arrived {
	var raw bytes.Buffer
	in := bufio.NewReader(io.TeeReader(c, &raw))
	req, err := http.ReadRequest(in)
	if err != nil {
		return arrived{err: true}
	}
	if req.Header.Get("Expect") != "" {
		_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
	}
	body, err := io.ReadAll(req.Body)
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	head, _, _ := strings.Cut(raw.String(), "\r\n\r\n")
	return arrived{head: head, body: string(body), err: err != nil}
}

func request(t testing.TB, method, target string, body io.Reader, change func(*http.Request)) *http.Request {
	t.Helper()
	req, err := http.NewRequest(method, target, body)
	require.NoError(t, err)
	if change != nil {
		change(req)
	}
	return req
}

func TestSameRequestsAsNetHTTP(t *testing.T) {
	plain := func(s string) io.Reader { return struct{ io.Reader }{strings.NewReader(s)} } // of unknown length
	long := strings.Repeat("0123456789", 50_000)
	tests := []struct {
		name   string
		method string
		target string // after the host
		body   func() io.Reader
		change func(*http.Request)
	}{
		{name: "get"},
		{name: "query", target: "/a/b?c=d&e=%20"},
		{name: "query alone", target: "?a"},
		{name: "empty query", target: "/a?"},
		{name: "escaped path", target: "/a%2fb/%C3%A9/ü x"},
		{name: "fragment", target: "/a#b"},
		{name: "opaque", change: func(r *http.Request) { r.URL.Opaque = "//other/x%2f" }},
		{name: "method of one's own", method: "BREW"},
		{name: "no method", change: func(r *http.Request) { r.Method = "" }},
		{name: "delete", method: "DELETE"},
		{name: "head", method: "HEAD"},
		{name: "host", change: func(r *http.Request) { r.Host = "example.org:81" }},
		{name: "host in Unicode", change: func(r *http.Request) { r.Host = "bücher.example" }},
		{name: "host with a zone", change: func(r *http.Request) { r.Host = "[fe80::1%25lo]:80" }},
		{name: "host that is not valid", change: func(r *http.Request) { r.Host = "a b/c" }},
		{name: "host in the header is ignored", change: func(r *http.Request) { r.Header.Set("Host", "x") }},
		{name: "agent", change: func(r *http.Request) { r.Header.Set("User-Agent", " me ") }},
		{name: "no agent", change: func(r *http.Request) { r.Header.Set("User-Agent", "") }},
		{name: "nil agent", change: func(r *http.Request) { r.Header["User-Agent"] = nil }},
		{name: "header", change: func(r *http.Request) {
			r.Header = http.Header{"B": {"1", " 2\t"}, "A": {"x"}, "lower": {"y"}, "Empty": {""}, "None": {}, "Accept-Encoding": {"gzip"}}
		}},
		{name: "header that the client owns", change: func(r *http.Request) {
			r.Header = http.Header{"Content-Length": {"7"}, "Transfer-Encoding": {"x"}, "Trailer": {"y"}}
		}},
		{name: "close", change: func(r *http.Request) { r.Close = true }},
		{name: "close twice", change: func(r *http.Request) { r.Close = true; r.Header.Set("Connection", "close") }},
		{name: "close in the header", change: func(r *http.Request) { r.Header.Set("Connection", "close") }},
		{name: "post nothing", method: "POST"},
		{name: "put nobody", method: "PUT", change: func(r *http.Request) { r.Body = http.NoBody }},
		{name: "post text", method: "POST", body: func() io.Reader { return strings.NewReader("hello") }},
		{name: "post bytes", method: "POST", body: func() io.Reader { return bytes.NewReader([]byte("hello")) }},
		{name: "post a buffer", method: "POST", body: func() io.Reader { return bytes.NewBufferString("hello") }},
		{name: "get with a body", body: func() io.Reader { return strings.NewReader("hello") }},
		{name: "post 5,000 B", method: "POST", body: func() io.Reader { return strings.NewReader(long[:5000]) }},
		{name: "post 500,000 B", method: "POST", body: func() io.Reader { return strings.NewReader(long) }},
		{name: "post of unknown length", method: "POST", body: func() io.Reader { return plain("hello") }},
		{name: "post of unknown length, 500,000 B", method: "POST", body: func() io.Reader { return plain(long) }},
		{name: "post of unknown length, nothing", method: "POST", body: func() io.Reader { return plain("") }},
		{name: "post byte by byte", method: "POST", body: func() io.Reader { return iotest.OneByteReader(strings.NewReader("hello")) }},
		{name: "known length, not in memory", method: "POST", body: func() io.Reader { return plain("hello") }, change: func(r *http.Request) { r.ContentLength = 5 }},
		{name: "chunked by wish", method: "POST", body: func() io.Reader { return strings.NewReader("hello") }, change: func(r *http.Request) { r.TransferEncoding = []string{"chunked"} }},
		{name: "chunked by wish, nothing", method: "POST", body: func() io.Reader { return strings.NewReader("") }, change: func(r *http.Request) { r.TransferEncoding = []string{"chunked"} }},
		{name: "expect", method: "POST", body: func() io.Reader { return strings.NewReader("hello") }, change: func(r *http.Request) { r.Header.Set("Expect", "100-continue") }},
		{name: "expect, unknown length", method: "POST", body: func() io.Reader { return plain("hello") }, change: func(r *http.Request) { r.Header.Set("Expect", "100-continue") }},
		{name: "long header", change: func(r *http.Request) { r.Header.Set("A", long[:20_000]) }},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			addr, came := recorder(t)
			var got []arrived
			for _, rt := range []http.RoundTripper{theirs(t), ours(t, addr)} {
				var body io.Reader
				if tc.body != nil {
					body = tc.body()
				}
				req := request(t, tc.method, "http://"+addr+tc.target, body, tc.change)
				resp, err := rt.RoundTrip(req)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				got = append(got, <-came)
			}
			assert.False(t, got[0].err)
			assert.Equal(t, got[0], got[1])
		})
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	addr, _ := recorder(t)
	rt := ours(t, addr)
	tests := []struct {
		name   string
		change func(*http.Request)
		want   string
	}{
		{"method", func(r *http.Request) { r.Method = "A B" }, `method "A B"`},
		{"connect", func(r *http.Request) { r.Method = "CONNECT" }, "tunnels"},
		{"scheme", func(r *http.Request) { r.URL.Scheme = "ftp" }, `scheme of the URL is "ftp"`},
		{"no URL", func(r *http.Request) { r.URL = nil }, "no URL"},
		{"no host", func(r *http.Request) { r.URL.Host = "" }, "no host"},
		{"control character", func(r *http.Request) { r.URL = &url.URL{Scheme: "http", Host: addr, Opaque: "/a\r\nb"} }, "control character"},
		{"header name", func(r *http.Request) { r.Header["A b"] = []string{"x"} }, `header name "A b"`},
		{"header value", func(r *http.Request) { r.Header["A"] = []string{"x\r\nB: y"} }, "value of header A"},
		{"trailer", func(r *http.Request) { r.Trailer = http.Header{"A": nil} }, "trailers"},
		{"transfer encoding", func(r *http.Request) { r.TransferEncoding = []string{"gzip"} }, "transfer encoding"},
		{"length without body", func(r *http.Request) { r.ContentLength = 5 }, "has no body"},
		{"negative length", func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("")), -2 }, "-2 B"},
		{"body too short", func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("abc")), 5 }, "is 5 B, its body has 3 B"},
		{"body too long", func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("abc")), 2 }, "has more"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			req := request(t, http.MethodGet, "http://"+addr+"/", nil, tc.change)
			_, err := rt.RoundTrip(req)
			var typed *Error
			require.ErrorAs(t, err, &typed)
			assert.Equal(t, PhaseBuild, typed.Phase)
			assert.ErrorContains(t, err, tc.want)
		})
	}
	assert.Zero(t, rt.open, "connections opened for requests that cannot be sent")
}

func TestBodyThatFails(t *testing.T) {
	addr, came := recorder(t)
	rt := ours(t, addr)
	broken := errors.New("broken")
	for name, body := range map[string]struct {
		body   io.Reader
		length int64
		want   string
	}{
		"fails":     {iotest.ErrReader(broken), -1, "broken"},
		"too short": {iotest.OneByteReader(strings.NewReader("abc")), 5, "its body has 3 B"},
		"too long":  {iotest.OneByteReader(strings.NewReader("abc")), 2, "has more"},
	} {
		t.Run(name, func(t *testing.T) {
			req := request(t, http.MethodPost, "http://"+addr+"/", body.body, func(r *http.Request) { r.ContentLength = body.length })
			resp, err := rt.RoundTrip(req)
			if err == nil { // the server may have been faster
				require.Equal(t, "too long", name)
				require.NoError(t, resp.Body.Close())
			} else {
				assert.ErrorContains(t, err, body.want)
			}
			<-came
		})
	}
}

func FuzzRequest(f *testing.F) {
	f.Add("GET", "/a?b", "host", "Name", "value", "body", false)
	f.Add("POST", "/%2f//?", "", "Connection", "close", "", true)
	f.Add("", "/\x00", "[::1%25x]:1", "expect", " \t", "x", false)
	f.Fuzz(func(t *testing.T, method, target, host, name, value, body string, chunked bool) {
		if method == http.MethodConnect || strings.EqualFold(name, "Expect") {
			return
		}
		var got [2]arrived
		for i := range got {
			addr, came := recorder(t)
			parsed, err := url.Parse("http://" + addr + "/" + target)
			if err != nil || parsed.Host != addr {
				return
			}
			req := request(t, http.MethodGet, "http://"+addr+"/", strings.NewReader(body), nil)
			req.Method, req.URL, req.Host = method, parsed, host
			req.Header[name] = []string{value}
			if chunked {
				req.TransferEncoding = []string{"chunked"}
			}
			rt := http.RoundTripper(theirs(t))
			if i == 1 {
				rt = ours(t, addr)
			}
			resp, err := rt.RoundTrip(req)
			if err != nil {
				got[i].err = true
				continue
			}
			require.NoError(t, resp.Body.Close())
			got[i] = <-came
			got[i].head = strings.ReplaceAll(got[i].head, addr, "address")
		}
		require.Equal(t, got[0], got[1], "net/http, this client")
	})
}
