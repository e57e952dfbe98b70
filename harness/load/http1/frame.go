package http1

import (
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// answer is a response and its body in one piece.
type answer struct {
	http.Response
	body body
}

// wholeAnswer is an answer with memory for its header's values.
type wholeAnswer struct {
	answer
	values [6]string
}

// framing is how a response's body ends.
type framing uint8

const (
	noBody framing = iota
	byLength
	byChunks
	byClose
)

// newAnswer makes a whole head into a response to a request with method. The
// body is not set; how it is framed is told. The rules are RFC 9112 section 6,
// as strict and as lenient as net/http's client.
func newAnswer(data []byte, h *head, method string) (*answer, framing, error) {
	status, err := parseStatusLine(data[:h.statusEnd])
	if err != nil {
		return nil, 0, err
	}
	text := string(data[:h.pos])
	whole := &wholeAnswer{}
	a := &whole.answer
	a.Proto = text[:status.protoEnd]
	a.Status = text[status.status:h.statusEnd]
	a.StatusCode, a.ProtoMajor, a.ProtoMinor = status.code, status.major, status.minor
	var special int
	a.Header, special = h.header(text, whole.values[:])
	if special&hasPragma != 0 && a.Header["Pragma"][0] == "no-cache" {
		if _, ok := a.Header["Cache-Control"]; !ok {
			a.Header["Cache-Control"] = []string{"no-cache"}
		}
	}
	f, err := a.frame(special, method)
	return a, f, err
}

// frame sets Close, ContentLength, TransferEncoding and Trailer.
func (a *answer) frame(special int, method string) (framing, error) {
	a.Close = a.closes(special)
	chunked, err := a.chunked(special)
	if err != nil {
		return 0, err
	}
	length, err := a.length(special)
	if err != nil {
		return 0, err
	}
	bodiless := method == http.MethodHead || !bodyAllowed(a.StatusCode)
	if chunked && !bodiless {
		delete(a.Header, "Content-Length")
		length = -1
	}
	a.ContentLength = length
	if bodiless && method != http.MethodHead {
		a.ContentLength = 0
	}
	if special&hasTrailer != 0 && chunked {
		if err := a.declareTrailer(); err != nil {
			return 0, err
		}
	}
	if chunked {
		a.TransferEncoding = []string{"chunked"}
	}
	switch {
	case bodiless:
		return noBody, nil
	case chunked:
		return byChunks, nil
	case length == 0:
		return noBody, nil
	case length > 0:
		return byLength, nil
	}
	a.Close = true
	return byClose, nil
}

func bodyAllowed(code int) bool {
	return (code < 100 || code > 199) && code != http.StatusNoContent && code != http.StatusNotModified
}

// closes says whether the server closes the connection after this response.
func (a *answer) closes(special int) bool {
	if a.ProtoMajor < 1 {
		return true
	}
	old := a.ProtoMajor == 1 && a.ProtoMinor == 0
	if special&hasConnection == 0 {
		return old
	}
	tokens := a.Header["Connection"]
	closes := httpguts.HeaderValuesContainsToken(tokens, "close")
	if old {
		return closes || !httpguts.HeaderValuesContainsToken(tokens, "keep-alive")
	}
	if closes {
		delete(a.Header, "Connection")
	}
	return closes
}

func (a *answer) chunked(special int) (bool, error) {
	if special&hasTransferEncoding == 0 {
		return false, nil
	}
	encodings := a.Header["Transfer-Encoding"]
	delete(a.Header, "Transfer-Encoding")
	if !a.ProtoAtLeast(1, 1) {
		return false, nil
	}
	if len(encodings) != 1 || !strings.EqualFold(encodings[0], "chunked") {
		return false, malformed("transfer encoding %.80q; known is chunked alone", encodings)
	}
	return true, nil
}

// length is the header's Content-Length, or -1.
func (a *answer) length(special int) (int64, error) {
	if special&hasContentLength == 0 {
		return -1, nil
	}
	lengths := a.Header["Content-Length"]
	for _, other := range lengths[1:] {
		if other != lengths[0] {
			return 0, malformed("several values of Content-Length: %.80q", lengths)
		}
	}
	if len(lengths) > 1 {
		a.Header["Content-Length"] = lengths[:1]
	}
	n, err := strconv.ParseUint(lengths[0], 10, 63)
	if err != nil {
		return 0, malformed("Content-Length %.40q", lengths[0])
	}
	return int64(n), nil
}

func (a *answer) declareTrailer() error {
	names := a.Header["Trailer"]
	delete(a.Header, "Trailer")
	for _, list := range names {
		for name := range strings.SplitSeq(list, ",") {
			name = http.CanonicalHeaderKey(strings.Trim(name, " \t"))
			switch name {
			case "":
				continue
			case "Transfer-Encoding", "Trailer", "Content-Length":
				return malformed("trailer %s is announced, which a trailer must not be", name)
			}
			if a.Trailer == nil {
				a.Trailer = http.Header{}
			}
			a.Trailer[name] = nil
		}
	}
	return nil
}
