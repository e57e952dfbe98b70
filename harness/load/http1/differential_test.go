package http1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // net/http logs each response that nobody asked for
	os.Exit(m.Run())
}

// script is a server that answers the first request of each connection with
// given bytes.
type script struct {
	listener net.Listener
	conns    atomic.Int32
	answer   []byte
	split    int // write so many bytes first, and the rest a moment later; -1: each byte by itself
	hangUp   bool
}

const second = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"

func (s *script) start(t testing.TB) *script {
	t.Helper()
	var err error
	s.listener, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.listener.Close() })
	go func() {
		for {
			c, err := s.listener.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			go s.serve(c)
		}
	}()
	return s
}

func (s *script) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	if _, err := http.ReadRequest(in); err != nil {
		return
	}
	s.write(c)
	if s.hangUp {
		// All is sent before the end is told, and what still comes is read, so
		// that no reset overtakes the answer.
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, in)
		return
	}
	if _, err := http.ReadRequest(in); err == nil {
		_, _ = io.WriteString(c, second)
	}
}

func (s *script) write(c net.Conn) {
	const moment = 100 * time.Microsecond
	if s.split >= 0 {
		_, _ = c.Write(s.answer[:s.split])
		if s.split > 0 {
			time.Sleep(moment)
		}
		_, _ = c.Write(s.answer[s.split:])
		return
	}
	for i := range s.answer {
		_, _ = c.Write(s.answer[i : i+1])
		if i%16 == 0 {
			time.Sleep(moment)
		}
	}
}

// outcome is what a client makes of an answer.
type outcome struct {
	Failed           bool // without a response
	Status           string
	StatusCode       int
	Proto            string
	Major, Minor     int
	Header           http.Header
	ContentLength    int64
	TransferEncoding []string
	Close            bool
	Body             string
	BodyFailed       bool
	Trailer          http.Header
}

func ask(rt http.RoundTripper, method, addr string) (outcome, error) {
	req, err := http.NewRequest(method, "http://"+addr+"/", nil)
	if err != nil {
		return outcome{}, err
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return outcome{Failed: true}, err
	}
	o := outcome{
		Status: resp.Status, StatusCode: resp.StatusCode, Proto: resp.Proto, Major: resp.ProtoMajor, Minor: resp.ProtoMinor,
		Header: resp.Header, ContentLength: resp.ContentLength, TransferEncoding: resp.TransferEncoding, Close: resp.Close,
	}
	body, err := io.ReadAll(resp.Body)
	o.Body, o.BodyFailed, o.Trailer = string(body), err != nil, resp.Trailer
	return o, errors.Join(err, resp.Body.Close())
}

// theirs is net/http's client with the same settings.
func theirs(t testing.TB) *http.Transport {
	rt := &http.Transport{DisableCompression: true, MaxResponseHeaderBytes: DefaultMaxHeaderBytes, MaxIdleConnsPerHost: 10}
	t.Cleanup(rt.CloseIdleConnections)
	return rt
}

func ours(t testing.TB, addr string) *Transport {
	rt, err := New(Options{Addr: addr, MaxConns: 100, Timeout: 20 * time.Second, ShareHeaders: true, Arrivals: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rt.Close()) })
	return rt
}

// reused says whether a second request goes over the connection of the first.
func (s *script) reused(t *testing.T, rt http.RoundTripper) bool {
	before := s.conns.Load()
	time.Sleep(2 * freshFor) // time to see what follows a response
	_, err := ask(rt, http.MethodGet, s.listener.Addr().String())
	require.NoError(t, err)
	return s.conns.Load() == before
}

func lines(l ...string) string { return strings.Join(l, "\r\n") + "\r\n" }

type answerCase struct {
	name, method, answer string
	hangUp               bool
}

