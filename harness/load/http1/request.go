package http1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
)

// inlineBody is the longest body that leaves together with the head.
const inlineBody = streamSize - bufferSize

const userAgent = "Go-http-client/1.1"

// outgoing is a request on its way out.
type outgoing struct {
	first *buffer // what is written first: the head, and the body if it is at hand
	// What remains of the body, to be sent by a goroutine of its own; or nil.
	rest    io.Reader
	length  int64 // of rest; -1 when unknown: then it is sent in chunks
	expects bool  // rest waits for 100 Continue
	// closeBody closes the request's body, once.
	closeBody func()
}

// build makes the bytes of a request: the same that net/http's client sends, in
// the same order.
func build(req *http.Request, b *buffer) (outgoing, error) {
	out := outgoing{first: b, closeBody: nothing}
	if req.Body != nil && req.Body != http.NoBody {
		out.closeBody = sync.OnceFunc(func() { _ = req.Body.Close() })
	}
	p, err := appendHead(b.b[:0], req)
	if err != nil {
		return out, err
	}
	length := outgoingLength(req)
	closes := req.Close && !hasToken(req.Header, "Connection", "close")
	if closes {
		p = append(p, "Connection: close\r\n"...)
	}
	switch {
	case length > 0, length == 0 && wantsLength(req):
		p = append(p, "Content-Length: "...)
		p = strconv.AppendInt(p, length, 10)
		p = append(p, "\r\n"...)
	case length < 0:
		p = append(p, "Transfer-Encoding: chunked\r\n"...)
	}
	p = appendHeader(p, req.Header)
	p = append(p, "\r\n"...)

	if length != 0 {
		out.rest, out.length = req.Body, length
		out.expects = hasToken(req.Header, "Expect", "100-continue")
		if length > 0 && length <= inlineBody && !out.expects && inMemory(req.Body) {
			if p, err = appendBody(p, req.Body, length); err != nil {
				return out, err
			}
			out.rest = nil
		}
	}
	if len(p) > len(b.b) {
		b.b = p[:cap(p)]
	}
	b.r, b.w = 0, len(p)
	return out, nil
}

func nothing() {}

// appendHead appends the request line, Host and User-Agent.
func appendHead(p []byte, req *http.Request) ([]byte, error) {
	if req.URL == nil {
		return nil, errors.New("the request has no URL")
	}
	if req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return nil, fmt.Errorf("scheme of the URL is %q; want http", req.URL.Scheme)
	}
	if req.URL.Host == "" {
		return nil, errors.New("the request's URL has no host")
	}
	switch {
	case req.Method == "":
		p = append(p, "GET "...)
	case req.Method == http.MethodConnect:
		return nil, errors.New("method CONNECT: tunnels are not supported")
	case !httpguts.ValidHeaderFieldName(req.Method): // a token, as a method is
		return nil, fmt.Errorf("method %q is not valid", req.Method)
	default:
		p = append(append(p, req.Method...), ' ')
	}
	if len(req.Trailer) > 0 {
		return nil, errors.New("trailers of a request are not supported")
	}
	for i, encoding := range req.TransferEncoding {
		if i > 0 || encoding != "chunked" {
			return nil, fmt.Errorf("transfer encoding %q of the request; want none, or chunked", req.TransferEncoding)
		}
	}
	if req.ContentLength != 0 && req.Body == nil {
		return nil, fmt.Errorf("content length of the request is %d B, and it has no body", req.ContentLength)
	}
	if req.ContentLength < -1 {
		return nil, fmt.Errorf("content length of the request is %d B; want 0 or more, or -1 when it is not known", req.ContentLength)
	}

	at := len(p)
	p = appendTarget(p, req)
	for _, c := range p[at:] {
		if c < ' ' || c == 0x7f {
			return nil, errors.New("control character in the request's URL")
		}
	}
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	host, err := httpguts.PunycodeHostPort(host)
	if err != nil {
		return nil, fmt.Errorf("host of the request: %w", err)
	}
	p = append(p, " HTTP/1.1\r\nHost: "...)
	if httpguts.ValidHostHeader(host) {
		p = append(p, withoutZone(host)...)
	}
	p = append(p, "\r\n"...)

	agent := userAgent
	if values, ok := req.Header["User-Agent"]; ok {
		agent = ""
		if len(values) > 0 {
			agent = textproto.TrimString(values[0])
		}
	}
	if agent != "" {
		p = append(p, "User-Agent: "...)
		p = append(p, agent...)
		p = append(p, "\r\n"...)
	}
	return p, checkHeader(req.Header)
}

