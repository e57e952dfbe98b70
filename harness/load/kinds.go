package load

import (
	"context"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"syscall"
)

// The kinds of failure that have a name. Any other error is its own text with
// all that differs between requests folded away.
const (
	kindTimeout   = "timeout"
	kindRefused   = "connection refused"
	kindReset     = "connection reset"
	kindPipe      = "connection closed while sending"
	kindNoAnswer  = "connection closed before a response"
	kindCut       = "response cut short"
	kindFiles     = "too many open files in the load generator"
	kindPorts     = "no free local port"
	kindHost      = "host not found"
	kindMalformed = "malformed response"
	kindOther     = "other"
)

// maxKinds bounds the kinds counted; those that come later are kindOther.
const maxKinds = 20

// kindOf folds err into one of few texts.
func kindOf(err error) string {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return kindTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return kindRefused
	case errors.Is(err, syscall.ECONNRESET):
		return kindReset
	case errors.Is(err, syscall.EPIPE):
		return kindPipe
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return kindFiles
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return kindPorts
	case errors.As(err, &dns):
		return kindHost
	case errors.As(err, &timeout) && timeout.Timeout():
		return kindTimeout
	case errors.Is(err, io.ErrUnexpectedEOF):
		return kindCut
	case errors.Is(err, io.EOF):
		return kindNoAnswer
	}
	// net/http has no value to compare these with.
	text := err.Error()
	for _, part := range []string{"malformed", "bad Content-Length", "invalid byte in chunk", "too large", "exceeded"} {
		if strings.Contains(text, part) {
			return kindMalformed
		}
	}
	if strings.Contains(text, "server closed idle connection") {
		return kindNoAnswer
	}
	return fold(text)
}

var (
	quoted   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	address  = regexp.MustCompile(`\[[0-9a-fA-F:.%a-z]+\](?::\d+)?|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?`)
	port     = regexp.MustCompile(`:\d{2,5}\b`)
	bigDigit = regexp.MustCompile(`\b\d{2,}\b`)
)

// fold takes addresses, ports, quoted text and numbers out of an error's text,
// and cuts it to a line.
func fold(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	text = quoted.ReplaceAllString(text, `"..."`)
	text = address.ReplaceAllString(text, "ADDRESS")
	text = port.ReplaceAllString(text, ":PORT")
	text = bigDigit.ReplaceAllString(text, "N")
	const longest = 120
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "..."
	}
	if text == "" {
		return kindOther
	}
	return text
}
