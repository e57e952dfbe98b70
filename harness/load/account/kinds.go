package account

import (
	"context"
	"errors"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"chokepoint/harness/load/http1"
)

// The kinds of failure for which there is something to mend outside the target.
const (
	KindRefused = "connection refused"
	KindFiles   = "too many open files in the load generator"
	KindPorts   = "no free local port"
)

// The other kinds that have a name. Any other error is its own text with all
// that differs between requests folded away.
const (
	kindTimeout  = "timeout" // where it struck, is not known
	kindReset    = "connection reset"
	kindPipe     = "connection closed while sending"
	kindNoAnswer = "connection closed before a response"
	kindCut      = "response cut short"
	kindHost     = "host not found"
	// kindNoSettings is of a peer that hangs up on HTTP/2's preface, as one that
	// speaks HTTP/1.1 alone does.
	kindNoSettings = "connection closed before HTTP/2 began"
	kindMalformed  = "malformed response"
	kindOther      = "other"
)

// maxKinds bounds the kinds counted; those that come later are kindOther.
const maxKinds = 20

// isTimeout says whether a failure of this kind is one of a request that took the
// whole of its timeout.
func isTimeout(kind string) bool { return strings.HasPrefix(kind, kindTimeout) }

const kindStatus = "status "

func statusKind(code int) string { return kindStatus + strconv.Itoa(code) }

// Answers counts, of failures by kind, those that were responses with a status that
// says so.
func Answers(kinds map[string]int64) int64 {
	var n int64
	for kind, count := range kinds {
		if strings.HasPrefix(kind, kindStatus) {
			n += count
		}
	}
	return n
}

// timeoutKinds tell what a request was waiting for when its time was over.
var timeoutKinds = map[http1.Phase]string{
	http1.PhaseWait:     kindTimeout + " waiting for a connection",
	http1.PhaseConnect:  kindTimeout + " connecting",
	http1.PhaseSend:     kindTimeout + " sending the request",
	http1.PhaseResponse: kindTimeout + " waiting for the response",
	http1.PhaseRead:     kindTimeout + " in the middle of the response",
}

// timeoutKind is the kind of a timeout.
func timeoutKind(err error) string {
	if failed, ok := errors.AsType[*http1.Error](err); ok {
		if kind, known := timeoutKinds[failed.Phase]; known {
			return kind
		}
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return timeoutKinds[http1.PhaseConnect]
	}
	return kindTimeout
}

// KindOf folds err into one of few texts: no address, port, quotation or number
// is left in it. Every timeout's begins with "timeout".
func KindOf(err error) string {
	if timeout, ok := errors.AsType[net.Error](err); errors.Is(err, context.DeadlineExceeded) || ok && timeout.Timeout() {
		return timeoutKind(err)
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return kindHost
	}
	for _, k := range []struct {
		err  error
		kind string
	}{
		{http1.ErrMalformed, kindMalformed},
		{syscall.ECONNREFUSED, KindRefused},
		{syscall.ECONNRESET, kindReset},
		{syscall.EPIPE, kindPipe},
		{syscall.EMFILE, KindFiles},
		{syscall.ENFILE, KindFiles},
		{syscall.EADDRNOTAVAIL, KindPorts},
		{io.ErrUnexpectedEOF, kindCut},
		{io.EOF, kindNoAnswer},
	} {
		if errors.Is(err, k.err) {
			return k.kind
		}
	}
	text := err.Error()
	for _, k := range textKinds {
		if strings.Contains(text, k.part) {
			return k.kind
		}
	}
	if failed, ok := errors.AsType[*http1.Error](err); ok {
		text = string(failed.Phase) + ": " + failed.Err.Error()
	}
	return fold(text)
}

// textKinds are for net/http, which has no value to compare these errors with.
var textKinds = []struct{ part, kind string }{
	{"malformed", kindMalformed},
	{"bad Content-Length", kindMalformed},
	{"invalid byte in chunk", kindMalformed},
	{"too large", kindMalformed},
	{"exceeded", kindMalformed},
	{"server closed idle connection", kindNoAnswer},
	{"wait for HTTP/2 settings", kindNoSettings},
}

var (
	quoted  = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	address = regexp.MustCompile(`\[[0-9a-fA-F:.%a-z]+\](?::\d+)?|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?`)
	port    = regexp.MustCompile(`:\d{2,5}\b`)
	number  = regexp.MustCompile(`\b(?:0x[0-9a-fA-F]+|\d+)\b`)
)

// fold takes addresses, ports, quoted text and numbers out of an error's text,
// and cuts it to a line.
func fold(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	text = quoted.ReplaceAllString(text, `"..."`)
	text = address.ReplaceAllString(text, "ADDRESS")
	text = port.ReplaceAllString(text, ":PORT")
	text = number.ReplaceAllString(text, "N")
	text = strings.ToValidUTF8(text, "?")
	const longest = 120
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "..."
	}
	if strings.TrimSpace(text) == "" {
		return kindOther
	}
	return text
}