// appendTarget is url.URL.RequestURI without its string.
func appendTarget(p []byte, req *http.Request) []byte {
	u := req.URL
	if u.Opaque != "" {
		return append(p, u.RequestURI()...)
	}
	if path := u.EscapedPath(); path != "" {
		p = append(p, path...)
	} else {
		p = append(p, '/')
	}
	if u.ForceQuery || u.RawQuery != "" {
		p = append(append(p, '?'), u.RawQuery...)
	}
	return p
}

// withoutZone drops the zone of an IPv6 address: [fe80::1%lo]:80 is
// [fe80::1]:80 to others (RFC 6874 section 4).
func withoutZone(host string) string {
	if !strings.HasPrefix(host, "[") {
		return host
	}
	end := strings.LastIndexByte(host, ']')
	zone := strings.LastIndexByte(host[:max(end, 0)], '%')
	if zone < 0 {
		return host
	}
	return host[:zone] + host[end:]
}

func checkHeader(header http.Header) error {
	for name, values := range header {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("header name %q is not valid", name)
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return fmt.Errorf("value of header %s is not valid", name)
			}
		}
	}
	return nil
}

// ownName says whether the client writes this field by itself.
func ownName(name string) bool {
	switch name {
	case "Host", "User-Agent", "Content-Length", "Transfer-Encoding", "Trailer":
		return true
	}
	return false
}

// appendHeader appends the fields in the order of their names. All are valid.
func appendHeader(p []byte, header http.Header) []byte {
	if len(header) <= 1 {
		for name, values := range header {
			p = appendField(p, name, values)
		}
		return p
	}
	names := make([]string, 0, len(header))
	for name := range header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		p = appendField(p, name, header[name])
	}
	return p
}

func appendField(p []byte, name string, values []string) []byte {
	if ownName(name) {
		return p
	}
	for _, value := range values {
		p = append(append(p, name...), ": "...)
		p = append(append(p, textproto.TrimString(value)...), "\r\n"...)
	}
	return p
}

func hasToken(header http.Header, name, token string) bool {
	values, ok := header[name]
	return ok && len(values) > 0 && httpguts.HeaderValuesContainsToken(values[:1], token)
}

// outgoingLength is the length of the body in bytes; -1 when it is unknown.
func outgoingLength(req *http.Request) int64 {
	switch {
	case req.Body == nil:
		return 0
	case len(req.TransferEncoding) > 0: // chunked
		return -1
	case req.Body == http.NoBody:
		return 0
	case req.ContentLength != 0:
		return req.ContentLength
	}
	return -1
}

// wantsLength says whether a request without a body carries Content-Length: 0.
func wantsLength(req *http.Request) bool {
	switch req.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		return true
	}
	return false
}

var (
	plainCloser    = reflect.TypeOf(io.NopCloser(nil))
	writerToCloser = reflect.TypeOf(io.NopCloser(struct {
		io.Reader
		io.WriterTo
	}{}))
)

// inMemory says whether reading body cannot wait: it is what http.NewRequest
// makes of bytes and strings.
func inMemory(body io.Reader) bool {
	if t := reflect.TypeOf(body); t == plainCloser || t == writerToCloser {
		body, _ = reflect.ValueOf(body).Field(0).Interface().(io.Reader)
	}
	switch body.(type) {
	case *bytes.Reader, *bytes.Buffer, *strings.Reader:
		return true
	}
	return false
}

// appendBody appends a body in memory, which must have length bytes.
func appendBody(p []byte, body io.Reader, length int64) ([]byte, error) {
	from := len(p)
	p = slices.Grow(p, int(length))[:from+int(length)]
	n, err := io.ReadFull(body, p[from:])
	if err != nil {
		return nil, fmt.Errorf("content length of the request is %d B, its body has %d B", length, n)
	}
	return p, checkEnd(body, length)
}

// checkEnd says whether body ends where it should.
func checkEnd(body io.Reader, length int64) error {
	var more [1]byte
	if n, _ := io.ReadFull(body, more[:]); n > 0 {
		return fmt.Errorf("content length of the request is %d B, its body has more", length)
	}
	return nil
}