func answers() []answerCase {
	ok := func(l ...string) string { return lines(append([]string{"HTTP/1.1 200 OK"}, l...)...) }
	body := func(head string) string { return head + "\r\nhello" }
	chunks := func(b string) string { return ok("Transfer-Encoding: chunked") + "\r\n" + b }
	return []answerCase{
		{name: "length", answer: body(ok("Content-Length: 5"))},
		{name: "empty", answer: ok("Content-Length: 0") + "\r\n"},
		{name: "no length, kept open after", answer: ok("Content-Length: 5", "Connection: keep-alive") + "\r\nhello"},
		{name: "until close", answer: body(ok("A: b")), hangUp: true},
		{name: "connection close", answer: body(ok("Content-Length: 5", "Connection: close"))},
		{name: "connection list", answer: body(ok("Content-Length: 5", "Connection: x, Close"))},
		{name: "http/1.0", answer: body("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n")},
		{name: "http/1.0 keep-alive", answer: body("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n")},
		{name: "http/1.0 chunked is ignored", answer: body("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n"), hangUp: true},
		{name: "http/0.9", answer: body("HTTP/0.9 200 OK\r\nContent-Length: 5\r\n")},
		{name: "http/2.0", answer: body("HTTP/2.0 200 OK\r\nContent-Length: 5\r\n")},
		{name: "http/1.2 chunked", answer: "HTTP/1.2 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"},
		{name: "bare newlines", answer: "HTTP/1.1 200 OK\nContent-Length: 5\nA: b\n\nhello"},
		{name: "no reason", answer: body("HTTP/1.1 200\r\nContent-Length: 5\r\n")},
		{name: "spaces in the status line", answer: body("HTTP/1.1   200 OK \r\nContent-Length: 5\r\n")},
		{name: "code of two digits", answer: "HTTP/1.1 20 OK\r\n\r\n", hangUp: true},
		{name: "code of four digits", answer: "HTTP/1.1 2000 OK\r\n\r\n", hangUp: true},
		{name: "code 099", answer: body("HTTP/1.1 099 Odd\r\nContent-Length: 5\r\n")},
		{name: "code +99", answer: body("HTTP/1.1 +99 Odd\r\nContent-Length: 5\r\n")},
		{name: "code -99", answer: body("HTTP/1.1 -99 Odd\r\nContent-Length: 5\r\n"), hangUp: true},
		{name: "code 999", answer: body("HTTP/1.1 999 Odd\r\nContent-Length: 5\r\n")},
		{name: "version HTTP/1", answer: body("HTTP/1 200 OK\r\nContent-Length: 5\r\n"), hangUp: true},
		{name: "version HTTP/1.10", answer: body("HTTP/1.10 200 OK\r\nContent-Length: 5\r\n"), hangUp: true},
		{name: "version http/1.1", answer: body("http/1.1 200 OK\r\nContent-Length: 5\r\n"), hangUp: true},
		{name: "garbage", answer: "\x00\xff garbage\r\n\r\n", hangUp: true},
		{name: "nothing", answer: "", hangUp: true},
		{name: "blank line first", answer: "\r\n" + body(ok("Content-Length: 5")), hangUp: true},
		{name: "cut in the status line", answer: "HTTP/1.1 20", hangUp: true},
		{name: "cut in the header", answer: ok("Content-Le"), hangUp: true},
		{name: "cut before the blank line", answer: ok("Content-Length: 5"), hangUp: true},
		{name: "cut in the blank line", answer: ok("Content-Length: 5") + "\r", hangUp: true},
		{name: "cut in the body", answer: ok("Content-Length: 5") + "\r\nhel", hangUp: true},
		{name: "cut before the body", answer: ok("Content-Length: 5") + "\r\n", hangUp: true},
		{name: "extra bytes", answer: body(ok("Content-Length: 5")) + "more"},
		{name: "extra bytes after nothing", answer: ok("Content-Length: 0") + "\r\nmore"},
		{name: "length twice", answer: body(ok("Content-Length: 5", "Content-Length: 5 "))},
		{name: "lengths differ", answer: body(ok("Content-Length: 5", "Content-Length: 6")), hangUp: true},
		{name: "length +5", answer: body(ok("Content-Length: +5")), hangUp: true},
		{name: "length -5", answer: body(ok("Content-Length: -5")), hangUp: true},
		{name: "length empty", answer: body(ok("Content-Length:")), hangUp: true},
		{name: "length 5,5", answer: body(ok("Content-Length: 5, 5")), hangUp: true},
		{name: "length 0x5", answer: body(ok("Content-Length: 0x5")), hangUp: true},
		{name: "length overflows", answer: body(ok("Content-Length: 9223372036854775808")), hangUp: true},
		{name: "length is the greatest", answer: body(ok("Content-Length: 9223372036854775807")), hangUp: true},
		{name: "header values", answer: body(ok("Content-Length: 5", "A: 1", "a: 2", "X-y-Z:  spaced out\t ", "Set-Cookie: a", "SET-COOKIE: b", "Empty:", "E2: ", "B: 3", "C: 4", "D: 5", "odd!name: x"))},
		{name: "folded", answer: body(ok("Content-Length: 5", "A: one", "  two", "\tthree ", "B:", " x", "C: y", " ", "D: z"))},
		{name: "folded first", answer: body(ok(" A: one", "Content-Length: 5")), hangUp: true},
		{name: "folded length", answer: body(ok("Content-Length:", " 5"))},
		{name: "space in a name", answer: body(ok("Content-Length : 5", "Content-Length: 5"))},
		{name: "tab in a name", answer: body(ok("A\t: 5", "Content-Length: 5")), hangUp: true},
		{name: "no colon", answer: body(ok("A", "Content-Length: 5")), hangUp: true},
		{name: "no name", answer: body(ok(": a", "Content-Length: 5")), hangUp: true},
		{name: "bad byte in a name", answer: body(ok("A\x80: a", "Content-Length: 5")), hangUp: true},
		{name: "bad byte in a value", answer: body(ok("A: a\x00", "Content-Length: 5")), hangUp: true},
		{name: "carriage return in a value", answer: body(ok("A: a\rb", "Content-Length: 5")), hangUp: true},
		{name: "high bytes in a value", answer: body(ok("A: \xff\x80", "Content-Length: 5"))},
		{name: "pragma", answer: body(ok("Pragma: no-cache", "Content-Length: 5"))},
		{name: "pragma and cache control", answer: body(ok("Pragma: no-cache", "Cache-Control: public", "Content-Length: 5"))},
		{name: "chunks", answer: chunks("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")},
		{name: "no chunks", answer: chunks("0\r\n\r\n")},
		{name: "chunk extensions", answer: chunks("5;a=b\r\nhello\r\n0005; x=\"y\"\r\nworld\r\n0;z\r\n\r\n")},
		{name: "chunk in capitals", answer: chunks("A\r\n0123456789\r\n00\r\n\r\n")},
		{name: "chunk size empty", answer: chunks("\r\nhello\r\n"), hangUp: true},
		{name: "chunk size bad", answer: chunks("5\r\nhello\r\ng\r\n"), hangUp: true},
		{name: "chunk size 0x5", answer: chunks("0x5\r\nhello\r\n"), hangUp: true},
		{name: "chunk size negative", answer: chunks("-5\r\nhello\r\n"), hangUp: true},
		{name: "chunk size spaced", answer: chunks(" 5\r\nhello\r\n"), hangUp: true},
		{name: "chunk size of 16 digits", answer: chunks("ffffffffffffffff\r\nhello"), hangUp: true},
		{name: "chunk size of 17 digits", answer: chunks("00000000000000005\r\nhello\r\n"), hangUp: true},
		{name: "chunk too long", answer: chunks("4\r\nhello\r\n0\r\n\r\n"), hangUp: true},
		{name: "chunk cut", answer: chunks("5\r\nhel"), hangUp: true},
		{name: "chunk cut after data", answer: chunks("5\r\nhello"), hangUp: true},
		{name: "chunk cut before the last", answer: chunks("5\r\nhello\r\n"), hangUp: true},
		{name: "chunk cut in the last", answer: chunks("5\r\nhello\r\n0\r\n"), hangUp: true},
		{name: "chunk line ends in newline", answer: chunks("5\nhello\r\n0\r\n\r\n"), hangUp: true},
		{name: "chunk line with a carriage return", answer: chunks("5\r;\r\nhello\r\n0\r\n\r\n"), hangUp: true},
		{name: "chunks, then more", answer: chunks("5\r\nhello\r\n0\r\n\r\nmore")},
		{name: "chunk line too long", answer: chunks("5;" + strings.Repeat("x", 5000) + "\r\nhello\r\n0\r\n\r\n"), hangUp: true},
		{name: "chunk line just right", answer: chunks("5;" + strings.Repeat("x", 4092) + "\r\nhello\r\n0\r\n\r\n")},
		{name: "chunk line one too long", answer: chunks("5;" + strings.Repeat("x", 4093) + "\r\nhello\r\n0\r\n\r\n"), hangUp: true},
		{name: "chunk excess", answer: chunks(strings.Repeat("1;"+strings.Repeat("x", 1000)+"\r\na\r\n", 20) + "0\r\n\r\n"), hangUp: true},
		{name: "many small chunks", answer: chunks(strings.Repeat("1\r\na\r\n", 3000) + "0\r\n\r\n")},
		{name: "trailer", answer: ok("Transfer-Encoding: chunked", "Trailer: A, b") + "\r\n5\r\nhello\r\n0\r\na: 1\r\nC: 2\r\n\r\n"},
		{name: "trailer not announced", answer: chunks("0\r\nA: 1\r\n\r\n")},
		{name: "trailer announced, not sent", answer: ok("Transfer-Encoding: chunked", "Trailer: A,, ,b") + "\r\n0\r\n\r\n"},
		{name: "trailer forbidden", answer: ok("Transfer-Encoding: chunked", "Trailer: Content-Length") + "\r\n0\r\n\r\n", hangUp: true},
		{name: "trailer without chunks", answer: body(ok("Content-Length: 5", "Trailer: A"))},
		{name: "trailer malformed", answer: chunks("5\r\nhello\r\n0\r\nA\r\n\r\n"), hangUp: true},
		{name: "trailer cut", answer: chunks("5\r\nhello\r\n0\r\nA: b\r\n"), hangUp: true},
		{name: "trailer in newlines", answer: chunks("5\r\nhello\r\n0\nA: b\n\n"), hangUp: true},
		{name: "trailer too long", answer: chunks("0\r\nA: " + strings.Repeat("x", 5000) + "\r\n\r\n"), hangUp: true},
		{name: "chunked and length", answer: ok("Content-Length: 3", "Transfer-Encoding: chunked") + "\r\n5\r\nhello\r\n0\r\n\r\n"},
		{name: "chunked and bad length", answer: ok("Content-Length: x", "Transfer-Encoding: chunked") + "\r\n5\r\nhello\r\n0\r\n\r\n", hangUp: true},
		{name: "chunked twice", answer: ok("Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + "\r\n0\r\n\r\n", hangUp: true},
		{name: "gzip, chunked", answer: ok("Transfer-Encoding: gzip, chunked") + "\r\n0\r\n\r\n", hangUp: true},
		{name: "identity", answer: body(ok("Transfer-Encoding: identity", "Content-Length: 5")), hangUp: true},
		{name: "Chunked", answer: ok("transfer-encoding: Chunked") + "\r\n0\r\n\r\n"},
		{name: "head", method: "HEAD", answer: ok("Content-Length: 5") + "\r\n"},
		{name: "head without length", method: "HEAD", answer: ok("A: b") + "\r\n"},
		{name: "head chunked", method: "HEAD", answer: ok("Transfer-Encoding: chunked", "Trailer: A") + "\r\n"},
		{name: "head with a bad length", method: "HEAD", answer: ok("Content-Length: x") + "\r\n", hangUp: true},
		{name: "head with a body", method: "HEAD", answer: body(ok("Content-Length: 5"))},
		{name: "204", answer: "HTTP/1.1 204 No Content\r\n\r\n"},
		{name: "204 with a length", answer: "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"},
		{name: "204 chunked", answer: "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{name: "304 with a length", answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"},
		{name: "304 with a body", answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello"},
		{name: "100 unasked", answer: "HTTP/1.1 100 Continue\r\n\r\n" + body(ok("Content-Length: 5"))},
		{name: "103 twice", answer: strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", 2) + body(ok("Content-Length: 5"))},
		{name: "1xx with a bad length", answer: "HTTP/1.1 103 Early Hints\r\nContent-Length: x\r\n\r\n" + body(ok("Content-Length: 5")), hangUp: true},
		{name: "1xx, then nothing", answer: "HTTP/1.1 103 Early Hints\r\n\r\n", hangUp: true},
		{name: "endless 1xx", answer: strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", 3000), hangUp: true},
		{name: "endless header", answer: ok("A: "+strings.Repeat("x", 100<<10)) + "\r\n", hangUp: true},
		{name: "long header", answer: body(ok("A: "+strings.Repeat("x", 20<<10), "Content-Length: 5"))},
		{name: "header just right", answer: body(ok("Content-Length: 5", "A: "+strings.Repeat("x", DefaultMaxHeaderBytes-len(ok("Content-Length: 5"))-len("A: \r\n\r\n"))))},
		{name: "header one too long", answer: body(ok("Content-Length: 5", "A: "+strings.Repeat("x", DefaultMaxHeaderBytes-len(ok("Content-Length: 5"))-len("A: \r\n\r\n")+1))), hangUp: true},
		{name: "many fields", answer: body(ok(strings.Repeat("A: b\r\nC: d\r\n", 500) + "Content-Length: 5"))},
		{name: "large body", answer: ok("Content-Length: 300000") + "\r\n" + strings.Repeat("0123456789", 30000)},
		{name: "large chunks", answer: chunks(strings.Repeat("2710\r\n"+strings.Repeat("0123456789", 1000)+"\r\n", 20) + "0\r\n\r\n")},
		{name: "large until close", answer: ok() + "\r\n" + strings.Repeat("0123456789", 30000), hangUp: true},
	}
}

func TestSameAnswersAsNetHTTP(t *testing.T) {
	for _, tc := range answers() {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			method := tc.method
			if method == "" {
				method = http.MethodGet
			}
			serve := func(split int) *script {
				s := &script{answer: []byte(tc.answer), split: split, hangUp: tc.hangUp}
				return s.start(t)
			}
			s := serve(0)
			rt := theirs(t)
			want, wantErr := ask(rt, method, s.listener.Addr().String())
			if !tc.hangUp {
				require.NoError(t, wantErr, "a case that fails must hang up")
			}

			s2 := serve(0)
			mine := ours(t, s2.listener.Addr().String())
			got, err := ask(mine, method, s2.listener.Addr().String())
			require.Equal(t, want, got, "net/http: %v; this client: %v", wantErr, err)
			requireKind(t, err)
			reused := !tc.hangUp && s2.reused(t, mine)
			before := s2.conns.Load()
			again, err := ask(mine, method, s2.listener.Addr().String())
			if s2.conns.Load() > before { // otherwise it is the second answer of a connection
				require.Equal(t, want, again, "with a head that is known: %v", err)
			}
			if !tc.hangUp {
				assert.Equal(t, s.reused(t, rt), reused, "connection reused")
			}

			splits := []int{-1}
			for i := range tc.answer {
				if len(tc.answer) < 200 {
					splits = append(splits, i)
				}
			}
			if len(tc.answer) > 50_000 {
				splits = nil
			}
			for _, split := range splits {
				s := serve(split)
				mine := ours(t, s.listener.Addr().String())
				got, err := ask(mine, method, s.listener.Addr().String())
				require.Equal(t, want, got, "split at %d: net/http: %v; this client: %v", split, wantErr, err)
				requireKind(t, err)
				require.NoError(t, mine.Close())
				_ = s.listener.Close()
			}
		})
	}
}

// requireKind holds errors to what the package promises.
func requireKind(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var typed *Error
	require.ErrorAs(t, err, &typed)
	known := errors.Is(err, ErrMalformed) || errors.Is(err, ErrNoResponse) || errors.Is(err, io.ErrUnexpectedEOF)
	require.True(t, known, "an error of the kinds that are documented: %v", err)
}

func FuzzResponse(f *testing.F) {
	for _, tc := range answers() {
		if len(tc.answer) < 2000 {
			f.Add(tc.answer, tc.method == http.MethodHead)
		}
	}
	s := &script{hangUp: true}
	var answer atomic.Pointer[[]byte]
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(f, err)
	s.listener = listener
	f.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			one := script{answer: *answer.Load(), hangUp: true}
			go one.serve(c)
		}
	}()
	addr := listener.Addr().String()
	f.Fuzz(func(t *testing.T, raw string, head bool) {
		data := []byte(raw)
		answer.Store(&data)
		method := http.MethodGet
		if head {
			method = http.MethodHead
		}
		rt := theirs(t)
		want, wantErr := ask(rt, method, addr)
		mine := ours(t, addr)
		got, err := ask(mine, method, addr)
		if errors.Is(err, ErrSwitched) && want.StatusCode == http.StatusSwitchingProtocols {
			return // refused, on purpose
		}
		require.Equal(t, want, got, fmt.Sprintf("net/http: %v; this client: %v", wantErr, err))
	})
}
